// Descriptors at the edge of what a carrier holds, each found wrong once.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lowp/array.hpp"
#include "lowp/formats.hpp"
#include "lowp/spec.hpp"

namespace {

using lowp::format;

TEST_CASE("fixed point whose grid ends beyond the carrier is refused") {
    const format past_float{
        .mantissa_bits = 4, .bias = -127, .is_signed = false, .has_neg_zero = false};
    CHECK_FALSE(past_float.fits<float>());
    CHECK(past_float.fits<double>());
    const format lowest_is_infinite{
        .mantissa_bits = 4, .bias = -1023, .has_neg_zero = false, .is_twos_complement = true};
    CHECK_THROWS_AS(lowest_is_infinite.validate(), std::invalid_argument);
}

TEST_CASE("codes wider than the carrier's integers are refused in it") {
    const format wide{.exponent_bits = 11,
                      .mantissa_bits = 23,
                      .bias = 127,
                      .nan_codes = (std::int64_t{1} << 34) - (std::int64_t{255} << 23)};
    wide.validate();
    CHECK_FALSE(wide.fits<float>());
    CHECK_THROWS_AS(lowp::converter<float>{wide}, std::invalid_argument);
    CHECK(lowp::encode(-1.5, wide) == lowp::spec::encode(-1.5, wide));
}

TEST_CASE("a format of which only subnormal numbers are finite overflows where it ends") {
    const format f{.exponent_bits = 1, .mantissa_bits = 10, .bias = -119, .nan_codes = 2046};
    for (const double x : {0.0, 0x1p108, 0x1p109, 0x1.8p109, 0x1p110, 0x1p120, 0x1p127}) {
        CAPTURE(x);
        const std::vector<float> in{static_cast<float>(x)};
        std::vector<float> out(1);
        lowp::quantize<float>(in, out, f);
        const double expected = lowp::spec::quantize(x, f);
        CHECK((out[0] == expected || (std::isnan(out[0]) && std::isnan(expected))));
    }
}

TEST_CASE("field 0 without subnormals decodes to +0 where there is no -0") {
    const format f{.exponent_bits = 3,
                   .mantissa_bits = 2,
                   .bias = 3,
                   .has_neg_zero = false,
                   .has_subnormals = false};
    const lowp::code_type flushed = f.sign_mask() | 3;
    CHECK_FALSE(std::signbit(lowp::decode(flushed, f)));
    CHECK_FALSE(std::signbit(lowp::spec::decode(flushed, f)));
    CHECK_FALSE(std::signbit(f.value(flushed)));
}

TEST_CASE("every finite code decodes to a finite value") {
    for (const int exponent_bits : {0, 1, 2, 5, 8, 9, 11})
        for (const int mantissa_bits : {0, 1, 2, 4})
            for (int bias = -1030; bias <= 1100; bias += 7) {
                const format f{
                    .exponent_bits = exponent_bits, .mantissa_bits = mantissa_bits, .bias = bias};
                try {
                    f.validate();
                } catch (const std::invalid_argument&) {
                    continue;
                }
                CAPTURE(lowp::name(f));
                CHECK(std::isfinite(f.max()));
                CHECK(lowp::decode<double>(f.max_code(), f) == f.max());
                CHECK(lowp::decode<double>(f.lowest_code(), f) == f.lowest());
                if (f.fits<float>()) CHECK(lowp::decode<float>(f.max_code(), f) == f.max());
            }
}

// The compiler validates, too.
static_assert(lowp::converter<float>(format{.exponent_bits = 4, .mantissa_bits = 3, .bias = 7})
                  .quantize(0.3F) == 0.3125F);

}  // namespace
