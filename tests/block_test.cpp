// quantize, encode and decode in blocks are what the definition says: every preset, rounding,
// carrier and instruction set, any fields, and blocks that have edges.
#include "lowp/block.hpp"

#include <doctest/doctest.h>

#include "block_check.hpp"
#include "random_block_format.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

template <class T>
bool fits(const block_format& f) {
    return f.scale.fits<T>() && (!f.elements.empty() || f.element.fits<T>()) &&
           (f.outer.per == granularity::none || f.outer.format.fits<T>());
}

bool sums(const block_format& f) {
    return f.rule.statistic == statistic::mean_abs || f.rule.statistic == statistic::rms;
}

/// Whether no product of constants leaves the carrier: where one does, blocks may be NaN.
template <class T>
bool stays_inside(const block_format& f) {
    constexpr double most = std::numeric_limits<T>::max();
    const bool aims_inside = f.element_max() * f.scale_max() <= most / 8;
    const bool steps_inside = f.element_max() <= most * f.rule.gain &&
                              f.scale.max() <= most / std::max(1.0, f.rule.post_gain);
    const bool has_room =
        f.rule.statistic != statistic::none || f.edges.infinity == infinity_policy::nan;
    return (aims_inside || f.outer.per == granularity::none) && steps_inside && has_room;
}

/// An array's sizes that fit a shape: ragged, and with more than one block each way.
std::vector<std::size_t> sizes_for(const block_shape& s, dice& d) {
    const auto length = [&d](std::size_t n) {
        if (n == 0) return std::size_t{1} + d.below(90);
        return n * d.below(3) + 1 + d.below(n + 2);
    };
    if (s.rows == 1) return {1 + d.below(4), length(s.columns)};
    return {length(s.rows), length(s.columns)};
}

template <class T>
void check_preset(const block_format& f, dice& d) {
    block_format with = f;
    for (const rounding r : all_roundings()) {
        with.rounding = r;
        const block_map map(f.shape, sizes_for(f.shape, d));
        block_check<T> c(with, map, block_values<T>(map.size(), d),
                         {{.source = {d(), d()}, .first_index = d.below(100), .threads = 1}, {}});
        c.run();
        CHECK(c.uncertain() < 0.2);
    }
}

/// The edges of blocks of k: what each block of the array is made of.
template <class T>
std::vector<T> edge_blocks(std::size_t k, dice& d) {
    using limits = std::numeric_limits<T>;
    const T nan = limits::quiet_NaN();
    const T inf = limits::infinity();
    std::vector<std::vector<T>> blocks;
    const auto add = [&](std::vector<T> some, T fill) {
        some.resize(k, fill);
        d.shuffle(some);
        blocks.push_back(some);
    };
    for (const T one : {T{0}, -T{0}, limits::denorm_min(), -limits::denorm_min(), limits::min(),
                        limits::max(), -limits::max(), nan, inf, -inf, T{1}, T{6}, T{448}}) {
        add({one}, one);
        add({one}, T{0});
        add({one}, -T{0});
        add({one, T{3}, T{-1} / T{1024}}, T{1});
        add({one, nan}, T{1});
        add({one, inf}, T{1});
        add({one, -inf, nan}, T{2});
    }
    // Amaxes about powers of two and about M of each element, over the range of the carrier.
    for (const T m : {T{1}, T{1.5}, T{1.75}, T{1.875}, T{2} - T{0x1p-6}})
        for (int e = limits::min_exponent - limits::digits - 1; e <= limits::max_exponent - 1;
             e += e > -160 && e < -100 ? 1 : 13) {
            const T at = std::ldexp(m, e);
            for (const T amax : {std::nextafter(at, T{0}), at, std::nextafter(at, inf)})
                add({amax, -amax / 3, amax / 1000, at / 2, std::nextafter(at / 2, inf)}, T{0});
        }
    std::vector<T> all;
    for (const auto& block : blocks) all.insert(all.end(), block.begin(), block.end());
    return all;
}

}  // namespace

TEST_CASE_TEMPLATE("every preset in every rounding is what the definition says", T, float, double) {
    dice d(1);
    for (const named_block_format& p : block_presets) check_preset<T>(p.format, d);
}

