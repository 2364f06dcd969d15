// Stochastic rounding by sums of floats that are cut, for formats on path::sum: fewer instructions than
// detail/sum_kernel.hpp, whose shifts look at all random bits. Right but for few magnitudes, of which it
// tells, and which take the other way: with m mantissa bits 2^(m - 22) of those that are exact and meet
// more than 23 random bits, and 2^(m - 18) of quotients.
//
// With q the quantum of x's binade and R in [0, 1) the random bits, the result is the largest multiple of
// q that is not above x + R q. R's 23 upper bits are a float's fraction, so the sums are
//
//     t = x + (1 + R) q              cut to a float
//     s = t + (2^23 - 1) q           cut to a multiple of q: 2^23 q more than the result
//
// A cut loses no multiple of q. Where x is normal, R's other bits lie below all of x's. What remains
// are the t next to a multiple of q: one just below, where x is subnormal; one on either side, where
// x is a quotient from a rounded inverse, a few units of its last place off.
#pragma once

#include "conversion.hpp"
#include "words.cuh"

namespace lowp::cuda::detail {

/// A magnitude by chance, 2^23 quanta above itself.
struct drawn {
    std::uint32_t top;     ///< the power of two of its binade, as float bits
    float sum;             ///< 2^23 quanta more than the value
    std::uint32_t margin;  ///< below chance_plan::doubtful: it may be another

    [[nodiscard]] __device__ std::uint32_t value(const chance_plan& p) const {
        return __float_as_uint(__fmaf_rn(-p.anchor, __uint_as_float(top), sum));
    }
    [[nodiscard]] __device__ std::uint32_t code(const chance_plan& p) const {
        return __float_as_uint(sum) - top + (top >> p.shift) - p.code_origin;
    }
};

/// x: at least 0, no NaN; larger ones stay at the limit. random: 32 bits.
__device__ inline drawn draw_magnitude(const chance_plan& p, float x, std::uint32_t random) {
    constexpr std::uint32_t exponents = 0x7F800000;
    const float limited = fminf(x, p.limit);
    const std::uint32_t top = umax(__float_as_uint(limited) & exponents, p.lowest);
    const float power = __uint_as_float(top);
    const float step = __uint_as_float((random >> 9 & p.random_mask) | p.quantum);
    const float t = __fmaf_rz(step, power, limited);
    return {top, __fmaf_rz(p.below_anchor, power, t),
            __float_as_uint(t) * p.doubt_factor + p.doubt_before};
}

/// Each magnitude of a word by chance: result(k, drawn) of value k, which goes in as scaled(k, magnitude).
/// margin becomes the least it has met.
template <carrier C, class Scaled, class Result>
__device__ void draw_word(const chance_plan& p, std::uint32_t w, const std::uint32_t* random,
                          std::uint32_t& margin, const Scaled& scaled, const Result& result) {
#pragma unroll
    for (int k = 0; k < values_a_word<C>; ++k) {
        const float magnitude = fabsf(__uint_as_float(value_of<C>(w, k)));
        const drawn r = draw_magnitude(p, scaled(k, magnitude), random[k]);
        margin = umin(margin, r.margin);
        result(k, r);
    }
}
/// The word of the values, value k as finished(k, float bits), or of their codes.
template <carrier C, class Scaled, class Finished>
__device__ std::uint32_t drawn_values(const chance_plan& p, std::uint32_t w,
                                      const std::uint32_t* random, std::uint32_t& margin,
                                      const Scaled& scaled, const Finished& finished) {
    std::uint32_t v[values_a_word<C>];
    draw_word<C>(p, w, random, margin, scaled,
                 [&](int k, const drawn& r) { v[k] = finished(k, r.value(p)); });
    return word_of_values<C>(v) | (w & word_signs<C>);
}
template <carrier C, class Scaled>
__device__ std::uint32_t drawn_codes(const chance_plan& p, std::uint32_t w,
                                     const std::uint32_t* random, int sign_shift,
                                     std::uint32_t& margin, const Scaled& scaled) {
    std::uint32_t codes[values_a_word<C>];
    draw_word<C>(p, w, random, margin, scaled,
                 [&](int k, const drawn& r) { codes[k] = r.code(p); });
    return word_of_codes<C>(codes, w, sign_shift);
}

}  // namespace lowp::cuda::detail
