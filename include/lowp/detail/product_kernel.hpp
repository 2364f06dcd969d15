// Sums of products over lanes: a rounding to odd that makes any later rounding the only one, and the
// aligned sum of tensor cores.
#pragma once

#include <cstddef>
#include <limits>

#include "lowp/accumulator.hpp"
#include "lowp/detail/kernel.hpp"

namespace lowp::detail {

/// a * b + c, rounded to odd: the neighbour with an odd last bit where it is inexact. Rounding that to a
/// format of at least two bits less gives what rounding the exact value gives, in every mode (Boldo
/// and Melquiond, Emulation of FMA and correctly rounded sums, 2008). a * b must be exact in the
/// lanes' type, and nothing may overflow. R: the rounding that follows, for the sign of an exact zero.
template <class L, rounding R>
[[gnu::always_inline]] constexpr typename L::word fused_to_odd(typename L::word a,
                                                               typename L::word b,
                                                               typename L::word c) {
    using constants = plan<typename L::element>;
    using word = typename constants::word;
    constexpr word magnitude_mask = ~word{0} >> 1;
    const auto one = L::set(1);
    const auto zero = L::set(0);
    const auto sign = L::set(~magnitude_mask);
    if constexpr (L::has_directed) {
        const auto down = L::fused_down(a, b, c);
        const auto up = L::fused_up(a, b, c);
        // Neighbours of one sign differ by 1 as integers; -0 and +0 are one exact zero.
        const auto differ = (down ^ up) & L::set(magnitude_mask);
        const auto toward_zero = L::smaller(down, up) & L::set(magnitude_mask);
        const auto signed_by = R == rounding::toward_negative ? down : up;
        return toward_zero | (signed_by & sign) | L::select(L::equal(differ, zero), zero, one);
    } else {
        const auto p = L::product(a, b);
        auto s = L::sum(p, c);
        const auto of_c = L::difference(s, p);
        const auto rest = L::sum(L::difference(p, L::difference(s, of_c)), L::difference(c, of_c));
        const auto size = rest & L::set(magnitude_mask);
        constexpr auto infinity =
            float_bits<typename L::element>(std::numeric_limits<double>::infinity());
        const auto inexact = L::both(L::less(zero, size), L::less(size, L::set(infinity)));
        if constexpr (R == rounding::toward_negative) {
            const auto cancels =
                L::both(L::equal(s, zero), L::less(zero, (p | c) & L::set(magnitude_mask)));
            s = L::select(cancels, sign, s);
            const auto mixed = L::both(L::equal(s, zero), L::equal(p ^ c, sign));
            s = L::select(mixed, sign, s);
        }
        // Toward the rest, away from zero where their signs agree; an odd sum is right as it is.
        const auto apart = L::shift_right(rest ^ s, constants::width - 1);
        const auto step = one - apart - apart;
        const auto is_even = L::equal(s & one, zero);
        return s + L::select(L::both(inexact, is_even), step, zero);
    }
}

/// What the aligned sum needs, worked out once.
struct aligned_plan {
    plan<double> result;
    plan<double> kept;  ///< alignment::apart: 31 bits, what lies below floored
    std::size_t terms = 0, group = 1;
    int fraction_bits = 0;
    double lowest_power = 0;       ///< 2^lowest_exponent
    std::uint64_t first_over = 0;  ///< float64 bits of the power of two after the largest result
    lowp::cut cut = lowp::cut::toward_zero;
    lowp::alignment alignment = lowp::alignment::together;
};

/// Factors of one row and a register of columns. Powers are 2^e of each factor, of its scale in grouped
/// sums; 0 for zero. a...: a value a term or group, b...: a register.
struct aligned_factors {
    const double *a, *a_powers, *a_scales;
    const double *b, *b_powers, *b_scales;
};

template <class L>
struct aligned_lanes {
    using word = typename L::word;
    static constexpr int mantissa = 52;
    static constexpr std::uint64_t magnitude_mask = ~std::uint64_t{0} >> 1;
    static constexpr std::uint64_t field_mask = std::uint64_t{0x7FF} << mantissa;
    static constexpr std::uint64_t infinity =
        float_bits<double>(std::numeric_limits<double>::infinity());