TEST_CASE_TEMPLATE("every rule for scales is what the definition says", T, float, double) {
    dice d(2);
    for (const named_rule& rule : scale_rules)
        for (const char* text : {"float4_e2m1fn/32", "float8_e4m3fn/32", "float6_e2m3fn/16/float32",
                                 "int8/32/bfloat16", "{-1,-0.25,0,0.5,1}/16/ue5m3", "bfp_m3_k16",
                                 "float4_e2m1fn/16/float8_e4m3fn/outer=tensor"}) {
            block_format f = parse_block_format(text);
            f.rule = rule.rule;
            const block_map map(f.shape, {3, 71});
            block_check<T> c(
                f, map, sums(f) ? coarse_values<T>(map.size(), d) : block_values<T>(map.size(), d),
                {{.threads = 1}, {}});
            c.run();
            CHECK(c.uncertain() < 0.3);
        }
}

TEST_CASE_TEMPLATE("a search in coarse scales tries what rounds up to a better one", T, float,
                   double) {
    dice d(10);
    for (const char* text : {"ue4m3", "ue5m3", "ue5m0", "float8_e8m0fnu", "ue3m1", "bfloat16"})
        for (const char* rule :
             {"shrink", "mse", "four_six", "shrink/error_norm=absolute", "mse/error_norm=absolute"})
            for (const char* rounding :
                 {"nearest_ties_to_even", "toward_positive", "stochastic_equal"}) {
                const block_format f =
                    parse_block_format(std::string("float4_e2m1fn/4/") + text + "/" + rule +
                                       "/scale_rounding=" + rounding);
                // One block an array: of several, one that goes on takes the others along.
                const block_map map(f.shape, {3});
                for (int i = 0; i < 20; ++i)
                    block_check<T>(f, map, coarse_values<T>(map.size(), d),
                                   {{.source = {d(), 0}, .threads = 1}, {}})
                        .run();
            }
}

TEST_CASE_TEMPLATE("blocks of edges are what the definition says", T, float, double) {
    dice d(3);
    for (const char* text : {"mxfp4",
                             "mxfp4/ceil",
                             "mxfp4/even",
                             "mxfp4/rceil",
                             "mxfp8_e5m2",
                             "mxint8",
                             "mxfp8_e4m3/rceil",
                             "mxfp8_e4m3/even",
                             "msfp12",
                             "msfp16/rceil",
                             "mxfp4/infinity=number",
                             "mxfp4/nan=element",
                             "mxfp4/nan=element/infinity=number",
                             "mxfp8_e4m3/nan=element/infinity=number/rceil",
                             "float4_e2m1fn/32/float8_e4m3fn/amax",
                             "float4_e2m1fn/32/float32/amax/infinity=number",
                             "float8_e4m3fn/32/bfloat16/amax",
                             "float4_e2m1fn/32/ue5m3/amax/min_scale=0.25/max_scale=64/zero_scale=1",
                             "mxfp4/rounding=to_odd",
                             "mxfp4/rounding=toward_positive",
                             "mxfp8_e4m3/rounding=away_from_zero/rceil",
                             "mxfp4/rounding=stochastic_equal",
                             "mxfp4/scale_saturation=none",
                             "mxfp4/zero_sign=positive",
                             "mxfp4/zero_sign=negative",
                             "nf4/32",
                             "int4/32",
                             "mxfp4/arithmetic=torchao",
                             "mxfp8_e4m3/rceil/arithmetic=transformer_engine",
                             "float4_e2m1fn/32/float8_e4m3fn/amax/arithmetic=transformer_engine",
                             "float4_e2m1fn/32/float8_e4m3fn/amax/arithmetic=model_optimizer",
                             "mxfp4/three_quarters",
                             "mxfp4/ue4m0",
                             "mxfp4/e5m2f_nosub"}) {
        const block_format f = parse_block_format(text);
        const std::vector<T> x = edge_blocks<T>(f.shape.columns, d);
        const block_map map(f.shape, {x.size()});
        block_check<T>(f, map, x, {{.source = {3, 4}, .threads = 1}, {}}).run();
    }
}

