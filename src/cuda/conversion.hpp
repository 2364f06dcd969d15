// What the host hands to the kernels that convert element by element, and the kernels' names. Plain
// C++: the host's checks and plans are in arrays.cpp, the kernels in conversion.cuh.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lowp/codec.hpp"
#include "lowp/formats.hpp"
#include "walk.hpp"

namespace lowp::cuda::detail {

/// Whether modes that take random bits, or those that take none.
enum class chance : std::uint8_t { none, random };

/// The float in which the kernel works on values of a carrier.
template <carrier C>
struct worker {
    using type = float;
};
template <>
struct worker<carrier::float64> {
    using type = double;
};
template <carrier C>
using worker_t = typename worker<C>::type;

/// Whether groups of `step` elements of this many bytes lie on their own boundaries.
[[nodiscard]] inline bool is_aligned(const void* p, int bytes, int step) {
    const int group_bytes = bytes * step < 16 ? bytes * step : 16;
    return reinterpret_cast<std::uintptr_t>(p) % static_cast<std::uintptr_t>(group_bytes) == 0;
}

/// A random source with its keys of all rounds, which no thread need work out again, and the word on the
/// device that its stream is moved by.
struct device_source {
    random_source source = {};
    const std::uint64_t* stream_offset = nullptr;
    std::array<std::array<std::uint32_t, 2>, 10> keys = {};

    device_source() = default;
    constexpr device_source(const random_source& s, const std::uint64_t* offset)
        : source(s), stream_offset(offset) {
        keys[0] = {s.low(s.seed), s.high(s.seed)};
        for (std::size_t i = 1; i < keys.size(); ++i)
            keys[i] = lowp::detail::philox::next(keys[i - 1]);
    }
    [[nodiscard]] constexpr std::uint64_t stream() const {
        return source.stream + (stream_offset == nullptr ? 0 : *stream_offset);
    }
};

/// A plan for pairs of bfloat16 (pairs.cuh): they are the upper halves of floats.
[[nodiscard]] constexpr lowp::detail::plan<float> halved(lowp::detail::plan<float> p) {
    p.shift -= 16;
    p.sign_shift -= 16;
    p.codes.over_positive <<= 16;
    return p;
}
/// Whether sums of bfloat16 round to nearest even as sums of floats do: on the sums' way, where a format
/// has two mantissa bits less and no number that bfloat16 has not.
[[nodiscard]] constexpr bool fits_pairs(const lowp::detail::plan<float>& p, const format& f) {
    return bfloat16.holds(f) && halved(p).shift >= 2;
}

/// Which signs go with a transform (lowp/hadamard.hpp).
enum class turn_signs : std::uint8_t { none, source, given };

/// A Walsh-Hadamard transform before something else; of size 1: none.
struct turn_plan {
    unsigned log2_size = 0;
    turn_signs signs = turn_signs::none;
    float norm = 1;  ///< 1 / sqrt(size)
    device_source source = {};
    const std::int8_t* given = nullptr;
};

/// One call of one verb: read by every thread, so it goes to the device by value.
template <class T>
struct call {
    lowp::detail::plan<T> plan;
    device_source source = {};
    const std::uint32_t* random = nullptr;  ///< instead of the source, from `first_index` on
    std::uint64_t first_index = 0;
    std::uint32_t* failures = nullptr;
    const void* from = nullptr;
    void* to = nullptr;
    int code_bytes = 0;
    bool refuses_nan = false;
    bool ignores_index = false;  ///< deterministic modes: any order of steps does
    bool encodes_pairs = false;  ///< codes of bfloat16 by pairs are those of floats
    bool drops_sign = false;     ///< there: overflow is one code, a NaN without a sign
};

/// The verbs over arrays of a carrier; one .cu file defines those of one.
template <carrier C>
struct conversions {
    using T = worker_t<C>;
    static void quantize(const call<T>& c, const walk& w, stream s);
    static void encode(const call<T>& c, const walk& w, stream s);
    static void decode(const call<T>& c, const walk& w, stream s);
};

}  // namespace lowp::cuda::detail
