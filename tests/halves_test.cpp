// Arrays of float16 and bfloat16: the bits that single values and arrays of float give.
#include "lowp/halves.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lowp/block_formats.hpp"
#include "lowp/dispatch.hpp"
#include "random_block_format.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

#define HALVES minifloat<float16>, minifloat<bfloat16>, minifloat<format::ieee(6, 9)>

namespace {

template <class T>
std::vector<T> every_half() {
    std::vector<T> x(std::size_t{1} << 16);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = T::from_code(static_cast<std::uint16_t>(i));
    return x;
}

template <class T>
std::vector<float> as_floats(std::span<const T> x) {
    std::vector<float> wide(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) wide[i] = static_cast<float>(x[i]);
    return wide;
}

/// Numbers near 1, as weights and gradients are, some of them special.
template <class T>
std::vector<T> some_halves(std::size_t count, std::uint64_t seed, bool with_specials) {
    dice d(seed);
    std::vector<T> x(count);
    for (T& v : x) {
        const double fraction = static_cast<double>(d.below(1U << 20)) / (1U << 20);
        v = T(std::ldexp(d.coin() ? fraction : -fraction, d.between(-12, 6)));
        if (with_specials && d.below(300) == 0)
            v = T::from_code(static_cast<std::uint16_t>(d.below(1U << 16)));
    }
    return x;
}

template <class T>
std::size_t different_codes(std::span<const T> a, std::span<const T> b) {
    std::size_t count = a.size() == b.size() ? 0 : 1;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        if (a[i].code() != b[i].code()) ++count;
    return count;
}

template <class T>
std::vector<T> narrowed(std::span<const float> x) {
    std::vector<T> y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = T(x[i]);
    return y;
}

const std::vector<format>& some_formats() {
    static const std::vector<format> formats{float8_e4m3fn,
                                             float8_e5m2,
                                             float4_e2m1fn,
                                             float8_e4m3fnuz,
                                             float8_e8m0fnu,
                                             int8,
                                             float16,
                                             bfloat16,
                                             format::ieee(5, 9),
                                             parse_format("e3m2f_nosub_nozero"),
                                             parse_format("ue5m3")};
    return formats;
}

block_options for_blocks(const options& o) {
    block_options b;
    static_cast<options&>(b) = o;
    return b;
}

}  // namespace

TEST_CASE_TEMPLATE("every half in every rounding and saturation gives the bits of single values", T,
                   HALVES) {
    const std::vector<T> x = every_half<T>();
    const std::vector<float> wide = as_floats<T>(x);
    const options o = dispatch::options({.source = {3, 4}, .first_index = 7});
    for (const format& f : some_formats()) {
        if (!T::format.holds(f)) continue;
        for (const rounding r : all_roundings())
            for (const saturation s : all_saturations) {
                const projection p{r, s, 11};
                INFO(text(f, p));
                const converter<float> c(f, p);
                std::vector<T> wanted(x.size());
                for (std::size_t i = 0; i < x.size(); ++i)
                    wanted[i] = T(c.quantize(wide[i], o.source(o.first_index + i)));
                std::vector<T> y(x.size());
                quantize<T>(x, y, f, p, o);
                CHECK(different_codes<T>(y, wanted) == 0);
                std::vector<T> same = x;
                quantize(std::span(same), f, p, o);
                CHECK(different_codes<T>(same, wanted) == 0);
            }
    }
}

TEST_CASE_TEMPLATE("encode gives the codes of the same values as float", T, HALVES) {
    const std::vector<T> x = every_half<T>();
    const std::vector<float> wide = as_floats<T>(x);
    const options o = dispatch::options({.source = {3, 4}, .nan_code = code_type{1}});
    for (const format& f : {float8_e4m3fn, float4_e2m1fn, float16, bfloat16, float32, int8})
        for (const rounding r : all_roundings()) {
            INFO(text(f, {r}));
            std::vector<std::uint32_t> codes(x.size());
            std::vector<std::uint32_t> wanted(x.size());
            encode<T, std::uint32_t>(x, codes, f, {r}, o);
            encode<float, std::uint32_t>(wide, wanted, f, {r}, o);
            CHECK(codes == wanted);
        }
}

