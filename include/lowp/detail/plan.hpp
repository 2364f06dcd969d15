// A format and a projection as a loop needs them: constants, worked out once a call.
// Whatever depends on the format is data here, so kernels are variants of mode and carrier alone.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "lowp/detail/lanes.hpp"
#include "lowp/format.hpp"
#include "lowp/rounding.hpp"

namespace lowp::detail {

/// How a magnitude meets the line of codes: the cheapest way that is exact for the format.
///     sum           one float addition rounds it; exponents well inside the carrier's
///     aligned       the format has the carrier's exponents: a code is the upper bits of the float
///     shifted       the significand is shifted lane by lane; any format and rounding
///     renormalized  the same, where the format reaches into the carrier's subnormal numbers
/// The plain ones are for quantize in the common case, with a third fewer operations: both signs
/// mirror each other, infinity stays or does as overflow, there is -0; plain_aligned also needs that
/// the float's own overflow is the format's.
enum class path : std::uint8_t { sum, plain_sum, aligned, plain_aligned, shifted, renormalized };

[[nodiscard]] constexpr path without_plain(path p) {
    if (p == path::plain_sum) return path::sum;
    return p == path::plain_aligned ? path::aligned : p;
}

/// What a conversion gives where it does not give the rounded value: as float bits, or as a code.
template <class Word>
struct specials {
    Word over_positive = 0, over_negative = 0;  ///< finite input beyond the limit
    Word inf_positive = 0, inf_negative = 0;    ///< infinite input
};

template <class T>
struct plan {
    using word = typename carrier<T>::word;
    static constexpr int width = carrier<T>::width;
    static constexpr int mantissa = carrier<T>::mantissa;

    lowp::rounding rounding = rounding::nearest_ties_to_even;
    detail::path path = path::shifted;
    detail::path encode_path = path::shifted;  ///< plain_sum has conditions of its own there

    // The code line. A float is `low_field + its distance` binades up; codes have `shift` bits less.
    int shift = 0;           ///< stored mantissa bits of the carrier less the format's
    int mantissa_bits = 0;   ///< of the format
    word low_field = 0;      ///< carrier's exponent field of 2^emin; negative as a signed word
    word hidden = 0;         ///< code of 2^emin were there a zero: 2^mantissa_bits
    word first = 0;          ///< code line before the first code: `hidden` without zero, else 0
    word gap_shift = 0;      ///< further shift below 2^emin without subnormals
    word gap_step = 1;       ///< code step away from zero below 2^emin
    word zero_is_below = 0;  ///< 1 in unsigned formats without zero, else 0

    // Limits of the rounded magnitude, as codes and, for path::sum, as float bits.
    word limit_positive = 0, limit_negative = 0;  ///< signed; -1: no value on that side
    word limit_value_positive = 0, limit_value_negative = 0;
    word first_over = 0;  ///< the value after the larger limit: it and all above overflow

    specials<word> values, codes;
    word last_rounded = 0;  ///< plain paths: larger floats, NaN among them, stay as they are
    word zero_sign = 0;     ///< sign bit of the carrier if the format has -0
    word nan_code = 0;

    // Codes: sign-magnitude adds a bit, two's complement negates.
    word code_mask = 0, sign_mask = 0;
    word negate_flip = 0, negate_add = 0;
    int sign_shift = 0;  ///< from the carrier's sign bit to the code's
    word max_code = 0, inf_code = 0, smallest_code = 0;
    word neg_zero_code = 0;  ///< what -0 becomes
    word neg_zero_nan = 0;   ///< code of -0 where that is NaN; else all ones, no finite code

