#include "lowp/minifloat.hpp"

#include <doctest/doctest.h>

#include <array>
#include <limits>
#include <type_traits>

#include "lowp/formats.hpp"

namespace {

using lowp::minifloat;
using e4m3 = minifloat<lowp::float8_e4m3fn>;

static_assert(sizeof(e4m3) == 1 && sizeof(minifloat<lowp::float16>) == 2);
static_assert(sizeof(minifloat<lowp::tensorfloat32>) == 4 && sizeof(minifloat<lowp::float64>) == 8);
static_assert(std::is_trivially_copyable_v<e4m3>);

// A table computed by the compiler.
constexpr auto powers = [] {
    std::array<e4m3, 4> table;
    float x = 1;
    for (e4m3& entry : table) {
        entry = e4m3(x);
        x *= 4;
    }
    return table;
}();
static_assert(powers[3].code() == 0x68 && static_cast<float>(powers[3]) == 64.0F);

template <lowp::format F>
void round_trip() {
    using value = minifloat<F>;
    for (lowp::code_type c = 0; c <= F.code_mask(); ++c) {
        const auto v = value::from_code(static_cast<typename value::storage>(c));
        const auto x = static_cast<double>(v);
        if (x != x) continue;
        CAPTURE(c);
        CHECK(value(x).code() == c);
    }
}

TEST_CASE("a minifloat made from the value of a code has that code, for every code") {
    round_trip<lowp::float8_e4m3fn>();
    round_trip<lowp::float8_e5m2>();
    round_trip<lowp::float8_e4m3fnuz>();
    round_trip<lowp::float8_e8m0fnu>();
    round_trip<lowp::float6_e3m2fn>();
    round_trip<lowp::float4_e2m1fn>();
    round_trip<lowp::int4>();
    round_trip<lowp::float16>();
}

TEST_CASE("minifloats compare by value: NaN is unordered and -0 equals +0") {
    const e4m3 nan(std::numeric_limits<float>::quiet_NaN());
    CHECK(nan != nan);
    CHECK_FALSE(nan < e4m3(1.0F));
    CHECK(e4m3(-0.0F) == e4m3(0.0F));
    CHECK(e4m3(-0.0F).code() == 0x80);
    CHECK(e4m3(1.0F) < e4m3(1.125F));
}

TEST_CASE("a minifloat takes a projection and random bits") {
    const lowp::projection up{lowp::rounding::toward_positive};
    CHECK(static_cast<float>(e4m3(1.01F, up)) == 1.125F);
    const lowp::projection chance{lowp::rounding::stochastic_a};
    CHECK(static_cast<float>(e4m3(1.0625F, chance, 0x7FFFFFFFU)) == 1.0F);
    CHECK(static_cast<float>(e4m3(1.0625F, chance, 0x80000000U)) == 1.125F);
}

}  // namespace