TEST_CASE_TEMPLATE("decode gives every value of every format that the half holds", T, HALVES) {
    for (const format& f : some_formats()) {
        INFO(name(f));
        if (!T::format.holds(f)) continue;
        std::vector<std::uint16_t> codes(static_cast<std::size_t>(f.code_mask()) + 1);
        for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint16_t>(i);
        std::vector<T> y(codes.size());
        decode<T, std::uint16_t>(codes, y, f, dispatch::options());
        std::size_t different = 0;
        for (std::size_t i = 0; i < codes.size(); ++i) {
            const T wanted(f.value(codes[i]));
            const bool exact = static_cast<double>(wanted) == f.value(codes[i]) || isnan(wanted);
            if (y[i].code() != wanted.code() || !exact) ++different;
        }
        CHECK(different == 0);
    }
}

TEST_CASE("a half holds a format exactly if it holds each of its values") {
    const auto check = [](const format& half, const format& f) {
        const converter<double> to(half);
        bool all = true;
        for (const double v : values(f)) all = all && to.quantize(v) == v;
        INFO(name(half) << " and " << name(f));
        // Formats of few values may fit by chance: `holds` compares digits, ranges and steps.
        CHECK((!half.holds(f) || all));
        const bool is_clear = f.exponent_bits >= 2 && f.mantissa_bits >= 1;
        if (is_clear && f.has_subnormals) CHECK(half.holds(f) == all);
    };
    for (const format& half : {float16, bfloat16}) {
        for (const format& f : registered_formats())
            if (f.bits() <= 16) check(half, f);
        for (const format& f : p3109_formats()) check(half, f);
    }
}

TEST_CASE_TEMPLATE("every length, offset and number of threads gives the same and writes no more",
                   T, HALVES) {
    const std::vector<T> all = every_half<T>();
    const T mark = T(1.5);
    for (const rounding r : {rounding::nearest_ties_to_even, rounding::stochastic_b})
        for (const std::size_t n : {0U, 1U, 15U, 511U, 513U, 2047U, 2048U, 2049U, 6001U, 40000U})
            for (const std::size_t offset : {0U, 1U, 777U}) {
                CAPTURE(n);
                CAPTURE(offset);
                options o = dispatch::options(
                    {.source = {1, 2}, .first_index = 100 + offset, .threads = 1});
                const std::span<const T> x = std::span(all).subspan(offset, n);
                std::vector<T> wanted(all.size());
                quantize<T>(all, wanted, float8_e4m3fn, {r},
                            dispatch::options({.source = {1, 2}, .first_index = 100}));
                for (const int threads : {1, 2, 5}) {
                    o.threads = threads;
                    std::vector<T> y(n + 1, mark);
                    quantize<T>(x, std::span(y).first(n), float8_e4m3fn, {r}, o);
                    CHECK(different_codes<T>(std::span(y).first(n),
                                             std::span(wanted).subspan(offset, n)) == 0);
                    CHECK(y.back() == mark);
                    std::vector<std::uint8_t> codes(n + 1, 0xEE);
                    encode<T, std::uint8_t>(x, std::span(codes).first(n), float8_e4m3fn, {r}, o);
                    CHECK(codes.back() == 0xEE);
                    std::vector<T> back(n + 1, mark);
                    decode<T, std::uint8_t>(std::span(codes).first(n), std::span(back).first(n),
                                            float8_e4m3fn, o);
                    CHECK(different_codes<T>(std::span(back).first(n), std::span(y).first(n)) == 0);
                    CHECK(back.back() == mark);
                }
            }
}

TEST_CASE_TEMPLATE("random integers that are given take the place of the source", T, HALVES) {
    dice d(4);
    const std::vector<T> x = some_halves<T>(5000, 5, true);
    std::vector<std::uint32_t> random(x.size());
    for (std::uint32_t& r : random) r = static_cast<std::uint32_t>(d.below(1U << 9));
    const projection p{rounding::stochastic_a, saturation::none, 9};
    options o = dispatch::options({.random = random, .threads = 2});
    std::vector<T> y(x.size());
    quantize<T>(x, y, float8_e5m2, p, o);
    std::vector<float> wide = as_floats<T>(x);
    quantize(std::span(wide), float8_e5m2, p, o);
    CHECK(different_codes<T>(y, narrowed<T>(wide)) == 0);
}

