// Matrix products against the definition of each accumulator, on every instruction set.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "all_isas.hpp"
#include "lowp/accumulator_names.hpp"
#include "lowp/gemm.hpp"
#include "product_definition.hpp"
#include "support.hpp"

using namespace lowp;
using test::bits_of;
using test::terms;

namespace {

struct shape {
    std::size_t m, n, k;
};

template <class T>
struct problem {
    shape size;
    std::vector<T> a, b, c;

    problem(shape s, const format& f, test::dice& roll, bool with_specials)
        : size(s), a(s.m * s.k), b(s.k * s.n), c(s.m * s.n) {
        const auto draw = [&] {
            // Codes, so that subnormals and the largest values come up as often as others.
            while (true) {
                const double x = f.value(roll() & f.code_mask());
                if (with_specials || std::isfinite(x)) return static_cast<T>(x);
            }
        };
        for (auto* const v : {&a, &b, &c})
            for (T& x : *v) x = draw();
    }
    [[nodiscard]] terms row(std::size_t i) const {
        terms x;
        for (std::size_t t = 0; t < size.k; ++t)
            x.push_back(static_cast<double>(a[i * size.k + t]));
        return x;
    }
    [[nodiscard]] terms column(std::size_t j) const {
        terms x;
        for (std::size_t t = 0; t < size.k; ++t)
            x.push_back(static_cast<double>(b[t * size.n + j]));
        return x;
    }
    [[nodiscard]] std::vector<T> product(const accumulator& how, product_options<T> o) const {
        std::vector<T> out(c.size(), T{7});
        o.c = in_c_order(c.data(), size.m, size.n);
        matmul<T>(in_c_order(a.data(), size.m, size.k), in_c_order(b.data(), size.k, size.n),
                  in_c_order(out.data(), size.m, size.n), how, o);
        return out;
    }
};

template <class T>
product_options<T> on(std::string_view isa) {
    product_options<T> o;
    o.loops = &dispatch::loops(isa);
    return o;
}

/// Every element as defined; NaN of any payload is NaN.
template <class T, class Definition>
void equals(const problem<T>& p, const std::vector<T>& got, const Definition& defined) {
    for (std::size_t i = 0; i < p.size.m; ++i)
        for (std::size_t j = 0; j < p.size.n; ++j) {
            const std::size_t at = i * p.size.n + j;
            const auto want =
                static_cast<T>(defined(p.row(i), p.column(j), static_cast<double>(p.c[at])));
            const bool same = want != want ? got[at] != got[at] : bits_of(got[at]) == bits_of(want);
            if (!same) {
                INFO("element " << i << ", " << j << ": " << got[at] << ", not " << want);
                CHECK(same);
                return;
            }
        }
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](float x, float y) { return bits_of(x) == bits_of(y); });
}

constexpr shape shapes[] = {{1, 1, 1}, {3, 5, 7}, {9, 17, 33}, {8, 16, 4}, {2, 40, 130}};

std::vector<rounding> deterministic() {
    std::vector<rounding> all;
    for (std::size_t r = 0; r < rounding_names.size(); ++r)
        if (!is_stochastic(static_cast<rounding>(r))) all.push_back(static_cast<rounding>(r));
    return all;
}

template <class T>
void rounds_every_step(std::string_view isa) {
    test::dice roll(5);
    for (const format& f : {float16, bfloat16, float8_e4m3fn, float8_e5m2, float4_e2m1fn,
                            float8_e4m3fnuz, float8_e5m2fnuz, float32, int8})
        for (const rounding r : deterministic())
            for (const saturation s : {saturation::none, saturation::propagate, saturation::finite})
                for (const products q : {products::exact, products::rounded}) {
                    accumulator how;
                    how.addition = {f, {.rounding = r, .saturation = s}};
                    how.products = q;
                    if (q == products::rounded) how.product = how.addition;
                    const shape size = shapes[roll.below(5)];
                    const format factors = roll.below(2) == 0 ? float8_e5m2 : float16;
                    const problem<T> p(size, factors, roll, roll.below(4) == 0);
                    CAPTURE(name(how));
                    equals(p, p.product(how, on<T>(isa)), test::sum_definition(how));
                }
}

}  // namespace

TEST_CASE("a sequential product rounds every step, in every mode, on every instruction set") {
    for (const std::string_view isa : test::isas()) {
        CAPTURE(isa);
        rounds_every_step<float>(isa);
        rounds_every_step<double>(isa);
    }
}

TEST_CASE("chunks, pairwise sums and Kahan's are what they say") {
    test::dice roll(6);
    for (const char* const text : test::sums_in_parts)
        for (const shape size : shapes) {
            const accumulator how = parse_accumulator(text);
            CAPTURE(name(how));
            const problem<float> p(size, float8_e5m2, roll, false);
            equals(p, p.product(how, {}), test::sum_definition(how));
            const problem<double> q(size, float16, roll, true);
            equals(q, q.product(how, {}), test::sum_definition(how));
        }
}

