#include <doctest/doctest.h>

#include <limits>
#include <sstream>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "lowp/arithmetic.hpp"
#include "lowp/formats.hpp"
#include "lowp/literals.hpp"
#include "lowp/minifloat.hpp"
#include "lowp/statistics.hpp"
#include "support.hpp"

namespace {

using lowp::minifloat;
using lowp::operation_kind;
using half = minifloat<lowp::float16>;
using e4m3 = minifloat<lowp::float8_e4m3fn>;
using e5m2 = minifloat<lowp::float8_e5m2>;
using e2m1 = minifloat<lowp::float4_e2m1fn>;

// ---- at compile time ----------------------------------------------------------------------------

constexpr half add_ones(half sum, int n) {
    for (int i = 0; i < n; ++i) sum += half(1);
    return sum;
}
static_assert(add_ones(half(2000), 100) == half(2048),
              "half stalls at 2048: 2049 is a tie to even");
static_assert(half(1) / half(3) == half(1.0 / 3));
static_assert(sqrt(half(2)) == half(1.4140625));
static_assert(fma(half(3), half(5), half(7)) == half(22));
static_assert(abs(half(-2)) == half(2) && -half(2) == half(-2));
static_assert(isinf(half(60000) + half(60000)) && isnan(half(0) / half(0)));
static_assert(isnan(e4m3(448) + e4m3(448)), "no infinity: NaN");
static_assert(e2m1(6) + e2m1(6) == e2m1(6), "neither infinity nor NaN: the largest");
static_assert(static_cast<int>(half(-2.75)) == -2 && static_cast<bool>(half(0.5)));
static_assert(floor(half(-2.5)) == half(-3) && ceil(half(-2.5)) == half(-2));
static_assert(round(half(-2.5)) == half(-3) && trunc(half(-2.5)) == half(-2));
static_assert(std::is_trivially_copyable_v<half> && sizeof(half) == 2);

using namespace lowp::literals;
static_assert(1.5_f16 == half(1.5) && 448_e4m3 == e4m3(448) && 1e4_e5m2 == e5m2(10240));
static_assert(0.1_f16 == half(0.1) && 3e-8_f16 == half(0x1p-25 * 1.00663296) && isinf(1e5_f16));
static_assert(-2'049_f16 == half(-2048) && 12.5e-1_bf16 == minifloat<lowp::bfloat16>(1.25));

// ---- operators -----------------------------------------------------------------------------------

/// Calls f with every code of F but NaNs' in the place of a number, if the result can be a NaN.
template <lowp::format F, class Function>
void for_each_value(Function f) {
    for (lowp::code_type c = 0; c <= F.code_mask(); ++c)
        f(minifloat<F>::from_code(static_cast<typename minifloat<F>::storage>(c)));
}

/// The code that x has in F, or -1 where F has no NaN and x is one.
template <lowp::format F>
long code_or_none(double x) {
    if (x != x && !F.has_nan()) return -1;
    return static_cast<long>(lowp::encode(x, F));
}

template <class Operation>
long code_of_result(Operation operation) {
    try {
        return static_cast<long>(operation().code());
    } catch (const std::invalid_argument&) {
        return -1;
    }
}

template <lowp::format F>
void check_all_pairs() {
    const lowp::converter<double> to(F);
    std::size_t wrong = 0;
    for_each_value<F>([&](minifloat<F> a) {
        const auto x = static_cast<double>(a);
        for_each_value<F>([&](minifloat<F> b) {
            const auto y = static_cast<double>(b);
            const auto differs = [](long got, long want) { return got == want ? 0U : 1U; };
            wrong += differs(code_of_result([&] { return a + b; }),
                             code_or_none<F>(lowp::add(x, y, to)));
            wrong += differs(code_of_result([&] { return a - b; }),
                             code_or_none<F>(lowp::sub(x, y, to)));
            wrong += differs(code_of_result([&] { return a * b; }),
                             code_or_none<F>(lowp::mul(x, y, to)));
            wrong += differs(code_of_result([&] { return a / b; }),
                             code_or_none<F>(lowp::div(x, y, to)));
            wrong += differs(code_of_result([&] { return remainder(a, b); }),
                             code_or_none<F>(lowp::remainder(x, y, to)));
            wrong += differs(code_of_result([&] { return fma(a, b, a); }),
                             code_or_none<F>(lowp::fma(x, y, x, to)));
            wrong += differs(code_of_result([&] { return min(a, b); }),
                             code_or_none<F>(lowp::minimum(x, y, to)));
            wrong += differs(code_of_result([&] { return max(a, b); }),
                             code_or_none<F>(lowp::maximum(x, y, to)));
        });
        CHECK(code_of_result([&] { return sqrt(a); }) == code_or_none<F>(lowp::sqrt(x, to)));
        CHECK(code_of_result([&] { return -a; }) == code_or_none<F>(lowp::quantize(-x, F)));
    });
    CHECK(wrong == 0);
}

TEST_CASE("operators of minifloats are the verbs of arithmetic.hpp, for every pair of codes") {
    check_all_pairs<lowp::float8_e4m3fn>();
    check_all_pairs<lowp::float8_e5m2>();
    check_all_pairs<lowp::float8_e4m3fnuz>();
    check_all_pairs<lowp::float8_e8m0fnu>();
    check_all_pairs<lowp::float6_e2m3fn>();
    check_all_pairs<lowp::float4_e2m1fn>();
    check_all_pairs<lowp::int8>();
}

TEST_CASE("compound operators assign what the operators give") {
    half x(1.5);
    x += half(2);
    x *= half(3);
    x -= half(0.5);
    x /= half(4);
    CHECK(x == half(2.5));
    CHECK(+x == x);
}

TEST_CASE("a result that is NaN in a format without NaN throws") {
    CHECK_THROWS_AS(static_cast<void>(e2m1(0) / e2m1(0)), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(sqrt(e2m1(-1))), std::invalid_argument);
    CHECK(e2m1(1) / e2m1(0) == e2m1(6));
}

// ---- conversions ---------------------------------------------------------------------------------

static_assert(!std::is_convertible_v<float, half> && !std::is_convertible_v<half, float>);
static_assert(!std::is_convertible_v<int, half> && !std::is_convertible_v<e4m3, half>);
static_assert(std::is_constructible_v<half, e4m3> && std::is_constructible_v<half, unsigned char>);

TEST_CASE("every value of an 8-bit format converts to a wider format and back") {
    for_each_value<lowp::float8_e5m2>([](e5m2 x) {
        if (isnan(x)) return;
        CHECK(e5m2(half(x)).code() == x.code());
    });
    CHECK(e4m3(half(17)) == e4m3(16));
    CHECK(isnan(e4m3(half(1000))));
}

TEST_CASE("integers convert with one rounding, also where float64 does not hold them") {
    using wide = minifloat<lowp::float64>;
    using narrow = minifloat<lowp::format::ieee(11, 51)>;
    // 2^54 + 2^2 + 1: float64 would first drop the 1, and leave a tie for 52 bits.
    const std::int64_t x = (std::int64_t{1} << 54) + (std::int64_t{1} << 2) - 1;
    CHECK(static_cast<double>(wide(x)) == static_cast<double>(x));
    CHECK(static_cast<double>(narrow((std::int64_t{1} << 60) + 257)) == 0x1p60 + 512);
    CHECK(static_cast<double>(narrow(-(std::int64_t{1} << 60) - 257)) == -0x1p60 - 512);
    CHECK(static_cast<double>(narrow(std::uint64_t{1} << 63)) == 0x1p63);
    CHECK(static_cast<double>(narrow(std::numeric_limits<std::uint64_t>::max())) == 0x1p64);
    CHECK(static_cast<double>(wide(std::numeric_limits<std::int64_t>::min())) == -0x1p63);
    CHECK(half(true) == half(1));
    CHECK(half('\x03') == half(3));
    CHECK(isinf(half(70000)));
}

TEST_CASE("conversion to an integer drops the fraction and refuses what does not fit") {
    CHECK(static_cast<int>(half(3.99)) == 3);
    CHECK(static_cast<std::int8_t>(half(-128.5)) == -128);
    CHECK(static_cast<unsigned>(half(-0.5)) == 0);
    CHECK_THROWS_AS(static_cast<void>(static_cast<std::int8_t>(half(128))), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(static_cast<unsigned>(half(-1))), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(static_cast<int>(half(0) / half(0))), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(static_cast<int>(half(1) / half(0))), std::invalid_argument);
    CHECK(static_cast<std::uint64_t>(minifloat<lowp::float64>(0x1.fffffffffffffp63)) ==
          0xFFFFFFFFFFFFF800U);
}

TEST_CASE("a format wider than float32 converts to it with one rounding") {
    using wide = minifloat<lowp::float64>;
    CHECK(static_cast<float>(wide(1 + 0x1p-24)) == 1.0F);
    CHECK(static_cast<float>(wide(1 + 0x1.8p-24)) == 1.0F + 0x1p-23F);
    CHECK(static_cast<float>(wide(1e300)) == std::numeric_limits<float>::infinity());
    CHECK(wide(0.1F) == wide(static_cast<double>(0.1F)));
}

// ---- functions -----------------------------------------------------------------------------------

TEST_CASE("floor, ceil, trunc and round of every half are those of double") {
    for_each_value<lowp::float16>([](half x) {
        if (isnan(x)) return;
        const auto d = static_cast<double>(x);
        const auto same = [](half got, double want) {
            return lowp::test::bits_of(static_cast<double>(got)) == lowp::test::bits_of(want);
        };
        CHECK(same(floor(x), __builtin_floor(d)));
        CHECK(same(ceil(x), __builtin_ceil(d)));
        CHECK(same(trunc(x), __builtin_trunc(d)));
        CHECK(same(round(x), __builtin_round(d)));
    });
}

TEST_CASE("signbit sees -0, and isnan, isinf and isfinite part the codes") {
    CHECK(signbit(half(-0.0)));
    CHECK_FALSE(signbit(half(0.0)));
    CHECK(abs(half(-0.0)).code() == 0);
    CHECK((-half(0.0)).code() == 0x8000);
    std::size_t nans = 0, infinities = 0, finite = 0;
    for_each_value<lowp::float16>([&](half x) {
        nans += isnan(x) ? 1U : 0U;
        infinities += isinf(x) ? 1U : 0U;
        finite += isfinite(x) ? 1U : 0U;
    });
    CHECK(nans == 2 * 1023);
    CHECK(infinities == 2);
    CHECK(finite == 65536 - 2048);
}

TEST_CASE("equal values have equal hashes, and a set keeps one of each") {
    std::unordered_set<half> seen;
    for_each_value<lowp::float16>([&](half x) {
        if (!isnan(x)) seen.insert(x);
    });
    CHECK(seen.size() == 65536 - 2046 - 1);
    CHECK(std::hash<half>{}(half(-0.0)) == std::hash<half>{}(half(0.0)));
}

TEST_CASE("a stream prints the value") {
    std::ostringstream out;
    out << half(0.1) << ' ' << half(1) / half(0) << ' ' << -half(3);
    CHECK(out.str() == "0.0999756 inf -3");
}

// ---- numeric_limits ------------------------------------------------------------------------------

template <lowp::format F>
void check_limits() {
    using value = minifloat<F>;
    using limits = std::numeric_limits<value>;
    CAPTURE(lowp::name(F));
    const auto number = [](value x) { return static_cast<double>(x); };
    CHECK(limits::is_specialized);
    CHECK(number(limits::max()) == F.max());
    CHECK(number(limits::lowest()) == F.lowest());
    CHECK(limits::digits == F.precision());
    CHECK(limits::is_signed == F.is_signed);
    CHECK(limits::has_infinity == F.has_inf);
    CHECK(limits::has_quiet_NaN == F.has_nan());
    if (limits::has_infinity) {
        CHECK(number(limits::infinity()) == std::numeric_limits<double>::infinity());
    }
    if (limits::has_quiet_NaN) {
        CHECK(isnan(limits::quiet_NaN()));
    }
    // Found among all values, not derived: the smallest positive, and the largest exponents.
    double smallest = 1e300, largest = 0, lowest = 0, next_to_one = 1e300;
    const lowp::code_type step = F.bits() > 16 ? (F.code_mask() >> 16) | 1 : 1;
    for (lowp::code_type c = 0; c <= F.code_mask() - (step - 1); c += step) {
        const double x = F.value(c);
        if (x - x != 0) continue;
        if (x > 0) smallest = std::min(smallest, x);
        if (x > 1) next_to_one = std::min(next_to_one, x);
        largest = std::max(largest, x);
        lowest = std::min(lowest, x);
    }
    if (step == 1) {
        CHECK(number(limits::max()) == largest);
        if (F.has_zero) {
            CHECK(number(limits::lowest()) == lowest);
        }
    }
    if (limits::is_integer) {
        CHECK(limits::min() == limits::lowest());
        CHECK(number(limits::epsilon()) == 0);
        return;
    }
    if (step == 1) {
        CHECK(number(limits::denorm_min()) == smallest);
        CHECK(number(limits::epsilon()) == next_to_one - 1);
    }
    CHECK(number(limits::min()) == F.min_normal());
    CHECK(std::ldexp(1.0, limits::min_exponent - 1) == number(limits::min()));
    CHECK(std::ldexp(1.0, limits::max_exponent - 1) <= number(limits::max()));
    CHECK(std::ldexp(1.0, limits::max_exponent) > number(limits::max()));
    CHECK(std::pow(10.0, limits::max_exponent10) <= number(limits::max()));
    CHECK(std::pow(10.0, limits::min_exponent10) >= number(limits::min()));
    CHECK(std::pow(10.0, limits::min_exponent10 - 1) < number(limits::min()));
}

template <std::size_t... I>
void check_registry(std::index_sequence<I...> /*unused*/) {
    (check_limits<lowp::registry[I].format>(), ...);
}

TEST_CASE("numeric_limits of every registered format are what its codes say") {
    check_registry(std::make_index_sequence<lowp::registry.size()>{});
}

template <class Float, lowp::format F>
void check_like_builtin() {
    using mine = std::numeric_limits<minifloat<F>>;
    using theirs = std::numeric_limits<Float>;
    CHECK(mine::is_signed == theirs::is_signed);
    CHECK(mine::is_integer == theirs::is_integer);
    CHECK(mine::is_exact == theirs::is_exact);
    CHECK(mine::has_infinity == theirs::has_infinity);
    CHECK(mine::has_quiet_NaN == theirs::has_quiet_NaN);
    CHECK(mine::has_denorm == theirs::has_denorm);
    CHECK(mine::round_style == theirs::round_style);
    CHECK(mine::is_iec559 == theirs::is_iec559);
    CHECK(mine::digits == theirs::digits);
    CHECK(mine::digits10 == theirs::digits10);
    CHECK(mine::max_digits10 == theirs::max_digits10);
    CHECK(mine::min_exponent == theirs::min_exponent);
    CHECK(mine::max_exponent == theirs::max_exponent);
    CHECK(mine::min_exponent10 == theirs::min_exponent10);
    CHECK(mine::max_exponent10 == theirs::max_exponent10);
    const auto same = [](auto mine_value, auto theirs_value) {
        return static_cast<double>(mine_value) == static_cast<double>(theirs_value);
    };
    CHECK(same(mine::min(), theirs::min()));
    CHECK(same(mine::max(), theirs::max()));
    CHECK(same(mine::lowest(), theirs::lowest()));
    CHECK(same(mine::epsilon(), theirs::epsilon()));
    CHECK(same(mine::round_error(), theirs::round_error()));
    CHECK(same(mine::denorm_min(), theirs::denorm_min()));
    CHECK(same(mine::infinity(), theirs::infinity()));
}

TEST_CASE("numeric_limits of float32, float64 and integers are those of the built-in types") {
    check_like_builtin<float, lowp::float32>();
    check_like_builtin<double, lowp::float64>();
    check_like_builtin<std::int8_t, lowp::int8>();
    check_like_builtin<std::uint8_t, lowp::format::unsigned_fixed_point(8, 0)>();
    check_like_builtin<std::int16_t, lowp::format::fixed_point(15, 0)>();
}

TEST_CASE("numeric_limits of float16, bfloat16 and OCP FP8 are the published ones") {
    using l16 = std::numeric_limits<half>;
    CHECK((l16::digits == 11 && l16::digits10 == 3 && l16::max_digits10 == 5));
    CHECK((l16::min_exponent == -13 && l16::max_exponent == 16));
    CHECK((l16::min_exponent10 == -4 && l16::max_exponent10 == 4 && l16::is_iec559));
    using lb = std::numeric_limits<minifloat<lowp::bfloat16>>;
    CHECK((lb::digits == 8 && lb::digits10 == 2 && lb::max_digits10 == 4));
    CHECK((lb::min_exponent == -125 && lb::max_exponent == 128));
    CHECK((lb::min_exponent10 == -37 && lb::max_exponent10 == 38));
    using l8 = std::numeric_limits<e4m3>;
    CHECK((l8::digits == 4 && l8::digits10 == 0 && l8::max_digits10 == 3 && !l8::is_iec559));
    CHECK((l8::min_exponent == -5 && l8::max_exponent == 9 && l8::max_exponent10 == 2));
    CHECK((l8::has_quiet_NaN && !l8::has_infinity && l8::max() == e4m3(448)));
}

// ---- statistics ----------------------------------------------------------------------------------

TEST_CASE("operations are counted by kind while a scope lives, with what happened in them") {
    lowp::operation_counts counts;
    const half big(60000), one(1), tiny(0x1p-24), zero(0), third = half(1) / half(3);
    {
        const lowp::count_operations scope(counts);
        static_cast<void>(one + one);
        static_cast<void>(big + big);
        static_cast<void>(half(2048) + one);
        static_cast<void>(tiny * third);
        static_cast<void>(tiny * half(2));
        static_cast<void>(one / zero);
        static_cast<void>(zero / zero);
        static_cast<void>(sqrt(-one));
        static_cast<void>(fma(third, third, one));
        static_cast<void>(one - (one / zero) * zero);
    }
    static_cast<void>(one + one);
    CHECK(counts[operation_kind::add] ==
          lowp::operation_count{.total = 3, .inexact = 2, .overflow = 1});
    CHECK(counts[operation_kind::mul] ==
          lowp::operation_count{.total = 3, .inexact = 1, .underflow = 1, .nan_created = 1});
    CHECK(counts[operation_kind::div] ==
          lowp::operation_count{.total = 3, .divide_by_zero = 2, .nan_created = 1});
    CHECK(counts[operation_kind::sqrt] == lowp::operation_count{.total = 1, .nan_created = 1});
    CHECK(counts[operation_kind::fma] == lowp::operation_count{.total = 1, .inexact = 1});
    CHECK(counts[operation_kind::sub] == lowp::operation_count{.total = 1});
    CHECK(counts[operation_kind::convert] == lowp::operation_count{.total = 2});
    CHECK(counts.sum().total == 14);
}

TEST_CASE("limits, comparisons, signs and rounding to whole numbers are no operations") {
    lowp::operation_counts counts;
    const half x(1.5);
    {
        const lowp::count_operations scope(counts);
        CHECK(std::numeric_limits<half>::max() > abs(-floor(min(x, half()))));
        CHECK(std::numeric_limits<half>::epsilon() < x);
    }
    CHECK(counts.sum() == lowp::operation_count{});
}

TEST_CASE("an operation is counted by every scope around it") {
    lowp::operation_counts outer, inner;
    const half x(3);
    {
        const lowp::count_operations a(outer);
        static_cast<void>(x + x);
        {
            const lowp::count_operations b(inner);
            static_cast<void>(x / x);
        }
        static_cast<void>(x * x);
    }
    CHECK(outer.sum().total == 3);
    CHECK(inner.sum().total == 1);
}

/// Counts of all pairs against what follows from the exact result in float64.
template <lowp::format F>
void check_counts_of_products() {
    for_each_value<F>([&](minifloat<F> a) {
        for_each_value<F>([&](minifloat<F> b) {
            const double x = static_cast<double>(a), y = static_cast<double>(b);
            if (!isfinite(a) || !isfinite(b)) return;
            lowp::operation_counts counts;
            double got = 0;
            {
                const lowp::count_operations scope(counts);
                got = static_cast<double>(a * b);
            }
            const double exact = x * y;
            const lowp::operation_count& seen = counts[operation_kind::mul];
            CHECK(seen.inexact == (got == exact ? 0 : 1));
            const double size = exact < 0 ? -exact : exact;
            const double half_quantum = (F.max() - F.value(F.max_code() - 1)) / 2;
            // The largest code is even in no format here but e4m3fn's, where the tie stays.
            const bool is_tie = size == F.max() + half_quantum;
            const bool over = size > F.max() + half_quantum || (is_tie && (F.max_code() & 1) == 1);
            CHECK(seen.overflow == (over ? 1 : 0));
            CHECK(seen.underflow == (got != exact && size < F.min_normal() ? 1 : 0));
            CHECK(seen.nan_created == (got != got ? 1 : 0));
        });
    });
}

TEST_CASE("inexact, overflow and underflow of every product are those of the exact result") {
    check_counts_of_products<lowp::float8_e4m3fn>();
    check_counts_of_products<lowp::float6_e3m2fn>();
    check_counts_of_products<lowp::float4_e2m1fn>();
    check_counts_of_products<lowp::format::ieee(3, 2)>();
}

TEST_CASE("the continued grid is a valid format that holds every value of the format") {
    std::vector<lowp::format> formats = lowp::test::random_formats(500, 4);
    for (const lowp::format& f : lowp::test::registered_formats()) formats.push_back(f);
    for (const lowp::format& f : formats) {
        CAPTURE(lowp::name(f));
        const lowp::format wide = lowp::detail::continued(f);
        REQUIRE_NOTHROW(wide.validate());
        const lowp::converter<double> to(wide);
        lowp::test::dice d(7);
        for (int i = 0; i < 100; ++i) {
            const double x = f.value(d() & f.code_mask());
            if (x - x == 0) CHECK(to.quantize(x) == x);
        }
        // Where eleven bits of exponent end with the format's largest value, that is the infinity.
        if (f.max_code() == wide.magnitude_mask()) continue;
        CHECK(to.quantize(f.max()) == f.max());
        CHECK(to.quantize(f.lowest()) == f.lowest());
    }
}

}  // namespace
