// One value: at run time and at compile time, alone and in arrays, the same bits.
#include "lowp/codec.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cfenv>
#include <cmath>
#include <limits>

#include "lowp/array.hpp"
#include "lowp/formats.hpp"
#include "support.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

using namespace lowp;
using namespace lowp::test;

namespace {

constexpr std::array<float, 256> decoded = [] {
    std::array<float, 256> table{};
    for (code_type c = 0; c < 256; ++c) table[c] = decode<float>(c, float8_e4m3fn);
    return table;
}();

constexpr std::array<std::uint8_t, 64> encoded = [] {
    std::array<std::uint8_t, 64> table{};
    for (std::size_t i = 0; i < 64; ++i)
        table[i] =
            static_cast<std::uint8_t>(encode((static_cast<float>(i) - 32) / 8, float6_e3m2fn));
    return table;
}();

/// Values that meet every path of the kernel, subnormal ones too.
template <class T>
std::vector<T> some_values(std::size_t count) {
    dice d(7);
    std::vector<T> x{
        0, -T{0}, 1, -1, std::numeric_limits<T>::infinity(), std::numeric_limits<T>::denorm_min()};
    while (x.size() < count) x.push_back(std::bit_cast<T>(static_cast<word_of<T>>(d())));
    return x;
}

template <class T>
bool same(T a, T b) {
    return (std::isnan(a) && std::isnan(b)) || bits_of(a) == bits_of(b);
}

}  // namespace

TEST_CASE("a table made at compile time is the one made at run time") {
    for (code_type c = 0; c < 256; ++c) {
        volatile code_type hidden = c;
        CHECK(bits_of(decoded[c]) == bits_of(decode<float>(hidden, float8_e4m3fn)));
    }
    for (std::size_t i = 0; i < 64; ++i) {
        volatile float x = (static_cast<float>(i) - 32) / 8;
        CHECK(encoded[i] == encode(static_cast<float>(x), float6_e3m2fn));
    }
    static_assert(decoded[0x7E] == 448 && decoded[0x01] == 0x1p-9F &&
                  decoded[0x7F] != decoded[0x7F]);
    static_assert(encoded[40] == 0x0C);  // 1.0
}

TEST_CASE("every kind of format converts at compile time") {
    static_assert(quantize(0x1.01p-127, bfloat16) == 0x1.0p-127);
    static_assert(quantize(0x1.8p-149F, float32) == 0x1p-148F);  // the source rounds the literal
    static_assert(quantize(1e-310, float64) == 1e-310);
    constexpr format reaches_subnormals{.exponent_bits = 8, .mantissa_bits = 3, .bias = 140};
    static_assert(quantize(0x1p-140F, reaches_subnormals) == 0x1p-140F);
    static_assert(quantize(-200.0F, int8) == -128);
    static_assert(quantize(3.0F, float8_e8m0fnu) == 2);
    static_assert(encode(1.0, float64) == 0x3FF0000000000000);
    static_assert(decode<double>(1, float64) == 0x1p-1074);
    static_assert(decode<float>(0xFF, float8_e8m0fnu) != decode<float>(0xFF, float8_e8m0fnu));
    static constexpr converter<double> c(float16, {rounding::toward_zero});
    static_assert(c.quantize(0.1) == 0x1.998p-4 && c.encode(0.1) == 0x2E66 &&
                  c.decode(0x2E66) == 0x1.998p-4);
    CHECK(true);
}