TEST_CASE_TEMPLATE("every preset with each library's edges is what the definition says", T, float,
                   double) {
    dice d(9);
    for (const named_block_format& p : block_presets)
        for (std::size_t i = 0; i < compat_names.size(); ++i) {
            if (static_cast<compat>(i) == compat::microxcaling && p.format.scale != float8_e8m0fnu)
                continue;
            const block_format f = with_compat(p.format, static_cast<compat>(i));
            if (f.shape.rows != 1 || f.shape.columns > 64) continue;
            const std::size_t k = f.shape.columns == 0 ? 32 : f.shape.columns;
            std::vector<T> x = edge_blocks<T>(k, d);
            const std::vector<T> more = block_values<T>(k * 20 + 3, d);
            x.insert(x.end(), more.begin(), more.end());
            const bool is_line = f.shape.columns == 0 || f.outer.per != granularity::none;
            const std::size_t rows =
                is_line ? x.size() / k : 1;  // an outer scale has finite maxima
            x.resize(is_line ? rows * k : x.size());
            block_format with = f;
            if (f.outer.per == granularity::tensor) with.outer.per = granularity::row;
            const block_map map(f.shape, {rows, x.size() / rows});
            block_options o;
            o.threads = 1;
            o.nan_code = code_type{0};
            block_check<T>(with, map, x, o).run();
        }
}

TEST_CASE("edges with a second level are left out of its amax") {
    dice d(4);
    for (const char* text : {"nvfp4", "nvfp4/nan=element/infinity=number", "nvfp4/outer=row",
                             "nvfp4/arithmetic=transformer_engine/infinity=number",
                             "nvfp4/outer_fixed=0.5", "nvfp4/outer_format=bfloat16"}) {
        const block_format f = parse_block_format(text);
        for (const float special :
             {0.0F, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(),
              1e-45F, std::numeric_limits<float>::max()}) {
            std::vector<float> x = block_values<float>(std::size_t{4} * 40, d);
            for (std::size_t i = 0; i < 40; ++i) x[i] = special == 0.0F ? 0.0F : x[i];
            x[7] = special;
            x[75] = -special;
            const block_map map(f.shape, {4, 40});
            block_check<float>(f, map, x, {{.threads = 1}, {}}).run();
            x.assign(x.size(), 0.0F);
            block_check<float>(f, map, x, {{.threads = 1}, {}}).run();
        }
    }
}

TEST_CASE_TEMPLATE("any fields give what the definition says", T, float, double) {
    dice d(5);
    for (std::size_t i = 0; i < 1500 / scale(); ++i) {
        const block_format f = random_block_format(d);
        if (!fits<T>(f) || !stays_inside<T>(f)) continue;
        std::vector<std::size_t> sizes = sizes_for(f.shape, d);
        if (f.rule.search == search::all && f.scale.bits() <= 8 && sizes.back() > 20)
            sizes = {sizes.front() % 3 + 1, 20};
        const block_map map(f.shape, sizes);
        std::vector<T> x = sums(f) || f.rule.search != search::none
                               ? coarse_values<T>(map.size(), d)
                               : block_values<T>(map.size(), d);
        if (f.rule.search == search::none && d.below(3) == 0)
            for (T& v : x)
                if (d.below(40) == 0)
                    v = d.pick({std::numeric_limits<T>::quiet_NaN(),
                                std::numeric_limits<T>::infinity(), T{0}, T{1e-30F}, T{1e30F}});
        block_options o;
        o.source = {d(), d()};
        o.first_index = d.below(1000);
        o.threads = 1;
        if (d.below(4) == 0) o.nan_code = code_type{1};
        block_check<T>(f, map, x, o).run();
    }
}

// ---- options ----------------------------------------------------------------------------------------

