// The tables of rounding and saturation, row by row, from the standards.
#include "lowp/rounding.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lowp/codec.hpp"
#include "lowp/formats.hpp"
#include "lowp/spec.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;
using enum rounding;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

bool same(float a, float b) { return (std::isnan(a) && std::isnan(b)) || bits_of(a) == bits_of(b); }

/// The library and the definition, which must agree before they are compared with a table.
float both(float x, const format& f, const projection& p) {
    const float result = quantize(x, f, p);
    CHECK(same(result, static_cast<float>(spec::quantize(x, f, p))));
    CHECK(same(result, static_cast<float>(quantize(static_cast<double>(x), f, p))));
    return result;
}

}  // namespace

// Values of float4_e2m1fn: 0 0.5 1 1.5 2 3 4 6. Between 2 and 3 the lower code, 4, is even; between
// 3 and 4 the lower code, 5, is odd.
TEST_CASE("each mode takes the neighbour that its name says") {
    struct row {
        rounding mode;
        float at[8];
    };
    // clang-format off
    const float x[8] =               {2.25F, 2.5F, 2.75F, 3.25F, 3.5F, 3.75F, 0.25F, 0.1F};
    const row rows[] = {
        {nearest_ties_to_even,       {2,     2,    3,     3,     4,    4,     0,     0}},
        {nearest_ties_to_away,       {2,     3,    3,     3,     4,    4,     0.5F,  0}},
        {nearest_ties_to_zero,       {2,     2,    3,     3,     3,    4,     0,     0}},
        {toward_zero,                {2,     2,    2,     3,     3,    3,     0,     0}},
        {toward_positive,            {3,     3,    3,     4,     4,    4,     0.5F,  0.5F}},
        {toward_negative,            {2,     2,    2,     3,     3,    3,     0,     0}},
        {away_from_zero,             {3,     3,    3,     4,     4,    4,     0.5F,  0.5F}},
        {to_odd,                     {3,     3,    3,     3,     3,    3,     0.5F,  0.5F}},
    };
    // The same below zero: only the modes that look at the sign change.
    const row negative_rows[] = {
        {nearest_ties_to_even,       {-2,    -2,   -3,    -3,    -4,   -4,    -0.0F, -0.0F}},
        {nearest_ties_to_away,       {-2,    -3,   -3,    -3,    -4,   -4,    -0.5F, -0.0F}},
        {nearest_ties_to_zero,       {-2,    -2,   -3,    -3,    -3,   -4,    -0.0F, -0.0F}},
        {toward_zero,                {-2,    -2,   -2,    -3,    -3,   -3,    -0.0F, -0.0F}},
        {toward_positive,            {-2,    -2,   -2,    -3,    -3,   -3,    -0.0F, -0.0F}},
        {toward_negative,            {-3,    -3,   -3,    -4,    -4,   -4,    -0.5F, -0.5F}},
        {away_from_zero,             {-3,    -3,   -3,    -4,    -4,   -4,    -0.5F, -0.5F}},
        {to_odd,                     {-3,    -3,   -3,    -3,    -3,   -3,    -0.5F, -0.5F}},
    };
    // clang-format on
    for (std::size_t i = 0; i < std::size(rows); ++i)
        for (int k = 0; k < 8; ++k) {
            INFO(name(rows[i].mode) << " of " << x[k]);
            CHECK(same(both(x[k], float4_e2m1fn, {rows[i].mode}), rows[i].at[k]));
            CHECK(same(both(-x[k], float4_e2m1fn, {rows[i].mode}), negative_rows[i].at[k]));
        }
}

TEST_CASE("values on the grid stay in every mode, for any random bits") {
    for (const rounding r : all_roundings())
        for (code_type c = 0; c < 256; ++c)
            for (const std::uint32_t random : {0U, 1U, 0x80000000U, 0xFFFFFFFFU}) {
                const auto x = decode<float>(c, float8_e4m3);
                CHECK(same(quantize(x, float8_e4m3, {r}, random), x));
            }
}

