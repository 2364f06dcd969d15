// The 2.4th power of the errors that a scale search compares: by sums, products and quotients alone, so
// that it has the same bits everywhere, which a library's pow has not. One text for a double and for
// eight side by side.
//
//     t^2.4 = t^2 w,  w = y^2,  y = t^(1/5)
//
// y comes from the bits of t and two steps of Halley's method to 2^-41 of itself; what t - y^5 leaves, in
// twice the digits, corrects w to 2^-80. So all but one result in some 2^26 are the nearest double.
#pragma once

#include <cstdint>
#include <limits>

#include "lowp/detail/eight_doubles.hpp"

namespace lowp::detail {

/// A product as two doubles: the rounded one, and what rounding cut off. Source: Dekker, 1971.
template <class D>
struct double_product {
    D high, low;
};

/// What `keep_rounded` is for eight; single doubles are a device's, where nothing is fused.
constexpr void keep_rounded(double& /*x*/) {}

/// The upper half of x's digits.
template <class D>
[[gnu::always_inline]] constexpr void upper_half(const D& x, D& half) {
    half = x * 134217729.0;  // 2^27 + 1
    keep_rounded(half);
    half = half - (half - x);
}

// (By reference: eight doubles are not passed alike everywhere.)
template <class D>
[[gnu::always_inline]] constexpr void multiply(const D& a, const D& b, double_product<D>& to) {
    D a_high;
    D b_high;
    upper_half(a, a_high);
    upper_half(b, b_high);
    const D a_low = a - a_high;
    const D b_low = b - b_high;
    to.high = a * b;
    keep_rounded(to.high);
    // Products of halves are exact.
    to.low = ((a_high * b_high - to.high) + a_high * b_low + a_low * b_high) + a_low * b_low;
}

/// Bits of about t^(1/5), good to a twentieth: a fifth of the exponent, lines between powers of two.
template <class Bits>
[[gnu::always_inline]] constexpr void fifth_of_exponent(const Bits& t, Bits& y) {
    constexpr std::uint64_t one = std::uint64_t{1023} << 52;
    constexpr std::uint64_t fifth =
        (one >> 3) + (one >> 4) + (one >> 7) + (one >> 8) + (one >> 11) + (one >> 12);
    y = (t >> 3) + (t >> 4) + (t >> 7) + (t >> 8) + (t >> 11) + (t >> 12) +
        (one - fifth - (one >> 15));
}
[[gnu::always_inline]] constexpr void guess_fifth_root(double t, double& y) {
    std::uint64_t bits = 0;
    fifth_of_exponent(__builtin_bit_cast(std::uint64_t, t), bits);
    y = __builtin_bit_cast(double, bits);
}
[[gnu::always_inline]] inline void guess_fifth_root(const eight_doubles& t, eight_doubles& y) {
    using eight_words [[gnu::vector_size(64)]] = std::uint64_t;
    eight_words bits;
    __builtin_memcpy(&bits, &t, sizeof(bits));
    fifth_of_exponent(eight_words(bits), bits);
    __builtin_memcpy(&y, &bits, sizeof(bits));
}

/// t = t^2.4. t: 0 or positive; infinite where t is above 2^426; NaN stays NaN.
template <class D>
[[gnu::always_inline]] constexpr void raise_to_2_4(D& t) {
    D y;
    guess_fifth_root(t, y);
    for (int step = 0; step < 2; ++step) {
        const D fifth = y * y * y * y * y;
        y = y * ((2.0 * fifth + 3.0 * t) / (3.0 * fifth + 2.0 * t));
        keep_rounded(y);
    }
    double_product<D> second;
    double_product<D> fourth;
    double_product<D> fifth;
    double_product<D> square;
    double_product<D> result;
    multiply(y, y, second);
    multiply(second.high, second.high, fourth);
    const D fourth_low = fourth.low + 2.0 * second.high * second.low;
    multiply(fourth.high, y, fifth);
    const D left = (t - fifth.high) - (fifth.low + fourth_low * y);
    const D low = second.low + 2.0 * y * (left / (5.0 * fourth.high));
    multiply(t, t, square);
    multiply(square.high, second.high, result);
    const D sum = result.high + (result.low + (square.high * low + square.low * second.high));
    const D beyond = t * std::numeric_limits<double>::infinity();
    t = t == 0.0 ? t : t > 0x1p426 ? beyond : sum;
}

[[nodiscard]] constexpr double power_2_4(double t) {
    raise_to_2_4(t);
    return t;
}

}  // namespace lowp::detail