TEST_CASE("half a sum of 3,000 ones stalls at 2,048 in sequence and is 3,000 in pairs") {
    const std::vector<float> ones(3000, 1.0F);
    const std::span<const float> x(ones);
    CHECK(dot<float>(x, x, parse_accumulator("float16")) == 2048);
    CHECK(dot<float>(x, x, parse_accumulator("float16/pairwise")) == 3000);
    CHECK(dot<float>(x, x, parse_accumulator("float16/kahan")) == 3000);
    CHECK(dot<float>(x, x, parse_accumulator("float16/exact")) == 3000);
    CHECK(dot<float>(x, x, parse_accumulator("float16/chunk=1000/promotion=float32")) == 3000);
}

TEST_CASE("aligned sums are those of integers, for every unit that aligns together") {
    test::dice roll(7);
    for (const named_accumulator& unit : accumulators) {
        if (unit.accumulator.unit.alignment != alignment::together) continue;
        if (unit.accumulator.unit.group != 1) continue;
        for (const cut c : {cut::toward_zero, cut::toward_negative, cut::nearest_ties_to_even})
            for (const format& f : {float16, bfloat16, float8_e4m3fn, float8_e5m2}) {
                accumulator how = unit.accumulator;
                how.unit.cut = c;
                const problem<float> p(shapes[roll.below(5)], f, roll, roll.below(3) == 0);
                CAPTURE(unit.name);
                for (const std::string_view isa : test::isas()) {
                    auto o = on<float>(isa);
                    o.a_format = o.b_format = f;
                    equals(p, p.product(how, o), test::aligned_definition(how, f.emin(), f.emin()));
                }
            }
    }
}

TEST_CASE("an exact sum is rounded once, whatever cancels") {
    test::dice roll(8);
    const std::vector<double> x{1e300, 1.0, -1e300, 0x1p-1074, 3.0};
    const std::vector<double> y{1e5, 1.0, 1e5, 1.0, 0x1p-60};
    accumulator how = parse_accumulator("exact");
    const auto sum = [&](const accumulator& a) {
        return dot<double>(std::span(x), std::span(y), a);
    };
    CHECK(sum(how) == 1.0);
    how.addition.projection.rounding = rounding::toward_positive;
    CHECK(sum(how) == 1.0 + 0x1p-23);
    how.addition = {bfloat16, {.rounding = rounding::toward_negative}};
    CHECK(sum(how) == 1.0);
    // Integers in any order, against 128 bits.
    for (int trial = 0; trial < 200; ++trial) {
        std::vector<double> a;
        std::vector<double> b;
        __extension__ using wide = __int128;
        wide want = 0;
        for (int k = 0; k < 100; ++k) {
            const auto p = static_cast<std::int64_t>(roll()) >> 11;
            const auto q = static_cast<std::int64_t>(roll()) >> 23;
            a.push_back(static_cast<double>(p));
            b.push_back(static_cast<double>(q));
            want += static_cast<wide>(p) * q;
        }
        how.addition = {float32, {}};
        CHECK(dot<double>(std::span<const double>(a), std::span<const double>(b), how) ==
              static_cast<double>(static_cast<float>(want)));
    }
}

TEST_CASE("random bits depend on the element and the step alone") {
    test::dice roll(9);
    const problem<float> p({9, 33, 20}, float8_e4m3fn, roll, false);
    for (const char* const text :
         {"float8_e5m2/rounding=stochastic_a", "float16/separate/rounding=stochastic_c",
          "bfloat16/pairwise/rounding=stochastic_b", "float8_e4m3fn/kahan/rounding=stochastic_a"}) {
        const accumulator how = parse_accumulator(text);
        auto o = on<float>("baseline");
        o.source = {3, 4};
        o.threads = 1;
        const auto want = p.product(how, o);
        for (const std::string_view isa : test::isas())
            for (const int threads : {1, 2, 5}) {
                auto other = on<float>(isa);
                other.source = {3, 4};
                other.threads = threads;
                CHECK(same_bits(p.product(how, other), want));
            }
        o.source.stream = 5;
        CHECK(!same_bits(p.product(how, o), want));
    }
}

