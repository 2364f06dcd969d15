// Exact results of + - * / sqrt fma remainder, wider than any carrier, and their one rounding.
// By integers alone: right in constant expressions and under any floating-point environment.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "lowp/codec.hpp"
#include "lowp/detail/kernel.hpp"
#include "lowp/detail/plan.hpp"
#include "lowp/format.hpp"
#include "lowp/rounding.hpp"

namespace lowp::detail {

__extension__ using uint128 = unsigned __int128;

enum class number_kind : std::uint8_t { finite, infinite, nan };

/// A real number with sign, an infinity, or NaN. A finite one is
///
///     significand * 2^exponent, and a little more in magnitude where `sticky`
///
/// by less than 2^exponent. The top bit of the significand is set, but for zero. What is made here
/// has at least 125 exact bits, so 53 kept, 33 that stochastic modes look at and more to spare.
struct wide {
    number_kind kind = number_kind::finite;
    bool negative = false;
    bool sticky = false;
    int exponent = 0;
    uint128 significand = 0;

    [[nodiscard]] constexpr bool is_finite() const { return kind == number_kind::finite; }
    [[nodiscard]] constexpr bool is_infinite() const { return kind == number_kind::infinite; }
    [[nodiscard]] constexpr bool is_nan() const { return kind == number_kind::nan; }
    [[nodiscard]] constexpr bool is_zero() const { return is_finite() && significand == 0; }
};

inline constexpr wide wide_nan{.kind = number_kind::nan};

[[nodiscard]] constexpr wide wide_infinity(bool negative) {
    return {.kind = number_kind::infinite, .negative = negative};
}
[[nodiscard]] constexpr wide wide_zero(bool negative) { return {.negative = negative}; }

/// The top bit moved to the top: exact but for a sticky below.
[[nodiscard]] constexpr wide normalized(wide x) {
    if (x.significand == 0) return x;
    const auto high = static_cast<std::uint64_t>(x.significand >> 64);
    const int up = high != 0 ? std::countl_zero(high)
                             : 64 + std::countl_zero(static_cast<std::uint64_t>(x.significand));
    x.significand <<= up;
    x.exponent -= up;
    return x;
}

/// Any float, taken apart by its bits. Infinities keep their sign.
template <carrier_float T>
[[nodiscard]] constexpr wide to_wide(T x) {
    using layout = carrier<T>;
    using word = typename layout::word;
    constexpr word hidden = word{1} << layout::mantissa;
    constexpr int top_field = 2 * layout::bias + 1;
    const auto bits = __builtin_bit_cast(word, x);
    const bool negative = bits >> (layout::width - 1) != 0;
    const auto field = static_cast<int>((bits & (~word{0} >> 1)) >> layout::mantissa);
    const word fraction = bits & (hidden - 1);
    if (field == top_field) return fraction != 0 ? wide_nan : wide_infinity(negative);
    const int effective = field == 0 ? 1 : field;
    return normalized({.negative = negative,
                       .exponent = effective - layout::bias - layout::mantissa,
                       .significand = field == 0 ? fraction : hidden | fraction});
}

// ---- the operations -----------------------------------------------------------------------------
// Operands of each come from to_wide or, in exact_sum, from exact_product: 106 bits, no sticky.

/// a shifted down by n >= 0 bits; what falls off is remembered.
[[nodiscard]] constexpr wide shifted_down(wide a, int n) {
    if (n == 0) return a;
    const uint128 kept = n < 128 ? a.significand >> n : 0;
    const uint128 fallen = n < 128 ? a.significand << (128 - n) : a.significand;
    a.sticky = a.sticky || fallen != 0;
    a.significand = kept;
    a.exponent += n;
    return a;
}

/// Sum of two magnitudes, or their difference, with the sign of `large`, which is no smaller.
[[nodiscard]] constexpr wide aligned_sum(const wide& large, const wide& small) {
    // One bit of room for the carry; the lowest 22 bits of both are zero.
    wide sum = shifted_down(large, 1);
    const wide other = shifted_down(small, sum.exponent - small.exponent);
    sum.sticky = other.sticky;
    if (large.negative == small.negative) {
        sum.significand += other.significand;
    } else {
        // large - (other + part) = (large - other - 1) + (1 - part). Parts are cut off only where the
        // exponents lie 22 apart or more: then the difference loses one bit at most.
        sum.significand -= other.significand + (other.sticky ? 1 : 0);
    }
    return normalized(sum);
}

[[nodiscard]] constexpr bool is_smaller_magnitude(const wide& a, const wide& b) {
    return a.exponent != b.exponent ? a.exponent < b.exponent : a.significand < b.significand;
}

/// a + b. A sum of zero is +0, under toward_negative -0, unless both are zeros of one sign.
/// inf - inf is NaN. Source: IEEE 754-2019, 6.3, 7.2.
[[nodiscard]] constexpr wide exact_sum(const wide& a, const wide& b, rounding r) {
    if (a.is_nan() || b.is_nan()) return wide_nan;
    if (a.is_infinite() && b.is_infinite() && a.negative != b.negative) return wide_nan;
    if (a.is_infinite()) return a;
    if (b.is_infinite()) return b;
    const bool zero_sign = r == rounding::toward_negative;
    if (a.is_zero() && b.is_zero())
        return wide_zero(a.negative == b.negative ? a.negative : zero_sign);
    if (a.is_zero()) return b;
    if (b.is_zero()) return a;
    const wide sum = is_smaller_magnitude(a, b) ? aligned_sum(b, a) : aligned_sum(a, b);
    return sum.is_zero() ? wide_zero(zero_sign) : sum;
}

[[nodiscard]] constexpr wide negated(wide a) {
    a.negative = !a.negative;
    return a;
}

/// a * b, exact. inf * 0 is NaN.
[[nodiscard]] constexpr wide exact_product(const wide& a, const wide& b) {
    const bool negative = a.negative != b.negative;
    if (a.is_nan() || b.is_nan()) return wide_nan;
    if (a.is_infinite() || b.is_infinite())
        return a.is_zero() || b.is_zero() ? wide_nan : wide_infinity(negative);
    if (a.is_zero() || b.is_zero()) return wide_zero(negative);
    // 53 bits each, in the upper halves.
    return normalized({.negative = negative,
                       .exponent = a.exponent + b.exponent + 128,
                       .significand = (a.significand >> 64) * (b.significand >> 64)});
}

/// a / b to 126 bits and a sticky one. x / 0 is an infinity, exactly; 0 / 0 and inf / inf are NaN.
[[nodiscard]] constexpr wide exact_quotient(const wide& a, const wide& b) {
    const bool negative = a.negative != b.negative;
    if (a.is_nan() || b.is_nan()) return wide_nan;
    if (a.is_infinite()) return b.is_infinite() ? wide_nan : wide_infinity(negative);
    if (b.is_infinite()) return wide_zero(negative);
    if (b.is_zero()) return a.is_zero() ? wide_nan : wide_infinity(negative);
    if (a.is_zero()) return wide_zero(negative);
    // Two digits of 64 bits; the remainder stays below the divisor, and so in 64 bits.
    const uint128 divisor = b.significand >> 64;
    const uint128 first = a.significand >> 1;
    const uint128 second = (first % divisor) << 64;
    return normalized({.negative = negative,
                       .sticky = second % divisor != 0,
                       .exponent = a.exponent - b.exponent - 127,
                       .significand = (first / divisor) << 64 | second / divisor});
}

/// floor(sqrt(n)) and what is left: n - root^2.
struct integer_root {
    uint128 root, left;
};

/// The root of n >= 2^62, digit by digit: two bits of n for one of the root.
[[nodiscard]] constexpr integer_root root_of_word(std::uint64_t n) {
    std::uint64_t root = 0;
    std::uint64_t left = 0;
    for (int i = 0; i < 32; ++i) {
        left = left << 2 | n >> 62;
        n <<= 2;
        const std::uint64_t trial = root << 2 | 1;
        const std::uint64_t fits = left >= trial ? 1 : 0;
        left -= trial & (0 - fits);  // without a branch, which nothing could foresee
        root = root << 1 | fits;
    }
    return {root, left};
}

/// The root of n 2^(2k) + next from that of n, whose top two bits are not both zero: k digits by one
/// division, at most one too many. Source: Zimmermann, Karatsuba Square Root, INRIA RR-3805.
[[nodiscard]] constexpr integer_root extended(const integer_root& of_n, int k, uint128 next) {
    const uint128 low = next & ((uint128{1} << k) - 1);
    const uint128 dividend = (of_n.left << k) + (next >> k);
    const uint128 digits = dividend / (2 * of_n.root);
    const uint128 root = (of_n.root << k) + digits;
    const uint128 left = (dividend % (2 * of_n.root) << k) + low;
    const uint128 square = digits * digits;
    if (left >= square) return {root, left - square};
    return {root - 1, left + (2 * root - 1) - square};
}

/// sqrt(a) to 126 bits and a sticky one. sqrt(-0) is -0; of other negative numbers NaN.
[[nodiscard]] constexpr wide exact_root(const wide& a) {
    if (a.is_nan() || a.is_zero()) return a;
    if (a.negative) return wide_nan;
    if (a.is_infinite()) return a;
    const bool is_odd = a.exponent % 2 != 0;
    const uint128 radicand = is_odd ? a.significand >> 1 : a.significand;
    const int exponent = is_odd ? a.exponent + 1 : a.exponent;
    const auto high = static_cast<std::uint64_t>(radicand >> 64);
    const auto low = static_cast<std::uint64_t>(radicand);
    const integer_root found = extended(extended(root_of_word(high), 32, low), 62, 0);
    return normalized(
        {.sticky = found.left != 0, .exponent = exponent / 2 - 62, .significand = found.root});
}

/// The remainder below the divisor, and whether the quotient is odd.
struct division {
    uint128 remainder;
    bool is_odd;
};

/// x 2^up modulo y, both below 2^55.
[[nodiscard]] constexpr division divided(std::uint64_t x, int up, std::uint64_t y) {
    // Modulo 2 y, which also tells the parity; 62 bits at a time.
    const uint128 twice = uint128{y} << 1;
    uint128 rest = x % twice;
    for (; up > 0; up -= 62) rest = (rest << (up < 62 ? up : 62)) % twice;
    return {rest >= y ? rest - y : rest, rest >= y};
}

/// IEEE remainder: a - n b with n the integer nearest to a / b, the even one of two. A zero has the
/// sign of a; x rem inf is x; inf rem x and x rem 0 are NaN. Exact. Source: IEEE 754-2019, 5.3.1.
[[nodiscard]] constexpr wide exact_remainder(const wide& a, const wide& b) {
    if (a.is_nan() || b.is_nan() || a.is_infinite() || b.is_zero()) return wide_nan;
    if (b.is_infinite() || a.is_zero() || a.exponent < b.exponent - 1) return a;  // |a| < |b| / 2
    // As integers: 53 bits of each and, for a just below b, one more.
    const auto x = static_cast<std::uint64_t>(a.significand >> 75);
    auto y = static_cast<std::uint64_t>(b.significand >> 75);
    int unit = b.exponent + 75;
    if (a.exponent < b.exponent) {
        y <<= 1;
        --unit;
    }
    const division d = divided(x, a.exponent + 75 - unit, y);
    const bool is_beyond = 2 * d.remainder > y || (2 * d.remainder == y && d.is_odd);
    return normalized({.negative = a.negative != is_beyond,
                       .exponent = unit,
                       .significand = is_beyond ? y - d.remainder : d.remainder});
}

/// A place in the order of all numbers, -0 before +0. Not for NaN.
template <carrier_float T>
[[nodiscard]] constexpr auto rank(T x) {
    using signed_word = typename carrier<T>::signed_word;
    const auto bits = __builtin_bit_cast(signed_word, x);
    return bits < 0 ? bits ^ std::numeric_limits<signed_word>::max() : bits;
}

/// Whether x is NaN, by its bits.
template <carrier_float T>
[[nodiscard]] constexpr bool is_not_a_number(T x) {
    return is_nan<value_lanes<T>>(
        {0, __builtin_bit_cast(typename carrier<T>::word, x) & (~typename carrier<T>::word{0} >> 1),
         false});
}

/// The operand that minimum takes: a NaN where there is one.
template <carrier_float T>
[[nodiscard]] constexpr T lesser(T a, T b) {
    if (is_not_a_number(a) || is_not_a_number(b)) return is_not_a_number(a) ? a : b;
    return rank(b) < rank(a) ? b : a;
}
template <carrier_float T>
[[nodiscard]] constexpr T greater(T a, T b) {
    if (is_not_a_number(a) || is_not_a_number(b)) return is_not_a_number(a) ? a : b;
    return rank(a) < rank(b) ? b : a;
}

// ---- the rounding -------------------------------------------------------------------------------

/// Where a finite number lies on the line of codes: `kept` and 128 bits of tail (line_kernel.hpp),
/// the last of which stands for all below it.
template <class L>
[[nodiscard]] constexpr position<L> locate_wide(const wide& x, const format& f) {
    if (x.significand == 0) return {0, 0, 0, true};
    const int exponent = x.exponent + 127;
    const int up = exponent - f.emin();
    const bool gap = up < 0;
    const int below = gap ? (f.has_subnormals ? 0 : f.mantissa_bits) - up : 0;
    const int shift = 127 - f.mantissa_bits + below;
    const auto hidden = code_type{1} << f.mantissa_bits;
    const code_type first = f.has_zero ? 0 : hidden;
    const wide whole = shifted_down(x, shift);
    uint128 tail = shift <= 128  ? x.significand << (128 - shift)
                   : shift < 256 ? x.significand >> (shift - 128)
                                 : 0;
    const bool more =
        x.sticky ||
        (shift >= 256 ? x.significand != 0 : shift > 128 && x.significand << (256 - shift) != 0);
    if (more) tail |= 1;
    const auto kept = static_cast<code_type>(whole.significand) +
                      (gap ? 0 : static_cast<code_type>(up) << f.mantissa_bits);
    if (kept < first) return {0, 0, 0, gap};  // without zero nothing lies below the first code
    return {kept - first, static_cast<std::uint64_t>(tail >> 64), static_cast<std::uint64_t>(tail),
            gap};
}

/// Whether the mode steps away from zero: the kernel's decision on a tail of two words.
[[nodiscard]] constexpr bool wide_steps_away(const projection& p,
                                             const position<value_lanes<double>>& at, bool negative,
                                             std::uint32_t random) {
    using lanes = value_lanes<double>;
    plan<double> constants;
    set_random(constants, p.random_bits);
    return with_rounding(p.rounding, [&](auto mode) {
        constexpr rounding R = decltype(mode)::value;
        auto where = at;
        // The modes that read one word: all below it is one more bit.
        if (where.tail_low != 0 && R != rounding::stochastic_b && R != rounding::stochastic_c)
            where.tail |= 1;
        return steps_away<lanes, R>(where,
                                    addend<lanes, R>(constants, where.kept, negative, random));
    });
}

/// The projection of an exact result: rounded once, saturated, on the grid. NaN gives the positive
/// quiet NaN; a finite number overflows however large it is; an infinity does as the saturation says
/// of infinite inputs. Bit for bit what converter::quantize gives where T holds the number.
/// Source: IEEE P3109, Project.
template <carrier_float T>
[[nodiscard]] constexpr T project(const wide& x, const converter<T>& to, std::uint32_t random) {
    using lanes = value_lanes<T>;
    using word = typename carrier<T>::word;
    const auto as_value = [](word bits) { return __builtin_bit_cast(T, bits); };
    const format& f = to.format();
    const plan<T>& c = to.plan();
    if (x.is_nan()) return std::numeric_limits<T>::quiet_NaN();
    const bool negative = x.negative || (x.is_zero() && c.zero_is_below != 0);
    if (x.is_infinite()) return as_value(negative ? c.values.inf_negative : c.values.inf_positive);
    const T over = as_value(negative ? c.values.over_negative : c.values.over_positive);
    const word limit = negative ? c.limit_negative : c.limit_positive;
    const int top =
        f.emin() > f.emax() ? f.emin() : f.emax();  // emax is less where all is subnormal
    if (limit == static_cast<word>(-1) || (!x.is_zero() && x.exponent + 127 > top + 1)) return over;
    auto at = locate_wide<value_lanes<double>>(x, f);
    if (wide_steps_away(to.projection(), at, negative, random))
        at.kept += at.gap ? static_cast<code_type>(c.gap_step) : 1;
    if (at.kept > limit) return over;
    const word sign = negative ? word{1} << (carrier<T>::width - 1) : 0;
    return with_integer_path(c.path, [&](auto path) {
        const word value =
            magnitude_of_code<lanes, decltype(path)::value>(c, static_cast<word>(at.kept));
        return as_value(with_sign<lanes>(c, value, sign));
    });
}

}  // namespace lowp::detail