TEST_CASE_TEMPLATE("blocks of every kind are those of the same values as float", T, HALVES) {
    dice d(6);
    const std::size_t shape[] = {2, 34, 130};
    std::size_t tried = 0;
    const auto check =
        [&](const block_format& f, const std::vector<T>& x, int axis, const block_options& o) {
        if (f.element_max() > T::format.max()) return;
        block_layout l;
        try {
            l = layout_of(f.shape, shape, axis);
            detail::check_blocks<float>("quantize", f, l, x.size(), o);
        } catch (const std::invalid_argument&) {
            return;  // a shape or format that float arrays refuse, too
        }
        ++tried;
        INFO(name(f) << " axis " << axis << " threads " << o.threads);
        const std::vector<float> wide = as_floats<T>(x);
        std::vector<float> q(x.size());
        quantize<float>(wide, q, f, l, o);
        std::vector<T> y(x.size());
        quantize<T>(x, y, f, l, o);
        CHECK(different_codes<T>(y, narrowed<T>(q)) == 0);
        std::vector<T> same = x;
        quantize<T>(same, std::span(same), f, l, o);
        CHECK(different_codes<T>(same, y) == 0);
        for (const packing how : {packing::loose, packing::dense}) {
            if (how == packing::dense && f.element_bits() > 8) continue;
            block_tensor a{f, l, how};
            block_tensor b{f, l, how};
            const auto run = [&](block_tensor& t, const auto& values) {
                t.codes.resize(code_size(f, l, how));
                t.scales.resize(scale_size(f, l));
                t.outer = encode(values, {t.codes.data(), t.scales.data(), how}, f, l, o);
            };
            try {
                run(a, std::span<const float>(wide));
            } catch (const std::invalid_argument&) {  // a NaN that has no code
                CHECK_THROWS_AS(run(b, std::span<const T>(x)), std::invalid_argument);
                continue;
            }
            run(b, std::span<const T>(x));
            CHECK(a.codes == b.codes);
            CHECK(a.scales == b.scales);
            CHECK(a.outer == b.outer);
            decode<float>(a, q, o);
            decode<T>({b.codes.data(), b.scales.data(), how}, b.outer, std::span(y), f, l, o);
            CHECK(different_codes<T>(y, narrowed<T>(q)) == 0);
        }
    };
    for (const named_block_format& preset : block_presets)
        for (const int axis : {-1, 1})
            check(preset.format, some_halves<T>(8840, 7, axis == 1), axis,
                  for_blocks(dispatch::options({.threads = 2 + axis})));
    for (std::size_t i = 0; i < 60 / scale(); ++i) {
        block_options o = for_blocks(
            dispatch::options({.source = {8, d()}, .first_index = d.below(1000), .threads = 2}));
        check(random_block_format(d), some_halves<T>(8840, d(), d.coin()), d.pick({-1, -1, 0, 1}),
              o);
    }
    CHECK(tried > 20);
}

TEST_CASE_TEMPLATE("scales that are given, and long rows, are those of float too", T, HALVES) {
    for (const std::size_t columns : {300U, 8192U, 8193U, 20000U}) {
        const std::size_t shape[] = {3, columns};
        const std::vector<T> x = some_halves<T>(3 * columns, 9, false);
        const std::vector<float> wide = as_floats<T>(x);
        for (const char* const name :
             {"float8_e4m3fn/row/float32/amax", "mxfp4/96", "nvfp4/rounding=stochastic_a"}) {
            CAPTURE(name);
            CAPTURE(columns);
            const block_format f = parse_block_format(name);
            const block_layout l = layout_of(f.shape, shape);
            std::vector<double> ideals(l.blocks());
            for (std::size_t b = 0; b < ideals.size(); ++b)
                ideals[b] = static_cast<double>(1 + b % 7) / 16;
            for (const bool given : {false, true}) {
                block_options o = for_blocks(dispatch::options({.source = {2, 3}, .threads = 2}));
                if (given) o.given.ideals = ideals;
                std::vector<float> q(x.size());
                std::vector<T> y(x.size());
                quantize<float>(wide, q, f, l, o);
                quantize<T>(x, y, f, l, o);
                CHECK(different_codes<T>(y, narrowed<T>(q)) == 0);
            }
        }
    }
}

