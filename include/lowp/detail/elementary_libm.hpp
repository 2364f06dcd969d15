// The elementary functions as libm has them, in double or long double, and how far off that may be.
//
// Nothing here decides a result: a value and its radius make an interval that holds the exact one,
// and only where both ends round alike is that taken.
#pragma once

#include <cmath>
#include <limits>

#include "lowp/detail/elementary_functions.hpp"

namespace lowp::detail::elementary {

/// x / (1 + e^-x) / x, from the side where e^ does not overflow.
template <class T>
[[gnu::always_inline]] inline T libm_sigmoid(T x) {
    if (x >= 0) return 1 / (1 + std::exp(-x));
    const T e = std::exp(x);
    return e / (1 + e);
}

/// f(x, y) as libm has it; the operators among them keep the limits at infinity: silu(-inf) is -0.
template <class T>
[[gnu::always_inline]] inline T libm(function f, T x, T y) {
    constexpr T root_half = static_cast<T>(0.707106781186547524400844362104849039285L);
    constexpr T infinity = std::numeric_limits<T>::infinity();
    switch (f) {
        case function::exp: return std::exp(x);
        case function::exp2: return std::exp2(x);
        case function::exp10: return std::pow(T{10}, x);
        case function::expm1: return std::expm1(x);
        case function::log: return std::log(x);
        case function::log2: return std::log2(x);
        case function::log10: return std::log10(x);
        case function::log1p: return std::log1p(x);
        case function::sin: return std::sin(x);
        case function::cos: return std::cos(x);
        case function::tan: return std::tan(x);
        case function::asin: return std::asin(x);
        case function::acos: return std::acos(x);
        case function::atan: return std::atan(x);
        case function::atan2: return std::atan2(x, y);
        case function::sinh: return std::sinh(x);
        case function::cosh: return std::cosh(x);
        case function::tanh: return std::tanh(x);
        case function::asinh: return std::asinh(x);
        case function::acosh: return std::acosh(x);
        case function::atanh: return std::atanh(x);
        case function::erf: return std::erf(x);
        case function::erfc: return std::erfc(x);
        case function::pow: return std::pow(x, y);
        case function::hypot: return std::hypot(x, y);
        case function::cbrt: return std::cbrt(x);
        case function::rsqrt: return 1 / std::sqrt(x);
        case function::reciprocal: return 1 / x;
        case function::sigmoid: return libm_sigmoid(x);
        case function::softplus: return std::fmax(x, T{0}) + std::log1p(std::exp(-std::fabs(x)));
        case function::gelu: return x == -infinity ? -T{0} : x / 2 * std::erfc(-x * root_half);
        case function::silu: return x == -infinity ? -T{0} : x * libm_sigmoid(x);
    }
    return std::numeric_limits<T>::quiet_NaN();
}

/// How far libm's f(x, ...) surely is from the exact result at most, relative to it. The largest
/// errors known of glibc, musl, Apple's and Microsoft's libraries are some 5 ulp (Innocente and
/// Zimmermann, Accuracy of mathematical functions); 64 ulp of double are granted, where a failed
/// guess costs little, and 8 of long double, which is there to decide. The argument of erfc in gelu is
/// itself rounded: for negative x that comes back x^2 times as large.
template <class T>
[[nodiscard]] [[gnu::always_inline]] inline T radius(function f, T x) {
    constexpr T base = std::numeric_limits<T>::epsilon() * (sizeof(T) == sizeof(double) ? 64 : 8);
    if (f != function::gelu) return base;
    const T z = std::fmin(std::fmax(-x, T{0}), T{64});  // beyond is underflow
    return base * (1 + z * z);
}

/// Whether the result of libm is exact, `result` being f(x, y): NaN, infinities and zeros that are no
/// overflow or underflow, and what functions give at zero and infinity but for multiples of pi and
/// log(2). C99, Annex F.
[[gnu::always_inline]] inline bool is_exact(function f, double x, double y, double result) {
    if (result != result) return true;
    const auto is_special = [](double v) {
        return v == 0 || !(std::fabs(v) <= 0x1.fffffffffffffp1023);
    };
    if (is_special(x) || (arity(f) == 2 && is_special(y))) {
        if (result == 0 || std::isinf(result)) return true;
        return f != function::acos && f != function::atan && f != function::atan2 &&
               f != function::softplus;
    }
    switch (f) {
        case function::log:
        case function::log2:
        case function::log10:
        case function::acosh:
        case function::acos: return result == 0;
        case function::log1p:
        case function::atanh: return std::isinf(result);
        default: return false;
    }
}

/// Two numbers with f(x, y) between them or equal to both; the ends are of one sign.
struct interval {
    double low, high;  ///< the one nearer to zero, the one farther away
};

[[gnu::always_inline]] inline interval bracket(function f, double x, double y) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const double result = libm(f, x, y);
    if (result != result) return {nan, nan};
    if (is_exact(f, x, y, result)) return {result, result};
    const double magnitude = std::fabs(result);
    const double r = radius(f, x);
    interval i{magnitude * (1 - r), magnitude * (1 + r)};
    // Of what overflows or underflows only the side is known.
    if (magnitude > 0x1p1020) i = {0x1p1020, std::numeric_limits<double>::infinity()};
    if (magnitude < 0x1p-1000) i = {std::numeric_limits<double>::denorm_min(), 0x1p-999};
    return {std::copysign(i.low, result), std::copysign(i.high, result)};
}

}  // namespace lowp::detail::elementary
