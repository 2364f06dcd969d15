// Matrix products as the host sees them: arguments checked, plans made, kernels chosen by descriptors.
#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "lowp/formats.hpp"
#include "product.hpp"
#include "walk.hpp"

namespace lowp::cuda {

namespace {

using lowp::detail::make_plan;

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

void set_promotion(detail::product_call& p, const accumulator& how, carrier out) {
    if (how.chunk == 0) return;
    p.promotion.chunk = how.chunk;
    p.promotion.plan = make_plan<double>(how.promotion.format, how.promotion.projection);
    const bool is_narrow = out != carrier::float64 && p.c.carrier != carrier::float64;
    p.promotion.is_float_add =
        is_narrow && how.promotion.format == float32 && detail::is_nearest(how.promotion);
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

// ---- c --------------------------------------------------------------------------------------------

/// An empty k gives c itself; a rounding of finished sums takes it in float32 at least.
void check_gives_c(const const_values& c, const values& out, const product_options& o) {
    const carrier to = o.out && bytes_of(out.carrier) == 2 ? carrier::float32 : out.carrier;
    const bool is_held = c.carrier == to || bytes_of(to) > bytes_of(c.carrier);
    if (!is_held)
        fail("an empty k gives c, whose numbers out does not hold; use an array of " +
             std::string(c.carrier == carrier::float64 ? "float64" : "float32"));
}

/// A sum's thread reads c at its place and writes out there: other threads' must not be the same.
void check_place(const const_values& c, const values& out) {
    if (c.data == out.data && (bytes_of(c.carrier) != bytes_of(out.carrier) ||
                               !detail::same_strides(c.layout, out.layout)))
        fail("c and out at one place must have the same strides and elements of one size");
}

}  // namespace

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
    // Sums that are no unit's have plain factors, too.
    if ((o.a_scales || o.b_scales) && how.unit.factors == factors::plain)
        fail(
            "scales of blocks are for units of block-scaled factors; multiply them into the "
            "factors");
    check_results(out, how, o);
    detail::product_call p = make_call(a, b, out, how, o);
    if (p.m * p.n * p.batches == 0) return;
    if (out.data == nullptr || (o.c && o.c->data == nullptr) ||
        (p.k > 0 && (a.data == nullptr || b.data == nullptr)))
        fail("a, b, c and out must not be null where there are elements");
    if (o.c) check_place(*o.c, out);
    if (o.c && p.k == 0) check_gives_c(*o.c, out, o);
    set_promotion(p, how, out.carrier);
    if (o.out) {
        p.last = make_plan<double>(o.out->format, o.out->projection);
        p.rounds_last = true;
    }
    if (p.k == 0) p.promotion.chunk = 0;
    if (how.order == summation::aligned) detail::run_unit(p, how, o, s);
    else if (how.order == summation::sequential) detail::run_chain(p, how, o, s);
    else detail::run_single(p, how, s);
}

}  // namespace lowp::cuda
