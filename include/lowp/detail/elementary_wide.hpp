// Results of elementary functions as detail::wide, which `project` rounds once: from numbers of any
// precision, or as a float64 and the side on which the exact result lies.
#pragma once

#include <cmath>
#include <cstdint>

#include "lowp/detail/wide.hpp"

namespace lowp::detail::elementary {

/// v, not zero and finite, to 128 bits and a sticky one. R: long double or a number of
/// Boost.Multiprecision.
template <class R>
[[nodiscard]] wide to_wide_from(const R& v) {
    using std::floor, std::frexp, std::ldexp;
    int exponent = 0;
    const bool negative = v < 0;
    const R high = ldexp(frexp(negative ? R(-v) : v, &exponent), 64);
    const R low = ldexp(R(high - floor(high)), 64);
    return {.negative = negative,
            .sticky = low != floor(low),
            .exponent = exponent - 128,
            .significand = uint128{static_cast<std::uint64_t>(floor(high))} << 64 |
                           static_cast<std::uint64_t>(floor(low))};
}

enum class side : std::uint8_t { below, at, above };

/// The magnitude of a * 2^exponent, or less than 2^-127 of it below or above, which here stands for
/// less than 2^-87: decisions lie at multiples of 2^-86 of the power of two of a.
[[nodiscard]] inline wide beside(double a, side s, int exponent = 0) {
    wide result = to_wide(a);
    result.exponent += exponent;
    result.sticky = s != side::at;
    if (s == side::below) --result.significand;
    return normalized(result);
}

}  // namespace lowp::detail::elementary
