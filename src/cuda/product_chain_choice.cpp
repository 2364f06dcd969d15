// Which kernel sums the terms of a product one by one: by the descriptors of its formats alone.
#include <limits>
#include <optional>

#include "lowp/detail/product_choice.hpp"
#include "lowp/formats.hpp"
#include "product.hpp"

namespace lowp::cuda {

namespace detail {

std::optional<format> known_format(const std::optional<format>& given, carrier c) {
    if (given) return given;
    if (c == carrier::float16) return float16;
    if (c == carrier::bfloat16) return bfloat16;
    return std::nullopt;
}

bool is_nearest(const rounding_step& s) {
    return s.projection.rounding == rounding::nearest_ties_to_even &&
           s.projection.saturation == saturation::none;
}

namespace {

using lowp::detail::is_plain;
using lowp::detail::make_plan;
using lowp::detail::path;
using lowp::detail::without_plain;

// ---- what kernels there are ------------------------------------------------------------------------

/// Significant bits that a rounding looks at, with those that an odd last bit needs to stand for the rest.
int bits_of(const rounding_step& s) {
    const projection& p = s.projection;
    return s.format.precision() + 2 + (weighs_tail(p.rounding) ? p.random_bits + 1 : 0);
}

/// Whether a sum rounded to odd in float64 rounds to it as the exact one. Beyond float64's largest an
/// odd sum is that, which has to overflow alike.
bool is_within_double(const rounding_step& s) {
    return bits_of(s) <= std::numeric_limits<double>::digits &&
           s.format.min_quantum_exponent() >= -1072 && s.format.emax() <= 1020;
}
/// The same in float32, where the largest float stands for all above: only modes without random bits tell
/// it from nothing above.
bool is_within_float(const rounding_step& s) {
    return !is_stochastic(s.projection.rounding) &&
           bits_of(s) <= std::numeric_limits<float>::digits &&
           s.format.min_quantum_exponent() >= -147 && s.format.fits<float>();
}

/// Whether float32's own sum of an exact product and an accumulator of the format can be rounded again. With
/// p bits in the accumulator and b in products it never lies on a tie of the format unless the exact sum
/// does: such a product or accumulator would need more than 23 - p or 23 - b bits between the tie and
/// the rest that was rounded off. Source: Figueroa, SIGNUM 30 (1995), for sums of two numbers of p bits.
bool is_safe_twice(const accumulator& how, const std::optional<format>& a,
                   const std::optional<format>& b, bool begins_on_grid) {
    if (!a || !b || !begins_on_grid) return false;
    const int p = how.addition.format.precision();
    const int of_products = a->precision() + b->precision();
    const int lowest = a->min_quantum_exponent() + b->min_quantum_exponent();
    return of_products <= p && p <= 11 && lowest >= -147;
}

}  // namespace

bool has_promotion(const accumulator& how, carrier out) {
    if (how.chunk == 0) return true;
    const bool fits = out == carrier::float64 ? how.promotion.format.fits<double>()
                                              : how.promotion.format.fits<float>();
    return fits && is_within_double(how.promotion);
}

namespace {

bool has_step_kernel(const accumulator& how, carrier out) {
    const bool in_double = out == carrier::float64;
    const auto fits = [&](const rounding_step& s) {
        return in_double ? s.format.fits<double>() : s.format.fits<float>();
    };
    if (!fits(how.addition) || !has_promotion(how, out)) return false;
    const bool is_separate = how.products == products::rounded;
    return is_within_double(how.addition) &&
           (!is_separate || (fits(how.product) && is_within_double(how.product)));
}
bool has_chain_kernel(const accumulator& how, carrier out) {
    const bool is_own = out == carrier::float64 ? is_plain<double>(how) : is_plain<float>(how);
    return (is_own && has_promotion(how, out)) || has_step_kernel(how, out);
}

/// An exact sum is rounded to odd in float64, once.
bool has_exact_kernel(const accumulator& how, carrier out) {
    const bool fits = out == carrier::float64 ? how.addition.format.fits<double>()
                                              : how.addition.format.fits<float>();
    return fits && is_within_double(how.addition) && has_promotion(how, out);
}

template <class T>
chain_call<T> chain_of(const product_call& p, const accumulator& how) {
    chain_call<T> c;
    c.product = p;
    c.products = how.products;
    if (!is_plain<T>(how)) c.addition = make_plan<T>(how.addition.format, how.addition.projection);
    if (how.products == products::rounded)
        c.separate = make_plan<T>(how.product.format, how.product.projection);
    return c;
}

void run_in_float(const product_call& p, const accumulator& how, const product_options& o,
                  stream s) {
    const auto c = chain_of<float>(p, how);
    const bool is_fast = p.promotion.chunk == 0 || p.promotion.is_float_add;
    const bool is_half = how.addition.format == float16 || how.addition.format == bfloat16;
    if (is_fast && is_half && is_nearest(how.addition)) {
        const bool on_grid = !o.c || how.chunk > 0;
        const bool is_safe = is_safe_twice(how, known_format(o.a_format, p.a.carrier),
                                           known_format(o.b_format, p.b.carrier), on_grid);
        return half_chain(how.addition.format == float16 ? carrier::float16 : carrier::bfloat16,
                          is_safe ? fused_by::nearest : fused_by::odd, c, s);
    }
    const bool has_fast_path =
        c.addition.path == path::plain_sum || c.addition.path == path::plain_aligned;
    const bool is_common = how.addition.projection.rounding == rounding::nearest_ties_to_even;
    if (is_fast && is_common && has_fast_path) return nearest_chain(c, s);
    any_chain(c, s);
}

/// Whether numbers of float64 go in.
bool takes_doubles(const product_call& p) {
    const auto is_wide = [](const auto& x) { return x.carrier == carrier::float64; };
    return is_wide(p.a) || is_wide(p.b) || is_wide(p.c);
}

}  // namespace

/// Operations one by one, in float64.
void run_single(const product_call& p, const accumulator& how, stream s) {
    chain_call<double> c;
    c.product = p;
    c.addition = make_plan<double>(how.addition.format, how.addition.projection);
    const rounding_step& alone = how.products == products::rounded ? how.product : how.addition;
    c.separate = make_plan<double>(alone.format, alone.projection);
    const bool in_double = takes_doubles(p) || p.out.carrier == carrier::float64;
    single_sums(how.order, in_double ? numbers_of::float64 : numbers_of::float32, c, s);
}

void run_chain(const product_call& p, const accumulator& how, const product_options& o, stream s) {
    const bool in_double = p.out.carrier == carrier::float64;
    const bool is_narrow = !in_double && !takes_doubles(p);
    if (in_double && is_plain<double>(how)) return plain_chain(chain_of<double>(p, how), s);
    const bool has_fast_promotion = p.promotion.chunk == 0 || p.promotion.is_float_add;
    if (is_narrow && is_plain<float>(how) && has_fast_promotion)
        return plain_chain(chain_of<float>(p, how), s);
    if (is_narrow && how.products == products::exact && is_within_float(how.addition)) {
        const path way =
            without_plain(make_plan<float>(how.addition.format, how.addition.projection).path);
        if (way == path::sum || way == path::aligned) return run_in_float(p, how, o, s);
    }
    const auto c = chain_of<double>(p, how);
    const bool has_sums = without_plain(c.addition.path) == path::sum;
    if (how.products == products::rounded || !has_sums) return slow_chain(c, s);
    if (is_stochastic(c.addition.rounding)) return random_chain(c, s);
    any_chain(c, s);
}

}  // namespace detail

bool has_kernels(const accumulator& how, carrier out) {
    how.validate();
    switch (how.order) {
        case summation::sequential: return detail::has_chain_kernel(how, out);
        case summation::aligned: return detail::has_unit_kernel(how, out);
        case summation::exact: return detail::has_exact_kernel(how, out);
        default: return detail::has_step_kernel(how, out);
    }
}

}  // namespace lowp::cuda
