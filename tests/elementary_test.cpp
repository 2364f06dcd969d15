// The elementary functions against MPFR, whose results are correctly rounded: here in 53 bits toward
// zero with the last bit odd where inexact, which lowp::spec projects as it would the exact number.
#include "lowp/elementary.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "elementary_check.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("every input of every format of up to 16 bits is rounded once to that format") {
    tally t;
    for (const function f : all_functions()) {
        if (arity(f) == 2) continue;
        results exact(f, inputs_of(formats_of(1, 16), scale()));
        for (const format& to : formats_of(1, 16)) exact.check_own_inputs(converter<double>(to), t);
    }
    t.report();
}

TEST_CASE("in every mode every 8-bit input is rounded once, and 16-bit ones by a stride") {
    const std::size_t stride = 101 * scale();
    tally t;
    dice d(1);
    for (const function f : all_functions()) {
        if (arity(f) == 2) continue;
        results small(f, inputs_of(formats_of(1, 8), scale()));
        results large(f, inputs_of(formats_of(16, 16), stride));
        for (const rounding r : all_roundings()) {
            if (r == rounding::nearest_ties_to_even) continue;
            const projection p{r, d.pick({saturation::none, saturation::propagate}),
                               d.pick({1, 7, 32})};
            for (const format& to : formats_of(1, 8))
                small.check_own_inputs(converter<double>(to, p), t, &d);
            for (const format& to : formats_of(16, 16))
                large.check_own_inputs(converter<double>(to, p), t, &d);
        }
    }
    t.report();
}

TEST_CASE("pairs of 8-bit numbers and of 16-bit ones are rounded once") {
    tally t;
    dice d(2);
    const auto fives = finite_values(float8_e5m2);
    const auto brains = finite_values(bfloat16);
    for (const function f : {function::atan2, function::hypot, function::pow}) {
        for (std::size_t i = 0; i < 100000 / scale(); ++i) {
            const bool is_small = d.coin();
            const auto& from = is_small ? fives : brains;
            const double x = from[d.below(from.size())];
            const double y = from[d.below(from.size())];
            const double odd = odd_double(f, x, y);
            for (const format& to : {float8_e5m2, float8_e4m3fn, bfloat16, float16}) {
                const auto r = static_cast<rounding>(d.below(rounding_names.size()));
                t.check(f, x, y, odd, converter<double>(to, {r}), &d);
            }
        }
    }
    t.report();
}

TEST_CASE("512 bits agree with MPFR to the 340 that they promise") {
    dice d(3);
    for (const function f : all_functions()) {
        int worst = -1000;
        double worst_x = 0;
        for (int i = 0; i < 60; ++i) {
            const double x = random_operand(f, d);
            const double y =
                std::ldexp(1 + static_cast<double>(d.below(1U << 20)) * 0x1p-20, d.between(-8, 4));
            if (is_settled_before(f, x, y)) continue;
            const int bits = relative_error_exponent(f, x, y);
            if (bits > worst) worst_x = x;
            worst = std::max(worst, bits);
        }
        INFO(std::string(name(f)) << " at " << worst_x << " is off by 2^" << worst);
        CHECK(worst < -345);
    }
}

TEST_CASE("wide formats are rounded once: float32, tensorfloat32 and float64, near and far") {
    tally t;
    dice d(4);
    for (const function f : all_functions())
        for (int i = 0; i < 1000; ++i) {
            const double x = random_operand(f, d);
            const double y = random_operand(f, d);
            if (std::fabs(x) < 0x1p-100 || std::fabs(x) > 0x1p100) continue;
            check_by_mpfr(f, x, y, 24, -149, 128, converter<double>(float32), t);
            check_by_mpfr(f, x, y, 11, -136, 128, converter<double>(tensorfloat32), t);
            check_by_mpfr(f, x, y, 53, -1074, 1024, converter<double>(float64), t);
            const converter<double> up(float64, {rounding::toward_positive});
            check_by_mpfr(f, x, y, 53, -1074, 1024, up, t);
        }
    t.report();
}