TEST_CASE("ties to even is ties to the even code where there is no mantissa") {
    // float8_e8m0fnu: 3 lies between 2 (code 128) and 4 (129), 6 between 4 and 8 (130).
    CHECK(both(3, float8_e8m0fnu, {}) == 2);
    CHECK(both(6, float8_e8m0fnu, {}) == 8);
    CHECK(both(2.9F, float8_e8m0fnu, {}) == 2);
    CHECK(both(3.1F, float8_e8m0fnu, {}) == 4);
}

TEST_CASE("ties at the half of the smallest subnormal go where the mode says") {
    const float half = 0x1p-10F;  // of float8_e4m3fn's 2^-9
    CHECK(both(half, float8_e4m3fn, {}) == 0);
    CHECK(both(std::nextafter(half, 1.0F), float8_e4m3fn, {}) == 0x1p-9F);
    CHECK(both(half, float8_e4m3fn, {nearest_ties_to_away}) == 0x1p-9F);
    CHECK(both(0x1p-149F, float8_e4m3fn, {away_from_zero}) == 0x1p-9F);
    CHECK(both(0x1p-149F, float8_e4m3fn, {to_odd}) == 0x1p-9F);
    CHECK(same(both(-0x1p-149F, float8_e4m3fn, {}), -0.0F));
    CHECK(same(both(-0x1p-149F, float8_e4m3fnuz, {}), 0.0F));  // no -0
}

// The largest value of float8_e5m2 is 57344, its quantum 8192: the next value would be 65536, so
// nearest modes overflow from 61440 on (a tie goes to 65536, whose code is even).
TEST_CASE(
    "overflow begins at max plus half a quantum in nearest modes, at the next value in others") {
    const format f = float8_e5m2;
    const float below = std::nextafter(61440.0F, 0.0F);
    CHECK(both(below, f, {}) == 57344);
    CHECK(both(61440, f, {}) == infinity);
    CHECK(both(61440, f, {nearest_ties_to_zero}) == 57344);
    CHECK(both(std::nextafter(61440.0F, infinity), f, {nearest_ties_to_zero}) == infinity);
    CHECK(both(57345, f, {away_from_zero}) == infinity);
    CHECK(both(57345, f, {toward_positive}) == infinity);
    CHECK(both(-57345, f, {toward_positive}) == -57344);
    CHECK(both(-57345, f, {toward_negative}) == -infinity);
    CHECK(both(1e30F, f, {toward_zero}) == 57344);
    CHECK(both(1e30F, f, {to_odd}) == 57344);
    CHECK(both(1e30F, f, {toward_negative}) == 57344);
    CHECK(both(-1e30F, f, {toward_positive}) == -57344);
    // float8_e4m3fn: 448, code 0x7E, is even, so the tie 464 stays.
    CHECK(both(464, float8_e4m3fn, {}) == 448);
    CHECK(std::isnan(both(std::nextafter(464.0F, infinity), float8_e4m3fn, {})));
}

