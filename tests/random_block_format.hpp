// Block formats of any fields, for tests that try what nobody thought of.
#pragma once

#include <stdexcept>
#include <vector>

#include "lowp/block_format.hpp"
#include "lowp/block_formats.hpp"
#include "support.hpp"

namespace lowp::test {

[[nodiscard]] inline bool is_valid(const block_format& f) {
    try {
        f.validate();
        return true;
    } catch (const std::invalid_argument&) {
        return false;
    }
}

[[nodiscard]] inline codebook random_codebook(dice& d) {
    std::vector<double> values;
    double v = -static_cast<double>(d.below(8)) / 4;
    const std::size_t size = d.pick(
        {std::size_t{2}, std::size_t{5}, std::size_t{16}, std::size_t{17}, std::size_t{200}});
    while (values.size() < size) {
        values.push_back(v);
        v += static_cast<double>(1 + d.below(8)) / 8;
    }
    return codebook(std::span(values));
}

/// A valid block format. Searches are left out where results could hang on the order of sums.
[[nodiscard]] inline block_format random_block_format(dice& d) {
    while (true) {
        block_format f;
        const auto any = [&d](const auto& names) { return d.below(names.size()); };
        f.element = d.pick({float4_e2m1fn, float6_e3m2fn, float8_e4m3fn, float8_e5m2, int8, int4,
                            float16, bfloat16, format::finite(0, 3), format::finite(2, 0),
                            float8_e4m3fnuz, parse_format("e3m2f_nosub"), parse_format("uint4"),
                            format::p3109(6, 3), parse_format("e8m3b140fn")});
        if (d.below(8) == 0) {
            f.element = block_format{}.element;
            f.elements = random_codebook(d);
        }
        f.scale = d.pick({float8_e8m0fnu, float8_e8m0fnu, float8_e8m0fnu, float8_e4m3fn, float32,
                          bfloat16, format::unsigned_scale(5, 3), format::unsigned_scale(4, 3),
                          float8_e5m2, parse_format("ue4m0"), float8_e4m3fnuz,
                          parse_format("e5m2f_nosub"), parse_format("e5m3f")});
        f.shape = d.pick({block_shape{1, 16}, block_shape{1, 32}, block_shape{1, 5},
                          block_shape{1, 1}, block_shape{4, 8}, block_shape{1, 0},
                          block_shape{0, 1}, block_shape{0, 0}, block_shape{3, 40}});
        f.rule = scale_rules.at(any(scale_rules)).rule;
        if (d.coin()) f.rule.search = search::none;
        if (d.below(6) == 0) f.rule.gain = d.pick({0.75, 1.5, 2.0, 0.1});
        if (d.below(6) == 0) f.rule.post_gain = d.pick({0.75, 1.5, 0.1});
        if (d.below(10) == 0) f.rule = {.statistic = statistic::none, .gain = 0.375};
        if (d.coin()) f.rounding = static_cast<rounding>(any(rounding_names));
        if (d.below(3) == 0) f.scale_rounding = static_cast<rounding>(any(rounding_names));
        f.random_bits = d.pick({32, 32, 1, 8, 23});
        if (d.below(3) == 0)
            f.outer = {.per = d.coin() ? granularity::tensor : granularity::row,
                       .format = d.pick({float32, float32, bfloat16, float8_e8m0fnu}),
                       .fixed = d.pick({0.0, 0.0, 0.01}),
                       .scale_max = d.pick({0.0, 0.0, 2.0})};
        if (d.below(3) == 0) f.edges.nan = nan_policy::element;
        if (d.below(3) == 0) f.edges.infinity = infinity_policy::number;
        if (d.below(3) == 0)
            f.edges.arithmetic = static_cast<arithmetic>(any(detail::arithmetic_names));
        if (d.below(8) == 0) f.edges.zero_sign = static_cast<zero_sign>(any(detail::zero_names));
        if (d.below(8) == 0)
            f.edges.scale_saturation = static_cast<saturation>(any(saturation_names));
        if (d.below(8) == 0) f.edges.zero_scale = d.pick({0.0, 1.0});
        if (d.below(8) == 0) f.edges.min_scale = f.scale.min_positive();
        if (d.below(8) == 0) f.edges.max_scale = 0.5;
        if (d.below(8) == 0) f.edges.lowest_divisor = d.pick({1.0, 0x1p-126});
        if (is_valid(f)) return f;
    }
}

}  // namespace lowp::test
