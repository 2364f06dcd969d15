// A descriptor means the values that the standards say, and contradictions are refused.
#include "lowp/format.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

#include "lowp/formats.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::vector<format> small_and_random_formats() {
    std::vector<format> all = registered_formats();
    for (const std::vector<format>& more : {p3109_formats(), random_formats(500, 11)})
        all.insert(all.end(), more.begin(), more.end());
    return all;
}

}  // namespace

TEST_CASE("limits are those of the standards") {
    struct row {
        format f;
        double max, min_normal, min_subnormal;
        int emin, emax, precision;
    };
    // clang-format off
    const row rows[] = {
        // IEEE 754-2019, table 3.5
        {float16,            65504,           0x1p-14,   0x1p-24,   -14,   15,   11},
        {float32,            0x1.fffffep127,  0x1p-126,  0x1p-149,  -126,  127,  24},
        {float64,            0x1.fffffffffffffp1023, 0x1p-1022, 0x1p-1074, -1022, 1023, 53},
        {bfloat16,           0x1.fep127,      0x1p-126,  0x1p-133,  -126,  127,  8},
        {tensorfloat32,      0x1.ffcp127,     0x1p-126,  0x1p-136,  -126,  127,  11},
        // OCP 8-bit floating point 1.0, table 1
        {float8_e4m3fn,      448,             0x1p-6,    0x1p-9,    -6,    8,    4},
        {float8_e5m2,        57344,           0x1p-14,   0x1p-16,   -14,   15,   3},
        // OCP MX 1.0, 5.3
        {float6_e3m2fn,      28,              0.25,      0.0625,    -2,    4,    3},
        {float6_e2m3fn,      7.5,             1,         0.125,     0,     2,    4},
        {float4_e2m1fn,      6,               1,         0.5,       0,     2,    2},
        {float8_e8m0fnu,     0x1p127,         0x1p-127,  0x1p-127,  -127,  127,  1},
        {format::fixed_point(1, 6), 1.984375, 0.015625,  0.015625,  0,     0,    7},
        // ml_dtypes, README
        {float8_e4m3,        240,             0x1p-6,    0x1p-9,    -6,    7,    4},
        {float8_e3m4,        15.5,            0.25,      0x1p-6,    -2,    3,    5},
        {float8_e4m3fnuz,    240,             0x1p-7,    0x1p-10,   -7,    7,    4},
        {float8_e5m2fnuz,    57344,           0x1p-15,   0x1p-17,   -15,   15,   3},
        {float8_e4m3b11fnuz, 30,              0x1p-10,   0x1p-13,   -10,   4,    4},
        // IEEE P3109 interim report, binary8p3 and binary8p4
        {format::p3109(8, 3), 49152,          0x1p-15,   0x1p-17,   -15,   15,   3},
        {format::p3109(8, 4), 224,            0x1p-7,    0x1p-10,   -7,    7,    4},
        {int8,               127,             1,         1,         7,     6,    7},
        {int4,               7,               1,         1,         3,     2,    3},
    };
    // clang-format on
    for (const row& r : rows) {
        INFO(name(r.f));
        CHECK(r.f.max() == r.max);
        CHECK(r.f.min_normal() == r.min_normal);
        CHECK(r.f.min_subnormal() == r.min_subnormal);
        CHECK(r.f.min_positive() == r.min_subnormal);
        CHECK(r.f.emax() == r.emax);
        CHECK(r.f.precision() == r.precision);
        if (r.f.exponent_bits > 0) CHECK(r.f.emin() == r.emin);
        CHECK_NOTHROW(r.f.validate());
    }
    CHECK(int8.lowest() == -128);
    CHECK(format::fixed_point(1, 6).lowest() == -2);
    CHECK(float8_e8m0fnu.lowest() == 0x1p-127);
    CHECK(format::unsigned_scale(4, 3).lowest() == 0);
    CHECK(float8_e4m3fn.lowest() == -448);
}

