#include "lowp/real.hpp"

#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <thread>
#include <type_traits>
#include <unordered_set>
#include <vector>

#include "lowp/arithmetic.hpp"
#include "lowp/minifloat.hpp"
#include "lowp/shadowed.hpp"
#include "lowp/statistics.hpp"
#include "support.hpp"

namespace {

using lowp::context;
using lowp::minifloat;
using lowp::operation_kind;
using lowp::real;
using lowp::shadowed;
using lowp::use_format;
using lowp::test::bits_of;

static_assert(std::is_trivially_copyable_v<real> && sizeof(real) == 16);
static_assert(!std::is_convertible_v<double, real> && !std::is_convertible_v<real, double>);

bool same(real got, double want) {
    return bits_of(got.value()) == bits_of(want) || (isnan(got) && want != want);
}

TEST_CASE("operators of real are the verbs of arithmetic.hpp in every mode and saturation") {
    lowp::test::dice d(1);
    for (const lowp::format& f : {lowp::float8_e4m3fn, lowp::float8_e5m2, lowp::float6_e2m3fn})
        for (const lowp::rounding r : lowp::test::all_roundings())
            for (const lowp::saturation s : lowp::test::all_saturations) {
                if (is_stochastic(r)) continue;
                const context c(f, {r, s});
                CAPTURE(c.name());
                for (int i = 0; i < 500; ++i) {
                    const double x = f.value(d.below(f.code_mask() + 1));
                    const double y = f.value(d.below(f.code_mask() + 1));
                    const real a(x, c), b(y, c);
                    CHECK(same(a + b, lowp::add(a.value(), b.value(), c.to())));
                    CHECK(same(a - b, lowp::sub(a.value(), b.value(), c.to())));
                    CHECK(same(a * b, lowp::mul(a.value(), b.value(), c.to())));
                    CHECK(same(a / b, lowp::div(a.value(), b.value(), c.to())));
                    CHECK(same(sqrt(a), lowp::sqrt(a.value(), c.to())));
                    CHECK(same(fma(a, b, a), lowp::fma(a.value(), b.value(), a.value(), c.to())));
                    CHECK(same(remainder(a, b), lowp::remainder(a.value(), b.value(), c.to())));
                    CHECK(same(min(a, b), lowp::minimum(a.value(), b.value(), c.to())));
                    CHECK(same(max(a, b), lowp::maximum(a.value(), b.value(), c.to())));
                    CHECK((a + b).context() == c);
                }
            }
}

template <lowp::format F>
void check_like_minifloat() {
    using value = minifloat<F>;
    const use_format scope(F);
    for (lowp::code_type i = 0; i <= F.code_mask(); ++i)
        for (lowp::code_type j = 0; j <= F.code_mask(); j += 3) {
            const auto a = value::from_code(static_cast<typename value::storage>(i));
            const auto b = value::from_code(static_cast<typename value::storage>(j));
            lowp::operation_counts fixed, run;
            {
                const lowp::count_operations count(fixed);
                const value sum = a + b, quotient = a / b;
                const lowp::count_operations count_too(run);
                CHECK(same(real(a) + real(b), static_cast<double>(sum)));
                CHECK(same(real(a) / real(b), static_cast<double>(quotient)));
            }
            CHECK(run[operation_kind::convert].total == 4);
            CHECK(run[operation_kind::convert].inexact == 0);
            CHECK(fixed[operation_kind::add].total == 2 * run[operation_kind::add].total);
            CHECK(fixed[operation_kind::div].inexact == 2 * run[operation_kind::div].inexact);
            CHECK(fixed[operation_kind::div].overflow == 2 * run[operation_kind::div].overflow);
        }
}

TEST_CASE("real in a format gives what minifloat of it gives, and is counted alike") {
    check_like_minifloat<lowp::float8_e4m3fn>();
    check_like_minifloat<lowp::float8_e4m3fnuz>();
}

TEST_CASE("new numbers have the context of the innermost scope, float64 outside of all") {
    CHECK(real(0.1).value() == 0.1);
    CHECK(lowp::current_context() == context());
    {
        const use_format half(lowp::float16);
        CHECK(real(0.1).value() == 0.0999755859375);
        {
            const use_format up(lowp::float8_e4m3fn, {lowp::rounding::toward_positive});
            CHECK(real(0.1).value() == 0.1015625);
            CHECK(real().context().format() == lowp::float8_e4m3fn);
        }
        CHECK(real(0.1).value() == 0.0999755859375);
        CHECK(real(2049).value() == 2048);
    }
    CHECK(real(0.1).value() == 0.1);
}

TEST_CASE("each thread has its own current context") {
    const use_format half(lowp::float16);
    double elsewhere = 0;
    std::thread([&] { elsewhere = real(0.1).value(); }).join();
    CHECK(elsewhere == 0.1);
}

TEST_CASE("equal formats and projections are one context, different ones are not") {
    CHECK(context(lowp::float16) == context(lowp::format::ieee(5, 10)));
    CHECK(context(lowp::float16) != context(lowp::bfloat16));
    CHECK(context(lowp::float16) != context(lowp::float16, {lowp::rounding::toward_zero}));
    CHECK(context(lowp::float16) != context(lowp::float16, {.random_bits = 8}));
    CHECK_THROWS_AS(context(lowp::format{}), std::invalid_argument);
    CHECK_THROWS_AS(context(lowp::float16, {.random_bits = 0}), std::invalid_argument);
}

TEST_CASE("operands of different contexts are refused with both names, a cast rounds once") {
    const real a(1.5, context(lowp::float16));
    const real b(1.25, context(lowp::bfloat16));
    std::string message;
    try {
        static_cast<void>(a + b);
    } catch (const std::invalid_argument& e) {
        message = e.what();
    }
    CHECK(message ==
          "lowp::real: operands of + must have one context; got float16 nearest_ties_to_even none "
          "and "
          "bfloat16 nearest_ties_to_even none; cast(x, context) one of them, or make both in one "
          "use_format");
    CHECK_THROWS_AS(static_cast<void>(min(a, b)), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(fma(a, a, b)), std::invalid_argument);
    CHECK((a + cast(b, a.context())).value() == 2.75);
    CHECK(cast(real(2049, context(lowp::float64)), context(lowp::float16)).value() == 2048);
    CHECK(b < a);
    CHECK(real(1.5, context(lowp::bfloat16)) == a);
    CHECK(std::hash<real>{}(real(1.5, context(lowp::bfloat16))) == std::hash<real>{}(a));
}

TEST_CASE("half stalls at 2048 in a sum of ones, and stochastic rounding does not") {
    const auto sum_of_ones = [](int n) {
        real sum(0);
        for (int i = 0; i < n; ++i) sum += real(1);
        return sum.value();
    };
    {
        const use_format half(lowp::float16);
        CHECK(sum_of_ones(3000) == 2048);
    }
    const lowp::projection chance{lowp::rounding::stochastic_a};
    double first = 0;
    {
        const use_format half(lowp::float16, chance, {.seed = 1});
        first = sum_of_ones(3000);
        CHECK(first > 2900);
        CHECK(first < 3100);
    }
    {
        const use_format half(lowp::float16, chance, {.seed = 1});
        CHECK(sum_of_ones(3000) == first);
    }
    {
        const use_format half(lowp::float16, chance, {.seed = 2});
        CHECK(sum_of_ones(3000) != first);
    }
}

TEST_CASE(
    "the n-th stochastic operation of a scope takes word n, an inner scope has its own count") {
    const lowp::projection chance{lowp::rounding::stochastic_a};
    const lowp::random_source source{.seed = 7, .stream = 3};
    const context c(lowp::float8_e4m3fn, chance);
    const use_format outer(c, source);
    const real one(1), third(1.0 / 3);
    const std::vector<real> zeros(5);  // takes none
    CHECK(zeros[0].value() == 0);
    CHECK(third.value() == lowp::quantize(1.0 / 3, lowp::float8_e4m3fn, chance, source(1)));
    {
        const use_format inner(c, {.seed = 9});
        static_cast<void>(one / third);
    }
    CHECK((one / third).value() == lowp::div(1.0, third.value(), c.to(), source(2)));
    CHECK((-one).value() == -1);
    CHECK((one - third).value() == lowp::sub(1.0, third.value(), c.to(), source(3)));
}

TEST_CASE("real converts to and from integers, floats and minifloats") {
    const use_format half(lowp::float16);
    CHECK(static_cast<int>(real(-2.75)) == -2);
    CHECK(static_cast<float>(real(0.5)) == 0.5F);
    CHECK(static_cast<minifloat<lowp::float8_e5m2>>(real(0.1)) ==
          minifloat<lowp::float8_e5m2>(0.0999755859375));
    CHECK(real(minifloat<lowp::float64>(0.1)).value() == 0.0999755859375);
    CHECK_THROWS_AS(static_cast<void>(static_cast<std::int8_t>(real(300))), std::invalid_argument);
    CHECK(floor(real(-0.5)).value() == -1);
    CHECK(signbit(ceil(real(-0.5))));
    std::ostringstream out;
    out << real(0.1) << ' ' << sqrt(real(-1) * real(0));
    CHECK(out.str() == "0.0999756 -0");
    std::unordered_set<real> seen{real(0.0), real(-0.0), real(1)};
    CHECK(seen.size() == 2);
}

TEST_CASE("numeric_limits of real are those of the current context") {
    using limits = std::numeric_limits<real>;
    const use_format half(lowp::float16);
    CHECK((limits::max)().value() == 65504);
    CHECK((limits::min)().value() == 0x1p-14);
    CHECK(limits::epsilon().value() == 0x1p-10);
    CHECK(limits::denorm_min().value() == 0x1p-24);
    CHECK(isinf(limits::infinity()));
    CHECK(isnan(limits::quiet_NaN()));
}

// ---- shadowed ------------------------------------------------------------------------------------

TEST_CASE(
    "a shadow is what float64 makes of the same computation, and error is the distance to it") {
    using half = shadowed<minifloat<lowp::float16>>;
    half sum(0);
    double reference = 0;
    for (int i = 0; i < 3000; ++i) {
        sum += half(1);
        reference += 1;
    }
    CHECK(static_cast<double>(sum) == 2048);
    CHECK(sum.shadow() == reference);
    CHECK(sum.error() == 952.0 / 3000);
    const half third = half(1) / half(3);
    CHECK(third.shadow() == 1.0 / 3);
    CHECK(third.value() == minifloat<lowp::float16>(1.0 / 3));
    CHECK(half(0.1).error() > 0);
    CHECK(half(0.5).error() == 0);
    CHECK(sqrt(half(2)).shadow() == __builtin_sqrt(2.0));
    CHECK(fma(half(3), half(5), half(7)).shadow() == 22);
}

TEST_CASE("the error of zero, infinity and NaN is 0, infinite or NaN") {
    using narrow = minifloat<lowp::float8_e5m2>;
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(shadowed<narrow>(0).error() == 0);
    CHECK(shadowed<narrow>(narrow(1), 0.0).error() == infinity);
    CHECK(shadowed<narrow>(1e30).error() == infinity);
    CHECK(shadowed<narrow>(infinity).error() == 0);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(shadowed<narrow>(nan).error() == 0);
    const double mixed = shadowed<narrow>(narrow(nan), 1.0).error();
    CHECK(mixed != mixed);
}

TEST_CASE("a shadow goes along when the scalar is converted, with run-time formats too") {
    const use_format half(lowp::float16);
    const shadowed<real> x(0.1);
    CHECK(x.value().value() == 0.0999755859375);
    const shadowed<minifloat<lowp::float8_e4m3fn>> narrow(x);
    CHECK(static_cast<double>(narrow) == 0.1015625);
    CHECK(narrow.shadow() == 0.1);
    CHECK((x + x).shadow() == 0.2);
    CHECK(abs(-x).shadow() == 0.1);
    CHECK(min(x, -x) == -x);
    CHECK(std::numeric_limits<shadowed<real>>::epsilon().shadow() == 0x1p-10);
}

}  // namespace
