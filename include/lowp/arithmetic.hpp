// Correctly rounded + - * / sqrt fma remainder and minimum, maximum in any format, on single values.
// The exact real result is projected once: never rounded to a carrier first.
//
// Operands are any values of the carrier T, on the grid of `to` or of any other format or of none.
// In every operation a NaN operand and an invalid one (inf - inf, 0 * inf, 0 / 0, sqrt(-1)) give the
// positive quiet NaN, whatever its payload was; an infinite result, that of x / 0 among them, does as
// the saturation says of infinite inputs; a finite one that is too large is overflow, also beyond the
// carrier's range. `random`: 32 random bits, of which stochastic modes take the upper N. Nothing
// throws. All are exact in constant expressions and under any floating-point environment.
// Arrays (arithmetic_array.hpp) give the same bits.
#pragma once

#include <cstdint>

#include "lowp/codec.hpp"
#include "lowp/detail/wide.hpp"

namespace lowp {

/// a + b. An exact zero from operands of unlike signs is +0, under toward_negative -0.
/// Source: IEEE 754-2019, 5.4.1, 6.3.
template <carrier_float T>
[[nodiscard]] constexpr T add(T a, T b, const converter<T>& to, std::uint32_t random = 0) {
    return detail::project(
        detail::exact_sum(detail::to_wide(a), detail::to_wide(b), to.projection().rounding), to,
        random);
}

/// a - b. Zeros as in add.
template <carrier_float T>
[[nodiscard]] constexpr T sub(T a, T b, const converter<T>& to, std::uint32_t random = 0) {
    return add(a, -b, to, random);
}

/// a * b.
template <carrier_float T>
[[nodiscard]] constexpr T mul(T a, T b, const converter<T>& to, std::uint32_t random = 0) {
    return detail::project(detail::exact_product(detail::to_wide(a), detail::to_wide(b)), to,
                           random);
}

/// a / b. x / 0 is an infinity with the sign of both, as an exact result.
template <carrier_float T>
[[nodiscard]] constexpr T div(T a, T b, const converter<T>& to, std::uint32_t random = 0) {
    return detail::project(detail::exact_quotient(detail::to_wide(a), detail::to_wide(b)), to,
                           random);
}

/// sqrt(a). sqrt(-0) is -0; other negative numbers give NaN.
template <carrier_float T>
[[nodiscard]] constexpr T sqrt(T a, const converter<T>& to, std::uint32_t random = 0) {
    return detail::project(detail::exact_root(detail::to_wide(a)), to, random);
}

/// a b + c, rounded once. 0 * inf + NaN is NaN. Zeros as in add.
template <carrier_float T>
[[nodiscard]] constexpr T fma(T a, T b, T c, const converter<T>& to, std::uint32_t random = 0) {
    return detail::project(
        detail::exact_sum(detail::exact_product(detail::to_wide(a), detail::to_wide(b)),
                          detail::to_wide(c), to.projection().rounding),
        to, random);
}

/// a - n b, where n is the integer nearest to a / b, the even one of two. A zero has the sign of a;
/// b infinite gives a; a infinite or b zero NaN. Source: IEEE 754-2019, 5.3.1.
template <carrier_float T>
[[nodiscard]] constexpr T remainder(T a, T b, const converter<T>& to, std::uint32_t random = 0) {
    return detail::project(detail::exact_remainder(detail::to_wide(a), detail::to_wide(b)), to,
                           random);
}

/// The smaller operand, projected; -0 is smaller than +0. Source: IEEE 754-2019, 9.6, minimum.
template <carrier_float T>
[[nodiscard]] constexpr T minimum(T a, T b, const converter<T>& to, std::uint32_t random = 0) {
    return detail::project(detail::to_wide(detail::lesser(a, b)), to, random);
}

/// The larger operand, projected; +0 is larger than -0. Source: IEEE 754-2019, 9.6, maximum.
template <carrier_float T>
[[nodiscard]] constexpr T maximum(T a, T b, const converter<T>& to, std::uint32_t random = 0) {
    return detail::project(detail::to_wide(detail::greater(a, b)), to, random);
}

/// minimum, but a NaN operand is passed over: NaN only for two. Source: IEEE 754-2019, 9.6.
template <carrier_float T>
[[nodiscard]] constexpr T minimum_number(T a, T b, const converter<T>& to,
                                         std::uint32_t random = 0) {
    return minimum(detail::is_not_a_number(a) ? b : a, detail::is_not_a_number(b) ? a : b, to,
                   random);
}

/// maximum, but a NaN operand is passed over: NaN only for two. Source: IEEE 754-2019, 9.6.
template <carrier_float T>
[[nodiscard]] constexpr T maximum_number(T a, T b, const converter<T>& to,
                                         std::uint32_t random = 0) {
    return maximum(detail::is_not_a_number(a) ? b : a, detail::is_not_a_number(b) ? a : b, to,
                   random);
}

}  // namespace lowp