TEST_CASE("random integers that are given take the place of the source") {
    dice d(6);
    block_format f = mxfp4;
    for (const int bits : {1, 8, 32})
        for (const rounding r : {rounding::stochastic_a, rounding::stochastic_c}) {
            f.rounding = r;
            f.random_bits = bits;
            const block_map map(f.shape, {5, 77});
            std::vector<std::uint32_t> random(map.size());
            for (std::uint32_t& w : random) w = static_cast<std::uint32_t>(d()) >> (32 - bits);
            block_options o;
            o.random = random;
            o.threads = 1;
            block_check<float>(f, map, block_values<float>(map.size(), d), o).run();
        }
}

TEST_CASE("scales that are given are rounded into the scale's format") {
    dice d(7);
    for (const char* text :
         {"mxfp4", "nvfp4", "float8_e4m3fn/16/float32/amax", "nvfp4/outer=row"}) {
        const block_format f = parse_block_format(text);
        const block_map map(f.shape, {4, 83});
        std::vector<double> ideals(map.blocks.size());
        for (double& s : ideals)
            s = std::ldexp(1.0 + static_cast<double>(d.below(1000)) / 1000, d.between(-8, 3));
        const std::vector<double> outer = f.outer.per == granularity::row
                                              ? std::vector<double>{0.5, 0.25, 1, 3}
                                              : std::vector<double>{0.375};
        block_options o;
        o.threads = 1;
        o.given.ideals = ideals;
        if (f.outer.per != granularity::none) o.given.outer = outer;
        std::vector<float> x = block_values<float>(map.size(), d);
        block_check<float>(f, map, x, o).run();
        x[50] = std::numeric_limits<float>::quiet_NaN();  // a NaN wins over a scale that is given
        block_check<float>(f, map, x, o).run();
    }
}

TEST_CASE("scales_by calls an own rule for each block, in C order") {
    dice d(8);
    for (const block_shape& s :
         {block_shape{1, 7}, block_shape{3, 4}, block_shape{0, 0}, block_shape{0, 1}})
        for (const int axis : {-1, -2}) {
            if (axis == -2 && s.rows != 1) continue;
            const block_map map(s, {2, 10, 17}, axis);
            const std::vector<double> x = block_values<double>(map.size(), d);
            const block_layout l = layout_of(s, map.sizes, axis);
            const std::vector<double> got =
                scales_by(std::span<const double>(x), l, [](std::span<const double> block) {
                    double weighted = 0;
                    for (std::size_t i = 0; i < block.size(); ++i)
                        weighted += block[i] * static_cast<double>(i + 1);
                    return weighted;
                });
            REQUIRE(got.size() == map.blocks.size());
            for (std::size_t b = 0; b < got.size(); ++b) {
                double weighted = 0;
                for (std::size_t i = 0; i < map.blocks[b].size(); ++i)
                    weighted += x[map.blocks[b][i]] * static_cast<double>(i + 1);
                CHECK(got[b] == weighted);
            }
        }
    // The rule's result is an ideal scale: with amax / M it is the preset's own.
    const std::vector<float> x = block_values<float>(1000, d);
    const block_format f = parse_block_format("deepseek_1x128/min_scale=0");
    const std::size_t shape[] = {x.size()};
    const block_layout l = layout_of(f.shape, shape);
    const std::vector<double> ideals =
        scales_by(std::span<const float>(x), l, [](std::span<const float> block) {
            float most = 0;
            for (const float v : block) most = std::max(most, std::fabs(v));
            return most / 448;
        });
    block_options o;
    o.given.ideals = ideals;
    std::vector<float> a(x.size());
    std::vector<float> b(x.size());
    quantize(std::span<const float>(x), std::span(a), f, o);
    quantize(std::span<const float>(x), std::span(b), f);
    CHECK(a == b);
}

