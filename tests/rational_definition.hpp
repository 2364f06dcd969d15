// The definition of the operations in rational arithmetic: slow, obvious, for operands of any exponents.
#pragma once

#include <boost/multiprecision/cpp_int.hpp>
#include <cmath>

#include "lowp/detail/odd_kernel.hpp"
#include "lowp/spec.hpp"

#define LOWP_TEST_RATIONALS 1

namespace lowp::test {

using rational = boost::multiprecision::cpp_rational;
using integer = boost::multiprecision::cpp_int;

/// m 2^e.
[[nodiscard]] inline rational scaled(const integer& m, int e) {
    return e >= 0 ? rational(m << e) : rational(m, integer(1) << -e);
}

[[nodiscard]] inline rational to_rational(spec::exact x) {
    int e = 0;
    const spec::exact m = std::frexp(x, &e);
    return scaled(integer(static_cast<std::int64_t>(std::ldexp(m, 60))), e - 60);
}

[[nodiscard]] inline integer floor_of(const rational& x) {
    return numerator(x) / denominator(x);  // x >= 0
}

/// spec::steps_away, of a rational part d of the gap.
[[nodiscard]] inline bool steps_away(const projection& p, const rational& d, bool is_odd,
                                     bool negative, std::uint32_t random) {
    const rational half(1, 2);
    const rational count = scaled(1, p.random_bits);
    switch (p.rounding) {
        case rounding::nearest_ties_to_even: return d > half || (d == half && is_odd);
        case rounding::nearest_ties_to_away: return d >= half;
        case rounding::nearest_ties_to_zero: return d > half;
        case rounding::toward_zero: return false;
        case rounding::toward_positive: return !negative;
        case rounding::toward_negative: return negative;
        case rounding::away_from_zero: return true;
        case rounding::to_odd: return !is_odd;
        case rounding::stochastic_a: return floor_of(d * count) + random >= numerator(count);
        case rounding::stochastic_b:
            return floor_of(d * count * 2) + integer(2) * random + 1 >= 2 * numerator(count);
        case rounding::stochastic_c: {
            const integer whole = floor_of(d * count);
            const rational rest = d * count - whole;
            const bool up = rest > half || (rest == half && whole % 2 != 0);
            return whole + (up ? 1 : 0) + random >= numerator(count);
        }
        case rounding::stochastic_equal: return integer(2) * random >= numerator(count);
    }
    return false;
}

/// spec::project, of a rational with the sign of its zero.
[[nodiscard]] inline spec::outcome project(const rational& x, bool zero_sign, const format& f,
                                           const projection& p, std::uint32_t random) {
    using kind = spec::outcome::kind;
    const rational magnitude = abs(x);
    const bool negative = x < 0 || (x == 0 && (zero_sign || (!f.has_zero && !f.is_signed)));
    const auto largest = spec::limit(f, negative);
    const auto on_line = [&f](code_type c) { return to_rational(spec::on_line(f, c)); };
    if (!largest || magnitude >= on_line(spec::successor(f, *largest)))
        return spec::beyond(f, p, negative, false);
    code_type lower = 0;
    for (code_type bit = code_type{1} << 62; bit != 0; bit >>= 1)
        if ((lower | bit) <= *largest && on_line(lower | bit) <= magnitude) lower |= bit;
    if (f.has_zero && lower < f.min_positive_code()) lower = 0;
    const rational below = magnitude - on_line(lower);
    if (below < 0) return {kind::finite, negative, 0};
    const code_type upper = spec::successor(f, lower);
    const rational gap = on_line(upper) - on_line(lower);
    const bool steps = below > 0 && steps_away(p, below / gap, lower % 2 != 0, negative, random);
    const code_type taken = steps ? upper : lower;
    if (taken > *largest) return spec::beyond(f, p, negative, false);
    const bool keeps_sign = taken != 0 || !f.has_zero || f.has_neg_zero;
    return {kind::finite, negative && keeps_sign, taken};
}

/// a - n b with n nearest to a / b, the even one of two.
[[nodiscard]] inline rational rational_remainder(const rational& a, const rational& b) {
    const rational quotient = abs(a / b);
    integer n = floor_of(quotient);
    const rational rest = quotient - n;
    if (rest > rational(1, 2) || (rest == rational(1, 2) && n % 2 != 0)) ++n;
    const rational magnitude = abs(a) - n * abs(b);
    return a < 0 ? rational(-magnitude) : magnitude;
}

/// The projected result of finite operands, y not zero.
[[nodiscard]] inline double rational_result(detail::operation o, double x, double y, double z,
                                            const format& f, const projection& p,
                                            std::uint32_t random) {
    using detail::operation;
    const rational a = to_rational(x);
    const rational b = to_rational(y);
    const rational c = to_rational(z);
    const bool sign = std::signbit(x) != std::signbit(y);
    const bool down = p.rounding == rounding::toward_negative;
    const auto of_sum = [down](bool first, bool second) { return first == second ? first : down; };
    const auto end = [&](const rational& exact, bool zero_sign) {
        return spec::value(f, project(exact, zero_sign, f, p, random));
    };
    switch (o) {
        case operation::add: return end(a + b, of_sum(std::signbit(x), std::signbit(y)));
        case operation::sub: return end(a - b, of_sum(std::signbit(x), !std::signbit(y)));
        case operation::mul: return end(a * b, sign);
        case operation::div: return end(a / b, sign);
        case operation::fma: return end(a * b + c, of_sum(sign, std::signbit(z)));
        default: return end(rational_remainder(a, b), std::signbit(x));
    }
}

}  // namespace lowp::test
