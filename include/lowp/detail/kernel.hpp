// Conversions over lanes: one text for a single value, a SIMD register and a GPU thread.
//
// Magnitudes are rounded on the line of codes. A float lies at `kept | tail`: a code, and the
// fraction of a quantum that is cut off, left-aligned in a word:
//
//     kept (code)          tail
//     EEEE MMM           . 1 0 1 1 0 0 ... 0
//
// A rounding mode is one number, `addend`: if tail + addend carries out of its word, the result is
// the next code away from zero. Nearest adds a half, truncation nothing, stochastic modes the random
// bits. `path::sum` reaches the same results for deterministic modes by float addition, faster.
//
// No branch on data, no call, no allocation; only integers, and float sums that are exact or round
// where rounding is wanted. Needs round-to-nearest and gradual underflow (detail/environment.hpp).
#pragma once

#include "lowp/detail/lanes.hpp"
#include "lowp/detail/plan.hpp"
#include "lowp/rounding.hpp"

namespace lowp::detail {

/// A float taken apart: its magnitude's bits, and whether it lies on the negative side (in an
/// unsigned format without zero, zero does).
template <class L>
struct operand {
    typename L::word bits, magnitude;
    typename L::mask negative;
};

template <class L>
[[gnu::always_inline]] constexpr operand<L> take_apart(const plan<typename L::element>& c,
                                                       typename L::word bits) {
    constexpr auto sign = ~(~typename plan<typename L::element>::word{0} >> 1);
    return {bits, bits & L::set(~sign), L::less(bits, L::set(c.zero_is_below))};
}

template <class L>
struct tail_addend {
    typename L::word high, low;
};

/// What a mode adds to the tail. `kept`: code below; `random`: 32 random bits a lane. The low word
/// is the modes' that look further than a word: stochastic_b and _c.
template <class L, rounding R>
[[gnu::always_inline]] constexpr tail_addend<L> addend(const plan<typename L::element>& c,
                                                       typename L::word kept,
                                                       typename L::mask negative,
                                                       typename L::word random) {
    using word = typename L::word;
    using unsigned_word = typename plan<typename L::element>::word;
    constexpr int to_top = plan<typename L::element>::width - 32;
    const word none = L::set(0);
    const word all = L::set(~unsigned_word{0});
    const word below_half = L::set(~unsigned_word{0} >> 1);
    const word odd = kept & L::set(1);
    const word top_bits = L::shift_left(random & L::set(c.random_mask), to_top);
    if constexpr (R == rounding::nearest_ties_to_even) return {below_half + odd, none};
    if constexpr (R == rounding::nearest_ties_to_away) return {below_half + L::set(1), none};
    if constexpr (R == rounding::nearest_ties_to_zero) return {below_half, none};
    if constexpr (R == rounding::toward_zero) return {none, none};
    if constexpr (R == rounding::toward_positive) return {L::select(negative, none, all), none};
    if constexpr (R == rounding::toward_negative) return {L::select(negative, all, none), none};
    if constexpr (R == rounding::away_from_zero) return {all, none};
    if constexpr (R == rounding::to_odd) return {odd - L::set(1), none};
    if constexpr (R == rounding::stochastic_a) return {top_bits, none};
    // floor(d 2^(N+1)) + 2R + 1 >= 2^(N+1): R's bits, then a one.
    if constexpr (R == rounding::stochastic_b)
        return {top_bits + L::set(c.half_high), L::set(c.half_low)};
    // half_even(d 2^N) + R >= 2^N: the same, but a tie steps only to an even sum, that is for even R.
    if constexpr (R == rounding::stochastic_c) {
        const word last = L::shift_right(random, c.random_shift) & L::set(1);
        return {top_bits + L::set(c.half_high) - (last & (L::set(0) - L::set(c.borrow))),
                L::set(c.half_low) - last};
    }
    if constexpr (R == rounding::stochastic_equal)
        return {L::select(L::less(none, L::shift_right(random, 31)), all, none), none};
}

/// A magnitude on the line of codes; `gap`: below the smallest normal number.
template <class L>
struct position {
    typename L::word kept, tail, tail_low;
    typename L::mask gap;
};

/// The exponent field of a magnitude and its significand, the hidden bit set in normal numbers.
template <class L>
struct binary {
    typename L::word field, significand;
};

template <class L, path P>
[[gnu::always_inline]] constexpr binary<L> split(typename L::word magnitude) {
    using constants = plan<typename L::element>;
    using word = typename constants::word;
    constexpr int mantissa = constants::mantissa;
    constexpr auto bias = static_cast<word>(carrier<typename L::element>::bias);
    const auto one = L::set(1);
    const auto field = L::shift_right(magnitude, mantissa);
    const auto subnormal = L::equal(field, L::set(0));
    // Subnormals have the exponent of field 1 and no hidden bit.
    const auto effective = L::select(subnormal, one, field);
    const auto significand = magnitude - L::shift_left(effective - one, mantissa);
    if constexpr (P != path::renormalized) return {effective, significand};
    // The integer m of m * 2^(1 - bias - mantissa) as a float, by a sum that is exact below
    // 2^mantissa, has the exponent that counts.
    constexpr word integer_one = (bias + mantissa) << mantissa;
    // (0 - 0 is -0 where the thread rounds downward.)
    const auto as_integer =
        L::difference(magnitude | L::set(integer_one), L::set(integer_one)) & L::set(~word{0} >> 1);
    const auto hidden_bit = L::set(word{1} << mantissa);
    const auto normalized = (as_integer & L::set((word{1} << mantissa) - 1)) | hidden_bit;
    const auto exponent = L::shift_right(as_integer, mantissa) - L::set(bias + mantissa - 1);
    const auto is_zero = L::equal(magnitude, L::set(0));
    return {L::select(subnormal, exponent, field),
            L::select(is_zero, L::set(0), L::select(subnormal, normalized, significand))};
}

template <class L, rounding R, path P>
[[gnu::always_inline]] constexpr position<L> locate(const plan<typename L::element>& c,
                                                    typename L::word magnitude) {
    using constants = plan<typename L::element>;
    using word = typename constants::word;
    constexpr int width = constants::width;
    constexpr bool reads_low_word = R == rounding::stochastic_b || R == rounding::stochastic_c;
    constexpr bool reads_whole_tail = weighs_tail(R);
    const auto zero = L::set(0);
    const auto [field, significand] = split<L, P>(magnitude);
    const auto up = field - L::set(c.low_field);
    const auto gap = L::less(up, zero);
    const auto binades_up = L::select(gap, zero, up);
    const auto below = L::select(gap, L::set(c.gap_shift) - up, zero);
    // Past `farthest` the shift changes nothing that a mode looks at: a tail below one half that is
    // not zero, or below 2^-N of all random bits.
    constexpr auto farthest =
        static_cast<word>(reads_whole_tail ? 2 * width - 1 : constants::mantissa + 2);
    const auto wanted = L::set(static_cast<word>(c.shift)) + below;
    const auto shift = L::smaller(wanted, L::set(farthest));
    const auto kept = L::shift_right_each(significand, shift) +
                      L::shift_left(binades_up, c.mantissa_bits) - L::set(c.first);
    auto tail = L::shift_left_each(significand, L::set(width) - shift);
    if constexpr (reads_whole_tail)
        tail = tail | L::shift_right_each(significand, shift - L::set(width));
    const auto tail_low =
        reads_low_word ? L::shift_left_each(significand, L::set(word{2} * width) - shift) : zero;
    // Without zero nothing lies below the first code.
    const auto beneath = L::less(kept, zero);
    return {L::select(beneath, zero, kept), L::select(beneath, zero, tail),
            L::select(beneath, zero, tail_low), gap};
}

/// Whether tail + addend carries out: over two words in the modes that look that far.
template <class L, rounding R>
[[gnu::always_inline]] constexpr typename L::mask steps_away(const position<L>& at,
                                                             const tail_addend<L>& add) {
    const auto carries = L::carries(at.tail, add.high);
    if constexpr (R != rounding::stochastic_b && R != rounding::stochastic_c) return carries;
    const auto ones = L::set(~typename plan<typename L::element>::word{0});
    const auto all_set = L::equal(at.tail + add.high, ones);
    return L::either(carries, L::both(all_set, L::carries(at.tail_low, add.low)));
}

/// The code, without sign and without limit, to which a magnitude rounds.
template <class L, rounding R, path P>
[[gnu::always_inline]] constexpr typename L::word round_on_line(const plan<typename L::element>& c,
                                                                const operand<L>& x,
                                                                typename L::word random) {
    constexpr int width = plan<typename L::element>::width;
    if constexpr (P == path::aligned) {
        // kept and tail stand side by side in the float: one addition carries from one to the other.
        const auto kept = L::shift_right(x.magnitude, c.shift);
        const auto add = addend<L, R>(c, kept, x.negative, random).high;
        const auto in_place = L::shift_right(L::shift_right(add, 1), width - 1 - c.shift);
        return L::shift_right(x.magnitude + in_place, c.shift);
    }
    const position<L> at = locate<L, R, P>(c, x.magnitude);
    const auto away = steps_away<L, R>(at, addend<L, R>(c, at.kept, x.negative, random));
    const auto step = L::select(at.gap, L::set(c.gap_step), L::set(1));
    return at.kept + L::select(away, step, L::set(0));
}

/// Float bits of a magnitude code.
template <class L, path P>
[[gnu::always_inline]] constexpr typename L::word magnitude_of_code(
    const plan<typename L::element>& c, typename L::word code) {
    constexpr int mantissa = plan<typename L::element>::mantissa;
    if constexpr (P == path::aligned) return L::shift_left(code, c.shift);
    const auto one = L::set(1);
    const auto low_field = L::set(c.low_field);
    const auto line = code + L::set(c.first);
    if constexpr (P != path::renormalized) {
        const auto fraction = L::shift_left(line, c.shift);
        const auto normal = fraction + L::shift_left(low_field - one, mantissa);
        const auto smallest = L::shift_left(low_field, mantissa);
        const auto subnormal = L::on_grid_of(smallest, fraction);
        return L::select(L::less(line, L::set(c.hidden)), subnormal, normal);
    }
    // 2^emin may be a subnormal float: shift the significand into place.
    const auto field = L::shift_right(line, c.mantissa_bits);
    const auto binade = L::select(L::equal(field, L::set(0)), L::set(0), field - one);
    const auto significand = L::shift_left(line - L::shift_left(binade, c.mantissa_bits), c.shift);
    const auto carrier_field = binade + low_field;
    const auto normal = significand + L::shift_left(carrier_field - one, mantissa);
    const auto subnormal = L::shift_right_each(significand, one - carrier_field);
    return L::select(L::less(carrier_field, one), subnormal, normal);
}

/// The two results of path::sum: the rounded magnitude as float bits, and as a code.
template <class L>
struct rounded {
    typename L::word value, code;
};

/// path::sum for modes that weigh the tail: the significand is cut by a shift lane by lane, the tail meets the
/// random bits as on the line of codes, and the float subtraction puts the value together. The hidden
/// bit is set in zeros and subnormal floats too: choose_path admits formats that lie so far above
/// them that all their random bits cannot make them step.
template <class L, rounding R>
[[gnu::always_inline]] constexpr rounded<L> round_by_chance(const plan<typename L::element>& c,
                                                            const operand<L>& x,
                                                            typename L::word random) {
    using word = typename plan<typename L::element>::word;
    constexpr int mantissa = plan<typename L::element>::mantissa;
    constexpr word width = plan<typename L::element>::width;
    constexpr word fraction_mask = (word{1} << mantissa) - 1;
    constexpr word field_mask = ~word{0} >> 1 >> mantissa << mantissa;
    const auto lowest = L::set(c.low_field << mantissa);
    const auto exponent = x.magnitude & L::set(field_mask);
    const auto scale = L::larger(exponent, lowest);
    const auto anchor = scale + L::set(static_cast<word>(c.shift) << mantissa);
    const auto significand = (x.magnitude & L::set(fraction_mask)) | L::set(word{1} << mantissa);
    const auto shift =
        L::shift_right(scale - exponent, mantissa) + L::set(static_cast<word>(c.shift));
    const auto kept = L::shift_right_each(significand, shift);
    const auto tail = L::shift_left_each(significand, L::set(width) - shift) |
                      L::shift_right_each(significand, shift - L::set(width));
    auto tail_low = L::set(0);
    if constexpr (R != rounding::stochastic_a)
        tail_low = L::shift_left_each(significand, L::set(2 * width) - shift);
    const auto away =
        steps_away<L, R>({kept, tail, tail_low, {}}, addend<L, R>(c, kept, x.negative, random));
    const auto sum = anchor + kept + L::select(away, L::set(1), L::set(0));
    return {L::difference(sum, anchor), sum - anchor + L::shift_right(scale - lowest, c.shift)};
}

/// |x| + 2^(e + shift) - 2^(e + shift), where the quantum of the sum is the format's at exponent e:
/// the addition rounds |x| to nearest even, the subtraction is exact. Taking e no smaller than emin
/// is gradual underflow. The other modes move |x| off a tie by its last bit, which no other case
/// feels as the quantum has at least two bits more, or correct the sum by one quantum.
template <class L, rounding R>
[[gnu::always_inline]] constexpr rounded<L> round_by_sum(const plan<typename L::element>& c,
                                                         const operand<L>& x,
                                                         typename L::word random) {
    using word = typename plan<typename L::element>::word;
    constexpr int mantissa = plan<typename L::element>::mantissa;
    constexpr word field_mask = ~word{0} >> 1 >> mantissa << mantissa;
    const auto one = L::set(1);
    const auto zero = L::set(0);
    const auto lowest = L::set(c.low_field << mantissa);
    const auto exponent = x.magnitude & L::set(field_mask);
    const auto scale = L::larger(exponent, lowest);
    const auto anchor = scale + L::set(static_cast<word>(c.shift) << mantissa);

    auto moved = x.magnitude;
    if constexpr (R == rounding::nearest_ties_to_away) moved = moved | one;
    if constexpr (R == rounding::nearest_ties_to_zero)
        moved = L::select(L::equal(moved, zero), zero, moved - one) | one;
    auto sum = L::sum(moved, anchor);
    auto value = L::difference(sum, anchor);

    constexpr bool is_nearest = R == rounding::nearest_ties_to_even ||
                                R == rounding::nearest_ties_to_away ||
                                R == rounding::nearest_ties_to_zero;
    if constexpr (!is_nearest) {
        const auto down = sum - L::select(L::less(x.magnitude, value), one, zero);
        const auto up = sum + L::select(L::less(value, x.magnitude), one, zero);
        if constexpr (R == rounding::toward_zero) sum = down;
        if constexpr (R == rounding::away_from_zero) sum = up;
        if constexpr (R == rounding::toward_positive) sum = L::select(x.negative, down, up);
        if constexpr (R == rounding::toward_negative) sum = L::select(x.negative, up, down);
        if constexpr (R == rounding::to_odd)
            sum = down | L::select(L::equal(value, x.magnitude), zero, one);
        if constexpr (R == rounding::stochastic_equal)
            sum = L::select(L::less(zero, L::shift_right(random, 31)), up, down);
        value = L::difference(sum, anchor);
    }
    return {value, sum - anchor + L::shift_right(scale - lowest, c.shift)};
}

template <class L, rounding R>
[[gnu::always_inline]] constexpr rounded<L> round_in_float(const plan<typename L::element>& c,
                                                           operand<L> x, typename L::word random) {
    x.magnitude = L::smaller(x.magnitude, L::set(c.first_over));  // keeps the sums in range
    if constexpr (weighs_tail(R)) return round_by_chance<L, R>(c, x, random);
    else return round_by_sum<L, R>(c, x, random);
}

template <class L>
[[gnu::always_inline]] constexpr typename L::word limit_value(const plan<typename L::element>& c,
                                                              const operand<L>& x) {
    return L::select(x.negative, L::set(c.limit_value_negative), L::set(c.limit_value_positive));
}

/// Puts results of overflow and infinite inputs in their lanes.
template <class L>
[[gnu::always_inline]] constexpr typename L::word with_specials(
    const specials<typename plan<typename L::element>::word>& s, const operand<L>& x,
    typename L::mask is_over, typename L::word result) {
    constexpr auto infinity =
        float_bits<typename L::element>(std::numeric_limits<double>::infinity());
    const auto over = L::select(x.negative, L::set(s.over_negative), L::set(s.over_positive));
    const auto infinite = L::select(x.negative, L::set(s.inf_negative), L::set(s.inf_positive));
    result = L::select(is_over, over, result);
    return L::select(L::equal(x.magnitude, L::set(infinity)), infinite, result);
}

template <class L>
[[gnu::always_inline]] constexpr typename L::mask is_nan(const operand<L>& x) {
    constexpr auto infinity =
        float_bits<typename L::element>(std::numeric_limits<double>::infinity());
    return L::less(L::set(infinity), x.magnitude);
}

/// Float bits with a sign bit put in, unless they are zero and the format has no -0.
template <class L>
[[gnu::always_inline]] constexpr typename L::word with_sign(const plan<typename L::element>& c,
                                                            typename L::word value,
                                                            typename L::word sign) {
    const auto is_zero = L::equal(value, L::set(0));
    return value | L::select(is_zero, sign & L::set(c.zero_sign), sign);
}

/// Float bits of x on the grid. NaNs stay as they are, bit for bit.
template <class L, rounding R, path P>
[[gnu::always_inline]] constexpr typename L::word quantize_lanes(const plan<typename L::element>& c,
                                                                 typename L::word bits,
                                                                 typename L::word random) {
    const operand<L> x = take_apart<L>(c, bits);
    const auto sign = x.bits ^ x.magnitude;
    typename L::word result{};
    typename L::mask is_over{};
    if constexpr (P == path::plain_sum || P == path::plain_aligned) {
        if constexpr (P == path::plain_sum) {
            const auto value = round_in_float<L, R>(c, x, random).value;
            const auto over = L::less(L::set(c.limit_value_positive), value);
            result = L::select(over, L::set(c.values.over_positive), value);
        } else {
            const auto code = round_on_line<L, R, path::aligned>(c, x, random);
            result = magnitude_of_code<L, path::aligned>(c, code);
        }
        return L::select(L::less(L::set(c.last_rounded), x.magnitude), x.bits, result | sign);
    }
    if constexpr (P == path::sum) {
        const auto value = round_in_float<L, R>(c, x, random).value;
        is_over = L::less(limit_value<L>(c, x), value);
        // Adding -0 changes nothing; adding +0 turns -0 into +0.
        result = L::sum(value | sign, L::set(c.zero_sign));
    } else {
        const auto code = round_on_line<L, R, P>(c, x, random);
        const auto limit =
            L::select(x.negative, L::set(c.limit_negative), L::set(c.limit_positive));
        is_over = L::less(limit, code);
        const auto value = magnitude_of_code<L, P>(c, code);
        result = with_sign<L>(c, value, sign);
    }
    return L::select(is_nan<L>(x), x.bits, with_specials<L>(c.values, x, is_over, result));
}

/// The code of the opposite sign: the sign bit flipped, or the two's complement.
template <class L>
[[gnu::always_inline]] constexpr typename L::word negate_code(const plan<typename L::element>& c,
                                                              typename L::word code) {
    return ((code ^ L::set(c.negate_flip)) + L::set(c.negate_add)) & L::set(c.code_mask);
}

/// Codes of x, right-aligned. NaNs become `plan::nan_code`.
template <class L, rounding R, path P>
[[gnu::always_inline]] constexpr typename L::word encode_lanes(const plan<typename L::element>& c,
                                                               typename L::word bits,
                                                               typename L::word random) {
    const operand<L> x = take_apart<L>(c, bits);
    typename L::word code{};
    typename L::mask is_over{};
    if constexpr (P == path::plain_sum) {
        // Whatever lies beyond the largest value was rounded to the code after it.
        const auto limit = L::set(c.codes.over_positive);
        const auto sign = L::shift_right(x.bits ^ x.magnitude, c.sign_shift);
        code = L::smaller(round_in_float<L, R>(c, x, random).code, limit) | sign;
        return L::select(is_nan<L>(x), L::set(c.nan_code), code);
    }
    if constexpr (P == path::sum) {
        const auto both = round_in_float<L, R>(c, x, random);
        is_over = L::less(limit_value<L>(c, x), both.value);
        code = both.code;
    } else {
        code = round_on_line<L, R, P>(c, x, random);
        const auto limit =
            L::select(x.negative, L::set(c.limit_negative), L::set(c.limit_positive));
        is_over = L::less(limit, code);
    }
    const auto negated =
        L::select(L::equal(code, L::set(0)), L::set(c.neg_zero_code), negate_code<L>(c, code));
    code = L::select(x.negative, negated, code);
    return L::select(is_nan<L>(x), L::set(c.nan_code), with_specials<L>(c.codes, x, is_over, code));
}

/// Float bits of codes; bits above the format's are ignored. A NaN code gives the quiet NaN.
template <class L, path P>
[[gnu::always_inline]] constexpr typename L::word decode_lanes(const plan<typename L::element>& c,
                                                               typename L::word code) {
    using limits = std::numeric_limits<double>;
    constexpr auto sign_bit = ~(~typename plan<typename L::element>::word{0} >> 1);
    const auto quiet_nan = L::set(float_bits<typename L::element>(limits::quiet_NaN()));
    const auto infinity = L::set(float_bits<typename L::element>(limits::infinity()));
    const auto zero = L::set(0);
    const auto whole = code & L::set(c.code_mask);
    const auto positive = L::equal(whole & L::set(c.sign_mask), zero);
    const auto magnitude = L::select(positive, whole, negate_code<L>(c, whole));
    const auto used = L::select(L::less(magnitude, L::set(c.smallest_code)), zero, magnitude);
    const auto sign = L::select(positive, zero, L::set(sign_bit));
    const auto finite = with_sign<L>(c, magnitude_of_code<L, P>(c, used), sign);
    const auto limit = L::select(positive, L::set(c.limit_positive), L::set(c.limit_negative));
    const auto special =
        L::select(L::equal(magnitude, L::set(c.inf_code)), infinity | sign, quiet_nan);
    const auto value = L::select(L::less(limit, magnitude), special, finite);
    return L::select(L::equal(whole, L::set(c.neg_zero_nan)), quiet_nan, value);
}

}  // namespace lowp::detail