    // Stochastic modes: a 32-bit word w gives R = w >> random_shift.
    int random_shift = 0;
    word random_mask = 0;                          ///< the N upper bits of w
    word half_high = 0, half_low = 0, borrow = 0;  ///< see kernel.hpp
};

template <class T>
[[nodiscard]] constexpr typename carrier<T>::word float_bits(double value) {
    return std::bit_cast<typename carrier<T>::word>(static_cast<T>(value));
}

/// Quantum of the format next to magnitude code c: the distance to code c + 1.
[[nodiscard]] constexpr double quantum_at(const format& f, code_type c) {
    const auto field = static_cast<int>(c >> f.mantissa_bits);
    const bool on_low_grid = f.exponent_bits == 0 || (field == 0 && f.has_zero);
    return format::power_of_two(on_low_grid ? f.min_quantum_exponent()
                                            : field - f.bias - f.mantissa_bits);
}

/// Whether overflow on this side is met with the limit instead of infinity. IEEE 754-2019, 7.4.
[[nodiscard]] constexpr bool stays_at_limit(const projection& p, bool negative, bool infinite) {
    if (p.saturation == saturation::finite) return true;
    if (infinite) return false;
    if (p.saturation == saturation::propagate) return true;
    switch (p.rounding) {
        case rounding::toward_zero:
        case rounding::to_odd: return true;
        case rounding::toward_positive: return negative;
        case rounding::toward_negative: return !negative;
        default: return false;
    }
}

enum class special : std::uint8_t { limit, infinity, nan };

[[nodiscard]] constexpr special beyond(const format& f, const projection& p, bool negative,
                                       bool infinite) {
    if (stays_at_limit(p, negative, infinite)) return special::limit;
    if (f.has_inf && (f.is_signed || !negative)) return special::infinity;
    return f.has_nan() ? special::nan : special::limit;
}

[[nodiscard]] constexpr double special_value(const format& f, special s, bool negative) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (s == special::nan) return std::numeric_limits<double>::quiet_NaN();
    if (s == special::infinity) return negative ? -infinity : infinity;
    return negative ? f.lowest() : f.max();
}

[[nodiscard]] constexpr code_type special_code(const format& f, special s, bool negative) {
    if (s == special::nan) return f.nan_code();
    if (s == special::infinity) return f.inf_code() | (negative ? f.sign_mask() : 0);
    return negative ? f.lowest_code() : f.max_code();
}

template <class T>
[[nodiscard]] constexpr path choose_path(const format& f, rounding r) {
    using c = carrier<T>;
    const int low_field = f.emin() + c::bias;
    if (f.has_subnormals && low_field == 1) return path::aligned;
    // Without subnormals, those of the carrier lie in the gap, and need their own exponents.
    if (low_field < (f.has_subnormals ? 1 : 2)) return path::renormalized;
    const int shift = c::mantissa - f.mantissa_bits;
    const int top = std::max(f.emin(), f.emax());  // emax is the smaller where all is subnormal
    const bool is_inside =
        f.has_subnormals && f.mantissa_bits >= 1 && shift >= 2 && top + 1 + shift <= c::bias;
    // Subnormal floats lie below 2^-34 of the smallest quantum: no 32 random bits make them step.
    const bool is_far_up = shift + low_field >= c::mantissa + 1 + 34;
    return is_inside && (is_far_up || !weighs_tail(r)) ? path::sum : path::shifted;
}

/// The plain variant of the path, where its conditions hold.
template <class T>
[[nodiscard]] constexpr path with_plain(const plan<T>& c, const projection& p, const format& f) {
    using word = typename carrier<T>::word;
    constexpr word sign_bit = word{1} << (carrier<T>::width - 1);
    constexpr word infinity = float_bits<T>(std::numeric_limits<double>::infinity());
    const auto& v = c.values;
    const bool inf_stays = v.inf_positive == infinity && v.inf_negative == (infinity | sign_bit);
    const bool inf_overflows =
        v.inf_positive == v.over_positive && v.inf_negative == v.over_negative;
    const bool mirrored = c.zero_sign != 0 && v.over_negative == (v.over_positive | sign_bit);
    if (c.path == path::sum && mirrored && (inf_stays || inf_overflows)) return path::plain_sum;
    // to_odd steps past an even largest code, where it should stay.
    const bool steps_past = p.rounding == rounding::to_odd && (c.max_code & 1) == 0;
    const bool overflows_alike = f.has_inf && p.saturation == saturation::none && !steps_past &&
                                 (c.max_code + 1) << c.shift == infinity;
    if (c.path == path::aligned && c.zero_sign != 0 && overflows_alike) return path::plain_aligned;
    return c.path;
}

// The parts of a plan, in the order in which they are worked out.

template <class T>
constexpr void set_line(plan<T>& c, const format& f) {
    using word = typename carrier<T>::word;
    c.shift = carrier<T>::mantissa - f.mantissa_bits;
    c.mantissa_bits = f.mantissa_bits;
    const int low_field = f.emin() + carrier<T>::bias;
    c.low_field = static_cast<word>(low_field);
    c.hidden = word{1} << f.mantissa_bits;
    c.first = f.has_zero ? 0 : c.hidden;
    c.gap_shift = f.has_subnormals ? 0 : static_cast<word>(f.mantissa_bits);
    c.gap_step = f.has_subnormals ? 1 : c.hidden;
    c.zero_is_below = f.has_zero || f.is_signed ? 0 : 1;
}