TEST_CASE("encode inverts decode for every code of every format") {
    std::vector<format> formats = registered_formats();
    for (const std::vector<format>& more : {p3109_formats(), random_formats(300, 8)})
        formats.insert(formats.end(), more.begin(), more.end());
    dice d(9);
    for (const format& f : formats) {
        INFO(name(f));
        const converter<double> c(f);
        const bool few = f.bits() <= 12;
        std::size_t wrong = 0;
        for (code_type i = 0; i < (few ? f.code_mask() + 1 : 4096); ++i) {
            const code_type code = few ? i : d() & f.code_mask();
            const double value = c.decode(code);
            if (std::isnan(value))
                continue;  // many codes may mean NaN or, without subnormals, zero
            const bool is_hidden_zero = value == 0 && (code & f.magnitude_mask()) != 0;
            if (is_hidden_zero) continue;
            if (c.encode(value) != code) ++wrong;
            if (bits_of(c.quantize(value)) != bits_of(value)) ++wrong;
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("quantize is decode of encode") {
    for (const format& f : registered_formats())
        for (const rounding r : all_roundings()) {
            const converter<double> c(f, {r});
            for (const double x : some_values<double>(300)) {
                if (std::isnan(x)) continue;
                CHECK(same(c.quantize(x, 0x9ABCDEF0U), c.decode(c.encode(x, 0x9ABCDEF0U))));
            }
        }
}

TEST_CASE_TEMPLATE("single values equal arrays, in every mode", T, float, double) {
    const std::vector<T> x = some_values<T>(1000);
    std::vector<std::uint32_t> random(x.size());
    dice d(3);
    for (const format& f : registered_formats()) {
        if (!f.fits<T>()) continue;
        for (const rounding r : all_roundings())
            for (const int n : {5, 32}) {
                const projection p{r, saturation::none, n};
                for (std::uint32_t& word : random)
                    word = static_cast<std::uint32_t>(d()) >> (32 - n);
                const options o{.random = random, .nan_code = f.has_nan() ? f.nan_code() : 0};
                const converter<T> c(f, p);
                std::vector<T> values(x.size());
                std::vector<code_type> codes(x.size());
                quantize<T>(x, values, f, p, o);
                encode<T, code_type>(x, codes, f, p, o);
                std::size_t different = 0;
                for (std::size_t i = 0; i < x.size(); ++i) {
                    const std::uint32_t word = random[i] << (32 - n);
                    if (bits_of(quantize(x[i], f, p, word)) != bits_of(values[i])) ++different;
                    if (bits_of(c.quantize(x[i], word)) != bits_of(values[i])) ++different;
                    if (std::isnan(x[i]) && !f.has_nan()) continue;
                    if (c.encode(x[i], word) != codes[i]) ++different;
                    if (encode(x[i], f, p, word) != codes[i]) ++different;
                }
                INFO(text(f, p));
                CHECK(different == 0);
            }
    }
}

TEST_CASE("NaN keeps its bits in quantize and becomes the format's NaN in encode") {
    for (const std::uint32_t bits :
         {0x7FC00000U, 0x7FC12345U, 0xFFFFFFFFU, 0x7F800001U, 0xFF8ABCDEU}) {
        const auto x = std::bit_cast<float>(bits);
        CHECK(bits_of(quantize(x, float8_e4m3fn)) == bits);
        CHECK(bits_of(quantize(x, float4_e2m1fn)) == bits);  // no NaN of its own: the carrier's
        CHECK(encode(x, float8_e4m3fn) == 0x7F);
        CHECK(encode(x, float8_e4m3fnuz) == 0x80);
        CHECK(encode(x, float16) == 0x7E00);
        CHECK_THROWS_WITH_AS((void)encode(x, float4_e2m1fn),
                             doctest::Contains("has no NaN; got NaN"), std::invalid_argument);
    }
    CHECK(bits_of(decode<float>(0xFF, float8_e4m3fn)) == 0x7FC00000U);  // quiet, positive
    CHECK(bits_of(quantize(1e30F, float8_e4m3fn)) == 0x7FC00000U);
}

TEST_CASE("decode ignores bits above the format's") {
    CHECK(decode<float>(0xF2, float4_e2m1fn) == 1);
    CHECK(decode<double>(~code_type{0} << 8 | 0x38, float8_e4m3fn) == 1);
}

TEST_CASE("a carrier that does not hold the format is refused with the numbers") {
    CHECK_THROWS_WITH_AS((void)converter<float>(float64),
                         doctest::Contains("float32 does not hold"), std::invalid_argument);
    CHECK_THROWS_WITH_AS((void)quantize(1.0F, format::ieee(8, 24)),
                         doctest::Contains("25 significant bits"), std::invalid_argument);
    CHECK_THROWS_WITH_AS((void)encode(1.0F, format::ieee(9, 2)), doctest::Contains("use float64"),
                         std::invalid_argument);
    CHECK_NOTHROW((void)quantize(1.0, format::ieee(9, 2)));
    CHECK_THROWS_AS((void)decode<float>(0, format{.exponent_bits = 12}), std::invalid_argument);
}

TEST_CASE("a converter tells what it was made of") {
    const converter<float> c(float8_e5m2, {rounding::to_odd, saturation::finite, 7});
    CHECK(c.format() == float8_e5m2);
    CHECK(c.projection() == projection{rounding::to_odd, saturation::finite, 7});
}

namespace {

/// Results as bits, worked out while the thread's floating-point control is set otherwise.
template <class T, class Set, class Reset>
std::size_t differences_under(const Set& set, const Reset& reset) {
    const std::vector<T> x = some_values<T>(500);
    std::vector<format> formats = registered_formats();
    for (const char* more :
         {"e7m5b124fn", "e7m5b129fn", "e10m5b1020fn", "e10m5b1030fn", "e3m2f_nosub_nozero"})
        formats.push_back(parse_format(more));
    std::size_t different = 0;
    for (const format& f : formats) {
        if (!f.fits<T>()) continue;
        for (const rounding r : all_roundings()) {
            const converter<T> c(f, {r});
            std::vector<word_of<T>> wanted;
            std::vector<word_of<T>> got;
            std::vector<code_type> codes;
            for (const T v : x) wanted.push_back(bits_of(c.quantize(v, 0x9ABCDEF0U)));
            for (const T v : x) codes.push_back(std::isnan(v) ? 0 : c.encode(v, 0x9ABCDEF0U));
            for (const code_type code : codes) wanted.push_back(bits_of(c.decode(code)));
            std::vector<code_type> codes_then;
            set();
            for (const T v : x) got.push_back(bits_of(c.quantize(v, 0x9ABCDEF0U)));
            for (const T v : x)
                codes_then.push_back(__builtin_isnan(v) ? 0 : c.encode(v, 0x9ABCDEF0U));
            for (const code_type code : codes) got.push_back(bits_of(c.decode(code)));
            reset();
            CHECK_MESSAGE((wanted == got && codes == codes_then), text(f, {r}));
            if (wanted != got || codes != codes_then) ++different;
        }
    }
    return different;
}

}  // namespace

TEST_CASE_TEMPLATE("single values do not depend on the thread's rounding direction", T, float,
                   double) {
    for (const int direction : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
        CAPTURE(direction);
        CHECK(differences_under<T>([&] { std::fesetround(direction); },
                                   [] { std::fesetround(FE_TONEAREST); }) == 0);
    }
}

#if defined(__x86_64__)
TEST_CASE_TEMPLATE("single values do not depend on flush-to-zero", T, float, double) {
    const unsigned before = _mm_getcsr();
    CHECK(differences_under<T>([&] { _mm_setcsr(before | 0x8040U); },
                               [&] { _mm_setcsr(before); }) == 0);
}
#endif
