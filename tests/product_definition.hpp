// What an accumulator means, one element at a time, by other means than the loops: single operations of
// arithmetic.hpp, and integers for the aligned sums.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <vector>

#include "lowp/accumulator.hpp"
#include "lowp/arithmetic.hpp"
#include "lowp/spec.hpp"

namespace lowp::test {

using terms = std::vector<double>;

/// Sums that are not one sequence of rounded steps, by name.
inline constexpr const char* sums_in_parts[] = {
    "float16/chunk=4",
    "float8_e4m3fn/chunk=3/promotion=bfloat16",
    "float16/pairwise",
    "bfloat16/pairwise/chunk=5/promotion=float16",
    "float16/kahan",
    "float32/kahan",
    "float32/chunk=8/promotion=float16/promotion_rounding=toward_zero",
    "float16/pairwise/separate/rounding=toward_positive",
    "float16/product=bfloat16",
    "bfloat16/product=float16/product_rounding=toward_zero"};

/// One element of a product: c + the sum of x[k] y[k]. Sequential, pairwise and kahan; no random bits.
class sum_definition {
public:
    explicit sum_definition(const accumulator& how)
        : how_(how),
          added_(how.addition.format, how.addition.projection),
          promoted_(how.promotion.format, how.promotion.projection),
          multiplied_(of_product(how).format, of_product(how).projection) {}

    [[nodiscard]] double operator()(const terms& x, const terms& y, double c) const {
        if (x.empty()) return c;
        if (how_.chunk == 0) return part(x, y, 0, x.size(), c);
        for (std::size_t k = 0; k < x.size(); k += how_.chunk)
            c = add(c, part(x, y, k, std::min(x.size(), k + how_.chunk), 0.0), promoted_);
        return c;
    }

private:
    static const rounding_step& of_product(const accumulator& a) {
        return a.products == products::rounded ? a.product : a.addition;
    }
    [[nodiscard]] double part(const terms& x, const terms& y, std::size_t from, std::size_t to,
                              double c) const {
        if (how_.order == summation::pairwise) return add(c, halves(x, y, from, to), added_);
        double lost = 0;
        for (std::size_t k = from; k < to; ++k) {
            if (how_.order == summation::kahan) {
                const double term = sub(mul(x[k], y[k], multiplied_), lost, added_);
                const double next = add(c, term, added_);
                lost = sub(sub(next, c, added_), term, added_);
                c = next;
            } else if (how_.products == products::rounded) {
                c = add(c, mul(x[k], y[k], multiplied_), added_);
            } else {
                c = fma(x[k], y[k], c, added_);
            }
        }
        return c;
    }
    [[nodiscard]] double halves(const terms& x, const terms& y, std::size_t from,
                                std::size_t to) const {
        if (to - from == 1) return mul(x[from], y[from], multiplied_);
        std::size_t left = 1;
        while (2 * left < to - from) left *= 2;
        return add(halves(x, y, from, from + left), halves(x, y, from + left, to), added_);
    }

    accumulator how_;
    converter<double> added_, promoted_, multiplied_;
};

/// An aligned sum by integers: terms as multiples of 2^(largest - fraction_bits).
class aligned_definition {
public:
    aligned_definition(const accumulator& how, int a_emin, int b_emin)
        : how_(how), a_emin_(a_emin), b_emin_(b_emin) {}

    [[nodiscard]] double operator()(const terms& x, const terms& y, double c) const {
        const std::size_t chunk = how_.chunk == 0 ? x.size() : how_.chunk;
        const auto steps = static_cast<std::size_t>(how_.unit.terms);
        for (std::size_t from = 0; from < x.size(); from += chunk) {
            const std::size_t to = std::min(x.size(), from + chunk);
            double sum = how_.chunk == 0 ? c : 0;
            std::vector<std::size_t> order;
            const std::size_t run =
                how_.unit.run == 0 ? chunk : static_cast<std::size_t>(how_.unit.run);
            const std::size_t turns = how_.unit.run == 0 ? 1 : chunk / steps;
            for (std::size_t turn = 0; turn < turns; ++turn)
                for (std::size_t k = from; k < (turns > 1 ? from + chunk : to); ++k)
                    if ((k - from) / run % turns == turn) order.push_back(k);
            for (std::size_t k = 0; k < order.size(); k += steps) {
                terms p;
                terms q;
                for (std::size_t i = k; i < std::min(order.size(), k + steps); ++i) {
                    p.push_back(order[i] < x.size() ? x[order[i]] : 0);
                    q.push_back(order[i] < y.size() ? y[order[i]] : 0);
                }
                sum = step(p, q, sum);
            }
            const converter<double> promoted(how_.promotion.format, how_.promotion.projection);
            c = how_.chunk == 0 ? sum : add(c, sum, promoted);
        }
        return c;
    }

private:
    __extension__ using wide = __int128;

    static int exponent(double x, int emin) { return std::max(std::ilogb(x), emin); }

    /// x in multiples of 2^unit, cut.
    [[nodiscard]] wide cut_to(double x, int unit) const {
        int e = 0;
        const auto significand = static_cast<wide>(std::ldexp(std::frexp(x, &e), 53));
        const int places = unit - (e - 53);
        if (places <= 0) return significand * (wide{1} << -places);
        if (places > 100) return how_.unit.cut == cut::toward_negative && x < 0 ? -1 : 0;
        const wide one = wide{1} << places;
        const wide down = significand / one;  // toward zero
        const wide rest = significand - down * one;
        if (how_.unit.cut == cut::toward_negative) return down - (rest < 0 ? 1 : 0);
        if (how_.unit.cut == cut::toward_zero) return down;
        const wide size = rest < 0 ? -rest : rest;
        const bool away = 2 * size > one || (2 * size == one && down % 2 != 0);
        return down + (away ? (x < 0 ? -1 : 1) : 0);
    }

    [[nodiscard]] double step(const terms& x, const terms& y, double c) const {
        double special = c - c;  // 0, or NaN and infinities by IEEE arithmetic
        if (!std::isfinite(c)) special = c;
        for (std::size_t i = 0; i < x.size(); ++i)
            if (!std::isfinite(x[i]) || !std::isfinite(y[i])) special += x[i] * y[i];
        if (special != 0) return special;
        int largest = how_.unit.lowest_exponent;
        if (c != 0) largest = std::max(largest, exponent(c, -126));
        for (std::size_t i = 0; i < x.size(); ++i)
            if (x[i] != 0 && y[i] != 0)
                largest = std::max(largest, exponent(x[i], a_emin_) + exponent(y[i], b_emin_));
        const int unit = largest - how_.unit.fraction_bits;
        wide sum = cut_to(c, unit);
        for (std::size_t i = 0; i < x.size(); ++i) sum += cut_to(x[i] * y[i], unit);
        const double value = std::ldexp(static_cast<double>(sum), unit);
        const format& f = how_.unit.result.format;
        if (std::fabs(value) >= std::ldexp(1.0, f.emax() + 1))
            return std::copysign(std::numeric_limits<double>::infinity(), value);
        return spec::quantize(value, f, how_.unit.result.projection);
    }

    accumulator how_;
    int a_emin_, b_emin_;
};

}  // namespace lowp::test
