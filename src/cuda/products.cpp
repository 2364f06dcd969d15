// Matrix products as the host sees them: arguments checked, plans made, kernels chosen by descriptors.
#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "lowp/formats.hpp"
#include "product.hpp"

namespace lowp::cuda {

namespace {

using lowp::detail::make_plan;
using lowp::detail::path;
using lowp::detail::without_plain;

[[noreturn]] void fail(const std::string& message) {
    throw std::invalid_argument("lowp::cuda::matmul: " + message);
}

// ---- arrays ---------------------------------------------------------------------------------------

std::string text(const layout& l) {
    std::string all;
    for (int a = 0; a < l.axes; ++a)
        all += (a > 0 ? ", " : "") + std::to_string(l.shape[static_cast<std::size_t>(a)]);
    return "(" + all + ")";
}

/// Length and stride of the axis that is `back` from the last.
std::size_t length(const layout& l, int back) {
    return l.shape[static_cast<std::size_t>(l.axes - back)];
}
std::ptrdiff_t stride(const layout& l, int back) {
    return l.strides[static_cast<std::size_t>(l.axes - back)];
}

void check_shapes(const layout& a, const layout& b, const layout& out) {
    const bool has_axes = a.axes >= 2 && b.axes == a.axes && out.axes == a.axes;
    const auto lengths_meet = [&] {
        bool meet = length(a, 1) == length(b, 2) && length(out, 2) == length(a, 2) &&
                    length(out, 1) == length(b, 1);
        for (int x = 3; x <= out.axes; ++x)
            meet = meet && length(a, x) == length(out, x) && length(b, x) == length(out, x);
        return meet;
    };
    if (!has_axes || !lengths_meet())
        fail("(..., m, k) times (..., k, n) gives (..., m, n), leading axes being equal; got " +
             text(a) + ", " + text(b) + " and out " + text(out));
    for (int x = 1; x <= out.axes; ++x)
        if (length(out, x) > 1 && stride(out, x) == 0)
            fail("out must have each element at a place of its own; got stride 0");
}

detail::matrices matrices_of(const void* data, carrier c, const layout& l) {
    detail::matrices m;
    m.data = const_cast<void*>(data);
    m.carrier = c;
    m.row_stride = stride(l, 2);
    m.column_stride = stride(l, 1);
    for (int x = 0; x < l.axes - 2; ++x)
        m.batch[static_cast<std::size_t>(x)] = l.strides[static_cast<std::size_t>(x)];
    return m;
}

detail::lines lines_of(const const_values& v, std::int64_t line_stride, std::int64_t k_stride) {
    detail::lines f;
    f.data = v.data;
    f.carrier = v.carrier;
    f.line_stride = line_stride;
    f.k_stride = k_stride;
    for (int x = 0; x < v.layout.axes - 2; ++x)
        f.batch[static_cast<std::size_t>(x)] = v.layout.strides[static_cast<std::size_t>(x)];
    return f;
}

detail::product_call make_call(const const_values& a, const const_values& b, const values& out,
                               const accumulator& how, const product_options& o) {
    detail::product_call p;
    p.m = length(out.layout, 2);
    p.n = length(out.layout, 1);
    p.k = length(a.layout, 1);
    p.axes = out.layout.axes - 2;
    for (int x = 0; x < p.axes; ++x) {
        const auto at = static_cast<std::size_t>(x);
        p.lengths[at] = out.layout.shape[at];
        p.batches *= p.lengths[at];
    }
    p.a = lines_of(a, stride(a.layout, 2), stride(a.layout, 1));
    p.b = lines_of(b, stride(b.layout, 1), stride(b.layout, 2));
    p.out = matrices_of(out.data, out.carrier, out.layout);
    if (o.c) p.c = matrices_of(o.c->data, o.c->carrier, o.c->layout);
    p.source = o.source;
    p.stream_offset = o.stream_offset;
    p.first_index = o.first_index;
    p.batch_index = 4 * (p.k + 1) * p.m * p.n;
    p.a_outer = o.a_outer;
    p.b_outer = o.b_outer;
    p.scale = o.scale;
    const bool is_nvidia =
        how.order == summation::aligned && how.unit.alignment == alignment::together;
    p.nan = is_nvidia ? 0x7FFFFFFF : 0x7FC00000;
    return p;
}

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

bool is_nearest(const rounding_step& s) {
    return s.projection.rounding == rounding::nearest_ties_to_even &&
           s.projection.saturation == saturation::none;
}

template <class T>
bool is_plain(const accumulator& how) {
    constexpr format own = sizeof(T) == 4 ? float32 : float64;
    return how.products == products::exact && how.addition.format == own &&
           is_nearest(how.addition);
}

/// A format that the numbers of an array are in: the one given, or what a carrier of 16 bits holds.
std::optional<format> known_format(const std::optional<format>& given, carrier c) {
    if (given) return given;
    if (c == carrier::float16) return float16;
    if (c == carrier::bfloat16) return bfloat16;
    return std::nullopt;
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

bool has_promotion(const accumulator& how, carrier out) {
    if (how.chunk == 0) return true;
    const bool fits = out == carrier::float64 ? how.promotion.format.fits<double>()
                                              : how.promotion.format.fits<float>();
    return fits && is_within_double(how.promotion);
}

void set_promotion(detail::product_call& p, const accumulator& how, carrier out) {
    if (how.chunk == 0) return;
    p.promotion.chunk = how.chunk;
    p.promotion.plan = make_plan<double>(how.promotion.format, how.promotion.projection);
    p.promotion.is_float_add =
        how.promotion.format == float32 && is_nearest(how.promotion) && out != carrier::float64;
}

// ---- chains ---------------------------------------------------------------------------------------

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

/// Operations one by one, in float64.
void run_single(const detail::product_call& p, const accumulator& how, stream s) {
    detail::chain_call<double> c;
    c.product = p;
    c.addition = make_plan<double>(how.addition.format, how.addition.projection);
    const rounding_step& alone = how.products == products::rounded ? how.product : how.addition;
    c.separate = make_plan<double>(alone.format, alone.projection);
    const auto is_wide = [](const auto& x) { return x.carrier == carrier::float64; };
    const bool in_double = is_wide(p.a) || is_wide(p.b) || is_wide(p.c) || is_wide(p.out);
    detail::single_sums(
        how.order, in_double ? detail::numbers_of::float64 : detail::numbers_of::float32, c, s);
}

template <class T>
detail::chain_call<T> chain_of(const detail::product_call& p, const accumulator& how) {
    detail::chain_call<T> c;
    c.product = p;
    c.products = how.products;
    if (!is_plain<T>(how)) c.addition = make_plan<T>(how.addition.format, how.addition.projection);
    if (how.products == products::rounded)
        c.separate = make_plan<T>(how.product.format, how.product.projection);
    return c;
}

void run_in_float(const detail::product_call& p, const accumulator& how, const product_options& o,
                  stream s) {
    const auto c = chain_of<float>(p, how);
    const bool is_fast = p.promotion.chunk == 0 || p.promotion.is_float_add;
    const bool is_half = how.addition.format == float16 || how.addition.format == bfloat16;
    if (is_fast && is_half && is_nearest(how.addition)) {
        const bool on_grid = !o.c || how.chunk > 0;
        const bool is_safe = is_safe_twice(how, known_format(o.a_format, p.a.carrier),
                                           known_format(o.b_format, p.b.carrier), on_grid);
        return detail::half_chain(
            how.addition.format == float16 ? carrier::float16 : carrier::bfloat16,
            is_safe ? detail::fused_by::nearest : detail::fused_by::odd, c, s);
    }
    const bool has_fast_path =
        c.addition.path == path::plain_sum || c.addition.path == path::plain_aligned;
    const bool is_common = how.addition.projection.rounding == rounding::nearest_ties_to_even;
    if (is_fast && is_common && has_fast_path) return detail::nearest_chain(c, s);
    detail::any_chain(c, s);
}

void run_chain(const detail::product_call& p, const accumulator& how, const product_options& o,
               stream s) {
    const bool in_double = p.out.carrier == carrier::float64;
    const bool takes_doubles = p.a.carrier == carrier::float64 || p.b.carrier == carrier::float64;
    if (in_double && is_plain<double>(how)) return detail::plain_chain(chain_of<double>(p, how), s);
    const bool is_float_plain = !in_double && is_plain<float>(how);
    const bool has_fast_promotion = p.promotion.chunk == 0 || p.promotion.is_float_add;
    if (is_float_plain && has_fast_promotion && !takes_doubles)
        return detail::plain_chain(chain_of<float>(p, how), s);
    if (how.products == products::exact && !in_double && !takes_doubles &&
        is_within_float(how.addition)) {
        const path way =
            without_plain(make_plan<float>(how.addition.format, how.addition.projection).path);
        if (way == path::sum || way == path::aligned) return run_in_float(p, how, o, s);
    }
    const auto c = chain_of<double>(p, how);
    const bool has_sums = without_plain(c.addition.path) == path::sum;
    if (how.products == products::rounded || !has_sums) return detail::slow_chain(c, s);
    if (is_stochastic(c.addition.rounding)) return detail::random_chain(c, s);
    detail::any_chain(c, s);
}

// ---- units ----------------------------------------------------------------------------------------

bool has_unit_kernel(const accumulator& how, carrier out) {
    return how.unit.terms <= detail::most_unit_terms && has_promotion(how, out);
}

detail::line_scales scales_of(const std::optional<factor_scales>& s, std::size_t k,
                              std::size_t group, const char* which) {
    detail::line_scales l;
    if (!s) return l;
    if (s->values == nullptr || s->block == 0 || s->block % group != 0)
        fail(std::string(which) + "_scales must be of blocks that are multiples of " +
             std::to_string(group) + "; got " + std::to_string(s->block));
    l.values = s->values;
    l.block = s->block;
    l.blocks = (k + s->block - 1) / s->block;
    l.emin = s->emin;
    return l;
}

lowp::detail::aligned_plan unit_plan(const aligned_unit& u) {
    lowp::detail::aligned_plan p;
    p.result = make_plan<double>(u.result.format, u.result.projection);
    p.kept = make_plan<double>(format::ieee(8, 31), {.rounding = rounding::toward_negative});
    p.terms = static_cast<std::size_t>(u.terms);
    p.group = static_cast<std::size_t>(u.group);
    p.fraction_bits = u.fraction_bits;
    p.lowest_power = format::power_of_two(u.lowest_exponent);
    p.first_over =
        lowp::detail::float_bits<double>(format::power_of_two(u.result.format.emax() + 1));
    p.cut = u.cut;
    p.alignment = u.alignment;
    return p;
}

detail::unit_call unit_of(const detail::product_call& p, const accumulator& how,
                          const product_options& o) {
    const aligned_unit& u = how.unit;
    detail::unit_call c;
    c.product = p;
    c.unit = unit_plan(u);
    const auto group = static_cast<std::size_t>(u.group);
    c.a_scales = scales_of(o.a_scales, p.k, group, "a");
    c.b_scales = scales_of(o.b_scales, p.k, group, "b");
    c.a_emin = o.a_format ? o.a_format->emin() : -126;
    c.b_emin = o.b_format ? o.b_format->emin() : -126;
    c.lowest_exponent = u.lowest_exponent;
    c.terms = static_cast<std::uint32_t>(u.terms);
    c.places = (c.terms + 1) / 2 * 2;
    c.stage_steps = std::max(1U, 32 / c.places);
    const std::uint64_t terms = c.terms;
    c.steps = (p.k + terms - 1) / terms;
    if (how.chunk > 0) {
        c.chunk_steps = (how.chunk + terms - 1) / terms;
        const std::uint64_t rest = p.k % how.chunk;
        // A last chunk that is taken in runs is filled up with zeros.
        const std::uint64_t last = rest == 0   ? 0
                                   : u.run > 0 ? c.chunk_steps
                                               : (rest + terms - 1) / terms;
        c.steps = p.k / how.chunk * c.chunk_steps + last;
        c.turns = static_cast<std::uint32_t>(c.chunk_steps);
    }
    if (c.steps > 0x7FFFFFFF) fail("k must be below 2^31 steps of the unit");
    c.run = static_cast<std::uint32_t>(u.run);
    c.is_dense = c.places == c.terms && how.chunk % terms == 0 && u.run == 0;
    if (u.result.projection.rounding == rounding::toward_zero && u.result.format.has_subnormals) {
        const format& f = u.result.format;
        const auto upper = [](int e) { return static_cast<std::uint32_t>(e + 1023) << 20; };
        c.normal = upper(f.emin());
        c.span = upper(f.emax() + 1) - c.normal;
        c.kept = ~((std::uint64_t{1} << (52 - f.mantissa_bits)) - 1);
    }
    return c;
}

/// Bits that sums of so many numbers have more.
int carries_of(int numbers) {
    int bits = 0;
    while (1 << bits <= numbers) ++bits;
    return bits;
}

/// Groups are summed exactly in float64, and cut to integers below 2^51: as gemm.hpp has it.
void run_groups(const detail::unit_call& c, const accumulator& how, const product_options& o,
                stream s) {
    const aligned_unit& u = how.unit;
    const auto a = known_format(o.a_format, c.product.a.carrier);
    const auto b = known_format(o.b_format, c.product.b.carrier);
    const auto highest = [](const format& f) { return std::max(f.emax(), f.emin()); };
    const int top = a && b ? highest(*a) + highest(*b) + 2 + carries_of(u.group) : 1024;
    const int bits = a && b ? top - a->min_quantum_exponent() - b->min_quantum_exponent() : 1024;
    if (bits > 53 || top > 51 - u.fraction_bits)
        fail(
            "units with groups take factors of few bits, as float4_e2m1fn; give a_format and "
            "b_format");
    const bool has_room = top + 2 + u.fraction_bits + carries_of(u.terms / u.group + 1) <= 52;
    if (!has_room || u.cut != cut::toward_zero || u.group > 32)
        return detail::single_unit_sums(c, s);
    detail::grouped_sums(bits <= 24 ? detail::group_sums::in_float : detail::group_sums::in_double,
                         c, s);
}

void run_unit(const detail::product_call& p, const accumulator& how, const product_options& o,
              stream s) {
    const aligned_unit& u = how.unit;
    const bool has_scales = o.a_scales || o.b_scales;
    if (has_scales && u.factors == factors::plain)
        fail(
            "scales of blocks are for units of block-scaled factors; multiply them into the "
            "factors");
    const auto needs_format = [&](carrier c, const std::optional<format>& f, const char* which) {
        if (c == carrier::float64 && (!f || !f->fits<float>()))
            fail(std::string("aligned sums take numbers that float32 holds; give ") + which +
                 "_format, that of the float64 numbers");
    };
    needs_format(p.a.carrier, o.a_format, "a");
    needs_format(p.b.carrier, o.b_format, "b");
    const detail::unit_call c = unit_of(p, how, o);
    if (u.group > 1) return run_groups(c, how, o, s);
    // A step's sum stays below 2^52 quanta, so that it is exact.
    const bool has_room = u.fraction_bits + 2 + carries_of(u.terms + 1) <= 51;
    if (u.alignment == alignment::together && has_room && u.terms <= 64)
        return detail::unit_sums(c, s);
    detail::single_unit_sums(c, s);
}

// ---- results --------------------------------------------------------------------------------------

/// The format that finished sums are in.
const format& last_format(const accumulator& how, const product_options& o) {
    if (o.out) return o.out->format;
    if (how.chunk > 0) return how.promotion.format;
    return how.order == summation::aligned ? how.unit.result.format : how.addition.format;
}

void check_results(const values& out, const accumulator& how, const product_options& o) {
    if (o.out) {
        o.out->projection.validate();
        if (out.carrier == carrier::float64) lowp::detail::check_fits<double>(o.out->format);
        else lowp::detail::check_fits<float>(o.out->format);
    }
    const format& last = last_format(how, o);
    const bool is_scaled = o.scale != 1 || o.a_outer != nullptr || o.b_outer != nullptr;
    if (bytes_of(out.carrier) == 2) {
        const format& half = out.carrier == carrier::float16 ? float16 : bfloat16;
        if (!half.holds(last) || (is_scaled && !o.out))
            fail(name(half) + " does not hold every result, of " + name(last) +
                 "; use an array of float32");
    }
}

}  // namespace

bool has_kernels(const accumulator& how, carrier out) {
    how.validate();
    switch (how.order) {
        case summation::sequential: return has_chain_kernel(how, out);
        case summation::aligned: return has_unit_kernel(how, out);
        case summation::exact: return has_exact_kernel(how, out);
        default: return has_step_kernel(how, out);
    }
}

void matmul(const const_values& a, const const_values& b, const values& out, const accumulator& how,
            const product_options& o, stream s) {
    check_shapes(a.layout, b.layout, out.layout);
    if (o.c) {
        bool alike = o.c->layout.axes == out.layout.axes;
        for (int x = 1; alike && x <= out.layout.axes; ++x)
            alike = length(o.c->layout, x) == length(out.layout, x);
        if (!alike)
            fail("c must have the shape of out, " + text(out.layout) + "; got " +
                 text(o.c->layout));
    }
    if (o.random != nullptr) fail("random bits come from `source`, not from `random`");
    if (!has_kernels(how, out.carrier))
        fail("the device has no kernels for this accumulator: use lowp::matmul on the host");
    check_results(out, how, o);
    detail::product_call p = make_call(a, b, out, how, o);
    if (p.m * p.n * p.batches == 0) return;
    if (out.data == nullptr || (p.k > 0 && (a.data == nullptr || b.data == nullptr)))
        fail("a, b and out must not be null where there are elements");
    set_promotion(p, how, out.carrier);
    if (o.out) {
        p.last = make_plan<double>(o.out->format, o.out->projection);
        p.rounds_last = true;
    }
    if (p.k == 0) p.promotion.chunk = 0;
    if (how.order == summation::aligned) run_unit(p, how, o, s);
    else if (how.order == summation::sequential) run_chain(p, how, o, s);
    else run_single(p, how, s);
}

}  // namespace lowp::cuda
