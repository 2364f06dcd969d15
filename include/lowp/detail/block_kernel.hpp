// What blocks need beside the element kernel: maxima of blocks, ideal scales, and the two passes
// that divide by a scale before the kernel and multiply by it after. One text over lanes, as there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "lowp/block_format.hpp"
#include "lowp/codec.hpp"
#include "lowp/detail/kernel.hpp"
#include "lowp/scale.hpp"

namespace lowp::detail {

/// Elements that the passes over blocks share: source and result stay in the first-level cache.
inline constexpr std::size_t block_chunk = 2048;

template <class L>
[[gnu::always_inline]] constexpr typename L::word broadcast(typename L::element x) {
    return L::set(__builtin_bit_cast(typename carrier<typename L::element>::word, x));
}

/// A scale rule as a loop needs it.
template <class T>
struct scale_plan {
    using word = typename carrier<T>::word;

    lowp::power_of_two power_of_two = power_of_two::none;
    lowp::arithmetic arithmetic = arithmetic::division;
    bool by_logarithm = false;  ///< exponents from log2 in T, off by one next to powers of two
    word carry = 0;  ///< added to float bits: carries into the exponent where it steps up
    word emax = 0;   ///< exponent of M, as a signed word
    T gain = 1;      ///< of the statistic, before its power of two is taken
    T divisor = 1;   ///< M / gain, and its reciprocal
    T reciprocal = 1;
    T smallest = 0;  ///< limits of the ideal scale
    T largest = std::numeric_limits<T>::infinity();
    T of_zero = -1;  ///< scale of a block of zeros; negative: what the rule gives
};

/// 2^e as float bits, where `field` is e + bias: normal, subnormal, 0 below, infinity above.
template <class L>
[[gnu::always_inline]] constexpr typename L::word power_from_field(typename L::word field) {
    using constants = plan<typename L::element>;
    using word = typename constants::word;
    constexpr int mantissa = constants::mantissa;
    constexpr word top = 2 * carrier<typename L::element>::bias + 1;
    const auto one = L::set(1);
    const auto normal = L::shift_left(L::smaller(field, L::set(top)), mantissa);
    const auto subnormal = L::shift_right_each(L::set(word{1} << mantissa), one - field);
    return L::select(L::less(field, one), subnormal, normal);
}

/// The power of two to which a positive statistic steps. Exact for subnormal numbers too.
template <class L>
[[gnu::always_inline]] constexpr typename L::word ideal_power(
    const scale_plan<typename L::element>& c, typename L::word t) {
    using constants = plan<typename L::element>;
    using T = typename L::element;
    using word = typename constants::word;
    constexpr int mantissa = constants::mantissa;
    constexpr word up = mantissa + 1;
    constexpr word two_up = (static_cast<word>(carrier<T>::bias) + up) << mantissa;
    const auto subnormal = L::less(t, L::set(word{1} << mantissa));
    const auto normalized = L::select(subnormal, L::product(t, L::set(two_up)), t);
    const auto down = L::select(subnormal, L::set(up), L::set(0)) + L::set(c.emax);
    const auto field = L::shift_right(normalized + L::set(c.carry), mantissa) - down;
    return L::select(L::equal(t, L::set(0)), L::set(0), power_from_field<L>(field));
}

/// The ideal scale of a block. statistic: float bits of a number >= 0 or NaN; outer: the second
/// level's scale, in Transformer Engine's arithmetic its inverse. NaN gives NaN.
template <class L>
[[gnu::always_inline]] constexpr typename L::word ideal_scale(
    const scale_plan<typename L::element>& c, typename L::word statistic, typename L::word outer) {
    using T = typename L::element;
    constexpr auto infinity = float_bits<T>(std::numeric_limits<double>::infinity());
    const bool is_te = c.arithmetic == arithmetic::transformer_engine;
    const bool is_quotient = c.power_of_two == power_of_two::none;
    auto ideal = [&] {
        if (is_te && (is_quotient || c.power_of_two == power_of_two::rceil))
            return L::product(statistic, L::product(outer, broadcast<L>(c.reciprocal)));
        if (is_te) return L::product(L::product(statistic, outer), broadcast<L>(c.gain));
        if (is_quotient && c.arithmetic == arithmetic::model_optimizer)
            return L::quotient(statistic, L::product(broadcast<L>(c.divisor), outer));
        if (is_quotient) return L::quotient(L::quotient(statistic, broadcast<L>(c.divisor)), outer);
        return L::product(L::quotient(statistic, outer), broadcast<L>(c.gain));
    }();
    if (!is_quotient) ideal = ideal_power<L>(c, ideal);
    ideal = L::smaller(L::larger(ideal, broadcast<L>(c.smallest)), broadcast<L>(c.largest));
    if (!(c.of_zero < 0))
        ideal = L::select(L::equal(statistic, L::set(0)), broadcast<L>(c.of_zero), ideal);
    return L::select(L::less(L::set(infinity), statistic), statistic, ideal);
}

/// How far off 2^n a number may lie, and its log2, rounded, be n still: in ulps just below 2^n, which are
/// half of those above. It is half an ulp next to n over the logarithm's slope, 1 / ln 2. size: of a
/// binade that ulp is of, |n| or (on n's side towards zero) |n| - 1; none lies next to 0.
[[nodiscard]] constexpr int ulps_of_logarithm(int size) {
    double reach = 0.5 * 0.693147180559945309417232;
    for (; size > 0; size /= 2) reach *= 2;
    return static_cast<int>(reach);
}

/// The power of two of rules whose exponents come from a rounded logarithm, as other libraries have
/// them: floor(log2 t) - emax, or ceil(log2(t / M)), the logarithm rounded to T. t: positive.
/// One value a step; the same as with a library's log2, whose last bits do not matter. L: of the kernel that
/// calls it, so that code of one instruction set stays apart from that of others.
template <class L, class T = typename L::element>
[[nodiscard]] constexpr T power_by_logarithm(const scale_plan<T>& c, T t) {
    using word = typename carrier<T>::word;
    constexpr int mantissa = carrier<T>::mantissa;
    constexpr word hidden = word{1} << mantissa;
    const bool goes_up = c.power_of_two == power_of_two::rceil;
    T of = goes_up ? t / c.divisor : t;
    if (!(of <= std::numeric_limits<T>::max())) return c.largest;
    if (of == 0) return c.smallest;
    const bool is_subnormal = of < std::numeric_limits<T>::min();
    if (is_subnormal) of *= static_cast<T>(hidden);
    const auto bits = __builtin_bit_cast(word, of);
    const int exponent =
        static_cast<int>(bits >> mantissa) - carrier<T>::bias - (is_subnormal ? mantissa : 0);
    const word above = bits & (hidden - 1);  // steps above 2^exponent, and below the next power
    const word below = hidden - above;
    int e = exponent;
    if (goes_up) {
        const int near = ulps_of_logarithm(exponent > 0 ? exponent : -exponent - 1);
        e += 2 * above > static_cast<word>(near) ? 1 : 0;
    } else {
        const int near = ulps_of_logarithm(exponent >= 0 ? exponent : -exponent - 1);
        e += below <= static_cast<word>(near) ? 1 : 0;
        e -= static_cast<int>(static_cast<typename carrier<T>::signed_word>(c.emax));
    }
    const int field = e + carrier<T>::bias;
    const word power = field > 2 * carrier<T>::bias ? word{2 * carrier<T>::bias + 1} << mantissa
                       : field >= 1                 ? static_cast<word>(field) << mantissa
                       : field > -mantissa          ? hidden >> (1 - field)
                                                    : 0;
    const T ideal = __builtin_bit_cast(T, power);
    return ideal < c.smallest ? c.smallest : ideal > c.largest ? c.largest : ideal;
}

/// Lane i of the result: the largest lane of row(i). Signed comparison of words. Folding two rows in
/// half and interleaving them leaves half as many; even rows and odd rows meet last.
template <class L, std::size_t First = 0, std::size_t Stride = 1, class Row>
[[gnu::always_inline]] constexpr typename L::word maxima_of_rows(const Row& row) {
    if constexpr (Stride == L::width) {
        return row(First);
    } else {
        const auto even = maxima_of_rows<L, First, 2 * Stride>(row);
        const auto odd = maxima_of_rows<L, First + Stride, 2 * Stride>(row);
        return L::larger(L::interleave_low(even, odd), L::interleave_high(even, odd));
    }
}

enum class scaling : std::uint8_t { multiply, divide };

/// What elements are scaled by: divided by the total scale; multiplied by its inverse, exact where all
/// scales are powers of two; or by an inverse as other libraries round it (see arithmetic).
enum class totals_kind : std::uint8_t {
    divisor,
    exact_inverse,
    inverse_by_levels,
    bounded_inverse
};

template <class T>
struct totals_plan {
    totals_kind kind = totals_kind::divisor;
    T post_gain = 1;
    T lowest_scale = -1;  ///< no scale, or the one in whose place `lowest_divisor` divides
    T lowest_divisor = 0;
};

/// What the elements of a block are multiplied by after rounding, and multiplied or divided by before.
template <class L>
struct block_total {
    typename L::word total, factor;
};

/// total = scale * outer * post_gain, each product rounded; the factor as the kind says.
template <class L>
[[gnu::always_inline]] constexpr block_total<L> total_of(const totals_plan<typename L::element>& p,
                                                         typename L::word scale,
                                                         typename L::word outer) {
    using T = typename L::element;
    const auto gain = broadcast<L>(p.post_gain);
    const auto one = broadcast<L>(1);
    const auto infinity = broadcast<L>(std::numeric_limits<T>::infinity());
    const auto zero = L::set(0);
    // An infinite inverse would make zeros NaN; a NaN stays.
    const auto bounded = [](typename L::word inverse) {
        return L::select(L::equal(inverse, broadcast<L>(std::numeric_limits<T>::infinity())),
                         broadcast<L>(std::numeric_limits<T>::max()), inverse);
    };
    const auto total = L::product(L::product(scale, outer), gain);
    const auto is_lowest = L::equal(scale, broadcast<L>(p.lowest_scale));
    const auto used = L::select(is_lowest, broadcast<L>(p.lowest_divisor), total);
    const auto is_zero = L::equal(used, zero);
    const auto inverse = [&] { return L::quotient(one, used); };
    switch (p.kind) {
        case totals_kind::exact_inverse: return {total, L::select(is_zero, zero, inverse())};
        case totals_kind::bounded_inverse: return {total, bounded(inverse())};
        case totals_kind::inverse_by_levels: {
            const auto by_levels = L::quotient(L::quotient(one, outer), L::product(scale, gain));
            return {total, L::select(is_lowest, inverse(), bounded(by_levels))};
        }
        case totals_kind::divisor: break;
    }
    return {total, L::select(is_zero, infinity, used)};
}

/// What is known of a block's elements, or of some of them, besides the sum of magnitudes.
template <class T>
struct block_content {
    using word = typename carrier<T>::word;
    word largest = 0;  ///< magnitude of the largest finite one, as float bits
    bool has_nan = false, has_inf = false;