TEST_CASE("large arrays, which take all cores by themselves, give the same bits") {
    using T = minifloat<bfloat16>;
    const std::size_t n = detail::parallel_from + 12345;
    const std::vector<T> x = some_halves<T>(n, 10, true);
    std::vector<T> y(n);
    std::vector<T> wanted(n);
    quantize<T>(x, y, float8_e4m3fn, {rounding::stochastic_b}, dispatch::options());
    quantize<T>(x, wanted, float8_e4m3fn, {rounding::stochastic_b},
                dispatch::options({.threads = 1}));
    CHECK(different_codes<T>(y, wanted) == 0);
}

TEST_CASE("what contradicts is refused with what, got and limit") {
    using T = minifloat<float16>;
    const std::vector<T> x(10, T(1.0));
    std::vector<T> y(10);
    std::vector<T> nine(9);
    std::vector<std::uint8_t> codes(10, 0x1F);
    const auto refuses = [](const auto& call, const char* message) {
        CHECK_THROWS_WITH_AS(call(), doctest::Contains(message), std::invalid_argument);
    };
    refuses([&] { quantize<T>(x, nine, float8_e5m2); }, "one length; got 10 and 9");
    refuses([&] { quantize<T>(x, y, bfloat16); },
            "lowp::quantize: float16 does not hold every value of bfloat16; use float");
    refuses([&] { quantize<T>(x, y, float32); }, "float16 does not hold every value of float32");
    refuses([&] { decode<T, std::uint8_t>(codes, y, float8_e8m0fnu); },
            "lowp::decode: float16 does not hold every value of float8_e8m0fnu");
    refuses([&] { decode<T, std::uint8_t>(codes, y, float4_e2m1fn); }, "above the format's 4");
    refuses([&] { encode<T, std::uint8_t>(x, codes, float16); }, "use a wider integer");
    refuses([&] { encode<T, std::uint8_t>(x, codes, parse_format("e11m4")); }, "float32 does not");
    refuses([&] { quantize<T>(x, y, float8_e5m2, {}, {.threads = -1}); }, "threads must be");
    const block_format wide = parse_block_format("bfloat16/16");
    refuses([&] { quantize<T>(x, y, wide, layout_of(wide.shape, std::array{std::size_t{10}})); },
            "float16 does not hold every element");

    std::vector<T> with_nan(3000, T(1.0));
    with_nan[2999] = T(std::numeric_limits<float>::quiet_NaN());
    codes.resize(3000);
    refuses([&] { encode<T, std::uint8_t>(with_nan, codes, float4_e2m1fn); }, "options::nan_code");
    encode<T, std::uint8_t>(with_nan, codes, float4_e2m1fn, {}, {.nan_code = code_type{9}});
    CHECK(codes[2999] == 9);
    CHECK(codes[2998] == 2);
}

TEST_CASE("arrays without elements stay without") {
    using T = minifloat<bfloat16>;
    std::vector<T> none;
    std::vector<std::uint8_t> codes;
    quantize<T>(none, none, float8_e4m3fn);
    encode<T, std::uint8_t>(none, codes, float8_e4m3fn);
    decode<T, std::uint8_t>(codes, none, float8_e4m3fn);
    const block_format f = parse_block_format("nvfp4");
    quantize<T>(none, none, f, layout_of(f.shape, std::array{std::size_t{0}}));
    CHECK(none.empty());
}

TEST_CASE("values lists every finite value once, in ascending order") {
    for (const format& f : registered_formats()) {
        if (f.bits() > 16) continue;
        INFO(name(f));
        const std::vector<double> all = values(f);
        CHECK(all.size() == f.finite_values());
        CHECK(all.front() == f.lowest());
        CHECK(all.back() == f.max());
        for (std::size_t i = 1; i < all.size(); ++i) CHECK(all[i - 1] < all[i]);
    }
    CHECK(values(float4_e2m1fn) ==
          std::vector<double>{-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6});
    CHECK(values(parse_format("int2")) == std::vector<double>{-2, -1, 0, 1});
    CHECK_THROWS_WITH_AS((void)values(float32), doctest::Contains("up to 24 bits"),
                         std::invalid_argument);
}
