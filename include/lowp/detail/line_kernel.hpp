// Rounding on the line of codes (see kernel.hpp): kept and tail, and what each mode adds to the tail.
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

}  // namespace lowp::detail