TEST_CASE("results next to a value, and at it, go to the side where they lie") {
    const auto round = [](function f, double x, const format& to, rounding r, double y = 1) {
        return evaluate(f, x, y, converter<double>(to, {r}));
    };
    using enum rounding;
    for (const int e : {-12, -30, -60, -133}) {
        const double x = std::ldexp(1.0, e);
        const double below = e == -133 ? 0 : x * (1 - 0x1p-8);
        CHECK(round(function::sin, x, bfloat16, toward_zero) == below);
        CHECK(round(function::sin, -x, bfloat16, toward_zero) == -below);
        CHECK(round(function::sin, x, bfloat16, toward_positive) == x);
        CHECK(round(function::tan, x, bfloat16, toward_zero) == x);
    }
    CHECK(round(function::tanh, 40, float16, toward_zero) == 1 - 0x1p-11);
    CHECK(round(function::tanh, 40, float16, away_from_zero) == 1);
    CHECK(round(function::cos, 0x1p-500, float64, toward_zero) == 1 - 0x1p-53);
    CHECK(round(function::exp, 0x1p-1074, float64, toward_positive) == 1 + 0x1p-52);
    CHECK(round(function::exp, -0x1p-1074, float64, toward_positive) == 1);
    CHECK(round(function::expm1, -100, float16, toward_zero) == -(1 - 0x1p-11));
    CHECK(round(function::softplus, 1024, bfloat16, toward_positive) == 1032);
    CHECK(round(function::softplus, 1024, bfloat16, nearest_ties_to_even) == 1024);
    CHECK(round(function::hypot, 1, float64, toward_positive, 0x1p-1000) == 1 + 0x1p-52);
    CHECK(round(function::atan2, 0x1p-100, float64, toward_positive, 1) == 0x1p-100);
    CHECK(round(function::atan2, 0x1p-100, float64, toward_zero, 1) == 0x1p-100 * (1 - 0x1p-53));
    CHECK(round(function::hypot, 3, bfloat16, toward_positive, 4) == 5);
    CHECK(round(function::pow, 3, bfloat16, toward_positive, 4) == 81);
    CHECK(round(function::pow, 2.25, float64, toward_positive, 1.5) == 3.375);
    CHECK(round(function::cbrt, -27, bfloat16, toward_negative) == -3);
    CHECK(round(function::exp10, 3, float16, toward_positive) == 1000);
    CHECK(round(function::exp10, 22, float64, toward_positive) == 1e22);
    CHECK(round(function::log10, 1000, bfloat16, toward_positive) == 3);
    CHECK(round(function::log2, 0x1p-1074, float64, toward_positive) == -1074);
    CHECK(round(function::rsqrt, 0x1p-20, float16, away_from_zero) == 1024);
    CHECK(round(function::exp2, -24, float16, away_from_zero) == 0x1p-24);
}

TEST_CASE("zeros, infinities, NaN and poles are those of C99, Annex F") {
    const converter<double> to(float16);
    const auto is = [&to](function f, double x, double want, double y = 1) {
        INFO(std::string(name(f)) << " of " << x << ", " << y);
        CHECK(same(evaluate(f, x, y, to), want));
    };
    for (const function f : all_functions()) is(f, quiet_nan, quiet_nan);
    for (const auto f :
         {function::sin, function::tan, function::asin, function::atan, function::sinh,
          function::tanh, function::asinh, function::atanh, function::erf, function::expm1,
          function::log1p, function::cbrt, function::gelu, function::silu}) {
        is(f, 0.0, 0.0);
        is(f, -0.0, -0.0);
    }
    for (const auto f : {function::exp, function::exp2, function::exp10, function::cos,
                         function::cosh, function::erfc})
        for (const double zero : {0.0, -0.0}) is(f, zero, 1);
    for (const auto f : {function::log, function::log2, function::log10}) {
        is(f, 0.0, -infinity);
        is(f, -0.0, -infinity);
        is(f, 1, 0.0);
        is(f, -1, quiet_nan);
        is(f, infinity, infinity);
    }
    for (const auto f :
         {function::exp, function::exp2, function::exp10, function::sigmoid, function::softplus})
        is(f, -infinity, 0.0);
    for (const auto f : {function::gelu, function::silu}) is(f, -infinity, -0.0);
    for (const auto f : {function::sin, function::cos, function::tan}) is(f, infinity, quiet_nan);
    for (const auto f : {function::asin, function::acos, function::atanh}) is(f, 1.5, quiet_nan);
    for (const auto f : {function::rsqrt, function::reciprocal}) {
        is(f, 0.0, infinity);
        is(f, -0.0, -infinity);
        is(f, infinity, 0.0);
    }
    is(function::rsqrt, -1, quiet_nan);
    is(function::reciprocal, -infinity, -0.0);
    is(function::acos, 1, 0.0);
    is(function::acosh, 1, 0.0);
    is(function::acosh, 0.5, quiet_nan);
    is(function::atanh, 1, infinity);
    is(function::atanh, -1, -infinity);
    is(function::log1p, -1, -infinity);
    is(function::tanh, -infinity, -1);
    is(function::erfc, -infinity, 2);
    is(function::erfc, infinity, 0.0);
    is(function::expm1, -infinity, -1);
    is(function::sigmoid, -0.0, 0.5);
    is(function::softplus, 0.0, 0x1.63p-1);
    is(function::acos, 0.0, 0x1.92p0);
    is(function::atan, -infinity, -0x1.92p0);
    is(function::pow, quiet_nan, 1, 0.0);
    is(function::pow, 1, 1, quiet_nan);
    is(function::pow, 0.0, infinity, -1);
    is(function::pow, -0.0, -infinity, -3);
    is(function::pow, -0.0, -0.0, 3);
    is(function::pow, -1, 1, infinity);
    is(function::pow, 2, 0.0, -infinity);
    is(function::pow, -8, quiet_nan, 0.5);
    is(function::pow, -8, -512, 3);
    is(function::hypot, quiet_nan, infinity, -infinity);
    is(function::hypot, -0.0, 3, -3);
    is(function::atan2, -0.0, -0.0, 1);
    is(function::atan2, 0.0, 0x1.92p1, -1);
    is(function::atan2, -infinity, -0x1.2d8p1, -infinity);
    is(function::atan2, 1, 0x1.92p1, -infinity);
    is(function::atan2, infinity, 0x1.92p0, 1);
}