TEST_CASE("contradicting arguments are refused with what, got and limit") {
    const std::vector<float> x(64, 1.0F);
    std::vector<float> y(64);
    std::vector<float> short_y(63);
    const std::size_t shape[] = {64};
    const block_layout l = layout_of(mxfp4.shape, shape);
    const std::span<const float> in(x);
    const auto refuses = [](const auto& call, const char* message) {
        CHECK_THROWS_WITH_AS(call(), doctest::Contains(message), std::invalid_argument);
    };
    refuses([&] { quantize(in, std::span(short_y), mxfp4, l); }, "got 64 and 63");
    refuses([&] { quantize(in.first(63), std::span(short_y), mxfp4, l); },
            "the layout has 64 elements, the array 63");
    refuses(
        [&] {
        quantize(in, std::span(y), mxfp4, block_layout{1, 1, 64, 1, 0});
        },
        "the layout must have the format's blocks; got 1 by 0");
    refuses(
        [&] {
        quantize(in, std::span(y), mxfp4, l, {{.threads = -1}, {}});
        },
        "threads must be between 0");
    block_format f = mxfp4;
    f.random_bits = 0;
    refuses([&] { quantize(in, std::span(y), f, l); }, "random_bits");
    f = mxfp4;
    f.element = float64;
    refuses([&] { quantize(in, std::span(y), f, l); }, "float32 does not hold");
    f = mxfp4;
    f.scale = float64;
    refuses([&] { quantize(in, std::span(y), f, l); }, "float32 does not hold");
    f = nvfp4;
    f.outer.format = float64;
    refuses([&] { quantize(in, std::span(y), f, layout_of(f.shape, shape)); },
            "float32 does not hold");
    const std::vector<std::uint32_t> three(3);
    f = mxfp4;
    f.rounding = rounding::stochastic_a;
    block_options o;
    o.random = three;
    refuses([&] { quantize(in, std::span(y), f, l, o); }, "one integer an element, 64; got 3");
    o = {};
    const std::vector<double> scales{1, 2, 3};
    o.given.ideals = scales;
    refuses([&] { quantize(in, std::span(y), mxfp4, l, o); },
            "given.ideals must have an entry a block, 2; got 3");
    const std::vector<double> negative{1, -2};
    o.given.ideals = negative;
    refuses([&] { quantize(in, std::span(y), mxfp4, l, o); },
            "must be finite and not negative; got -2");
    o = {};
    o.given.outer = scales;
    refuses([&] { quantize(in, std::span(y), nvfp4, layout_of(nvfp4.shape, shape), o); },
            "outer scales given must have 1 entry; got 3");
    const std::vector<double> nothing{0};
    o.given.outer = nothing;
    refuses([&] { quantize(in, std::span(y), nvfp4, layout_of(nvfp4.shape, shape), o); },
            "outer scales given must be finite and positive; got 0");
    o = {};
    o.nan_code = code_type{16};
    refuses([&] { (void)encode(in, mxfp4, l, o); }, "nan_code must be a code of 4 bits; got 16");
}

TEST_CASE("factors that would make NaN of numbers are refused") {
    const std::vector<float> x(32, 1.0F);
    std::vector<float> y(32);
    const auto refuses = [&](const block_format& f, const char* text) {
        const std::size_t shape[] = {x.size()};
        CHECK_THROWS_WITH_AS(quantize<float>(x, y, f, layout_of(f.shape, shape)),
                             doctest::Contains(text), std::invalid_argument);
    };
    refuses(parse_block_format("mxfp8_e5m2/gain=1e-37"), "over gain 0.000000 is beyond float32");
    refuses(parse_block_format("mxfp8_e5m2/post_gain=1e300"), "must be normal numbers of float32");
    refuses(parse_block_format("fp8_row/post_gain=2/infinity=number"), "set max_scale");
    refuses(parse_block_format("nvfp4/outer=none/fixed=1e-9/infinity=number"),
            "is 0 in the scale's format");
}

TEST_CASE("an infinity over a given scale of zero has no code where the element has no NaN") {
    std::vector<float> x(32, 1.0F);
    x[3] = std::numeric_limits<float>::infinity();
    const std::size_t shape[] = {x.size()};
    const block_format f = parse_block_format("fp4_ue5m3_32/infinity=number");
    const std::vector<double> scales{0};
    block_options o;
    o.given.ideals = scales;
    std::vector<float> y(32);
    quantize<float>(x, y, f, layout_of(f.shape, shape), o);
    CHECK(std::isnan(y[3]));
    CHECK(y[2] == 0);
    CHECK_THROWS_AS((void)encode<float>(x, f, layout_of(f.shape, shape), o), std::invalid_argument);
}

