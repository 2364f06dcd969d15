// Every operation is the projection of its exact result: against the definition, rationals and the
// hardware.
#include "lowp/arithmetic.hpp"

#include <doctest/doctest.h>

#include <cfenv>
#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "arithmetic_check.hpp"
#include "lowp/arithmetic_array.hpp"
#include "lowp/codec.hpp"
#include "lowp/spec.hpp"
#include "support.hpp"

#if __has_include(<boost/multiprecision/cpp_int.hpp>)
#include "rational_definition.hpp"
#endif

using namespace lowp;
using namespace lowp::test;
using detail::operation;

namespace {

using exact = spec::exact;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

/// The exact result in a long double, or one that lies on the same side of all that a projection looks
/// at. Operands of up to 8 significant bits: products have 16. Sums are exact where the exponents lie
/// less than 50 apart; else the smaller operand is as good as any number much smaller than the larger.
/// What a mode compares a quotient with are numbers d of up to 8 + 33 bits: x / y is one of these, and
/// then exact, or |x - d y| / |y| away, 2^-50 of it at least, where the division errs by 2^-64.
exact result_of(operation o, exact x, exact y) {
    if (o == operation::mul) return x * y;
    if (o == operation::div) return x / y;
    const exact other = o == operation::sub ? -y : y;
    if (std::isinf(x) || std::isinf(y) || x == 0 || y == 0) return x + other;
    const exact large = std::fabs(x) < std::fabs(other) ? other : x;
    const exact small = std::fabs(x) < std::fabs(other) ? x : other;
    const exact least = std::ldexp(std::fabs(large), -50);
    return large + (std::fabs(small) < least ? std::copysign(least, small) : small);
}

/// The definition of an operation: zero sums have their own sign, NaN is the positive one.
double defined(operation o, double x, double y, exact result, const format& f, const projection& p,
               std::uint32_t random) {
    if (std::isnan(result)) return quiet_nan;
    const bool is_sum = o == operation::add || o == operation::sub;
    const double other = o == operation::sub ? -y : y;
    if (is_sum && result == 0 && std::signbit(x) != std::signbit(other))
        result = p.rounding == rounding::toward_negative ? -0.0L : 0.0L;
    return spec::value(f, spec::project(result, f, p, random));
}

template <class T>
std::vector<T> all_values(const format& f) {
    const converter<T> c(f);
    std::vector<T> values;
    for (code_type code = 0; code <= f.code_mask(); ++code) values.push_back(c.decode(code));
    return values;
}

/// All pairs of values of f, as arrays, against the definition.
void check_pairs(const format& f, operation o, const std::vector<trial>& all) {
    const auto values = all_values<float>(f);
    std::vector<float> x;
    std::vector<float> y;
    std::map<std::pair<exact, int>, std::size_t> known;  // exact results, and the kind of zero
    std::vector<std::size_t> first;                      // a pair that has it
    std::vector<std::size_t> which;
    for (const float a : values)
        for (const float b : values) {
            exact result = result_of(o, a, b);
            if (std::isnan(result)) result = std::numeric_limits<exact>::max();  // NaN has no order
            const bool is_zero_sum = result == 0 && o <= operation::sub;
            const bool mixed =
                is_zero_sum && std::signbit(a) != std::signbit(o == operation::sub ? -b : b);
            const std::pair key{result, (std::signbit(result) ? 1 : 0) + (mixed ? 2 : 0)};
            const auto [at, is_new] = known.try_emplace(key, first.size());
            if (is_new) first.push_back(x.size());
            which.push_back(at->second);
            x.push_back(a);
            y.push_back(b);
        }
    std::vector<float> out(x.size());
    std::vector<std::uint32_t> random(x.size());
    std::vector<word_of<float>> wanted(first.size());
    for (const trial& t : all) {
        for (std::size_t k = 0; k < first.size(); ++k) {
            const float a = x[first[k]];
            const float b = y[first[k]];
            wanted[k] = bits_of(
                static_cast<float>(defined(o, a, b, result_of(o, a, b), f, t.how, t.random)));
        }
        const converter<float> c(f, t.how);
        std::fill(random.begin(), random.end(), t.random);
        options opts = dispatch::options();
        opts.random = random;
        run(o, x, y, y, out, c, opts);
        std::size_t wrong = x.size();
        for (std::size_t i = 0; i < x.size(); ++i)
            if (bits_of(out[i]) != wanted[which[i]]) wrong = i;
        for (std::size_t i = 0; i < x.size(); i += 5)
            if (bits_of(detail::compute(o, x[i], y[i], y[i], c, word_of_trial(t))) !=
                wanted[which[i]])
                wrong = i;
        if (wrong != x.size()) FAIL_CHECK(shown(o, x[wrong], y[wrong], 0, f, t));
    }
}

}  // namespace