template <class T>
constexpr void set_limits(plan<T>& c, const format& f) {
    using word = typename carrier<T>::word;
    c.max_code = static_cast<word>(f.max_code());
    c.limit_positive = c.max_code;
    c.limit_negative = f.is_twos_complement ? c.max_code + 1
                       : f.is_signed        ? c.max_code
                       : f.has_zero         ? 0
                                            : static_cast<word>(-1);
    if (c.path != path::sum) return;
    const double lowest = f.is_signed ? -f.lowest() : 0;
    const code_type last = std::max(c.limit_positive, c.limit_negative);
    c.first_over = float_bits<T>(std::max(f.max(), lowest) + quantum_at(f, last));
    c.limit_value_positive = float_bits<T>(f.max());
    c.limit_value_negative = float_bits<T>(lowest);
}

template <class T>
constexpr void set_specials(plan<T>& c, const format& f, const projection& p) {
    using word = typename carrier<T>::word;
    constexpr word sign_bit = word{1} << (carrier<T>::width - 1);
    const auto fill = [&](bool negative, bool infinite, word& value, word& code) {
        const special s = beyond(f, p, negative, infinite);
        const word nan_sign = negative && s == special::nan ? sign_bit : 0;
        value = float_bits<T>(special_value(f, s, negative)) | nan_sign;
        code = static_cast<word>(special_code(f, s, negative));
    };
    fill(false, false, c.values.over_positive, c.codes.over_positive);
    fill(true, false, c.values.over_negative, c.codes.over_negative);
    fill(false, true, c.values.inf_positive, c.codes.inf_positive);
    fill(true, true, c.values.inf_negative, c.codes.inf_negative);
    c.zero_sign = f.is_signed && f.has_neg_zero ? sign_bit : 0;
    c.last_rounded = float_bits<T>(std::numeric_limits<double>::infinity());
    if (c.values.inf_positive == c.last_rounded) --c.last_rounded;  // infinity stays as it is
}

template <class T>
constexpr void set_codes(plan<T>& c, const format& f) {
    using word = typename carrier<T>::word;
    c.nan_code = f.has_nan() ? static_cast<word>(f.nan_code()) : 0;
    c.code_mask = static_cast<word>(f.code_mask());
    c.sign_mask = static_cast<word>(f.sign_mask());
    c.negate_flip = f.is_twos_complement ? ~word{0} : 0;
    c.negate_add = f.is_twos_complement ? 1 : c.sign_mask;
    c.inf_code = f.has_inf ? static_cast<word>(f.inf_code()) : c.max_code;
    c.smallest_code = static_cast<word>(f.min_positive_code());
    c.neg_zero_code = f.has_neg_zero ? c.sign_mask : 0;
    c.neg_zero_nan = f.nan_at_neg_zero() ? c.sign_mask : ~word{0};
}

template <class T>
constexpr void set_random(plan<T>& c, int random_bits) {
    using word = typename carrier<T>::word;
    c.random_shift = 32 - random_bits;
    c.random_mask = word{0xFFFFFFFFU} >> c.random_shift << c.random_shift;
    const int below = carrier<T>::width - random_bits;  // bits of a tail under R's last
    c.half_high = below > 0 ? word{1} << (below - 1) : 0;
    c.half_low = below > 0 ? 0 : word{1} << (carrier<T>::width - 1);
    c.borrow = below > 0 ? 1 : 0;
}

/// path::plain_sum for codes: one of overflow and infinity, the largest or the one after it, and a sign
/// bit of its own.
template <class T>
[[nodiscard]] constexpr path choose_encode_path(const plan<T>& c) {
    const auto& v = c.codes;
    const bool is_next = v.over_positive == c.max_code || v.over_positive == c.max_code + 1;
    const bool mirrored =
        c.zero_sign != 0 && v.over_negative == (v.over_positive | c.sign_mask) && c.sign_mask != 0;
    const bool alike = v.inf_positive == v.over_positive && v.inf_negative == v.over_negative;
    if (without_plain(c.path) == path::sum && is_next && mirrored && alike) return path::plain_sum;
    return without_plain(c.path);
}

/// The constants of converting carrier T to and from `f`. f: valid and f.fits<T>().
template <class T>
[[nodiscard]] constexpr plan<T> make_plan(const format& f, const projection& p = {}) {
    plan<T> c;
    c.rounding = p.rounding;
    c.path = choose_path<T>(f, p.rounding);
    set_line(c, f);
    set_limits(c, f);
    set_specials(c, f, p);
    set_codes(c, f);
    set_random(c, p.random_bits);
    c.path = with_plain(c, p, f);
    c.encode_path = choose_encode_path(c);
    c.sign_shift = carrier<T>::width - 1 - f.magnitude_bits();
    return c;
}

}  // namespace lowp::detail
