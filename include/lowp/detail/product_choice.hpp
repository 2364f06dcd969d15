// Which loop works a product out, and what an aligned one needs to know.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "lowp/accumulator.hpp"
#include "lowp/detail/operands.hpp"
#include "lowp/detail/product_loops.hpp"

namespace lowp::detail {

/// Whether additions are what the carrier's own fused operation does.
template <class S>
[[nodiscard]] bool is_plain(const accumulator& how) {
    constexpr format own = sizeof(S) == 4 ? float32 : float64;
    return how.products == products::exact && how.addition.format == own &&
           how.addition.projection.rounding == rounding::nearest_ties_to_even &&
           how.addition.projection.saturation == saturation::none;
}

/// A chain has one mode and one path for products and sums.
template <class S>
[[nodiscard]] bool is_rounded_alike(const accumulator& how) {
    const auto path_of = [](const rounding_step& s) {
        return without_plain(make_plan<S>(s.format, s.projection).path);
    };
    return how.product.projection.rounding == how.addition.projection.rounding &&
           path_of(how.product) == path_of(how.addition);
}

/// Whether every product is exact in S and every sum of one and an accumulator is rounded to odd there
/// without overflow, with two bits more than the accumulator has, c and promotions held, too. Ranges:
/// of the factors and of c.
template <class S>
[[nodiscard]] bool is_exact_in(const accumulator& how, const number_range& a, const number_range& b,
                               const number_range& c) {
    using limits = std::numeric_limits<S>;
    constexpr int lowest = limits::min_exponent - limits::digits;
    const bool is_separate = how.products == products::rounded;
    const auto fits = [](const rounding_step& s) {
        return s.format.template fits<S>() && s.format.precision() + 2 <= limits::digits &&
               has_chain(make_plan<S>(s.format, s.projection));
    };
    if (!fits(how.addition) || (is_separate && !(fits(how.product) && is_rounded_alike<S>(how))))
        return false;
    if (how.chunk > 0 && !how.promotion.format.template fits<S>()) return false;
    if (!c.is_empty() && (c.bits > limits::digits || c.lowest < lowest)) return false;
    if (std::max(how.addition.format.emax() + 1, c.top) + 2 >= limits::max_exponent) return false;
    if (a.is_empty() || b.is_empty()) return true;
    return a.bits + b.bits <= limits::digits && a.lowest + b.lowest >= lowest &&
           a.top + b.top + 4 < limits::max_exponent;
}

/// f with fewer exponents, for values that are multiples of 2^lowest and at most 2^top: rounded alike
/// there, and by sums of floats, which bfloat16's own range leaves no room for. f where none would do.
[[nodiscard]] inline format narrowed(const format& f, int lowest, int top) {
    constexpr int bits = 7;
    constexpr int highest = 127 - 24;  // emax + 1 + shift stays below float32's bias
    format own = format::ieee(bits, f.mantissa_bits);
    const int binades = own.emax() - own.emin();
    const int emin = std::min(lowest + f.mantissa_bits, highest - binades);
    if (!f.has_subnormals || !f.is_signed || !f.has_inf || f.emin() > lowest + f.mantissa_bits ||
        f.emax() <= top || emin < -125 || emin + binades <= top)
        return f;
    own.bias = 1 - emin;
    return own;
}

/// how with additions and products in ranges that they cannot leave: w being the exponent of the largest
/// product, adding one to 2^(w + p) or more, p the precision, changes nothing in the modes that
/// chains of floats have, so that no sum goes beyond. c as in is_exact_in.
[[nodiscard]] inline accumulator narrowed(const accumulator& how, const number_range& a,
                                          const number_range& b, const number_range& c) {
    if (a.is_empty() || b.is_empty()) return how;
    const auto with = [&](const rounding_step& s, int carries, const number_range& addend) {
        const int lowest = std::min(a.lowest + b.lowest, addend.lowest);
        rounding_step result = s;
        result.format =
            narrowed(s.format, lowest, std::max(a.top + b.top + 2 + carries, addend.top + 1));
        return result;
    };
    accumulator result = how;
    result.addition = with(how.addition, how.addition.format.precision() + 1, c);
    result.product = with(how.product, 0, {});
    return result;
}

/// Whether columns are too few for the lanes of a tile and rows are more: products commute, so that the
/// transposed product has the same bits, but for random ones, which are by place.
template <class T>
[[nodiscard]] bool is_better_transposed(const matrix_view<T>& out, const accumulator& how,
                                        const std::optional<rounding_step>& last) {
    bool is_random = last && is_stochastic(last->projection.rounding);
    for (const rounding_step& s : {how.addition, how.product, how.promotion})
        is_random = is_random || is_stochastic(s.projection.rounding);
    return !is_random && out.columns < 16 && out.rows > out.columns;
}

[[nodiscard]] inline aligned_plan make_aligned_plan(const aligned_unit& u) {
    aligned_plan p;
    p.result = make_plan<double>(u.result.format, u.result.projection);
    p.kept = make_plan<double>(format::ieee(8, 31), {.rounding = rounding::toward_negative,
                                                     .saturation = saturation::none});
    p.terms = static_cast<std::size_t>(u.terms);
    p.group = static_cast<std::size_t>(u.group);
    p.fraction_bits = u.fraction_bits;
    p.lowest_power = format::power_of_two(u.lowest_exponent);
    p.first_over = float_bits<double>(format::power_of_two(u.result.format.emax() + 1));
    p.cut = u.cut;
    p.alignment = u.alignment;
    return p;
}

/// Where each k comes: as it is, or by runs of neighbours within a chunk. Then the last chunk is filled
/// up: what lies at k and above stands for zeros.
[[nodiscard]] inline std::vector<std::size_t> term_order(const accumulator& how, std::size_t k) {
    const bool in_runs = how.unit.run > 0;
    std::vector<std::size_t> order(in_runs ? (k + how.chunk - 1) / how.chunk * how.chunk : k);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (!in_runs) return order;
    const auto run = static_cast<std::size_t>(how.unit.run);
    const std::size_t turns = how.chunk / static_cast<std::size_t>(how.unit.terms);
    const auto place = [&](std::size_t t) {
        return t / how.chunk * turns + t % how.chunk / run % turns;
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t x, std::size_t y) { return place(x) < place(y); });
    return order;
}

}  // namespace lowp::detail
