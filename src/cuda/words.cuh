// Values in words of 32 bits as in memory: one float32 or two of a 16-bit carrier.
#pragma once

#include "device.cuh"
#include "pairs.cuh"

namespace lowp::cuda::detail {

template <carrier C>
inline constexpr int values_a_word = 4 / bytes_of(C);
template <carrier C>
inline constexpr std::uint32_t word_signs = bytes_of(C) == 2 ? 0x80008000U : 0x80000000U;

/// Value k of a word as float bits, with or without its sign.
template <carrier C>
__device__ std::uint32_t value_of(std::uint32_t w, int k) {
    if constexpr (C == carrier::bfloat16) return k == 0 ? w << 16 : w & 0xFFFF0000U;
    else if constexpr (C == carrier::float16)
        return memory<C>::widened(static_cast<std::uint16_t>(k == 0 ? w : w >> 16));
    else return w;
}

/// A word of results that are no NaN.
template <carrier C>
__device__ std::uint32_t word_of_values(const std::uint32_t (&v)[values_a_word<C>]) {
    std::uint32_t w = v[0];
    if constexpr (C == carrier::bfloat16)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
            : "=r"(w)
            : "f"(__uint_as_float(v[1])), "f"(__uint_as_float(v[0])));
    else if constexpr (C == carrier::float16)
        asm("cvt.rn.f16x2.f32 %0, %1, %2;"
            : "=r"(w)
            : "f"(__uint_as_float(v[1])), "f"(__uint_as_float(v[0])));
    return w;
}

/// Codes of a word's magnitudes, 16 bits apart, with the signs of w. sign_shift: from a float's sign.
template <carrier C>
__device__ std::uint32_t word_of_codes(const std::uint32_t (&codes)[values_a_word<C>],
                                       std::uint32_t w, int sign_shift) {
    const auto signs = w & word_signs<C>;
    if constexpr (values_a_word<C> == 1) return codes[0] | signs >> sign_shift;
    else return codes[0] | codes[1] << 16 | signs >> (sign_shift - 16);
}

/// The larger of magnitudes, value by value.
template <carrier C>
__device__ std::uint32_t larger_magnitudes(std::uint32_t m, std::uint32_t w) {
    if constexpr (bytes_of(C) == 2) return bfloat16_pairs::larger(m, w & 0x7FFF7FFFU);
    else return umax(m, w & 0x7FFFFFFFU);
}
/// The largest of a word of magnitudes, in memory's form: they compare as integers.
template <carrier C>
__device__ std::uint32_t largest_in(std::uint32_t m) {
    return bytes_of(C) == 2 ? umax(m >> 16, m & 0xFFFF) : m;
}
/// That form as float bits.
template <carrier C>
__device__ std::uint32_t widened(std::uint32_t m) {
    return memory<C>::widened(static_cast<typename memory<C>::stored>(m));
}

}  // namespace lowp::cuda::detail
