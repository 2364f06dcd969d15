// Rounding by float addition (see kernel.hpp): the same results as on the line of codes, faster, for
// formats whose exponents lie well inside the carrier's.
#pragma once

#include "lowp/detail/line_kernel.hpp"
#include "lowp/detail/plan.hpp"
#include "lowp/rounding.hpp"

namespace lowp::detail {

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

/// Magnitudes that stay at the format's limit where they are larger: a value of the format, so limiting
/// comes first. No NaN.
template <class L, rounding R>
[[gnu::always_inline]] constexpr rounded<L> round_saturated(const plan<typename L::element>& c,
                                                            typename L::word magnitude,
                                                            typename L::word random) {
    const operand<L> x{magnitude, L::smaller(magnitude, L::set(c.limit_value_positive)), {}};
    if constexpr (weighs_tail(R)) return round_by_chance<L, R>(c, x, random);
    else return round_by_sum<L, R>(c, x, random);
}

template <class L, rounding R>
[[gnu::always_inline]] constexpr rounded<L> round_in_float(const plan<typename L::element>& c,
                                                           operand<L> x, typename L::word random) {
    x.magnitude = L::smaller(x.magnitude, L::set(c.first_over));  // keeps the sums in range
    if constexpr (weighs_tail(R)) return round_by_chance<L, R>(c, x, random);
    else return round_by_sum<L, R>(c, x, random);
}

}  // namespace lowp::detail
