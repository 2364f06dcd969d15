// Names and block formats are inverse to each other; presets and compat are what their sources say.
#include "lowp/block_formats.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "random_block_format.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

void refuses(const char* text, const char* message) {
    INFO(std::string(text));
    CHECK_THROWS_WITH_AS((void)parse_block_format(text), doctest::Contains(message),
                         std::invalid_argument);
}

}  // namespace

TEST_CASE("every preset is valid, has a source, and parses from the name it prints") {
    std::set<std::string_view> names;
    for (const named_block_format& p : block_presets) {
        INFO(p.name);
        CHECK_NOTHROW(p.format.validate());
        CHECK(parse_block_format(p.name) == p.format);
        CHECK(name(p.format) == p.name);
        CHECK_FALSE(p.source.empty());
        names.insert(p.name);
    }
    CHECK(names.size() == block_presets.size());
}

TEST_CASE("presets are what their sources say") {
    static_assert(mxfp4.element == float4_e2m1fn && mxfp4.scale == float8_e8m0fnu);
    static_assert(mxfp4.shape == block_shape{1, 32} && mxfp4.rule == scale_rules[0].rule);
    static_assert(mxint8.element == format::fixed_point(1, 6) && mxint8.element_bits() == 8);
    static_assert(mxfp8_e4m3.element == float8_e4m3fn && mxfp8_e5m2.element == float8_e5m2);
    static_assert(mxfp6_e3m2.element == float6_e3m2fn && mxfp6_e2m3.element == float6_e2m3fn);
    static_assert(nvfp4.shape == block_shape{1, 16} && nvfp4.scale == float8_e4m3fn);
    static_assert(nvfp4.outer.per == granularity::tensor && nvfp4.outer.format == float32);
    static_assert(nvfp4.element_max() * nvfp4.scale_max() == 2688);
    static_assert(nvfp4.element_projection() ==
                  projection{rounding::nearest_ties_to_even, saturation::finite});
    const auto four_six = parse_block_format("nvfp4_four_six");
    CHECK(four_six.scale_max() == 256);
    CHECK(four_six.rule.search == search::four_six);
    CHECK(parse_block_format("nvfp4_16x16").shape == block_shape{16, 16});
    const auto deepseek = parse_block_format("deepseek_128x128");
    CHECK(deepseek.shape == block_shape{128, 128});
    CHECK(static_cast<float>(deepseek.edges.min_scale) == 1e-4F / 448.0F);
    CHECK(parse_block_format("fp8_tensor").shape == block_shape{0, 0});
    CHECK(parse_block_format("nf4").elements == lowp::nf4);
    CHECK(parse_block_format("nf4").element_max() == 1);
    CHECK(parse_block_format("msfp12").element == format::finite(0, 3));  // 12 = sign, 3, 8
    CHECK(parse_block_format("msfp16").element_max() == format::finite(0, 7).max());
    CHECK(parse_block_format("int4_128").scale == bfloat16);
}

TEST_CASE("the grammar means what its comment says") {
    const auto same = [](const char* text, const block_format& f) {
        INFO(std::string(text));
        CHECK(parse_block_format(text) == f);
    };
    block_format f;
    same("float4_e2m1fn", mxfp4);
    same("e2m1fn", mxfp4);
    same("float4_e2m1fn/32/float8_e8m0fnu/floor", mxfp4);
    f = mxfp4;
    f.rule = find_rule("rceil");
    same("mxfp4/rceil", f);
    f = {.element = float4_e2m1fn,
         .scale = format::unsigned_scale(5, 3),
         .shape = {1, 16},
         .rule = {}};
    same("float4_e2m1fn/16/ue5m3/amax", f);
    f = nvfp4;
    f.rounding = rounding::stochastic_a;
    same("nvfp4/rounding=stochastic_a", f);
    f.random_bits = 7;
    f.scale_rounding = rounding::toward_positive;
    f.outer.scale_max = 256;
    f.edges.nan = nan_policy::element;
    f.edges.zero_scale = 1;
    same(
        "nvfp4/rounding=stochastic_a/random_bits=7/scale_rounding=toward_positive/"
        "outer_scale_max=256/nan=element/zero_scale=1",
        f);
    f = mxfp4;
    f.shape = {1, 0};
    same("mxfp4/row", f);
    f.shape = {0, 1};
    same("mxfp4/column", f);
    f.shape = {0, 0};
    same("mxfp4/tensor", f);
    f.shape = {4, 8};
    same("mxfp4/4x8", f);
    f = mxfp4;
    f.rule = {.statistic = statistic::none, .gain = 0.5};
    same("mxfp4/fixed=0.5", f);
    same("bfp_m3_k16", parse_block_format("msfp12"));
    f = {.element = format::finite(0, 5), .shape = {1, 8}};
    same("bfp_m5_k8", f);
    const std::vector<double> ternary{-1, 0, 1};
    f = {.elements = codebook(std::span(ternary)), .shape = {1, 64}};
    same("{-1,0,1}/64", f);
    same("mxfp4/compat=torchao", with_compat(mxfp4, compat::torchao));
    f = mxfp4;
    f.outer = {.per = granularity::row, .format = bfloat16};
    same("mxfp4/outer=row/outer_format=bfloat16", f);
    // Later parts win.
    same("mxfp4/16/32/rceil/floor", mxfp4);
}