TEST_CASE("special codes are those of the standards") {
    // OCP 8-bit floating point 1.0, table 1: E4M3 has NaN at S.1111.111 only, E5M2 is IEEE's layout.
    CHECK(float8_e4m3fn.nan_code() == 0x7F);
    CHECK(std::isnan(float8_e4m3fn.value(0x7F)));
    CHECK(std::isnan(float8_e4m3fn.value(0xFF)));
    CHECK(float8_e4m3fn.value(0x7E) == 448);
    CHECK(float8_e5m2.inf_code() == 0x7C);
    CHECK(float8_e5m2.nan_code() == 0x7E);
    CHECK(float8_e5m2.value(0x7C) == infinity);
    CHECK(float8_e5m2.value(0xFC) == -infinity);
    CHECK(std::isnan(float8_e5m2.value(0x7D)));
    CHECK(std::isnan(float8_e5m2.value(0x7F)));
    // OCP MX 1.0: E8M0 has NaN at 0xFF and neither zero nor infinity; small elements have no special.
    CHECK(float8_e8m0fnu.nan_code() == 0xFF);
    CHECK(float8_e8m0fnu.value(0) == 0x1p-127);
    CHECK(float8_e8m0fnu.value(127) == 1);
    CHECK_FALSE(float4_e2m1fn.has_nan());
    CHECK_FALSE(float6_e2m3fn.has_nan());
    CHECK_FALSE(float6_e3m2fn.has_nan());
    CHECK(float4_e2m1fn.value(0xF) == -6);
    // fnuz: the code of -0 is the NaN.
    CHECK(float8_e4m3fnuz.nan_code() == 0x80);
    CHECK(std::isnan(float8_e4m3fnuz.value(0x80)));
    CHECK(float8_e4m3fnuz.value(0x7F) == 240);
    // P3109: NaN at the code of -0, infinities at the ends.
    CHECK(format::p3109(8, 3).nan_code() == 0x80);
    CHECK(format::p3109(8, 3).value(0x7F) == infinity);
    CHECK(format::p3109(8, 3).value(0xFF) == -infinity);
    constexpr auto is_unsigned = format::signedness::unsigned_values;
    CHECK(format::p3109(8, 3, is_unsigned).nan_code() == 0xFF);
    CHECK(format::p3109(8, 3, is_unsigned).value(0xFE) == infinity);
    // IEEE: the quiet NaN has the top mantissa bit.
    CHECK(float16.nan_code() == 0x7E00);
    CHECK(float32.nan_code() == 0x7FC00000);
    CHECK(float64.nan_code() == 0x7FF8000000000000);
}

