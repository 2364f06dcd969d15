// The block-scaled formats that have names of their own, and the edge behaviour of other libraries. A
// new preset is one line.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "lowp/block_format.hpp"
#include "lowp/formats.hpp"

namespace lowp {

struct named_block_format {
    std::string_view name;
    block_format format;
    std::string_view source;
};

namespace detail {

constexpr block_format mx(const format& element) { return {.element = element}; }

constexpr block_format nvfp4(block_shape shape, std::string_view rule, double scale_max) {
    block_format f{.element = float4_e2m1fn, .scale = float8_e4m3fn, .shape = shape};
    for (const named_rule& r : scale_rules)
        if (r.name == rule) f.rule = r.rule;
    f.outer = {.per = granularity::tensor, .scale_max = scale_max};
    return f;
}

/// Shared exponents: sign and magnitude without hidden bit, blocks of k.
constexpr block_format bfp(int magnitude_bits, std::size_t k) {
    return {.element = format::finite(0, magnitude_bits), .shape = {1, k}};
}

/// amax / M in a float scale.
constexpr block_format scaled_by_amax(const format& element, const format& scale, block_shape shape,
                                      double min_scale = 0) {
    block_format f{.element = element, .scale = scale, .shape = shape, .rule = {}};
    f.edges.min_scale = min_scale;
    return f;
}

constexpr block_format of_codebook(const codebook& book, const format& scale, block_shape shape) {
    block_format f{.elements = book, .scale = scale, .shape = shape, .rule = {}};
    return f;
}

inline constexpr format ue5m3 = format::unsigned_scale(5, 3);
inline constexpr double deepseek_floor = 1e-4F / 448.0F;  // max(amax, 1e-4) / 448, in float32

}  // namespace detail

// clang-format off
/// The presets. Rows of `shape` {1, 0} are whole lines along an axis, {0, 0} the tensor.
inline constexpr std::array block_presets{
    named_block_format{"mxfp8_e4m3",       detail::mx(float8_e4m3fn),                "OCP MX 1.0"},
    named_block_format{"mxfp8_e5m2",       detail::mx(float8_e5m2),                  "OCP MX 1.0"},
    named_block_format{"mxfp6_e3m2",       detail::mx(float6_e3m2fn),                "OCP MX 1.0"},
    named_block_format{"mxfp6_e2m3",       detail::mx(float6_e2m3fn),                "OCP MX 1.0"},
    named_block_format{"mxfp4",            detail::mx(float4_e2m1fn),                "OCP MX 1.0"},
    named_block_format{"mxint8",           detail::mx(format::fixed_point(1, 6)),    "OCP MX 1.0"},
    named_block_format{"nvfp4",            detail::nvfp4({1, 16}, "amax", 0),        "NVIDIA; two levels"},
    named_block_format{"nvfp4_16x16",      detail::nvfp4({16, 16}, "amax", 0),       "NVIDIA, weights"},
    named_block_format{"nvfp4_four_six",   detail::nvfp4({1, 16}, "four_six", 256),  "adaptive block scaling, 4/6"},
    named_block_format{"fp4_ue5m3_16",     detail::scaled_by_amax(float4_e2m1fn, detail::ue5m3, {1, 16}), "arXiv 2509.17791"},
    named_block_format{"fp4_ue5m3_32",     detail::scaled_by_amax(float4_e2m1fn, detail::ue5m3, {1, 32}), "arXiv 2509.17791"},
    named_block_format{"deepseek_1x128",   detail::scaled_by_amax(float8_e4m3fn, float32, {1, 128}, detail::deepseek_floor),   "DeepSeek-V3, activations"},
    named_block_format{"deepseek_128x128", detail::scaled_by_amax(float8_e4m3fn, float32, {128, 128}, detail::deepseek_floor), "DeepSeek-V3, weights"},
    named_block_format{"fp8_tensor",       detail::scaled_by_amax(float8_e4m3fn, float32, {0, 0}), "per-tensor scaling"},
    named_block_format{"fp8_row",          detail::scaled_by_amax(float8_e4m3fn, float32, {1, 0}), "per-row scaling"},
    named_block_format{"int8_row",         detail::scaled_by_amax(int8, float32, {1, 0}),          "per-channel scaling"},
    named_block_format{"int4_128",         detail::scaled_by_amax(int4, bfloat16, {1, 128}),       "group scaling"},
    named_block_format{"nf4",              detail::of_codebook(nf4, float32, {1, 64}),             "QLoRA"},
    named_block_format{"msfp12",           detail::bfp(3, 16),                       "Microsoft floating point"},
    named_block_format{"msfp16",           detail::bfp(7, 16),                       "Microsoft floating point"},
};
// clang-format on

/// Whose edge behaviour: what each does with NaN, infinity, zero and the ends of the range, and in
/// which order it rounds. Source: the libraries themselves (tests/data/blocks).
enum class compat : std::uint8_t { ocp, microxcaling, torchao, te, model_optimizer };
inline constexpr std::array<std::string_view, 5> compat_names{"ocp", "microxcaling", "torchao",
                                                              "te", "model_optimizer"};

/// f with another library's edge behaviour, as far as it has f at all: the rule and rounding too,
/// where it has but one.
[[nodiscard]] constexpr block_format with_compat(block_format f, compat c) {
    const bool is_mx = f.scale.mantissa_bits == 0;
    block_edges& e = f.edges;
    e = {};
    switch (c) {
        case compat::ocp:
            if (is_mx) f.rule = {.power_of_two = power_of_two::floor};
            break;
        case compat::microxcaling:
            if (!is_mx || f.outer.per != granularity::none)
                throw std::invalid_argument(
                    "lowp::with_compat: microxcaling has power-of-two scales without an outer "
                    "scale "
                    "only; use ocp or torchao");
            f.rule = {.power_of_two = power_of_two::floor};
            f.rounding = rounding::nearest_ties_to_away;
            e.exponents = exponents::logarithm;
            e.zero_sign = zero_sign::positive;
            e.scale_saturation = saturation::none;  // a scale beyond 2^127 is NaN
            e.min_scale = f.scale.min_positive();
            // Its INT8 leaves -2 out.
            if (f.element.is_twos_complement) {
                f.element.is_twos_complement = false;
                f.element.has_neg_zero = true;
            }
            break;
        case compat::torchao:
            e.infinity = infinity_policy::number;
            e.arithmetic = arithmetic::torchao;
            if (is_mx && f.rule.power_of_two == power_of_two::rceil) {
                e.exponents = exponents::logarithm;
                e.lowest_divisor = 1;
            } else if (is_mx) {
                e.lowest_divisor = 0x1p-126;
            } else {
                e.min_scale = f.scale.min_normal();
            }
            break;
        case compat::te:
            e.infinity = infinity_policy::number;
            e.arithmetic = arithmetic::transformer_engine;
            if (!is_mx) break;
            f.rule = {.power_of_two = power_of_two::rceil};
            e.nan = nan_policy::element;
            e.lowest_divisor = 1;
            break;
        case compat::model_optimizer:
            e.infinity = infinity_policy::number;
            e.arithmetic = arithmetic::model_optimizer;
            if (is_mx) {
                f.rule = {.power_of_two = power_of_two::rceil};
                e.exponents = exponents::logarithm;
                if (f.element_bits() > 4) break;
                f.rounding = rounding::nearest_ties_to_zero;
                e.zero_sign = zero_sign::negative;
            } else {
                e.zero_scale = 1;
                e.min_scale = f.scale.min_positive();
                e.zero_sign = zero_sign::positive;
            }
            break;
    }
    return f;
}

inline constexpr block_format mxfp8_e4m3 = detail::registered(block_presets, "mxfp8_e4m3");
inline constexpr block_format mxfp8_e5m2 = detail::registered(block_presets, "mxfp8_e5m2");
inline constexpr block_format mxfp6_e3m2 = detail::registered(block_presets, "mxfp6_e3m2");
inline constexpr block_format mxfp6_e2m3 = detail::registered(block_presets, "mxfp6_e2m3");
inline constexpr block_format mxfp4 = detail::registered(block_presets, "mxfp4");
inline constexpr block_format mxint8 = detail::registered(block_presets, "mxint8");
inline constexpr block_format nvfp4 = detail::registered(block_presets, "nvfp4");

}  // namespace lowp
