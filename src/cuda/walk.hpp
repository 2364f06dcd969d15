// How a kernel goes over arrays of any strides: decided on the host, a few numbers for the device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lowp/cuda.hpp"

namespace lowp::cuda::detail {

/// Axes in the order in which the result lies in memory, the fastest last, those without a gap between
/// them merged. Step i of the walk has one coordinate an axis, and so a place in the source, one in the
/// result and an index in C order.
struct walk {
    struct axis {
        std::uint64_t length = 1;
        std::int64_t from = 0, to = 0, index = 0;
    };
    std::array<axis, layout::max_axes> axes{};
    int count = 0;
    std::uint64_t size = 0;
    std::uint64_t first_index = 0;

    /// Whether step, places and index are all one: the arrays are one dense run in C order.
    [[nodiscard]] bool is_flat() const {
        return count == 0 ||
               (count == 1 && axes[0].from == 1 && axes[0].to == 1 && axes[0].index == 1);
    }
    /// Whether both arrays are dense in one order, that of the walk.
    [[nodiscard]] bool is_dense() const {
        bool dense = true;
        std::int64_t run = 1;
        for (int a = count - 1; a >= 0; --a) {
            const axis& at = axes[static_cast<std::size_t>(a)];
            dense = dense && at.from == run && at.to == run;
            run *= static_cast<std::int64_t>(at.length);
        }
        return dense;
    }
};

/// Whether arrays of one shape have all elements at the same steps.
[[nodiscard]] inline bool same_strides(const layout& a, const layout& b) {
    for (int i = 0; i < a.axes; ++i) {
        const auto at = static_cast<std::size_t>(i);
        if (a.shape[at] > 1 && a.strides[at] != b.strides[at]) return false;
    }
    return true;
}

/// The walk over two arrays of one shape. Throws std::invalid_argument for different shapes, and for a
/// result of stride 0 along an axis of two or more.
[[nodiscard]] walk make_walk(const char* verb, const layout& from, const layout& to,
                             std::uint64_t first_index);

}  // namespace lowp::cuda::detail