TEST_CASE("the table of saturation") {
    using enum saturation;
    struct row {
        format f;
        rounding mode;
        saturation s;
        float big, minus_big, inf, minus_inf;  ///< what 1e30, -1e30 and the infinities become
    };
    const format unsigned_e4m3 = format::unsigned_scale(4, 3);  // max 448, NaN, no infinity
    // clang-format off
    const row rows[] = {
        // with infinity
        {float8_e5m2,   nearest_ties_to_even, none,      infinity, -infinity, infinity, -infinity},
        {float8_e5m2,   nearest_ties_to_even, propagate, 57344,    -57344,    infinity, -infinity},
        {float8_e5m2,   nearest_ties_to_even, finite,    57344,    -57344,    57344,    -57344},
        {float8_e5m2,   toward_zero,          none,      57344,    -57344,    infinity, -infinity},
        {float8_e5m2,   toward_positive,      none,      infinity, -57344,    infinity, -infinity},
        {float8_e5m2,   toward_negative,      none,      57344,    -infinity, infinity, -infinity},
        {float8_e5m2,   away_from_zero,       none,      infinity, -infinity, infinity, -infinity},
        {float8_e5m2,   away_from_zero,       propagate, 57344,    -57344,    infinity, -infinity},
        {float8_e5m2,   to_odd,               none,      57344,    -57344,    infinity, -infinity},
        {float8_e5m2,   to_odd,               finite,    57344,    -57344,    57344,    -57344},
        // NaN, no infinity
        {float8_e4m3fn, nearest_ties_to_even, none,      not_a_number,      not_a_number,       not_a_number,      not_a_number},
        {float8_e4m3fn, nearest_ties_to_even, propagate, 448,      -448,      not_a_number,      not_a_number},
        {float8_e4m3fn, nearest_ties_to_even, finite,    448,      -448,      448,      -448},
        {float8_e4m3fn, toward_zero,          none,      448,      -448,      not_a_number,      not_a_number},
        {float8_e4m3fn, toward_positive,      none,      not_a_number,      -448,      not_a_number,      not_a_number},
        {float8_e4m3fnuz, nearest_ties_to_even, none,    not_a_number,      not_a_number,       not_a_number,      not_a_number},
        {float8_e4m3fnuz, nearest_ties_to_even, finite,  240,      -240,      240,      -240},
        // neither
        {float4_e2m1fn, nearest_ties_to_even, none,      6,        -6,        6,        -6},
        {float4_e2m1fn, away_from_zero,       propagate, 6,        -6,        6,        -6},
        {int8,          nearest_ties_to_even, none,      127,      -128,      127,      -128},
        {int8,          toward_zero,          finite,    127,      -128,      127,      -128},
        // unsigned
        {unsigned_e4m3, nearest_ties_to_even, none,      not_a_number,      not_a_number,       not_a_number,      not_a_number},
        {unsigned_e4m3, nearest_ties_to_even, propagate, 448,      0,         not_a_number,      not_a_number},
        {unsigned_e4m3, nearest_ties_to_even, finite,    448,      0,         448,      0},
        {unsigned_e4m3, toward_zero,          none,      448,      0,         not_a_number,      not_a_number},
        {float8_e8m0fnu, nearest_ties_to_even, finite,   0x1p100F, 0x1p-127F, 0x1p127F, 0x1p-127F},
        // P3109: signed extended has infinities, unsigned extended only the positive one
        {format::p3109(8, 3), nearest_ties_to_even, none, infinity, -infinity, infinity, -infinity},
        {format::p3109(8, 3, format::signedness::unsigned_values),
                        nearest_ties_to_even, none,      infinity, not_a_number,       infinity, not_a_number},
        {format::p3109(8, 3, format::signedness::signed_values, format::domain::finite),
                        nearest_ties_to_even, none,      not_a_number,      not_a_number,       not_a_number,      not_a_number},
    };
    // clang-format on
    for (const row& r : rows) {
        const projection p{r.mode, r.s};
        INFO(text(r.f, p));
        const float big = r.f == float8_e8m0fnu ? 0x1p100F : 1e30F;
        CHECK(same(both(big, r.f, p), r.big));
        CHECK(same(both(-big, r.f, p), r.minus_big));
        CHECK(same(both(infinity, r.f, p), r.inf));
        CHECK(same(both(-infinity, r.f, p), r.minus_inf));
    }
}

TEST_CASE("two's complement has one value more below zero") {
    CHECK(both(-128, int8, {}) == -128);
    CHECK(both(-128.4F, int8, {}) == -128);
    CHECK(both(-129, int8, {}) == -128);
    CHECK(both(127.4F, int8, {}) == 127);
    CHECK(both(128, int8, {}) == 127);
    CHECK(encode(-128.0F, int8) == 0x80);
    CHECK(encode(-1.0F, int8) == 0xFF);
    CHECK(same(both(-0.0F, int8, {}), 0.0F));
    CHECK(same(both(-0.4F, int8, {}), 0.0F));
    // A tie between -127/64 and -128/64, which is even.
    CHECK(both(-1.9921875F, format::fixed_point(1, 6), {}) == -2);
}