TEST_CASE("the name of a block format parses to it, whatever its fields") {
    dice d(1);
    for (std::size_t i = 0; i < 20000 / scale(); ++i) {
        const block_format f = random_block_format(d);
        const std::string text = name(f);
        INFO(text);
        CHECK(parse_block_format(text) == f);
        CHECK(name(parse_block_format(text)) == text);
    }
}

TEST_CASE("shapes of all of one axis and some of the other are refused") {
    for (const block_shape& s : {block_shape{0, 16}, block_shape{16, 0}, block_shape{2, 0}}) {
        block_format f = mxfp4;
        f.shape = s;
        CHECK_THROWS_AS(f.validate(), std::invalid_argument);
    }
}

TEST_CASE("names of registered rules are printed as such, others as fields") {
    CHECK(name(parse_block_format("mxfp4/rceil")) == "float4_e2m1fn/32/float8_e8m0fnu/rceil");
    CHECK(name(parse_block_format("mxfp4/fixed=0.5")) ==
          "float4_e2m1fn/32/float8_e8m0fnu/amax/statistic=none/gain=0.5");
    CHECK(name(parse_block_format("nvfp4/rounding=stochastic_a")) ==
          "float4_e2m1fn/16/float8_e4m3fn/amax/rounding=stochastic_a/outer=tensor");
}

TEST_CASE("compat changes edges, and the rule only where a library has but one") {
    static_assert(with_compat(mxfp4, compat::ocp) == mxfp4);
    for (const named_block_format& p : block_presets)
        for (std::size_t i = 0; i < compat_names.size(); ++i) {
            if (static_cast<compat>(i) == compat::microxcaling &&
                p.format.scale != float8_e8m0fnu) {
                CHECK_THROWS_AS((void)with_compat(p.format, compat::microxcaling),
                                std::invalid_argument);
                continue;
            }
            const block_format f = with_compat(p.format, static_cast<compat>(i));
            INFO(p.name << " " << compat_names[i]);
            CHECK_NOTHROW(f.validate());
            CHECK(f.shape == p.format.shape);
            CHECK(f.scale == p.format.scale);
            CHECK(f.outer == p.format.outer);
            CHECK(f.elements == p.format.elements);
            CHECK(f.element_bits() == p.format.element_bits());
            CHECK(parse_block_format(name(f)) == f);
            CHECK(with_compat(f, static_cast<compat>(i)) == f);
        }
    const block_format even = parse_block_format("mxfp4/even");
    CHECK(with_compat(even, compat::torchao).rule == even.rule);
    CHECK(with_compat(even, compat::te).rule == find_rule("rceil"));
    CHECK(with_compat(even, compat::microxcaling).rule == find_rule("floor"));
    CHECK(with_compat(mxint8, compat::microxcaling).element == format::finite(0, 7));
}

TEST_CASE("microxcaling's integers leave the lowest value out and keep the grid") {
    for (const format& f : {int8, int4, format::fixed_point(1, 6)}) {
        const block_format b = with_compat({.element = f}, compat::microxcaling);
        CHECK(b.element.max() == f.max());
        CHECK(b.element.lowest() == -f.max());
    }
}

