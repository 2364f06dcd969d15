// What the host hands to the kernels that convert element by element, and the kernels' names. Plain
// C++: the host's checks and plans are in arrays.cpp, the kernels in conversion.cuh.
#pragma once

#include <array>
#include <bit>
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

/// Constants of stochastic rounding by sums that are cut (chance.cuh); float bits, where they are words.
struct chance_plan {
    float limit = 0;                     ///< the largest magnitude
    std::uint32_t lowest = 0;            ///< 2^emin
    std::uint32_t quantum = 0;           ///< 2^-mantissa bits: a quantum of [1, 2)
    std::uint32_t random_mask = 0;       ///< of the random bits that are a float's fraction
    float anchor = 0, below_anchor = 0;  ///< 2^23 quanta of [1, 2), and one less
    int shift = 0;                       ///< 23 - mantissa bits
    std::uint32_t code_origin = 0;
    /// A sum is in doubt where its last bits, `doubt_before` before a multiple of the quantum, times a factor
    /// that drops the others, are below `doubtful`.
    std::uint32_t doubt_factor = 0, doubt_before = 0, doubtful = 0;
};

/// Whether magnitudes are what they should be, or a few units of their last place off.
enum class magnitudes : std::uint8_t { exact, near };

[[nodiscard]] constexpr chance_plan make_chance(const lowp::detail::plan<float>& p, magnitudes m) {
    chance_plan c;
    const auto float_of = [](std::uint32_t bits) { return std::bit_cast<float>(bits); };
    const auto mantissa_bits = static_cast<std::uint32_t>(p.mantissa_bits);
    c.limit = float_of(p.limit_value_positive);
    c.lowest = p.low_field << 23;
    c.quantum = (127 - mantissa_bits) << 23;
    c.random_mask = p.random_mask >> 9;
    c.anchor = float_of((127U + 23 - mantissa_bits) << 23);
    c.below_anchor = c.anchor - float_of(c.quantum);
    c.shift = p.shift;
    c.code_origin = (static_cast<std::uint32_t>(p.shift) << 23) + (c.lowest >> p.shift);
    // All that is cut and rounded comes to some units; to one, of random bits alone, where x is exact.
    const std::uint32_t reach = m == magnitudes::exact ? 1 : 8;
    const std::uint32_t dropped = 10 + mantissa_bits;
    c.doubt_factor = 1U << dropped;
    c.doubt_before = reach << dropped;
    if (m == magnitudes::near) c.doubtful = 2 * reach << dropped;
    else if (p.random_shift < 9) c.doubtful = reach << dropped;
    return c;
}
/// Whether magnitudes of a plan may go that way. Doubts are few where mantissas are short (chance.cuh).
[[nodiscard]] constexpr bool fits_chance(const lowp::detail::plan<float>& p) {
    return p.rounding == rounding::stochastic_a && p.mantissa_bits <= 10 &&
           lowp::detail::without_plain(p.path) == lowp::detail::path::sum;
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
    bool draws_in_sums = false;  ///< `chance` is there: magnitudes up to its limit round by it
    chance_plan chance = {};
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
