// Where an elementary function is nearer to a float64 than any precision would show, or at one.
//
// Decisions lie at multiples of 2^-86 of a float64's own power of two, so a result within 2^-87 of
// one needs only its side. Each bound below is the first term that is left out.
#pragma once

#include <cmath>
#include <optional>

#include "lowp/detail/elementary_functions.hpp"
#include "lowp/detail/elementary_wide.hpp"

namespace lowp::detail::elementary {

/// Near zero: x - c x^3 or x + c x^3, c <= 1/2, for |x| < 2^-44; 1 +- c x^2 likewise.
[[nodiscard]] inline std::optional<wide> near_zero_by_square(function f, double x) {
    switch (f) {
        case function::sin:
        case function::atan:
        case function::tanh:
        case function::asinh: return beside(x, side::below);
        case function::tan:
        case function::asin:
        case function::sinh:
        case function::atanh: return beside(x, side::above);
        case function::cos: return beside(1, side::below);
        case function::cosh: return beside(1, side::above);
        default: return std::nullopt;
    }
}

/// Near zero: a + c x, relative to a, |c| < 3, for |x| < 2^-90.
[[nodiscard]] inline std::optional<wide> near_zero_by_first_power(function f, double x) {
    const side with = x > 0 ? side::above : side::below;
    const side against = x > 0 ? side::below : side::above;
    switch (f) {
        case function::exp:
        case function::exp2:
        case function::exp10: return beside(1, with);
        case function::erfc: return beside(1, against);
        case function::expm1: return beside(x, with);
        case function::log1p: return beside(x, against);
        case function::sigmoid: return beside(0.5, with);
        case function::gelu:
        case function::silu: return beside(x, with, -1);
        default: return std::nullopt;
    }
}

/// Far out: e^-|x| or less from a, relative to it.
[[nodiscard]] inline std::optional<wide> far_out(function f, double x) {
    const double sign = std::copysign(1.0, x);
    switch (f) {
        case function::tanh:
            if (std::fabs(x) > 32) return beside(sign, side::below);
            break;
        case function::erf:
            if (std::fabs(x) > 8) return beside(sign, side::below);
            break;
        case function::erfc:
            if (x < -8) return beside(2, side::below);
            break;
        case function::expm1:
            if (x < -64) return beside(-1, side::below);
            break;
        case function::sigmoid:
            if (x > 64) return beside(1, side::below);
            break;
        case function::softplus:
            if (x > 64) return beside(x, side::above);
            break;
        case function::gelu:
            if (x > 12) return beside(x, side::below);
            break;
        case function::silu:
            if (x > 68) return beside(x, side::below);
            break;
        default: break;
    }
    return std::nullopt;
}

/// hypot with one operand below 2^-44 of the other; a power with an exponent next to none.
[[nodiscard]] inline std::optional<wide> of_pairs(function f, double x, double y) {
    if (f == function::hypot) {
        const double large = std::fmax(std::fabs(x), std::fabs(y));
        const double small = std::fmin(std::fabs(x), std::fabs(y));
        if (small < large * 0x1p-44) return beside(large, side::above);
    }
    if (f != function::pow) return std::nullopt;
    if (std::fabs(x) == 1) return beside(std::pow(x, y), side::at);
    const double power_of_two = y * std::log2(std::fabs(x));  // x > 0 where this is small
    if (std::fabs(power_of_two) > 0x1p-90) return std::nullopt;
    return beside(1, (y > 0) == (std::fabs(x) > 1) ? side::above : side::below);
}

/// Whether p is the product a * b exactly. All within the exponents where fma has no underflow.
[[nodiscard]] inline bool is_product(double a, double b, double p) {
    return std::fabs(p) > 0x1p-900 && std::fma(a, b, -p) == 0;
}

/// Results that are float64 themselves and common: no wider arithmetic need find that out. The
/// others are found there.
[[nodiscard]] inline std::optional<wide> exactly(function f, double x, double y, double result) {
    const auto exact_if = [](bool holds, double a) {
        return holds ? std::optional(beside(a, side::at)) : std::nullopt;
    };
    const double square = result * result;
    int e = 0;
    switch (f) {
        case function::exp2:
            if (std::fabs(x) > 1100 || x != std::floor(x)) break;
            return beside(1, side::at, static_cast<int>(x));
        case function::log2:
            if (std::frexp(x, &e) != 0.5) break;
            return beside(e - 1, side::at);
        case function::reciprocal: return exact_if(is_product(result, x, 1), result);
        case function::rsqrt:
            return exact_if(is_product(result, result, square) && is_product(square, x, 1), result);
        case function::cbrt:
            return exact_if(is_product(result, result, square) && is_product(square, result, x),
                            result);
        case function::pow:
            if (y == 1) return beside(x, side::at);
            if (y == 2) return exact_if(is_product(x, x, result), result);
            if (y == -1) return exact_if(is_product(result, x, 1), result);
            if (y == 0.5) return exact_if(is_product(result, result, x), result);
            break;
        default: break;
    }
    return std::nullopt;
}

/// f(x, y) where it is known without arithmetic, x and y not special.
[[nodiscard]] inline std::optional<wide> asymptote(function f, double x, double y) {
    if (arity(f) == 2) return of_pairs(f, x, y);
    if (std::fabs(x) < 0x1p-44)
        if (auto v = near_zero_by_square(f, x)) return v;
    if (std::fabs(x) < 0x1p-90)
        if (auto v = near_zero_by_first_power(f, x)) return v;
    return far_out(f, x);
}

}  // namespace lowp::detail::elementary