TEST_CASE("bfloat16 fma(1.5, 1.0078125, -2^-100) is 1.5078125, rounded once") {
    // 1.51171875 lies halfway between 1.5078125 and 1.515625 until the last operand decides.
    constexpr converter<float> c(format::ieee(8, 7));
    static_assert(fma(1.5F, 1.0078125F, -0x1p-100F, c) == 1.5078125F);
    static_assert(fma(1.5F, 1.0078125F, 0.0F, c) == 1.515625F);
    CHECK(fma(1.5, 1.0078125, -0x1p-100, converter<double>(format::ieee(8, 7))) == 1.5078125);
}

TEST_CASE("operations work in constant expressions") {
    constexpr converter<float> c(format::fn(4, 3));
    static_assert(add(1.0F, 0.0625F, c) == 1.0F);
    static_assert(sub(1.0F, 3.0F, c) == -2.0F);
    static_assert(mul(1.125F, 1.125F, c) == 1.25F);
    static_assert(div(1.0F, 3.0F, c) == 0.34375F);
    static_assert(lowp::sqrt(2.0F, c) == 1.375F);
    static_assert(remainder(5.0F, 3.0F, c) == -1.0F);
    static_assert(minimum(5.1F, 3.0F, c) == 3.0F);
    static_assert(maximum(5.1F, 3.0F, c) == 5.0F);
}

TEST_CASE("invalid operations and NaN operands give the positive quiet NaN") {
    const converter<double> c(format::ieee(5, 10));
    const auto quiet = bits_of(quiet_nan);
    const double payload = std::bit_cast<double>(0xFFF0000000000001U);
    CHECK(bits_of(add(infinity, -infinity, c)) == quiet);
    CHECK(bits_of(sub(infinity, infinity, c)) == quiet);
    CHECK(bits_of(mul(infinity, -0.0, c)) == quiet);
    CHECK(bits_of(div(-0.0, 0.0, c)) == quiet);
    CHECK(bits_of(div(infinity, infinity, c)) == quiet);
    CHECK(bits_of(lowp::sqrt(-1.0, c)) == quiet);
    CHECK(bits_of(lowp::sqrt(-infinity, c)) == quiet);
    CHECK(bits_of(fma(0.0, infinity, 1.0, c)) == quiet);
    CHECK(bits_of(fma(infinity, 1.0, -infinity, c)) == quiet);
    CHECK(bits_of(remainder(infinity, 1.0, c)) == quiet);
    CHECK(bits_of(remainder(1.0, 0.0, c)) == quiet);
    for (int o = 0; o <= static_cast<int>(operation::maximum); ++o)
        CHECK(bits_of(detail::compute(static_cast<operation>(o), payload, 1.0, 1.0, c, 0U)) ==
              quiet);
}

