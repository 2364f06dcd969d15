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

#include "lowp/detail/line_kernel.hpp"
#include "lowp/detail/plan.hpp"
#include "lowp/detail/sum_kernel.hpp"
#include "lowp/rounding.hpp"

namespace lowp::detail {

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

/// path::plain_sum of encode for numbers: whatever lies beyond the largest value was rounded to the code
/// after it.
template <class L, rounding R>
[[gnu::always_inline]] constexpr typename L::word plain_code(const plan<typename L::element>& c,
                                                             const operand<L>& x,
                                                             typename L::word random) {
    const auto limit = L::set(c.codes.over_positive);
    const auto sign = L::shift_right(x.bits ^ x.magnitude, c.sign_shift);
    return L::smaller(round_in_float<L, R>(c, x, random).code, limit) | sign;
}

/// Codes of x, right-aligned. NaNs become `plan::nan_code`.
template <class L, rounding R, path P>
[[gnu::always_inline]] constexpr typename L::word encode_lanes(const plan<typename L::element>& c,
                                                               typename L::word bits,
                                                               typename L::word random) {
    const operand<L> x = take_apart<L>(c, bits);
    typename L::word code{};
    typename L::mask is_over{};
    if constexpr (P == path::plain_sum)
        return L::select(is_nan<L>(x), L::set(c.nan_code), plain_code<L, R>(c, x, random));
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

/// The random words of a register of elements from i on; nothing in deterministic modes.
template <class L, rounding R>
[[gnu::always_inline]] inline auto random_at(const std::uint32_t* random, std::size_t i) {
    if constexpr (is_stochastic(R)) return L::load_random(random + i);
    else return L::set(0);
}

}  // namespace lowp::detail