TEST_CASE("encode refuses a NaN that no code can stand for") {
    std::vector<float> x(64, 1.0F);
    x[40] = std::numeric_limits<float>::quiet_NaN();
    const std::size_t shape[] = {64};
    const auto refuses = [&](const char* text) {
        const block_format f = parse_block_format(text);
        CHECK_THROWS_WITH_AS((void)encode(std::span<const float>(x), f, layout_of(f.shape, shape)),
                             doctest::Contains("neither the scale nor the element has a NaN code"),
                             std::invalid_argument);
    };
    refuses("float4_e2m1fn/32/e5m2f/amax");
    refuses("float4_e2m1fn/32/nan=element");
    refuses("nf4/nan=element");
    CHECK_NOTHROW((void)encode(std::span<const float>(x), mxfp4, layout_of(mxfp4.shape, shape)));
    const block_tensor t = encode(std::span<const float>(x), mxfp4, layout_of(mxfp4.shape, shape));
    CHECK(t.scales == std::vector<std::uint8_t>{125, 255});
    x[40] = std::numeric_limits<float>::infinity();
    refuses("float4_e2m1fn/32/e5m2f/amax");
}

TEST_CASE("decode refuses codes and memory that are not the format's") {
    const std::vector<float> x(64, 1.0F);
    std::vector<float> y(64);
    const std::size_t shape[] = {64};
    const auto refuses = [&](const block_tensor& t, const char* message) {
        CHECK_THROWS_WITH_AS(decode(t, std::span(y)), doctest::Contains(message),
                             std::invalid_argument);
    };
    const block_layout l = layout_of(mxfp4.shape, shape);
    block_tensor t = encode(std::span<const float>(x), mxfp4, l);
    t.codes.pop_back();
    refuses(t, "codes and scales must have 32 and 2 bytes; got 31 and 2");
    t = encode(std::span<const float>(x), mxfp4, l);
    t.scales.push_back(0);
    refuses(t, "got 32 and 3");
    t = block_tensor{mxfp4, l, packing::loose, std::vector<std::uint8_t>(64, 7),
                     std::vector<std::uint8_t>(2, 127)};
    decode(t, std::span(y));
    CHECK(y == std::vector<float>(64, 6.0F));
    t.codes[63] = 16;
    refuses(t, "a code has bits above its format's");
    block_format f = mxfp4;
    f.scale = format::exponent_only(4);
    t = block_tensor{f, l, packing::loose, std::vector<std::uint8_t>(64, 7),
                     std::vector<std::uint8_t>{7, 16}};
    refuses(t, "a scale has bits above its format's");
    t = encode(std::span<const float>(x), nvfp4, layout_of(nvfp4.shape, shape));
    t.outer.clear();
    refuses(t, "outer scales given must have 1 entry; got 0");
    std::vector<float> longer(65);
    CHECK_THROWS_AS(decode(encode(std::span<const float>(x), mxfp4, l), std::span(longer)),
                    std::invalid_argument);
    f = parse_block_format("float16/32");
    std::vector<std::uint8_t> codes(128);
    std::vector<std::uint8_t> scales(2);
    CHECK_THROWS_WITH_AS((void)encode(std::span<const float>(x),
                                      {codes.data(), scales.data(), packing::dense}, f, l),
                         doctest::Contains("packed codes have up to 8 bits; got 16"),
                         std::invalid_argument);
}

TEST_CASE("arrays without elements have no blocks") {
    const std::vector<float> none;
    std::vector<float> out;
    for (const char* text : {"mxfp4", "nvfp4", "fp8_tensor", "deepseek_128x128"}) {
        const block_format f = parse_block_format(text);
        const std::size_t shape[] = {0, 8};
        const block_layout l = layout_of(f.shape, shape);
        quantize(std::span<const float>(none), std::span(out), f, l);
        const block_tensor t = encode(std::span<const float>(none), f, l);
        CHECK(t.codes.empty());
        CHECK(t.scales.empty());
        decode(t, std::span(out));
    }
}