TEST_CASE("an infinite result does as infinite inputs, a finite one beyond float64 as overflow") {
    const format f = format::ieee(5, 2);
    const double huge = std::numeric_limits<double>::max();
    for (const rounding r : all_roundings())
        for (const saturation s : all_saturations) {
            const projection p{r, s};
            const converter<double> c(f, p);
            CHECK(div(-1.0, 0.0, c) == c.quantize(-infinity));
            CHECK(add(infinity, 1.0, c) == c.quantize(infinity));
            CHECK(mul(huge, -huge, c) == c.quantize(-huge));
            CHECK(add(huge, huge, c) == c.quantize(huge));
            CHECK(div(huge, 0x1p-1000, c) == c.quantize(huge));
            CHECK(fma(huge, huge, -huge, c) == c.quantize(huge));
        }
}

TEST_CASE("zeros have the signs of IEEE 754, 6.3") {
    for (const rounding r : {rounding::nearest_ties_to_even, rounding::toward_negative}) {
        const converter<float> c(format::ieee(5, 10), {r});
        const bool down = r == rounding::toward_negative;
        CHECK(std::signbit(sub(1.0F, 1.0F, c)) == down);
        CHECK(std::signbit(add(0.0F, -0.0F, c)) == down);
        CHECK(std::signbit(fma(1.0F, 2.0F, -2.0F, c)) == down);
        CHECK(std::signbit(fma(0.0F, 2.0F, -0.0F, c)) == down);
        CHECK(std::signbit(add(-0.0F, -0.0F, c)));
        CHECK_FALSE(std::signbit(add(0.0F, 0.0F, c)));
        CHECK(std::signbit(mul(-0.0F, 2.0F, c)));
        CHECK(std::signbit(div(0.0F, -2.0F, c)));
        CHECK(std::signbit(lowp::sqrt(-0.0F, c)));
        CHECK(std::signbit(remainder(-4.0F, 2.0F, c)));
        CHECK_FALSE(std::signbit(remainder(4.0F, -2.0F, c)));
        CHECK(std::signbit(minimum(0.0F, -0.0F, c)));
        CHECK_FALSE(std::signbit(maximum(-0.0F, 0.0F, c)));
    }
}

TEST_CASE("minimum and maximum propagate NaN, those of numbers pass over it") {
    const converter<float> c(format::ieee(5, 10));
    const float missing = std::numeric_limits<float>::quiet_NaN();
    CHECK(std::isnan(minimum(missing, 1.0F, c)));
    CHECK(std::isnan(maximum(1.0F, missing, c)));
    CHECK(minimum_number(missing, 1.0F, c) == 1.0F);
    CHECK(maximum_number(1.0F, missing, c) == 1.0F);
    CHECK(std::isnan(minimum_number(missing, missing, c)));
    CHECK(minimum(2.0F, -3.0F, c) == -3.0F);
    CHECK(maximum(2.0F, -3.0F, c) == 2.0F);
    CHECK(maximum(1.0F, std::numeric_limits<float>::infinity(), c) == infinity);
}

TEST_CASE("all pairs of every 8-bit format are the definition's, in every mode") {
    dice d(8);
    for (const format& f : registered_formats()) {
        if (f.bits() != 8 || !f.fits<float>()) continue;
        const auto all = trials(d);
        for (const operation o : {operation::add, operation::sub, operation::mul, operation::div}) {
            // sub is add but for a sign: some trials do.
            std::vector<trial> some;
            for (std::size_t i = 0; i < all.size(); ++i)
                if ((o != operation::sub || i % 5 == 0) && i % scale() == 0) some.push_back(all[i]);
            check_pairs(f, o, some);
        }
    }
}