    constexpr void add(word magnitude) {
        constexpr word infinity = float_bits<T>(std::numeric_limits<double>::infinity());
        has_nan = has_nan || magnitude > infinity;
        has_inf = has_inf || magnitude == infinity;
        if (magnitude < infinity && magnitude > largest) largest = magnitude;
    }
    /// Whether NaN or infinity makes the block NaN.
    [[nodiscard]] constexpr bool becomes_nan(nan_policy nan, infinity_policy infinity) const {
        return (has_nan && nan == nan_policy::block) ||
               (has_inf && infinity == infinity_policy::nan);
    }
};

/// The second level of scales as a loop needs it.
template <class T>
struct outer_plan {
    plan<T> format;
    T limit = 1;     ///< largest element times largest block scale aimed at
    T smallest = 0;  ///< of the format
    lowp::arithmetic arithmetic = arithmetic::division;
};

/// A scale of the second level and its inverse, which rounds to something else.
template <class T>
struct outer_pair {
    T scale, inverse;
};

/// The outer scale of values whose largest finite magnitude this is.
template <class L, path P>
[[gnu::always_inline]] constexpr outer_pair<typename L::element> outer_of(
    const outer_plan<typename L::element>& p, typename L::element amax) {
    using T = typename L::element;
    constexpr T most = std::numeric_limits<T>::max();
    if (amax == 0) return {1, 1};
    if (p.arithmetic == arithmetic::transformer_engine) {
        // Transformer Engine rounds the inverse, S_enc, and inverts that.
        const T quotient = p.limit / amax;
        const T inverse = quotient < most ? quotient : most;
        return {T{1} / inverse, inverse};
    }
    const auto bits = __builtin_bit_cast(typename carrier<T>::word, amax / p.limit);
    const T rounded = __builtin_bit_cast(
        T, quantize_lanes<L, rounding::nearest_ties_to_even, P>(p.format, bits, 0));
    const T scale = rounded < p.smallest ? p.smallest : rounded;
    return {scale, T{1} / scale};
}

/// x op s. Sticky: a number other than zero stays one, so that modes which look for anything at all
/// below a value still find it.
template <class L, scaling S, bool Sticky>
[[gnu::always_inline]] constexpr typename L::word scaled(typename L::word x, typename L::word s) {
    constexpr auto magnitude = ~typename plan<typename L::element>::word{0} >> 1;
    const auto y = S == scaling::multiply ? L::product(x, s) : L::quotient(x, s);
    if constexpr (!Sticky) return y;
    const auto zero = L::set(0);
    const auto vanished =
        L::both(L::equal(y & L::set(magnitude), zero), L::less(zero, x & L::set(magnitude)));
    return y | L::select(vanished, L::set(1), zero);
}

/// Whether a mode may step away from zero for any remainder, however small.
[[nodiscard]] constexpr bool looks_for_anything(rounding r) {
    return r == rounding::toward_positive || r == rounding::toward_negative ||
           r == rounding::away_from_zero || r == rounding::to_odd ||
           r == rounding::stochastic_equal;
}

}  // namespace lowp::detail
