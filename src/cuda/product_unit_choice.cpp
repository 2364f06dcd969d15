// Which kernel works out the sums of a matrix unit, and what it needs to know.
#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>

#include "lowp/detail/product_choice.hpp"
#include "lowp/formats.hpp"
#include "product.hpp"

namespace lowp::cuda::detail {

bool has_unit_kernel(const accumulator& how, carrier out) {
    return how.unit.terms <= most_unit_terms && has_promotion(how, out);
}

namespace {

[[noreturn]] void fail(const std::string& message) {
    throw std::invalid_argument("lowp::cuda::matmul: " + message);
}

line_scales scales_of(const std::optional<factor_scales>& s, std::size_t k, std::size_t group,
                      const char* which) {
    line_scales l;
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

unit_call unit_of(const product_call& p, const accumulator& how, const product_options& o) {
    const aligned_unit& u = how.unit;
    unit_call c;
    c.product = p;
    c.unit = lowp::detail::make_aligned_plan(u);
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
void run_groups(const unit_call& c, const accumulator& how, const product_options& o, stream s) {
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
    if (!has_room || u.cut != cut::toward_zero || u.group > 32) return single_unit_sums(c, s);
    grouped_sums(bits <= 24 ? group_sums::in_float : group_sums::in_double, c, s);
}

}  // namespace

void run_unit(const product_call& p, const accumulator& how, const product_options& o, stream s) {
    const aligned_unit& u = how.unit;
    const auto needs_format = [&](carrier c, const std::optional<format>& f, const char* which) {
        if (c == carrier::float64 && (!f || !f->fits<float>()))
            fail(std::string("aligned sums take numbers that float32 holds; give ") + which +
                 "_format, that of the float64 numbers");
    };
    needs_format(p.a.carrier, o.a_format, "a");
    needs_format(p.b.carrier, o.b_format, "b");
    const unit_call c = unit_of(p, how, o);
    if (u.group > 1) return run_groups(c, how, o, s);
    // A step's sum stays below 2^52 quanta, so that it is exact.
    const bool has_room = u.fraction_bits + c.carries_of_terms() + carries_of(u.terms + 1) <= 51;
    if (u.alignment == alignment::together && has_room && u.terms <= 64) return unit_sums(c, s);
    single_unit_sums(c, s);
}

}  // namespace lowp::cuda::detail