TEST_CASE("all triples of every format up to 5 bits are the definition's fma") {
    // Products and sums of such values have less than 64 bits: long double holds them.
    dice d(5);
    std::vector<format> formats{format::p3109(5, 2), format::p3109(5, 3),
                                format::fixed_point(2, 2)};
    for (int e = 1; e <= 4; ++e)
        for (int m = 0; e + m <= 4; ++m)
            for (const format& f : {format::ieee(e, m), format::fn(e, m), format::fnuz(e, m)})
                if (is_valid(f)) formats.push_back(f);
    std::size_t round = 0;
    for (const format& f : formats) {
        const auto values = all_values<float>(f);
        for (const trial& t : trials(d)) {
            if (round++ % scale() != 0) continue;
            const converter<float> c(f, t.how);
            std::map<std::pair<exact, bool>, float> known;
            for (const float x : values)
                for (const float y : values)
                    for (const float z : values) {
                        const exact product = static_cast<exact>(x) * y;
                        exact sum = product + z;
                        if (sum == 0 && std::signbit(product) != std::signbit(z))
                            sum = t.how.rounding == rounding::toward_negative ? -0.0L : 0.0L;
                        const float got = fma(x, y, z, c, word_of_trial(t));
                        if (std::isnan(sum)) {
                            if (bits_of(got) != bits_of(std::numeric_limits<float>::quiet_NaN()))
                                FAIL_CHECK(shown(operation::fma, x, y, z, f, t));
                            continue;
                        }
                        const auto [at, is_new] = known.try_emplace({sum, std::signbit(sum)}, 0.0F);
                        if (is_new)
                            at->second = static_cast<float>(
                                spec::value(f, spec::project(sum, f, t.how, t.random)));
                        if (bits_of(got) != bits_of(at->second))
                            FAIL_CHECK(shown(operation::fma, x, y, z, f, t));
                    }
        }
    }
}

TEST_CASE("square roots of all values of 16-bit formats are the definition's") {
    // What a mode compares a root with are numbers d of up to 11 + 9 bits: the root is one of them, or
    // |x - d d| / (sqrt(x) + d) away, 2^-43 of it at least, where long double's root errs by 2^-64.
    dice d(16);
    for (const format& f : {format::ieee(5, 10), format::ieee(8, 7), format::p3109(16, 9)}) {
        const auto values = all_values<float>(f);
        for (trial t : trials(d)) {
            if (t.how.random_bits > 8) {
                t.how.random_bits = 8;
                t.random >>= 24;
            }
            const converter<float> c(f, t.how);
            for (std::size_t i = d.below(scale()); i < values.size(); i += 2 * scale() - 1) {
                const float x = values[i];
                const exact root = std::sqrt(static_cast<exact>(x));
                const double wanted = std::isnan(root)
                                          ? quiet_nan
                                          : spec::value(f, spec::project(root, f, t.how, t.random));
                if (bits_of(lowp::sqrt(x, c, word_of_trial(t))) !=
                    bits_of(static_cast<float>(wanted)))
                    FAIL_CHECK(shown(operation::sqrt, x, 0, 0, f, t));
            }
        }
    }
}

// gcc 12 has the type in C++ on x86 alone.
#if defined(__FLT16_MANT_DIG__) && (defined(__x86_64__) || defined(__clang__) || __GNUC__ >= 13)
TEST_CASE("float16 operations are those of _Float16") {
    const converter<float> c(format::ieee(5, 10));
    dice d(11);
    const auto number = [&] { return std::bit_cast<_Float16>(static_cast<std::uint16_t>(d())); };
    const auto same = [](float got, _Float16 wanted) {
        const auto other = static_cast<float>(wanted);
        return (got != got && other != other) || bits_of(got) == bits_of(other);
    };
    for (std::size_t i = 0; i < 2000000 / scale(); ++i) {
        const _Float16 x = number();
        const _Float16 y = number();
        const auto a = static_cast<float>(x);
        const auto b = static_cast<float>(y);
        const bool all = same(add(a, b, c), static_cast<_Float16>(x + y)) &&
                         same(sub(a, b, c), static_cast<_Float16>(x - y)) &&
                         same(mul(a, b, c), static_cast<_Float16>(x * y)) &&
                         same(div(a, b, c), static_cast<_Float16>(x / y));
        if (!all) FAIL_CHECK((std::to_string(a) + " and " + std::to_string(b)));
    }
}
#endif