    [[gnu::always_inline]] static constexpr word bits(double x) {
        return L::set(__builtin_bit_cast(std::uint64_t, x));
    }
    [[gnu::always_inline]] static constexpr word column(const double* x, std::size_t i) {
        return L::load_bits(x + i * L::width);
    }
    /// 2^e of a float32 held as float64, e >= -126; 2^-126 for zero.
    [[gnu::always_inline]] static constexpr word power_of(word c) {
        return L::larger(c & L::set(field_mask), bits(0x1p-126));
    }
    /// 2^(to - e) and 2^(e - to) of a power 2^e; 2046 is twice the bias.
    [[gnu::always_inline]] static constexpr word up(word power, int to) {
        const auto places = static_cast<std::uint64_t>(to) << mantissa;
        return L::set((std::uint64_t{2046} << mantissa) + places) - power;
    }
    [[gnu::always_inline]] static constexpr word down(word power, int to) {
        return power - L::set(static_cast<std::uint64_t>(to) << mantissa);
    }

    template <cut C>
    [[gnu::always_inline]] static constexpr word to_integer(word x) {
        if constexpr (C == cut::nearest_ties_to_even) {
            const auto anchor = bits(0x1.8p52);
            return L::difference(L::sum(x, anchor), anchor);
        } else {
            const auto t = L::truncated(x);
            if constexpr (C == cut::toward_zero) return t;
            // Negative numbers that lost something go on to the next integer.
            const auto lost = L::difference(x, t);
            const auto below = L::less(lost, L::set(0));
            const auto more = L::less(L::set(0), L::shift_left(lost, 1) & L::set(magnitude_mask));
            const auto is_number = L::less(lost & L::set(magnitude_mask), L::set(infinity));
            return L::difference(
                t, L::select(L::both(L::both(below, more), is_number), bits(1), L::set(0)));
        }
    }

    /// value into the result; overflow is infinity, NaN stays.
    template <rounding R>
    [[gnu::always_inline]] static constexpr word round(const aligned_plan& u, word value) {
        const auto rounded = quantize_lanes<L, R, path::sum>(u.result, value, L::set(0));
        const auto size = value & L::set(magnitude_mask);
        const auto is_over =
            L::both(L::less(L::set(u.first_over - 1), size), L::less(size, L::set(infinity)));
        return L::select(is_over, L::set(infinity) | (value ^ size), rounded);
    }

    /// c and `terms` products, aligned together.
    template <rounding R, cut C>
    [[gnu::always_inline]] static constexpr word together(const aligned_plan& u,
                                                          const aligned_factors& f,
                                                          std::size_t terms, word c) {
        const auto is_zero = L::equal(c & L::set(magnitude_mask), L::set(0));
        auto largest = L::larger(bits(u.lowest_power), L::select(is_zero, L::set(0), power_of(c)));
        for (std::size_t i = 0; i < terms; ++i)
            largest = L::larger(largest, L::product(bits(f.a_powers[i]), column(f.b_powers, i)));
        largest = L::smaller(largest, bits(0x1p1000));  // that of an infinite c is no number
        const auto to_integers = up(largest, u.fraction_bits);
        auto sum = L::sum(L::set(0), to_integer<C>(L::product(c, to_integers)));
        for (std::size_t i = 0; i < terms; ++i) {
            const auto exact = L::product(bits(f.a[i]), column(f.b, i));
            sum = L::sum(sum, to_integer<C>(L::product(exact, to_integers)));
        }
        return round<R>(u, L::product(sum, down(largest, u.fraction_bits)));
    }