TEST_CASE("a pole is an infinite input to the saturation, overflow a finite one") {
    using enum saturation;
    const auto log_of_zero = [](saturation s) {
        return lowp::log(0, converter<double>(float16, {.saturation = s}));
    };
    const auto exp_of = [](double x, saturation s, const format& f = float16) {
        return lowp::exp(x, converter<double>(f, {.saturation = s}));
    };
    CHECK(log_of_zero(propagate) == -infinity);
    CHECK(log_of_zero(finite) == -65504);
    for (const double x : {12.0, 100.0, 1000.0, 1e300}) {
        CHECK(exp_of(x, none) == infinity);
        CHECK(exp_of(x, propagate) == 65504);
        CHECK(exp_of(x, finite) == 65504);
    }
    CHECK(exp_of(infinity, propagate) == infinity);
    CHECK(exp_of(1000, propagate, float64) == std::numeric_limits<double>::max());
    CHECK(exp_of(1000, none, float64) == infinity);
    CHECK(std::isnan(exp_of(1000, none, float8_e4m3fn)));
    CHECK(exp_of(-1000, none) == 0);
    const converter<double> up(float64, {rounding::toward_positive});
    CHECK(lowp::exp(-1000, up) == std::numeric_limits<double>::denorm_min());
    CHECK(lowp::exp(-1e300, up) == std::numeric_limits<double>::denorm_min());
}

TEST_CASE_TEMPLATE("arrays have the results of single values, with the random bits of their index",
                   T, float, double) {
    dice d(5);
    std::vector<T> x;
    std::vector<T> y;
    for (std::size_t i = 0; i < 1500; ++i) {
        x.push_back(static_cast<T>(random_operand(function::gelu, d)));
        y.push_back(static_cast<T>(random_operand(function::erf, d)));
    }
    for (const double special : {0.0, -0.0, infinity, -infinity, quiet_nan, 1000.0})
        x[d.below(x.size())] = static_cast<T>(special);
    for (const function f : all_functions())
        for (const projection p : {projection{}, {rounding::stochastic_b, saturation::none, 5}}) {
            const converter<T> to(bfloat16, p);
            const converter<double> to_double(bfloat16, p);
            const options o{.source = {7, 8}, .first_index = 3, .threads = d.between(1, 3)};
            std::vector<T> out(x.size());
            const auto second = arity(f) == 2 ? std::span<const T>(y) : std::span<const T>();
            evaluate<T>(f, x, second, out, to, o);
            std::size_t wrong = 0;
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double want = evaluate(f, static_cast<double>(x[i]),
                                             static_cast<double>(y[i]), to_double, o.source(i + 3));
                if (!same(static_cast<double>(out[i]), want)) ++wrong;
            }
            INFO(std::string(name(f)));
            CHECK(wrong == 0);
            std::vector<T> in_place = x;
            evaluate<T>(f, in_place, second, in_place, to, o);
            CHECK(std::equal(out.begin(), out.end(), in_place.begin(), [](T a, T b) {
                return same(static_cast<double>(a), static_cast<double>(b));
            }));
        }
}

TEST_CASE("the thread's rounding direction changes no result") {
    dice d(6);
    for (const function f : all_functions()) {
        const double x = random_operand(f, d);
        const double y = random_operand(f, d);
        for (const format& to : {bfloat16, float64}) {
            const converter<double> c(to, {rounding::toward_positive});
            const double want = evaluate(f, x, y, c);
            for (const int direction : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
                std::fesetround(direction);
                const double got = evaluate(f, x, y, c);
                std::fesetround(FE_TONEAREST);
                CHECK(same(got, want));
            }
        }
    }
}

TEST_CASE("lengths and options that contradict are refused, and none is fine") {
    const std::vector<float> three(3);
    std::vector<float> two(2);
    const converter<float> to(bfloat16);
    using values = std::span<const float>;
    CHECK_THROWS_AS(evaluate<float>(function::exp, three, values(), two, to),
                    std::invalid_argument);
    CHECK_THROWS_AS(evaluate<float>(function::exp, two, two, two, to), std::invalid_argument);
    CHECK_THROWS_AS(evaluate<float>(function::pow, two, three, two, to), std::invalid_argument);
    CHECK_THROWS_AS(evaluate<float>(function::exp, two, values(), two, to, {.threads = -1}),
                    std::invalid_argument);
    evaluate<float>(function::exp, values(), values(), std::span<float>(), to);
}