TEST_CASE_TEMPLATE("float32 and float64 are the hardware's in its four directions", T, float,
                   double) {
    constexpr bool is_float = sizeof(T) == sizeof(float);
    const format f = is_float ? format::ieee(8, 23) : format::ieee(11, 52);
    const std::pair<int, rounding> directions[] = {{FE_TONEAREST, rounding::nearest_ties_to_even},
                                                   {FE_TOWARDZERO, rounding::toward_zero},
                                                   {FE_UPWARD, rounding::toward_positive},
                                                   {FE_DOWNWARD, rounding::toward_negative}};
    dice d(23);
    const auto number = [&]() -> T {
        const auto any = std::bit_cast<T>(static_cast<word_of<T>>(d()));
        const auto near = static_cast<T>(static_cast<T>(static_cast<std::int64_t>(d())) *
                                         static_cast<T>(0x1p-63));
        return d.coin() ? any : d.below(8) == 0 ? T{0} : near;
    };
    const auto same = [](T got, T wanted) {
        return (got != got && wanted != wanted) || bits_of(got) == bits_of(wanted);
    };
    for (const auto& [direction, mode] : directions) {
        const converter<T> c(f, {mode});
        for (std::size_t i = 0; i < 300000 / scale(); ++i) {
            const volatile T x = number();
            const volatile T y = d.below(8) == 0 ? T(x) : number();
            const volatile T z = d.below(8) == 0 ? T(-(x * y)) : number();
            std::fesetround(direction);
            const volatile T sum = x + y;
            const volatile T difference = x - y;
            const volatile T product = x * y;
            const volatile T quotient = x / y;
            const volatile T root = std::sqrt(T(x));
            const volatile T fused = std::fma(T(x), T(y), T(z));
            const volatile T rest = std::remainder(T(x), T(y));
            // The direction stays: single values do not depend on it.
            const bool all =
                same(add(T(x), T(y), c), sum) && same(sub(T(x), T(y), c), difference) &&
                same(mul(T(x), T(y), c), product) && same(div(T(x), T(y), c), quotient) &&
                same(lowp::sqrt(T(x), c), root) && same(fma(T(x), T(y), T(z), c), fused) &&
                same(remainder(T(x), T(y), c), rest);
            std::fesetround(FE_TONEAREST);
            if (!all) FAIL_CHECK(shown(operation::fma, x, y, z, f, {{mode}}));
        }
    }
}

#ifdef LOWP_TEST_RATIONALS
TEST_CASE("operands of any exponents, in any format and mode, agree with rational arithmetic") {
    dice d(99);
    std::vector<format> formats = random_formats(60, 3);
    formats.push_back(format::ieee(11, 52));
    formats.push_back(format::ieee(8, 23));
    const auto number = [&](const format& f) {
        const double any = std::bit_cast<double>(d());
        const double of_format = decode<double>(d() & f.code_mask(), f);
        const double moved = of_format * std::ldexp(1.0, d.between(-60, 2));
        const double x = d.pick({any, of_format, moved, std::ldexp(1.0, d.between(-1074, 1023))});
        return std::isfinite(x) ? x : 1.5;
    };
    const operation all[] = {operation::add, operation::sub, operation::mul,
                             operation::div, operation::fma, operation::remainder};
    for (const format& f : formats)
        for (std::size_t i = 0; i < 120 / scale() + 1; ++i)
            for (const trial& t : trials(d)) {
                const double x = number(f);
                const double y = d.below(8) == 0 ? x : number(f);
                const double z = d.below(8) == 0 ? -(x * y) : number(f);
                const operation o = all[d.below(6)];
                if (y == 0 || !std::isfinite(z)) continue;
                const converter<double> c(f, t.how);
                const double got = detail::compute(o, x, y, z, c, word_of_trial(t));
                const auto wanted = rational_result(o, x, y, z, f, t.how, t.random);
                if (bits_of(got) != bits_of(wanted)) FAIL_CHECK(shown(o, x, y, z, f, t));
            }
}
#endif