TEST_CASE("unsigned formats have nothing below zero") {
    const format f = format::unsigned_scale(4, 3);
    const float tiny = 0x1p-11F;  // a quarter of the smallest value
    CHECK(same(both(-0.0F, f, {}), 0.0F));
    CHECK(same(both(-tiny, f, {}), 0.0F));  // rounds to zero, which is there
    CHECK(same(both(-tiny, f, {toward_positive}), 0.0F));
    CHECK(std::isnan(both(-1, f, {})));
    CHECK(same(both(-1, f, {toward_zero}), 0.0F));
    CHECK(same(both(-1, f, {nearest_ties_to_even, saturation::finite}), 0.0F));
}

TEST_CASE("a format without zero gives its smallest value for what is smaller") {
    CHECK(both(0x1p-140F, float8_e8m0fnu, {}) == 0x1p-127F);
    CHECK(both(0x1p-140F, float8_e8m0fnu, {toward_zero}) == 0x1p-127F);
    CHECK(encode(0x1p-127F, float8_e8m0fnu) == 0);
    // Zero lies below every value: on the negative side.
    CHECK(std::isnan(both(0, float8_e8m0fnu, {})));
    CHECK(both(0, float8_e8m0fnu, {nearest_ties_to_even, saturation::finite}) == 0x1p-127F);
    // Where there are two sides, zero keeps its own.
    const format f = parse_format("e3m2f_nosub_nozero");
    CHECK(both(0.0F, f, {}) == 0.125F);
    CHECK(both(-0.0F, f, {}) == -0.125F);
    CHECK(encode(0.0F, f) == 0);
    CHECK(encode(-0.0F, f) == 0x20);
}

TEST_CASE("a format without subnormals rounds between zero and its smallest value") {
    const format f = parse_format("e4m3fn_nosub");  // smallest value 2^-6
    CHECK(both(0x1p-7F, f, {}) == 0);               // the tie: zero is even
    CHECK(both(std::nextafter(0x1p-7F, 1.0F), f, {}) == 0x1p-6F);
    CHECK(both(0x1p-7F, f, {nearest_ties_to_away}) == 0x1p-6F);
    CHECK(both(0x1p-100F, f, {away_from_zero}) == 0x1p-6F);
    CHECK(both(0x1.8p-7F, f, {toward_zero}) == 0);
    CHECK(encode(0x1p-6F, f) == 8);
}

// Counted over all R, each definition of rounding.hpp is a statement about how many of them step.
TEST_CASE("stochastic modes step for exactly the random integers that their definition counts") {
    for (int n = 1; n <= 10; ++n) {
        const int all = 1 << n;
        for (int sixty_fourths = 0; sixty_fourths < 64; ++sixty_fourths) {
            const float x = 2 + static_cast<float>(sixty_fourths) / 64;  // between 2 and 3
            const double scaled = std::ldexp(sixty_fourths / 64.0, n);
            const auto count = [&](rounding r) {
                const converter<float> c(float4_e2m1fn, {r, saturation::none, n});
                int up = 0;
                for (int k = 0; k < all; ++k)
                    up += c.quantize(x, static_cast<std::uint32_t>(k) << (32 - n)) == 3 ? 1 : 0;
                return up;
            };
            INFO("N=" << n << " d=" << sixty_fourths << "/64");
            CHECK(count(stochastic_a) == static_cast<int>(std::floor(scaled)));
            CHECK(count(stochastic_b) == static_cast<int>(std::floor(scaled + 0.5)));
            CHECK(count(stochastic_c) == static_cast<int>(std::nearbyint(scaled)));
            CHECK(count(stochastic_equal) == (sixty_fourths == 0 ? 0 : all / 2));
        }
    }
}

