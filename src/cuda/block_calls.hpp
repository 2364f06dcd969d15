// What the verbs of block formats share on the host: plans of a call, made from a format, a layout and
// options, and the transform before it.
#pragma once

#include <bit>
#include <cmath>
#include <stdexcept>
#include <string>

#include "block.hpp"
#include "carriers.hpp"
#include "lowp/block.hpp"
#include "lowp/cuda_block.hpp"
#include "lowp/halves.hpp"

namespace lowp::cuda::detail {

[[noreturn]] inline void fail(const char* verb, const std::string& message) {
    throw std::invalid_argument(std::string("lowp::cuda::") + verb + ": " + message);
}

/// Whether a carrier takes the format, and the format is one.
template <carrier C>
void check_format(const char* verb, const block_format& f, const block_layout& l) {
    const lowp::block_options none;
    if constexpr (C == carrier::float16)
        lowp::detail::check_half_blocks<minifloat<float16>>(verb, f, l, l.size(), none);
    else if constexpr (C == carrier::bfloat16)
        lowp::detail::check_half_blocks<minifloat<bfloat16>>(verb, f, l, l.size(), none);
    else lowp::detail::check_blocks<detail::worker_t<C>>(verb, f, l, l.size(), none);
}

inline block_layout walked(const block_layout& l) {
    return l.size() == 0 ? l : lowp::detail::panels(l).layout();
}

/// Whether scales need more than one look at the elements: they are worked out first.
inline bool finds_scales_first(const block_format& f) {
    return f.rule.search != search::none || f.rule.statistic == statistic::mean_abs ||
           f.rule.statistic == statistic::rms;
}

inline std::size_t outer_count(const block_format& f, const block_layout& l) {
    if (f.outer.per == granularity::none) return 0;
    return f.outer.per == granularity::row ? l.lines() : 1;
}

/// The quick ways that a call may take (block_ways.cuh), from its plans alone.
inline void choose_ways(detail::block_call<double>& /*c*/, const block_format& /*f*/) {}
inline void choose_ways(detail::block_call<float>& c, const block_format& f) {
    using detail::quick_elements;
    using detail::quick_scales;
    using lowp::detail::path;
    const bool is_nearest = f.rounding == rounding::nearest_ties_to_even;
    const bool is_common = c.book == nullptr && c.zeros == zero_sign::kept && c.code_bits <= 8 &&
                           c.element.path == path::plain_sum &&
                           c.element.encode_path == path::plain_sum;
    if (is_common && is_nearest) c.way = quick_elements::nearest;
    if (is_common && detail::fits_chance(c.element)) {
        c.way = quick_elements::chance;
        c.chance = detail::make_chance(c.element, c.before == lowp::detail::scaling::divide
                                                      ? detail::magnitudes::near
                                                      : detail::magnitudes::exact);
    }
    // Quotients below 2^-34 of the smallest quantum never step; remainders of others do not underflow.
    const double quantum = format::power_of_two(f.element.min_quantum_exponent());
    // Inverses of divisors are finite.
    c.least_divisor = static_cast<float>(std::max(0x1p-64 / std::max(quantum, 0x1p-60), 0x1p-126));
    const bool is_positive = f.scale_rounding == rounding::nearest_ties_to_even &&
                             f.edges.scale_saturation == saturation::finite;
    const bool has_rule =  // as the quick way has it
        c.statistic == statistic::amax && c.ideals == nullptr && !c.rule.by_logarithm;
    if (!has_rule) c.scale_way = quick_scales::none;
    else if (c.is_on_grid && c.scale.low_field < 2U) c.scale_way = quick_scales::exponents;
    else if (is_positive && (c.scale.path == path::sum || c.scale.path == path::plain_sum))
        c.scale_way = quick_scales::sums;
    // Pairs: factors and elements are bfloat16, whose own smallest numbers lie below all that counts.
    c.fits_pairs = c.way == quick_elements::nearest && detail::fits_pairs(c.element, f.element) &&
                   quantum >= 0x1p-120 && c.totals.kind == lowp::detail::totals_kind::exact_inverse;
    if (c.fits_pairs) c.halves = detail::halved(c.element);
}

template <class T>
detail::block_call<T> make_call(const block_format& f, const block_layout& l,
                                const block_options& o) {
    const auto plan = lowp::detail::make_block_plan<T>(f, o.ideals != nullptr);
    const bool has_book = !f.elements.empty();
    detail::block_call<T> c;
    c.element = converter<T>(has_book ? float8_e4m3fn : f.element, f.element_projection()).plan();
    c.scale = converter<T>(f.scale, f.scale_projection()).plan();
    c.rule = plan.rule;
    c.totals = plan.totals;
    c.outer = lowp::detail::make_outer_plan<T>(f);
    c.before = plan.before;
    c.is_sticky = plan.is_sticky;
    c.is_on_grid = plan.is_on_grid;
    c.has_nan_code = o.nan_code.has_value() || (!has_book && f.element.has_nan());
    c.scale_has_nan = f.scale.has_nan();
    c.statistic = f.rule.statistic;
    c.fixed = static_cast<T>(f.rule.gain);
    c.nan = f.edges.nan;
    c.infinity = f.edges.infinity;
    c.zeros = f.edges.zero_sign;
    c.element_projection = f.element_projection();
    c.book = has_book ? &f.elements : nullptr;
    c.element.nan_code = static_cast<decltype(c.element.nan_code)>(
        o.nan_code                         ? *o.nan_code
        : !has_book && f.element.has_nan() ? f.element.nan_code()
                                           : 0);
    c.layout = walked(l);
    c.lines_of = l;
    c.outer_per = f.outer.per;
    c.outer_fixed = static_cast<T>(f.outer.fixed);
    c.line_count = outer_count(f, l);
    c.outer_given = o.outer;
    c.outer_count = o.outer_given;
    c.source = {o.source, o.stream_offset};
    c.first_index = o.first_index;
    c.random = o.random;
    c.ideals = o.ideals;
    c.code_bits = f.element_bits();
    c.code_bytes = lowp::detail::code_bytes(f.element_bits());
    c.scale_bytes = lowp::detail::code_bytes(f.scale.bits());
    choose_ways(c, f);
    return c;
}

/// Values transformed into `buffer`, or the kernels' plan of transforming them where there is none; nothing
/// where no transform is wanted. c: with its memory.
template <carrier C>
void turn(const char* verb, detail::block_call<detail::worker_t<C>>& c, const block_options& o,
          void* buffer, stream s) {
    const block_layout& l = c.lines_of;
    if (l.size() == 0 || o.hadamard_size == 0) return;
    if (buffer != nullptr) {
        hadamard(c.from, buffer, C, l.size(), o.hadamard_size, l.is_upright ? l.columns : 1,
                 o.hadamard, s);
        c.from = buffer;
        return;
    }
    if (!detail::is_aligned(c.from, bytes_of(C), 16) || !detail::is_aligned(c.to, 1, 16))
        fail(verb, "a transform on the way needs x and results on boundaries of 16 bytes");
    const auto& h = o.hadamard;
    c.turn.log2_size = static_cast<unsigned>(std::countr_zero(o.hadamard_size));
    c.turn.signs = h.source             ? detail::turn_signs::source
                   : h.signs != nullptr ? detail::turn_signs::given
                                        : detail::turn_signs::none;
    c.turn.norm = static_cast<float>(1 / std::sqrt(static_cast<double>(o.hadamard_size)));
    c.turn.source = {h.source.value_or(random_source{}), h.stream_offset};
    c.turn.given = h.signs;
}

}  // namespace lowp::cuda::detail