    /// The same where groups of products are summed exactly and scaled.
    template <rounding R, cut C>
    [[gnu::always_inline]] static constexpr word grouped(const aligned_plan& u,
                                                         const aligned_factors& f,
                                                         std::size_t terms, word c) {
        word values[most_groups];
        const auto zero = L::set(0);
        const auto is_zero = L::equal(c & L::set(magnitude_mask), zero);
        auto largest = L::larger(bits(u.lowest_power), L::select(is_zero, zero, power_of(c)));
        const std::size_t groups = (terms + u.group - 1) / u.group;
        for (std::size_t g = 0; g < groups; ++g) {
            const std::size_t end = (g + 1) * u.group < terms ? (g + 1) * u.group : terms;
            auto sum = zero;
            auto any = zero;
            for (std::size_t i = g * u.group; i < end; ++i) {
                const auto exact = L::product(bits(f.a[i]), column(f.b, i));
                sum = L::sum(sum, exact);
                any = any | (exact & L::set(magnitude_mask));
            }
            const auto power = L::product(bits(f.a_powers[g]), column(f.b_powers, g));
            largest = L::larger(largest, L::select(L::equal(any, zero), zero, power));
            values[g] = L::product(sum, L::product(bits(f.a_scales[g]), column(f.b_scales, g)));
        }
        largest = L::smaller(largest, bits(0x1p1000));  // that of an infinite c is no number
        const auto to_integers = up(largest, u.fraction_bits);
        auto sum = L::sum(zero, to_integer<C>(L::product(c, to_integers)));
        for (std::size_t g = 0; g < groups; ++g)
            sum = L::sum(sum, to_integer<C>(L::product(values[g], to_integers)));
        return round<R>(u, L::product(sum, down(largest, u.fraction_bits)));
    }

    struct partial {
        word sum, power;
    };

    /// Products first, first + step, ... cut to 24 bits below the largest of them.
    [[gnu::always_inline]] static constexpr partial products_alone(const aligned_factors& f,
                                                                   std::size_t terms,
                                                                   std::size_t first,
                                                                   std::size_t step) {
        auto largest = bits(0x1p-600);
        for (std::size_t i = first; i < terms; i += step)
            largest = L::larger(largest, L::product(bits(f.a_powers[i]), column(f.b_powers, i)));
        const auto to_integers = up(largest, 24);
        auto sum = L::set(0);
        for (std::size_t i = first; i < terms; i += step) {
            auto exact = L::product(bits(f.a[i]), column(f.b, i));
            const auto size = exact & L::set(magnitude_mask);
            const auto is_over = L::both(L::less(bits(0x1.fffffffffffffp127), size),
                                         L::less(size, L::set(infinity)));
            exact = L::select(is_over, (exact ^ size) | L::set(infinity), exact);
            sum = L::sum(sum, L::truncated(L::product(exact, to_integers)));
        }
        return {L::product(sum, down(largest, 24)), largest};
    }

    [[gnu::always_inline]] static constexpr word floored(word x, word power, int to) {
        return L::product(to_integer<cut::toward_negative>(L::product(x, up(power, to))),
                          down(power, to));
    }

    template <rounding R>
    [[gnu::always_inline]] static constexpr word apart(const aligned_plan& u,
                                                       const aligned_factors& f, std::size_t terms,
                                                       word c) {
        partial p{};
        const bool halves = u.alignment == alignment::halves;
        if (halves) {
            const partial even = products_alone(f, terms, 0, 2);
            const partial odd = products_alone(f, terms, 1, 2);
            p.power = L::larger(even.power, odd.power);
            p.sum = L::sum(floored(even.sum, p.power, 24), floored(odd.sum, p.power, 24));
        } else {
            p = products_alone(f, terms, 0, 1);
        }
        const auto of_c = power_of(c);
        const auto power = L::larger(p.power, of_c);
        if (halves) c = L::select(L::less(L::product(of_c, bits(0x1p25)), power), L::set(0), c);
        const auto sum = L::sum(floored(p.sum, power, 32), floored(c, power, 24));
        const auto kept =
            quantize_lanes<L, rounding::toward_negative, path::sum>(u.kept, sum, L::set(0));
        return round<R>(u, kept);
    }
};

}  // namespace lowp::detail
