// Sums, products, quotients, roots and fused products in float64 lanes, rounded to odd: exact ones as
// they are, of the others the neighbour whose last bit is one. One text over lanes, as kernel.hpp.
//
// Rounding such a result once more is rounding the exact one: 53 bits with an odd last one lie on the
// same side of every number of up to 52 bits, and so of every value and midpoint of a format of up to
// 51. Source: Boldo and Melquiond, Emulation of FMA and correctly rounded sums, IEEE TC 2008, th. 3.
//
//     exact      1.xxxx xxxx|1001       to nearest   1.xxxx xxx1|0
//     rest       what `nearest` lacks   to odd       1.xxxx xxxx|1  (one below, last bit set)
#pragma once

#include <cstdint>
#include <limits>

#include "lowp/detail/lanes.hpp"
#include "lowp/detail/plan.hpp"

namespace lowp::detail {

enum class operation : std::uint8_t {
    add,
    sub,
    mul,
    div,
    sqrt,
    fma,
    remainder,
    minimum,
    maximum,
    minimum_number,
    maximum_number,
};

/// The sign of an exact zero sum of operands of unlike signs. IEEE 754-2019, 6.3.
enum class zero_sum : std::uint8_t { positive, negative };

template <class L>
struct odd_constants {
    using word = typename plan<typename L::element>::word;
    static constexpr word sign = ~(~word{0} >> 1);
    static constexpr word magnitude = ~word{0} >> 1;
    static constexpr word infinity =
        float_bits<typename L::element>(std::numeric_limits<double>::infinity());
    static constexpr word nan =
        float_bits<typename L::element>(std::numeric_limits<double>::quiet_NaN());
};

/// NaNs as the positive quiet one: which operand's payload survives depends on the machine.
template <class L>
[[gnu::always_inline]] constexpr typename L::word with_one_nan(typename L::word x) {
    using c = odd_constants<L>;
    const auto is_nan = L::less(L::set(c::infinity), x & L::set(c::magnitude));
    return L::select(is_nan, L::set(c::nan), x);
}

/// nearest + rest, rounded to odd. rest: the sign, and whether zero, of what `nearest` lacks; NaN
/// where that is infinite or NaN, and stays.
template <class L>
[[gnu::always_inline]] constexpr typename L::word to_odd(typename L::word nearest,
                                                         typename L::word rest) {
    using c = odd_constants<L>;
    const auto size = rest & L::set(c::magnitude);
    const auto is_inexact = L::both(L::less(L::set(0), size), L::less(size, L::set(c::infinity)));
    // One unit down where it is beyond the exact value: truncated. Then the last bit.
    const auto beyond = L::shift_right(nearest ^ rest, plan<typename L::element>::width - 1);
    return L::select(is_inexact, (nearest - beyond) | L::set(1), nearest);
}

/// a + b = sum + rest. Source: Knuth, TAOCP 2, 4.2.2, theorem B.
template <class L>
struct two_sum {
    typename L::word sum, rest;
};
template <class L>
[[gnu::always_inline]] constexpr two_sum<L> exact_two_sum(typename L::word a, typename L::word b) {
    const auto sum = L::sum(a, b);
    const auto b_in_sum = L::difference(sum, a);
    const auto a_in_sum = L::difference(sum, b_in_sum);
    return {sum, L::sum(L::difference(a, a_in_sum), L::difference(b, b_in_sum))};
}

/// a + b in lanes of float32, to odd. The larger first: so nothing but the sum itself can overflow.
/// Source: Dekker, Numer. Math. 18 (1971); Boldo, Graillat and Muller, TOMS 44 (2017), 4.
template <class L>
[[gnu::always_inline]] constexpr typename L::word odd_sum_in_place(typename L::word a,
                                                                   typename L::word b) {
    const auto magnitude = L::set(odd_constants<L>::magnitude);
    const auto is_swapped = L::less(a & magnitude, b & magnitude);
    const auto large = L::select(is_swapped, b, a);
    const auto small = L::select(is_swapped, a, b);
    const auto sum = L::sum(large, small);
    return to_odd<L>(sum, L::difference(small, L::difference(sum, large)));
}

/// A sum that is zero, and so exact, with the sign that the mode wants.
template <class L, zero_sum Z>
[[gnu::always_inline]] constexpr typename L::word with_zero_sign(typename L::word sum,
                                                                 typename L::word a,
                                                                 typename L::word b) {
    using c = odd_constants<L>;
    const auto is_zero = L::equal(sum & L::set(c::magnitude), L::set(0));
    const auto sign = (Z == zero_sum::negative ? a | b : a & b) & L::set(c::sign);
    return L::select(is_zero, sign, sum);
}

/// a + b: a sum in float64 never underflows, so TwoSum is exact wherever it does not overflow.
template <class L, zero_sum Z>
[[gnu::always_inline]] constexpr typename L::word odd_sum(typename L::word a, typename L::word b) {
    const auto both = exact_two_sum<L>(a, b);
    const auto sum = to_odd<L>(both.sum, both.rest);
    if constexpr (Z == zero_sum::positive) return sum;
    return with_zero_sign<L, Z>(sum, a, b);
}

/// a b: the product less its nearest is a float64 where it lies above 2^-1022.
template <class L>
[[gnu::always_inline]] constexpr typename L::word odd_product(typename L::word a,
                                                              typename L::word b) {
    const auto product = L::product(a, b);
    const auto sign = L::set(odd_constants<L>::sign);
    return to_odd<L>(product, L::fused(a, b, product ^ sign));
}

/// a / b: the remainder a - q b is a float64, and says on which side of q the quotient lies.
template <class L>
[[gnu::always_inline]] constexpr typename L::word odd_quotient(typename L::word a,
                                                               typename L::word b) {
    const auto sign = L::set(odd_constants<L>::sign);
    const auto quotient = L::quotient(a, b);
    const auto remainder = L::fused(quotient ^ sign, b, a);
    return to_odd<L>(quotient, remainder ^ (b & sign));
}

/// sqrt(a): likewise a - s s.
template <class L>
[[gnu::always_inline]] constexpr typename L::word odd_root(typename L::word a) {
    const auto root = L::root(a);
    return to_odd<L>(root, L::fused(root ^ L::set(odd_constants<L>::sign), root, a));
}

/// a b + c from any float64: three TwoSums put the exact sum together as one number and a rest, rounded
/// to odd itself. Source: Boldo and Melquiond, figure 5.
template <class L, zero_sum Z>
[[gnu::always_inline]] constexpr typename L::word odd_fused(typename L::word a, typename L::word b,
                                                            typename L::word c) {
    using k = odd_constants<L>;
    const auto sign = L::set(k::sign);
    // A product by way of fused: compilers must not contract it with the sums that follow.
    const auto product = L::fused(a, b, sign);
    const auto low = L::fused(a, b, product ^ sign);
    const auto with_low = exact_two_sum<L>(c, low);
    const auto high = exact_two_sum<L>(product, with_low.sum);
    const auto rest = exact_two_sum<L>(with_low.rest, high.rest);
    const auto last = exact_two_sum<L>(high.sum, to_odd<L>(rest.sum, rest.rest));
    const auto sum = with_zero_sign<L, Z>(to_odd<L>(last.sum, last.rest), product, c);
    const auto plain = L::sum(product, c);
    const auto is_finite = L::less(plain & L::set(k::magnitude), L::set(k::infinity));
    return L::select(is_finite, sum, plain);
}

/// -0 below +0, by the order of the numbers; NaN where an operand is.
template <class L, operation O>
[[gnu::always_inline]] constexpr typename L::word chosen(typename L::word a, typename L::word b) {
    using c = odd_constants<L>;
    constexpr bool is_largest = O == operation::maximum || O == operation::maximum_number;
    constexpr bool passes_over = O == operation::minimum_number || O == operation::maximum_number;
    const auto magnitude = L::set(c::magnitude);
    const auto zero = L::set(0);
    const auto place_a = L::select(L::less(a, zero), a ^ magnitude, a);
    const auto place_b = L::select(L::less(b, zero), b ^ magnitude, b);
    const auto takes_b = is_largest ? L::less(place_a, place_b) : L::less(place_b, place_a);
    const auto taken = L::select(takes_b, b, a);
    const auto a_is_nan = L::less(L::set(c::infinity), a & magnitude);
    const auto b_is_nan = L::less(L::set(c::infinity), b & magnitude);
    const auto with_a = L::select(a_is_nan, passes_over ? b : a, taken);
    return with_one_nan<L>(L::select(b_is_nan, passes_over ? a : b, with_a));
}

}  // namespace lowp::detail
