// The definition of every conversion: find the two neighbours of the exact value and pick one.
// Slow and obvious on purpose; the kernels are compared with it and share none of its code.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>

#include "lowp/format.hpp"
#include "lowp/rounding.hpp"

namespace lowp::spec {

/// Holds every float64, every midpoint and every quotient below exactly.
using exact = long double;
static_assert(std::numeric_limits<exact>::digits >= 64 &&
                  std::numeric_limits<exact>::max_exponent >= 16384,
              "lowp/spec.hpp needs a long double of at least 64 significant bits");

/// A sign and a magnitude code, or an infinity, or NaN.
struct outcome {
    enum class kind : std::uint8_t { finite, infinite, nan } what = kind::finite;
    bool negative = false;
    code_type magnitude = 0;
};

/// Value of magnitude code `c` on a code line that has no end: special values are read as numbers.
[[nodiscard]] inline exact on_line(const format& f, code_type c) {
    const code_type hidden = code_type{1} << f.mantissa_bits;
    const auto field = static_cast<int>(c / hidden);
    const auto fraction = static_cast<exact>(c % hidden);
    if (f.exponent_bits == 0)
        return std::ldexp(static_cast<exact>(c), 1 - f.bias - f.mantissa_bits);
    if (field == 0 && f.has_zero)
        return f.has_subnormals ? std::ldexp(fraction, 1 - f.bias - f.mantissa_bits) : 0;
    return std::ldexp(static_cast<exact>(hidden) + fraction, field - f.bias - f.mantissa_bits);
}

/// The code after `c` whose value is larger: the next one, or past the codes that no subnormal uses.
[[nodiscard]] inline code_type successor(const format& f, code_type c) {
    return c == 0 ? (f.has_zero ? f.min_positive_code() : 1) : c + 1;
}

/// Whether an inexact value `below` above its lower neighbour goes to the upper one, `gap` away.
/// Source: IEEE 754-2019, 4.3; IEEE P3109, RoundToPrecision; to_odd and equal as in rounding.hpp.
[[nodiscard]] inline bool steps_away(const projection& p, exact below, exact gap, bool lower_is_odd,
                                     bool negative, std::uint32_t random) {
    const exact d = below / gap;  // gap is a power of two
    const exact count = std::ldexp(exact{1}, p.random_bits);
    switch (p.rounding) {
        case rounding::nearest_ties_to_even: return d > 0.5L || (d == 0.5L && lower_is_odd);
        case rounding::nearest_ties_to_away: return d >= 0.5L;
        case rounding::nearest_ties_to_zero: return d > 0.5L;
        case rounding::toward_zero: return false;
        case rounding::toward_positive: return !negative;
        case rounding::toward_negative: return negative;
        case rounding::away_from_zero: return true;
        case rounding::to_odd: return !lower_is_odd;
        case rounding::stochastic_a: return std::floor(d * count) + random >= count;
        case rounding::stochastic_b:
            return std::floor(d * 2 * count) + 2 * static_cast<exact>(random) + 1 >= 2 * count;
        case rounding::stochastic_c: {
            const exact whole = std::floor(d * count);
            const exact rest = d * count - whole;
            const bool odd = std::fmod(whole, exact{2}) != 0;
            const bool up = rest > 0.5L || (rest == 0.5L && odd);
            return whole + (up ? 1 : 0) + random >= count;
        }
        case rounding::stochastic_equal: return 2 * static_cast<exact>(random) >= count;
    }
    throw std::logic_error("lowp::spec: unknown rounding");
}

/// The largest magnitude code of a sign; nothing where that side of zero has no value at all.
[[nodiscard]] inline std::optional<code_type> limit(const format& f, bool negative) {
    if (!negative) return f.max_code();
    if (f.is_twos_complement) return f.max_code() + 1;
    if (f.is_signed) return f.max_code();
    return f.has_zero ? std::optional<code_type>(0) : std::nullopt;
}

/// What a value beyond the limit of its sign becomes (the table of `saturation`). The lowest value
/// of an unsigned format takes the place of the negative limit.
[[nodiscard]] inline outcome beyond(const format& f, const projection& p, bool negative,
                                    bool input_is_infinite) {
    using enum rounding;
    const bool rounds_inward = p.rounding == toward_zero || p.rounding == to_odd ||
                               p.rounding == (negative ? toward_positive : toward_negative);
    const bool saturates =
        p.saturation == saturation::finite ||
        (!input_is_infinite && (p.saturation == saturation::propagate || rounds_inward));
    if (!saturates && f.has_inf && (f.is_signed || !negative))
        return {outcome::kind::infinite, negative, 0};
    if (!saturates && f.has_nan()) return {outcome::kind::nan, negative, 0};
    const bool below_zero = negative && f.is_signed;
    return {outcome::kind::finite, below_zero, below_zero || !negative ? *limit(f, negative) : 0};
}

/// The projection of x onto the values of f. `random`: R of the stochastic modes, below 2^N.
[[nodiscard]] inline outcome project(exact x, const format& f, const projection& p,
                                     std::uint32_t random = 0) {
    if (std::isnan(x)) return {outcome::kind::nan, std::signbit(x), 0};
    const exact magnitude = std::fabs(x);
    const bool negative = std::signbit(x) || (magnitude == 0 && !f.has_zero && !f.is_signed);
    const auto largest = limit(f, negative);
    if (std::isinf(x) || !largest || magnitude >= on_line(f, successor(f, *largest)))
        return beyond(f, p, negative, std::isinf(x));

    code_type lower = 0;  // the last code with on_line(lower) <= magnitude, by bisection
    for (code_type bit = code_type{1} << 63; bit != 0; bit >>= 1)
        if ((lower | bit) <= *largest && on_line(f, lower | bit) <= magnitude) lower |= bit;
    if (f.has_zero && lower < f.min_positive_code()) lower = 0;

    const exact below = magnitude - on_line(f, lower);
    if (below < 0) return {outcome::kind::finite, negative, 0};  // no zero: nothing lies below
    const code_type upper = successor(f, lower);
    const exact gap = on_line(f, upper) - on_line(f, lower);
    const bool odd = lower % 2 != 0;
    const code_type taken =
        below > 0 && steps_away(p, below, gap, odd, negative, random) ? upper : lower;
    if (taken > *largest) return beyond(f, p, negative, false);
    const bool keeps_sign = taken != 0 || !f.has_zero || f.has_neg_zero;
    return {outcome::kind::finite, negative && keeps_sign, taken};
}

/// Value of an outcome: float64 holds each exactly. A NaN has the sign of the input.
[[nodiscard]] inline double value(const format& f, const outcome& o) {
    auto magnitude = static_cast<double>(on_line(f, o.magnitude));
    if (o.what == outcome::kind::nan) magnitude = std::numeric_limits<double>::quiet_NaN();
    if (o.what == outcome::kind::infinite) magnitude = std::numeric_limits<double>::infinity();
    return o.negative ? -magnitude : magnitude;
}

/// `x` on the grid of `f`; a NaN gives NaN, in formats without one too.
[[nodiscard]] inline double quantize(double x, const format& f, const projection& p = {},
                                     std::uint32_t random = 0) {
    return value(f, project(x, f, p, random));
}

/// Code of `x`; throws std::invalid_argument for a NaN where `f` has none.
[[nodiscard]] inline code_type encode(double x, const format& f, const projection& p = {},
                                      std::uint32_t random = 0) {
    const outcome o = project(x, f, p, random);
    if (o.what == outcome::kind::nan) {
        if (!f.has_nan()) throw std::invalid_argument("lowp::spec::encode: the format has no NaN");
        return f.nan_code();
    }
    const code_type magnitude = o.what == outcome::kind::infinite ? f.inf_code() : o.magnitude;
    if (!o.negative) return magnitude;
    if (f.is_twos_complement) return (code_type{1} << f.bits()) - magnitude;
    return f.sign_mask() + magnitude;
}

/// Value of a code.
[[nodiscard]] inline double decode(code_type code, const format& f) {
    const bool negative = (code & f.sign_mask()) != 0;
    const code_type magnitude = code & ~f.sign_mask();
    if (f.is_twos_complement)
        return static_cast<double>(negative ? -on_line(f, (code_type{1} << f.bits()) - code)
                                            : on_line(f, code));
    if (negative && magnitude == 0 && !f.has_neg_zero)
        return std::numeric_limits<double>::quiet_NaN();
    if (magnitude <= f.max_code()) {
        const bool keeps_sign = on_line(f, magnitude) != 0 || f.has_neg_zero;
        return value(f, {outcome::kind::finite, negative && keeps_sign, magnitude});
    }
    if (f.has_inf && magnitude == f.max_code() + 1)
        return value(f, {outcome::kind::infinite, negative, 0});
    return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace lowp::spec
