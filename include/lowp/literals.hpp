// Literals of the usual formats: 1.5_f16, 0.1_bf16, 448_e4m3. The decimal is rounded once, to nearest
// even, when it is compiled: exactly, not by way of a double.
#pragma once

#include <cstdint>
#include <stdexcept>

#include "lowp/arithmetic.hpp"
#include "lowp/formats.hpp"
#include "lowp/minifloat.hpp"

namespace lowp {

namespace detail {

// digits 10^exponent: [digits][.digits][e[+-]digits], ' between digits.
struct decimal {
    std::uint64_t digits = 0;
    int exponent = 0;

    explicit constexpr decimal(const char* text) {
        bool after_point = false;
        for (; *text != '\0' && *text != 'e' && *text != 'E'; ++text) {
            if (*text == '\'') continue;
            if (*text == '.') {
                after_point = true;
                continue;
            }
            if (*text < '0' || *text > '9')
                throw std::invalid_argument("lowp: a literal must be decimal");
            digits = 10 * digits + static_cast<std::uint64_t>(*text - '0');
            if (after_point) --exponent;
            if (digits > (std::uint64_t{1} << 53))
                throw std::invalid_argument("lowp: a literal's digits must be at most 2^53");
        }
        if (*text != '\0') exponent += exponent_of(text + 1);
    }

private:
    static constexpr int exponent_of(const char* text) {
        const bool negative = *text == '-';
        if (*text == '-' || *text == '+') ++text;
        int e = 0;
        for (; *text != '\0' && e < 1000; ++text)
            if (*text != '\'') e = 10 * e + (*text - '0');
        return negative ? -e : e;
    }
};

/// digits * or / a power of ten that float64 holds, so that one operation is the one rounding.
template <format F>
[[nodiscard]] constexpr minifloat<F> literal(const char* text) {
    const decimal d(text);
    const int size = d.exponent < 0 ? -d.exponent : d.exponent;
    if (size > 22)
        throw std::invalid_argument("lowp: a literal's power of ten must be within 10^-22..10^22");
    double power = 1;
    for (int i = 0; i < size; ++i) power *= 10;
    const auto digits = static_cast<double>(d.digits);
    const converter<double> to(F);
    return minifloat<F>(d.exponent < 0 ? div(digits, power, to) : mul(digits, power, to));
}

}  // namespace detail

/// `using namespace lowp::literals`. Decimal, of at most 2^53 without its point and within 10^-22 to
/// 10^22 of that: what is not does not compile. Too large a number overflows as the format says.
namespace literals {

consteval auto operator""_f16(const char* text) { return detail::literal<float16>(text); }
consteval auto operator""_bf16(const char* text) { return detail::literal<bfloat16>(text); }
consteval auto operator""_tf32(const char* text) { return detail::literal<tensorfloat32>(text); }
consteval auto operator""_e4m3(const char* text) { return detail::literal<float8_e4m3fn>(text); }
consteval auto operator""_e5m2(const char* text) { return detail::literal<float8_e5m2>(text); }

}  // namespace literals
}  // namespace lowp
