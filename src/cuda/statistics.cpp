// The verbs of cuda_statistics.hpp as the host sees them: arguments checked, plans made.
#include "statistics.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "block.hpp"
#include "carriers.hpp"
#include "lowp/block.hpp"
#include "lowp/formats.hpp"

namespace lowp::cuda {

namespace {

[[noreturn]] void fail(const char* verb, const std::string& message) {
    throw std::invalid_argument(std::string("lowp::cuda::") + verb + ": " + message);
}

block_layout walked(const block_layout& l) {
    return l.size() == 0 ? l : lowp::detail::panels(l).layout();
}

/// The largest number of T that is not above v, and the smallest not below.
template <class T>
T rounded_down(double v) {
    const T near = static_cast<T>(v);
    return static_cast<double>(near) > v ? std::nextafter(near, -std::numeric_limits<T>::infinity())
                                         : near;
}
template <class T>
T rounded_up(double v) {
    return -rounded_down<T>(-v);
}

template <class T>
void describe(detail::error_call<T>& c, const format& f) {
    if (!f.template fits<T>())
        fail("measure", std::string("the arithmetic of the carrier does not hold every value of ") +
                            name(f) + "; pass arrays of float64");
    c.has_format = true;
    c.lowest = rounded_up<T>(f.lowest());
    c.max = rounded_down<T>(f.max());
    c.normal = rounded_up<T>(f.min_normal());
    c.precision = f.precision();
    c.emin = f.emin();
    c.emax = f.emax();
    c.in_ulps = f.exponent_bits != 0;
    if (!c.in_ulps) c.quantum = f.min_subnormal();
}

}  // namespace

namespace detail {

bool is_shared(const block_layout& l) {
    if (l.size() == 0) return false;
    if (l.block_columns == 1 && l.columns > 1) return l.block_rows > rows_a_thread;
    return l.block_rows * l.block_columns > huge_from;
}

}  // namespace detail

std::size_t amax_workspace_size(carrier /*c*/, const block_layout& l) {
    return detail::is_shared(walked(l)) ? l.blocks() * sizeof(std::uint64_t) : 0;
}

void amax(const void* x, carrier c, const block_layout& l, void* out, void* workspace, stream s) {
    if (l.size() == 0) return;
    if (x == nullptr || out == nullptr) fail("amax", "x and out must not be null");
    if (amax_workspace_size(c, l) > 0 && workspace == nullptr)
        fail("amax", "needs a workspace of " + std::to_string(amax_workspace_size(c, l)) +
                         " bytes (amax_workspace_size); got nullptr");
    if (reinterpret_cast<std::uintptr_t>(workspace) % 16 != 0)
        fail("amax", "the workspace must lie on a boundary of 16 bytes");
    const detail::amax_call call{x, out, walked(l), static_cast<std::uint64_t*>(workspace)};
    if (call.layout.block_rows > 1 && call.layout.block_columns > 1 &&
        l.block_rows * l.block_columns >> 31 != 0)
        fail("amax", "tiles of 2^31 elements or more are not done on the device; cut the array");
    detail::with_carrier(c,
                         [&](auto of) { detail::statistics<decltype(of)::value>::amax(call, s); });
}

void measure(const void* x, const void* q, carrier c, std::size_t n, error_sums* out,
             const std::optional<format>& f, stream s) {
    if (n > 0 && (x == nullptr || q == nullptr || out == nullptr))
        fail("measure", "x, q and out must not be null where there are elements");
    detail::with_carrier(c, [&](auto of) {
        constexpr carrier C = decltype(of)::value;
        detail::error_call<detail::worker_t<C>> call;
        call.x = x;
        call.q = q;
        call.size = n;
        call.out = out;
        if (f) describe(call, *f);
        if (n > 0) detail::statistics<C>::measure(call, s);
    });
}

void count_codes(const void* codes, int bytes, std::size_t n, int bits, std::uint64_t* counts,
                 const void* x, carrier c, stream s) {
    if (bits < 1 || bits > 16)
        fail("count_codes", "bits must be between 1 and 16; got " + std::to_string(bits));
    if (bytes != 1 && bytes != 2)
        fail("count_codes", "codes must be integers of 1 or 2 bytes; got " + std::to_string(bytes));
    if (bits > 8 * bytes)
        fail("count_codes", "codes of " + std::to_string(bits) + " bits do not fit integers of " +
                                std::to_string(bytes) + " bytes");
    if (counts == nullptr || (n > 0 && codes == nullptr))
        fail("count_codes", "codes and counts must not be null");
    detail::with_carrier(c, [&](auto of) {
        detail::statistics<decltype(of)::value>::count_codes(codes, bytes, n, bits, counts, x, s);
    });
}

}  // namespace lowp::cuda