TEST_CASE("what is no block format is refused with the part that is wrong") {
    refuses("", "unknown block format \"\"; known: mxfp8_e4m3");
    refuses("mxfp5", "unknown block format \"mxfp5\"");
    refuses("mxfp5", "others start with an element's format");
    refuses("mxfp4/floo", "\"floo\" is no part of a block format's name: a shape (32, 16x16, row");
    refuses("mxfp4/", "\"\" is no part");
    refuses("mxfp4/32/", "\"\" is no part");
    refuses("mxfp4/0", "at least one element; got \"0\"");
    refuses("mxfp4/16x0", "at least one element; got \"16x0\"");
    refuses("mxfp4/-4", "\"-4\" is no part");
    refuses("mxfp4/99999999999999999999999", "is no part");
    refuses("mxfp4/colour=red", "unknown key \"colour\" of a block format; known: fixed compat");
    refuses("mxfp4/rounding=up", "rounding must be one of nearest_ties_to_even");
    refuses("mxfp4/rounding=up", "got \"up\"");
    refuses("mxfp4/gain=much", "gain must be a number; got \"much\"");
    refuses("mxfp4/gain=", "gain must be a number");
    refuses("mxfp4/gain=-1", "gain must be positive and finite; got -1");
    refuses("mxfp4/gain=inf", "gain must be positive and finite");
    refuses("mxfp4/random_bits=0", "random_bits must be between 1 and 32; got 0");
    refuses("mxfp4/random_bits=33", "random_bits must be between 1 and 32; got 33");
    refuses("mxfp4/random_bits=2.5", "random_bits must be");
    refuses("mxfp4/compat=nvidia", "compat must be one of ocp microxcaling torchao te");
    refuses("mxfp4/int8", "scale must be a floating-point format");
    refuses("mxfp4/4x4/outer=row", "an outer scale a row needs blocks within a row");
    refuses("mxfp4/outer_fixed=-1", "outer.fixed must be positive, or 0 for amax; got -1");
    refuses("nvfp4/outer_scale_max=449", "outer.scale_max must be between 0 and the scale's");
    refuses("mxfp4/min_scale=2/max_scale=1", "min_scale must be 0 or more and below max_scale");
    refuses("mxfp4/min_scale=nan", "min_scale");
    refuses("mxfp4/fixed=1/floor/statistic=none", "a fixed scale has no statistic");
    refuses("{1}/32", "needs 2 to 256 values; got 1");
    refuses("{2,1}", "must ascend");
    refuses("{a,b}", "a codebook's value must be a number; got \"a\"");
    refuses("{}", "unknown block format \"{}\"");
    refuses("bfp_m0_k16", "unknown block format");
    refuses("bfp_m3_k0", "unknown block format");
    refuses("bfp_m53_k8", "unknown block format");
    refuses("bfp_m3", "unknown block format");
}

TEST_CASE("edges that mean nothing are refused") {
    for (const char* text :
         {"mxfp4/zero_scale=nan", "mxfp4/zero_scale=inf", "mxfp4/lowest_divisor=nan",
          "mxfp4/lowest_divisor=-1", "mxfp4/lowest_divisor=inf", "mxfp4/min_scale=inf",
          "mxfp4/max_scale=nan"}) {
        INFO(std::string(text));
        CHECK_THROWS_AS((void)parse_block_format(text), std::invalid_argument);
    }
}

// ---- layouts ----------------------------------------------------------------------------------------

TEST_CASE("a layout divides an array as its shape says") {
    const auto layout = [](block_shape s, std::vector<std::size_t> sizes, int axis = -1) {
        return layout_of(s, sizes, axis);
    };
    CHECK(layout({1, 32}, {100}) == block_layout{1, 1, 100, 1, 32});
    CHECK(layout({1, 32}, {2, 3, 100}) == block_layout{1, 6, 100, 1, 32});
    CHECK(layout({1, 32}, {2, 3, 100}, 2) == layout({1, 32}, {2, 3, 100}, -1));
    CHECK(layout({1, 32}, {2, 50, 100}, 1) == block_layout{2, 50, 100, 32, 1, true});
    CHECK(layout({1, 32}, {2, 50, 100}, 0) == block_layout{1, 2, 5000, 2, 1, true});
    CHECK(layout({16, 16}, {3, 40, 50}) == block_layout{3, 40, 50, 16, 16});
    CHECK(layout({0, 0}, {3, 40}) == block_layout{1, 1, 120, 1, 120});
    CHECK(layout({1, 0}, {3, 40}) == block_layout{1, 3, 40, 1, 40});
    CHECK(layout({0, 1}, {3, 40}) == block_layout{1, 3, 40, 3, 1});
    CHECK(layout({1, 32}, {}) == block_layout{1, 1, 1, 1, 1});
    CHECK(layout({1, 64}, {3, 20}).block_columns == 20);  // a short axis is one block
    CHECK(layout({1, 32}, {0}).blocks() == 0);
    CHECK(layout({4, 4}, {0, 8}).blocks() == 0);
    CHECK(layout({4, 4}, {8, 0}).blocks() == 0);
    const block_layout l = layout({1, 32}, {2, 50, 100}, 1);
    CHECK(l.blocks() == 400);
    CHECK(l.lines() == 200);
    CHECK(l.line_of(0) == 0);
    CHECK(l.line_of(199) == 99);
    CHECK(l.line_of(200) == 100);
    CHECK_THROWS_WITH_AS(layout({1, 32}, {4}, 1),
                         doctest::Contains("axis must be between -1 and 0; got 1"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(layout({2, 2}, {4}), doctest::Contains("lie on the last two axes"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(layout({2, 2}, {4, 4}, 0), doctest::Contains("axis must be -1"),
                         std::invalid_argument);
}
