// The elementary functions in 512 bits, by Boost.Multiprecision, for the results that double and
// long double leave open.
//
// Results are good to 340 bits and rounded to them. That settles two cases at once. Where f(x, y) is
// a value, midpoint or threshold of the format (numbers of at most 53 + 33 bits), the rounded result
// is that number, so exact cases are met without a list of them. Where it is not, how near can it be?
// For algebraic functions at least 2^-330 of itself: rsqrt, cbrt and hypot satisfy polynomials with
// integer coefficients, and an integer that is not zero is at least one. For the others the results
// behave as random numbers do: with 2^64 inputs (2^128 for pairs) the nearest case is expected at
// some 2^-(86 + 128) of itself. Inputs where that is known to fail, as sin(x) = x - x^3/6 for tiny x,
// never come here: `asymptote` answers them. For formats of up to 16 bits the tests try every input.
#pragma once

#include <boost/multiprecision/cpp_bin_float.hpp>
#include <cmath>
#include <cstdint>
#include <optional>

#include "lowp/detail/elementary_functions.hpp"
#include "lowp/detail/elementary_wide.hpp"

namespace lowp::detail::elementary {

template <unsigned Bits>
using binary = boost::multiprecision::number<
    boost::multiprecision::cpp_bin_float<Bits, boost::multiprecision::digit_base_2>,
    boost::multiprecision::et_off>;
using big = binary<512>;
using rounded = binary<340>;

inline const big& big_log_2() {
    static const big value = log(big(2));
    return value;
}

/// Pi to the bits that the argument 2^1023 of a sine needs. Machin's formula.
using bigger = binary<1664>;
inline const bigger& bigger_pi() {
    static const bigger value = [] {
        const auto arc = [](int n) {  // atan(1 / n)
            bigger term = bigger(1) / n;
            bigger sum = 0;
            for (int k = 1; term > bigger(0x1p-1000) * bigger(0x1p-700); k += 2) {
                sum += (k % 4 == 1 ? term : bigger(-term)) / k;
                term /= n * n;
            }
            return sum;
        };
        return bigger(16 * arc(5) - 4 * arc(239));
    }();
    return value;
}
inline big big_pi() { return big(bigger_pi()); }

/// e^t; far beyond every format where that is so, which is all that matters there.
inline big big_exp(const big& t) {
    if (t > 1200) return ldexp(big(1), 1500);
    if (t < -1200) return ldexp(big(1), -1500);
    return exp(t);
}

/// log(1 + u) without cancellation, u > -1. The series stops at 2^-500 of it.
inline big big_log1p(const big& u) {
    if (abs(u) > big(0x1p-100)) return log(1 + u);
    return u * (1 - u * (big(1) / 2 - u * (big(1) / 3 - u * (big(1) / 4 - u / 5))));
}

/// The sine, cosine or tangent.
inline big big_circular(function f, double x) {
    const bigger turn = bigger_pi() * 2;
    const bigger turns = floor(bigger(x) / turn + bigger(0.5));
    const big angle(bigger(x) - turns * turn);
    if (f == function::sin) return sin(angle);
    if (f == function::cos) return cos(angle);
    return sin(angle) / cos(angle);
}

/// atan(y / x) for |y| <= |x|, x not zero.
inline big big_slope_angle(const big& y, const big& x) {
    const big t = y / x;
    if (abs(t) > big(0x1p-60)) return atan(t);
    return t * (1 - t * t * (big(1) / 3 - t * t / 5));
}

/// The angle of the point (x, y), not both zero; the nearer axis gives it.
inline big big_angle(const big& y, const big& x) {
    const big half_pi = big_pi() / 2;
    if (abs(y) > abs(x)) {
        const big rest = big_slope_angle(x, abs(y));
        return y < 0 ? big(rest - half_pi) : big(half_pi - rest);
    }
    const big near = big_slope_angle(y, x);
    if (x > 0) return near;
    return y < 0 ? big(near - 2 * half_pi) : big(near + 2 * half_pi);
}

inline big big_atan2(double y, double x) {
    // What infinities stand for: a direction.
    if (std::isinf(y)) {
        const double along = std::isinf(x) ? std::copysign(1, x) : 0;
        return big_angle(big(std::copysign(1, y)), big(along));
    }
    if (std::isinf(x)) y = std::copysign(0.0, y), x = std::copysign(1, x);
    if (y == 0) return std::signbit(y) ? big(-big_pi()) : big_pi();
    const big t = big(y) / big(x);
    // y/x less a cube of it that 512 bits do not see: any small difference does.
    if (x > 0 && abs(t) < big(0x1p-90)) return t * (1 - big(0x1p-180));
    return big_angle(big(y), big(x));
}

/// erf by its series of positive terms.
inline big big_erf(const big& x) {
    const big square = 2 * x * x;
    big term = x;
    big sum = x;
    for (int n = 1; abs(term) > abs(sum) * big(0x1p-500); ++n) {
        term *= square / (2 * n + 1);
        sum += term;
    }
    return 2 * sum * exp(-x * x) / sqrt(big_pi());
}

/// erfc: one less erf, which costs 123 bits at 9; from there by its continued fraction.
inline big big_erfc(const big& x) {
    if (x > 40) return ldexp(big(1), -1500);
    if (x < 9) return 1 - big_erf(x);
    big fraction = x;
    for (int n = 400; n > 0; --n) fraction = x + big(n) / 2 / fraction;
    return exp(-x * x) / (fraction * sqrt(big_pi()));
}

inline big big_pow(double x, double y) {
    const big magnitude = big_exp(big(y) * log(big(std::fabs(x))));
    return x < 0 && std::fmod(y, 2) != 0 ? big(-magnitude) : magnitude;
}

inline big big_asinh(double x) {
    const big a = std::fabs(x);
    const big result = log(a + sqrt(a * a + 1));
    return x < 0 ? big(-result) : result;
}

inline big big_cbrt(double x) {
    big root = std::cbrt(x);
    for (int i = 0; i < 5; ++i) root -= (root - big(x) / (root * root)) / 3;
    return root;
}

/// f(x, y) to 340 bits and more; x and y such that libm's result is not exact and `asymptote` has
/// none. Beyond every format where the exact result is.
inline big precise(function f, double x, double y) {
    const big a = x;
    switch (f) {
        case function::exp: return big_exp(a);
        case function::exp2: return big_exp(a * big_log_2());
        case function::exp10: return big_exp(a * log(big(10)));
        case function::expm1: return big_exp(a) - 1;
        case function::log: return log(a);
        case function::log2: return log(a) / big_log_2();
        case function::log10: return log(a) / log(big(10));
        case function::log1p: return big_log1p(a);
        case function::sin:
        case function::cos:
        case function::tan: return big_circular(f, x);
        case function::asin: return big_angle(a, sqrt((1 - a) * (1 + a)));
        case function::acos: return big_angle(sqrt((1 - a) * (1 + a)), a);
        case function::atan: return std::isinf(x) ? big_atan2(x, 1) : big_angle(a, 1);
        case function::atan2: return big_atan2(x, y);
        case function::sinh: return (big_exp(a) - big_exp(-a)) / 2;
        case function::cosh: return (big_exp(a) + big_exp(-a)) / 2;
        case function::tanh: return 1 - 2 / (big_exp(2 * a) + 1);
        case function::asinh: return big_asinh(x);
        case function::acosh: return log(a + sqrt((a - 1) * (a + 1)));
        case function::atanh: return log((1 + a) / (1 - a)) / 2;
        case function::erf: return big_erf(a);
        case function::erfc: return big_erfc(a);
        case function::pow: return big_pow(x, y);
        case function::hypot: return sqrt(a * a + big(y) * big(y));
        case function::cbrt: return big_cbrt(x);
        case function::rsqrt: return 1 / sqrt(a);
        case function::reciprocal: return 1 / a;
        case function::sigmoid: return 1 / (1 + big_exp(-a));
        case function::softplus: return big_log1p(big_exp(a));
        case function::gelu: return a * big_erfc(-a / sqrt(big(2))) / 2;
        case function::silu: return a / (1 + big_exp(-a));
    }
    return 0;
}

/// f(x, y), by the argument above.
inline wide precise_wide(function f, double x, double y) {
    return to_wide_from(rounded(precise(f, x, y)));
}

}  // namespace lowp::detail::elementary