TEST_CASE("transposed and reversed views give what their copies give") {
    test::dice roll(10);
    const problem<float> p({7, 9, 11}, float8_e5m2, roll, false);
    const auto want = p.product(parse_accumulator("float16"), {});
    std::vector<float> at(p.a.size());
    for (std::size_t i = 0; i < 7; ++i)
        for (std::size_t t = 0; t < 11; ++t) at[t * 7 + i] = p.a[i * 11 + t];
    std::vector<float> out(p.c.size());
    product_options<float> o;
    o.c = in_c_order(p.c.data(), 7, 9);
    matmul<float>(in_c_order<const float>(at.data(), 11, 7).transposed(),
                  in_c_order(p.b.data(), 11, 9), in_c_order(out.data(), 7, 9),
                  parse_accumulator("float16"), o);
    CHECK(out == want);
}

TEST_CASE("shapes and formats that do not go together are refused") {
    std::vector<float> x(12);
    const auto a = in_c_order<const float>(x.data(), 3, 4);
    const auto b = in_c_order<const float>(x.data(), 3, 4);
    std::vector<float> out(12);
    CHECK_THROWS_WITH_AS(matmul<float>(a, b, in_c_order(out.data(), 3, 4), accumulator{}),
                         "lowp::matmul: m by k times k by n gives m by n; got 3 by 4, 3 by 4 and "
                         "out 3 by 4",
                         std::invalid_argument);
    const auto bt = b.transposed();
    CHECK_THROWS_AS(
        matmul<float>(a, bt, in_c_order(out.data(), 3, 3), parse_accumulator("float64")),
        std::invalid_argument);
    product_options<float> o;
    o.c = in_c_order<const float>(x.data(), 2, 2);
    CHECK_THROWS_AS(matmul<float>(a, bt, in_c_order(out.data(), 3, 3), accumulator{}, o),
                    std::invalid_argument);
    CHECK_THROWS_AS((void)parse_accumulator("h100/terms=0"), std::invalid_argument);
    CHECK_THROWS_AS((void)parse_accumulator("float16/pairwis"), std::invalid_argument);
}

TEST_CASE("names of accumulators are parsed back") {
    for (const named_accumulator& entry : accumulators) {
        CHECK(parse_accumulator(entry.name) == entry.accumulator);
        CHECK(parse_accumulator(name(entry.accumulator)) == entry.accumulator);
    }
    for (const char* const text :
         {"float16/separate", "bfloat16/pairwise/rounding=stochastic_b/random_bits=7",
          "e5m7/chunk=32/promotion=float16/promotion_saturation=finite", "float16/product=bfloat16",
          "v100/result=float16/result_rounding=nearest_ties_to_even", "h100_fp8/chunk=64"})
        CHECK(parse_accumulator(name(parse_accumulator(text))) == parse_accumulator(text));
}

TEST_CASE("an infinite sum so far stays infinite, however few bits a unit keeps") {
    const float one = 1;
    const float infinity = std::numeric_limits<float>::infinity();
    for (const char* const text : {"h100/fraction_bits=1", "h100/fraction_bits=40"})
        for (const std::string_view isa : test::isas()) {
            float out = 0;
            product_options<float> o = on<float>(isa);
            o.c = in_c_order(&infinity, 1, 1);
            matmul<float>(in_c_order(&one, 1, 1), in_c_order(&one, 1, 1), in_c_order(&out, 1, 1),
                          parse_accumulator(text), o);
            CHECK(out == infinity);
        }
}

TEST_CASE("zeros behind k change no bit of any unit") {
    test::dice roll(11);
    for (const named_accumulator& unit : accumulators)
        for (const std::size_t k : {1UL, 5UL, 16UL, 20UL, 33UL, 47UL}) {
            if (unit.accumulator.unit.group > 1) continue;
            problem<float> p({4, 5, k}, float8_e5m2, roll, false);
            product_options<float> o;
            o.a_format = o.b_format = float8_e5m2;
            const auto want = p.product(unit.accumulator, o);
            problem<float> longer({4, 5, 64}, float8_e5m2, roll, false);
            longer.c = p.c;
            std::fill(longer.a.begin(), longer.a.end(), 0.0F);
            std::fill(longer.b.begin(), longer.b.end(), 0.0F);
            for (std::size_t t = 0; t < k; ++t) {
                for (std::size_t i = 0; i < 4; ++i) longer.a[i * 64 + t] = p.a[i * k + t];
                for (std::size_t j = 0; j < 5; ++j) longer.b[t * 5 + j] = p.b[t * 5 + j];
            }
            CAPTURE(unit.name);
            CAPTURE(k);
            CHECK(same_bits(longer.product(unit.accumulator, o), want));
        }
}

