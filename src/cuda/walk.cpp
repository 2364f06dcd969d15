#include "walk.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace lowp::cuda {

namespace {

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

void check_axes(std::size_t axes) {
    if (axes > layout::max_axes)
        fail("lowp::cuda::layout: arrays have up to " + std::to_string(layout::max_axes) +
             " axes; got " + std::to_string(axes) + ": merge some of them");
}

}  // namespace

layout layout::of(std::span<const std::size_t> shape, std::span<const std::ptrdiff_t> strides) {
    check_axes(shape.size());
    if (shape.size() != strides.size())
        fail("lowp::cuda::layout: shape and strides must have one length; got " +
             std::to_string(shape.size()) + " and " + std::to_string(strides.size()));
    layout l;
    l.axes = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), l.shape.begin());
    std::copy(strides.begin(), strides.end(), l.strides.begin());
    return l;
}

layout layout::of(std::span<const std::size_t> shape) {
    check_axes(shape.size());
    layout l;
    l.axes = static_cast<int>(shape.size());
    std::ptrdiff_t run = 1;
    for (std::size_t a = shape.size(); a-- > 0;) {
        l.shape[a] = shape[a];
        l.strides[a] = run;
        run *= static_cast<std::ptrdiff_t>(shape[a]);
    }
    return l;
}

namespace detail {

namespace {

/// Whether `outer` goes on where `inner` ends, in every respect.
bool follows(const walk::axis& outer, const walk::axis& inner) {
    const auto length = static_cast<std::int64_t>(inner.length);
    return outer.from == inner.from * length && outer.to == inner.to * length &&
           outer.index == inner.index * length;
}

std::int64_t magnitude(std::int64_t stride) { return stride < 0 ? -stride : stride; }

}  // namespace

walk make_walk(const char* verb, const layout& from, const layout& to, std::uint64_t first_index) {
    const auto shapes_differ = [&] {
        return from.axes != to.axes ||
               !std::equal(from.shape.begin(), from.shape.begin() + from.axes, to.shape.begin());
    };
    if (shapes_differ())
        fail(std::string("lowp::cuda::") + verb + ": input and output must have one shape");
    walk w;
    w.first_index = first_index;
    w.size = to.size();
    if (w.size == 0) return w;
    std::int64_t index = 1;
    for (int a = to.axes - 1; a >= 0; --a) {
        const auto at = static_cast<std::size_t>(a);
        if (to.shape[at] == 1) continue;
        if (to.strides[at] == 0)
            fail(std::string("lowp::cuda::") + verb +
                 ": the output must have each element at a place of its own; got stride 0");
        w.axes[static_cast<std::size_t>(w.count++)] = {to.shape[at], from.strides[at],
                                                       to.strides[at], index};
        index *= static_cast<std::int64_t>(to.shape[at]);
    }
    // Slowest in the result first; the axes are there in reverse.
    const auto end = w.axes.begin() + w.count;
    std::reverse(w.axes.begin(), end);
    std::stable_sort(w.axes.begin(), end, [](const walk::axis& a, const walk::axis& b) {
        return magnitude(a.to) > magnitude(b.to);
    });
    int last = 0;
    for (int a = 1; a < w.count; ++a) {
        walk::axis& outer = w.axes[static_cast<std::size_t>(last)];
        const walk::axis inner = w.axes[static_cast<std::size_t>(a)];
        if (follows(outer, inner))
            outer = {outer.length * inner.length, inner.from, inner.to, inner.index};
        else w.axes[static_cast<std::size_t>(++last)] = inner;
    }
    if (w.count > 0) w.count = last + 1;
    return w;
}

}  // namespace detail
}  // namespace lowp::cuda