TEST_CASE("float4_e2m1fn has the sixteen values of OCP MX 1.0") {
    const double positive[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    for (code_type c = 0; c < 8; ++c) {
        CHECK(bits_of(float4_e2m1fn.value(c)) == bits_of(positive[c]));
        CHECK(bits_of(float4_e2m1fn.value(c + 8)) == bits_of(-positive[c]));
    }
}

TEST_CASE("codes of float32 and float64 are the bits of float and double") {
    dice d(1);
    for (int i = 0; i < 100000; ++i) {
        const auto narrow = static_cast<std::uint32_t>(d());
        const auto value = std::bit_cast<float>(narrow);
        CHECK((std::isnan(value)
                   ? std::isnan(float32.value(narrow))
                   : bits_of(float32.value(narrow)) == bits_of(static_cast<double>(value))));
        const std::uint64_t wide = d();
        CHECK((std::isnan(std::bit_cast<double>(wide)) ? std::isnan(float64.value(wide))
                                                       : bits_of(float64.value(wide)) == wide));
    }
}

TEST_CASE("values grow with the code and are as many as finite_values says") {
    for (const format& f : small_and_random_formats()) {
        if (f.bits() > 12) continue;
        INFO(name(f));
        std::set<double> seen;
        for (code_type c = 0; c <= f.code_mask(); ++c)
            if (std::isfinite(f.value(c))) seen.insert(f.value(c));
        CHECK(seen.size() == f.finite_values());
        CHECK(*seen.rbegin() == f.max());
        CHECK(*seen.begin() == f.lowest());
        CHECK(*seen.upper_bound(0) == f.min_positive());
        for (code_type c = f.min_positive_code(); c < f.max_code(); ++c)
            CHECK(f.magnitude_value(c) < f.magnitude_value(c + 1));
    }
}

TEST_CASE("emax and emin are the exponents of the limits") {
    for (const format& f : small_and_random_formats()) {
        INFO(name(f));
        CHECK(f.max() > 0);
        CHECK(f.emax() == std::ilogb(f.max()));
        if (f.exponent_bits == 0) continue;
        CHECK(f.emin() == std::ilogb(f.min_normal()));
        CHECK(f.min_quantum_exponent() == f.emin() - f.mantissa_bits);
        CHECK(f.epsilon() == std::ldexp(1.0, 1 - f.precision()));
    }
}

TEST_CASE("a carrier fits where it holds every value, and only there") {
    for (const format& f : small_and_random_formats()) {
        INFO(name(f));
        dice d(2);
        bool all_held = true;  // the ends decide: both extremes and the last bit of each binade
        const code_type first = f.min_positive_code();
        for (const code_type c : {first, std::min(first + 1, f.max_code()), f.max_code(),
                                  f.max_code() - (f.max_code() > first ? 1 : 0)})
            all_held &= static_cast<double>(static_cast<float>(f.magnitude_value(c))) ==
                        f.magnitude_value(c);
        for (int i = 0; i < 2000; ++i) {
            const code_type c = d.below(f.max_code() + 1);
            all_held &= static_cast<double>(static_cast<float>(f.magnitude_value(c))) ==
                        f.magnitude_value(c);
        }
        if (f.fits<float>()) CHECK(all_held);
        CHECK(f.fits<double>());
    }
    CHECK(bfloat16.fits<float>());
    CHECK(float32.fits<float>());
    CHECK_FALSE(float64.fits<float>());
    CHECK(float8_e8m0fnu.fits<float>());
    CHECK_FALSE(format::ieee(8, 24).fits<float>());
    CHECK_FALSE(format::ieee(9, 1).fits<float>());
    // No subnormals, but its smallest normals 2^-140 * (1 + k/1024) need 2^-150.
    CHECK_FALSE(parse_format("e5m10b141f_nosub").fits<float>());
    CHECK(parse_format("e5m10b140f_nosub").fits<float>());
}

TEST_CASE("contradicting fields are refused with the field's name") {
    struct row {
        format f;
        const char* message;
    };
    // clang-format off
    const row rows[] = {
        {{.exponent_bits = 12, .mantissa_bits = 3},   "exponent_bits must be between 0 and 11; got 12"},
        {{.exponent_bits = -1, .mantissa_bits = 3},   "exponent_bits must be between 0 and 11; got -1"},
        {{.exponent_bits = 4, .mantissa_bits = 53},   "mantissa_bits must be between 0 and 52; got 53"},
        {{.exponent_bits = 4, .mantissa_bits = -2},   "mantissa_bits must be between 0 and 52; got -2"},
        {{.exponent_bits = 4, .mantissa_bits = 3, .bias = 2000}, "bias must be between -1200 and 1200; got 2000"},
        {{.is_signed = false, .has_neg_zero = false}, "at least one bit"},
        {{.exponent_bits = 2, .mantissa_bits = 1, .nan_codes = -1}, "nan_codes"},
        {{.exponent_bits = 2, .mantissa_bits = 1, .nan_codes = 8}, "nan_codes"},
        {{.exponent_bits = 2, .mantissa_bits = 1, .nan_codes = 7}, "no finite value but zero"},
        {{.exponent_bits = 2, .mantissa_bits = 1, .has_inf = true, .nan_codes = 6}, "no finite value but zero"},
        {{.exponent_bits = 4, .mantissa_bits = 3, .is_signed = false}, "has_neg_zero=false"},
        {{.exponent_bits = 4, .mantissa_bits = 3, .has_zero = false}, "has_subnormals=false"},
        {{.exponent_bits = 0, .mantissa_bits = 3, .has_subnormals = false}, "has_subnormals=true"},
        {{.exponent_bits = 1, .mantissa_bits = 3, .has_neg_zero = false, .is_twos_complement = true}, "two's complement"},
        {{.exponent_bits = 0, .mantissa_bits = 3, .is_twos_complement = true}, "two's complement"},
        {{.exponent_bits = 4, .mantissa_bits = 3, .bias = 7, .has_neg_zero = false, .has_subnormals = false, .has_zero = false}, "the code of -0"},
        {{.exponent_bits = 4, .mantissa_bits = 3, .bias = 1100}, "does not fit float64"},
        {{.exponent_bits = 11, .mantissa_bits = 3, .bias = 1023}, "does not fit float64"},
        // Two codes are left, both in the field that has only zero: every value is zero.
        {{.exponent_bits = 2, .mantissa_bits = 1, .nan_codes = 6, .has_subnormals = false}, "no finite value but zero"},
    };
    // clang-format on
    for (const row& r : rows) {
        INFO(std::string(r.message));
        CHECK_THROWS_WITH_AS(r.f.validate(), doctest::Contains(r.message), std::invalid_argument);
    }
}

TEST_CASE("a descriptor is a constant expression and a template argument") {
    constexpr format f = format::fn(4, 3);
    static_assert(f.max() == 448 && f.bits() == 8 && f.fits<float>() && f == float8_e4m3fn);
    constexpr auto widest = []<format F>() { return F.max(); };
    static_assert(widest.operator()<float8_e5m2>() == 57344);
    static_assert(std::is_aggregate_v<format> && std::is_trivially_copyable_v<format>);
    CHECK(f != float8_e5m2);
}