TEST_CASE("c and promotions wider than float32 keep their bits beside float64 factors") {
    const auto sum = [](const char* how, std::vector<double> x, std::vector<double> y, double c) {
        product_options<double> o;
        o.c = in_c_order<const double>(&c, 1, 1);
        return dot<double>(std::span<const double>(x), std::span<const double>(y),
                           parse_accumulator(how), o);
    };
    CHECK(sum("float16", {}, {}, 0.1) == 0.1);
    CHECK(sum("exact", {}, {}, 0.1) == 0.1);
    CHECK(sum("float16", {}, {}, 1e300) == 1e300);
    CHECK(sum("float16", {-1}, {0x1p-60}, 1 + 0x1p-11 + 0x1p-40) == 1 + 0x1p-10);
    CHECK(sum("bfloat16/saturation=propagate", {0}, {1}, 1e300) == bfloat16.max());
    CHECK(sum("float16/chunk=1/promotion=float64", {1, 1}, {1, 1}, 0x1p-30) == 2 + 0x1p-30);
}

TEST_CASE("the smallest products are summed exactly") {
    const std::vector<double> x{5e-324, 5e-324, 1.0, -1.0};
    const std::vector<double> y{5e-324, 1.0, 1.0, 1.0};
    accumulator how = parse_accumulator("exact/rounding=toward_positive");
    how.addition.format = format::ieee(11, 40);
    CHECK(dot<double>(std::span(x), std::span(y), how) == 0x1p-1062);
    const std::vector<double> tiny{5e-324};
    CHECK(dot<double>(std::span(tiny), std::span(tiny), how) == 0x1p-1062);
}

#if defined(__x86_64__)
TEST_CASE("flush-to-zero of the calling thread changes nothing") {
    const std::vector<float> x{1e-40F, 1e-39F, 0x1p-140F, 0x1p-145F};
    const std::vector<float> y{1.0F, 1.0F, 0x1p20F, 0x1p20F};
    const unsigned before = _mm_getcsr();
    for (const char* const text : {"float32", "float32/rounding=toward_zero", "h100", "mi300",
                                   "float16", "exact", "float32/pairwise"}) {
        const accumulator how = parse_accumulator(text);
        const float want = dot<float>(std::span(x), std::span(y), how);
        _mm_setcsr((before & ~0x3FU) | 0x8040U);
        const float got = dot<float>(std::span(x), std::span(y), how);
        _mm_setcsr(before);
        CAPTURE(name(how));
        CHECK(bits_of(got) == bits_of(want));
    }
}
#endif

TEST_CASE("formats that the carrier does not hold, and fields without use, are refused") {
    std::vector<float> x(64 * 40, 1.0F);
    std::vector<float> out(64 * 64);
    const auto a = in_c_order<const float>(x.data(), 64, 40);
    product_options<float> o;
    o.threads = 4;
    for (const char* const text : {"float16/product=float64", "float16/pairwise/product=float64",
                                   "float16/chunk=2/promotion=float64", "float64"})
        CHECK_THROWS_AS(matmul<float>(a, a.transposed(), in_c_order(out.data(), 64, 64),
                                      parse_accumulator(text), o),
                        std::invalid_argument);
    for (const char* const text :
         {"h100/rounding=toward_positive", "h100/addition=float8_e5m2", "mi300/fraction_bits=1",
          "mi300/cut=toward_negative", "float16/result=bfloat16", "float16/promotion=float8_e5m2",
          "h100/pairwise", "float16/pairwise/kahan", "h100/terms=1024/group=2", "mi300/group=8",
          "b200_nvfp4/chunk=24", "h100/result_saturation=finite", "exact/separate"})
        CHECK_THROWS_AS((void)parse_accumulator(text), std::invalid_argument);
    // Values wider than a group has room for.
    const std::vector<float> wide{0x1p60F, 1.0F, -0x1p60F};
    const std::vector<float> ones(3, 1.0F);
    CHECK_THROWS_AS(
        (void)dot<float>(std::span(wide), std::span(ones), parse_accumulator("b200_mxf4")),
        std::invalid_argument);
}

TEST_CASE("promotions and the rounding of results have random bits of their own") {
    const std::vector<float> x(1, 1.0F + 1.0F / 32);
    std::vector<float> out(20000);
    const std::vector<float> ones(out.size(), 1.0F);
    accumulator how = parse_accumulator("float32/chunk=8/promotion=e8m3");
    how.promotion.projection.rounding = rounding::stochastic_a;
    product_options<float> o;
    o.out = {format::ieee(8, 2), {.rounding = rounding::stochastic_a}};
    matmul<float>(in_c_order<const float>(x.data(), 1, 1),
                  in_c_order<const float>(ones.data(), 1, out.size()),
                  in_c_order(out.data(), 1, out.size()), how, o);
    double mean = 0;
    for (const float v : out) mean += static_cast<double>(v) / static_cast<double>(out.size());
    // Five standard deviations of the mean of 20,000 values 1 or 1.25, with odds of an eighth.
    CHECK(std::fabs(mean - (1 + 1.0 / 32)) < 5 * 0.25 * std::sqrt(0.125 * 0.875 / 20000));
}