TEST_CASE("only the upper N bits of a random word count") {
    for (const rounding r : {stochastic_a, stochastic_b, stochastic_c, stochastic_equal})
        for (int n = 1; n <= 31; ++n) {
            const converter<float> c(float8_e4m3fn, {r, saturation::none, n});
            const std::uint32_t lower = 0xFFFFFFFFU >> n;
            dice d(static_cast<std::uint64_t>(n));
            for (int i = 0; i < 200; ++i) {
                const float x = std::ldexp(static_cast<float>(d.below(1U << 20)), -24);
                const std::uint32_t upper = static_cast<std::uint32_t>(d()) & ~lower;
                CHECK(same(c.quantize(x, upper), c.quantize(x, upper | lower)));
            }
        }
}

TEST_CASE("names of modes and saturations are the enumerators") {
    static_assert(name(nearest_ties_to_even) == "nearest_ties_to_even");
    static_assert(name(stochastic_equal) == "stochastic_equal");
    CHECK(name(to_odd) == "to_odd");
    CHECK(name(stochastic_a) == "stochastic_a");
    CHECK(name(saturation::none) == "none");
    CHECK(name(saturation::propagate) == "propagate");
    CHECK(name(saturation::finite) == "finite");
    int stochastic = 0;
    for (const rounding r : all_roundings()) stochastic += is_stochastic(r) ? 1 : 0;
    CHECK(stochastic == 4);
    for (const rounding r : all_roundings())
        CHECK(is_stochastic(r) == name(r).starts_with("stochastic"));
}

TEST_CASE("random_bits outside 1 to 32 are refused") {
    CHECK_NOTHROW(projection{.random_bits = 1}.validate());
    CHECK_NOTHROW(projection{.random_bits = 32}.validate());
    for (const int n : {0, 33, -1}) {
        const std::string message = "between 1 and 32; got " + std::to_string(n);
        CHECK_THROWS_WITH_AS(projection{.random_bits = n}.validate(),
                             doctest::Contains(message.c_str()), std::invalid_argument);
        CHECK_THROWS_AS((void)converter<float>(float16, {stochastic_a, saturation::none, n}),
                        std::invalid_argument);
    }
}

// Known defects of peers, each once: see the names.
TEST_CASE("traps that other libraries fell into") {
    CHECK(both(65536, float16, {}) == infinity);  // overflow is not zero
    CHECK(both(256, float8_e4m3fn, {}) == 256);
    CHECK(both(std::nextafter(0x1p-5F, 0.0F), float8_e4m3fn, {toward_zero}) ==
          0x1.ep-6F);                                            // floor(log2)
    CHECK(quantize(1e-50, float64) == 1e-50);                    // no clamp at 1e-38
    CHECK(both(2.980232238769532e-08F, float16, {}) == 0);       // 2^-25, a tie
    CHECK(quantize(2.980232238769532e-08, float16) == 0x1p-24);  // just above it in float64
    CHECK(quantize(0.25000000000000006, float4_e2m1fn) ==
          0.5);                                    // no double rounding through float32
    CHECK(both(1, float4_e2m1fn, {to_odd}) == 1);  // exact values stay
    CHECK(bits_of(quantize(-0.0F, float8_e4m3fn)) == bits_of(-0.0F));
    CHECK(std::isnan(
        quantize(std::bit_cast<float>(0x7F800001U), float8_e5m2)));  // a NaN of small payload
    CHECK(std::isnan(quantize(not_a_number, float8_e5m2, {stochastic_a}, 0xFFFFFFFFU)));
}

TEST_CASE("rounding works in constant expressions") {
    static_assert(quantize(2.5F, float4_e2m1fn) == 2);
    static_assert(quantize(2.5F, float4_e2m1fn, {toward_positive}) == 3);
    static_assert(quantize(1e30, float8_e4m3fn, {nearest_ties_to_even, saturation::finite}) == 448);
    static_assert(quantize(2.5F, float4_e2m1fn, {stochastic_a, saturation::none, 1}, 0x80000000U) ==
                  3);
    static_assert(quantize(2.5F, float4_e2m1fn, {stochastic_a, saturation::none, 1}, 0x7FFFFFFFU) ==
                  2);
    static_assert(encode(-6.0F, float4_e2m1fn) == 15);
    static_assert(decode<double>(0x7E, float8_e4m3fn) == 448);
    CHECK(true);
}
