// Arrays: any length, place, thread count, chunk and integer width give the bits of single values.
#include "lowp/array.hpp"

#include <doctest/doctest.h>

#include <cfenv>
#include <cmath>
#include <limits>
#include <thread>

#include "lowp/dispatch.hpp"
#include "lowp/formats.hpp"
#include "support.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

using namespace lowp;
using namespace lowp::test;

namespace {

template <class T>
std::vector<T> some_values(std::size_t count, std::uint64_t seed) {
    dice d(seed);
    std::vector<T> x(count);
    for (T& v : x) {
        const auto fraction = static_cast<T>(static_cast<double>(d.below(1U << 30)) / (1U << 30));
        v = std::ldexp(d.coin() ? fraction : -fraction, d.between(-14, 10));
        if (d.below(16) == 0) v = std::bit_cast<T>(static_cast<word_of<T>>(d()));
    }
    return x;
}

template <class T>
std::vector<word_of<T>> bits_of_all(std::span<const T> x) {
    std::vector<word_of<T>> bits(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) bits[i] = bits_of(x[i]);
    return bits;
}

/// Every path of the kernel, for both carriers.
const std::vector<format>& some_formats() {
    static const std::vector<format> formats{float8_e4m3fn,
                                             float8_e8m0fnu,
                                             bfloat16,
                                             int8,
                                             parse_format("e8m3b140fn"),
                                             parse_format("e3m2f_nosub_nozero")};
    return formats;
}

const std::vector<rounding>& some_roundings() {
    static const std::vector<rounding> modes{
        rounding::nearest_ties_to_even, rounding::toward_negative, rounding::to_odd,
        rounding::stochastic_a,         rounding::stochastic_c,    rounding::stochastic_equal};
    return modes;
}

/// What single values give, with the random words of a source.
template <class T>
std::vector<word_of<T>> one_by_one(std::span<const T> x, const format& f, const projection& p,
                                   const options& o) {
    const converter<T> c(f, p);
    std::vector<word_of<T>> bits(x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
        bits[i] = bits_of(c.quantize(x[i], o.source(o.first_index + i)));
    return bits;
}

}  // namespace

TEST_CASE_TEMPLATE("every length and offset gives the bits of single values and writes no more", T,
                   float, double) {
    constexpr std::size_t longest = 70;
    const std::vector<T> all = some_values<T>(longest + 16, 1);
    const options o =
        dispatch::options({.source = {11, 12}, .first_index = 5, .nan_code = code_type{0}});
    for (const format& f : some_formats())
        for (const rounding r : some_roundings()) {
            const projection p{r, saturation::none, 17};
            const converter<T> c(f, p);
            INFO(text(f, p));
            for (std::size_t n = 0; n <= longest; ++n)
                for (const std::size_t offset : {std::size_t{0}, std::size_t{1}, std::size_t{7}}) {
                    const std::span<const T> x = std::span(all).subspan(offset, n);
                    std::vector<T> y(n + offset + 1, T{-12345});
                    quantize(x, std::span(y).subspan(offset, n), c, o);
                    const auto got = bits_of_all<T>(std::span(y).subspan(offset, n));
                    const bool equal = got == one_by_one(x, f, p, o);
                    CHECK(equal);
                    CHECK(y.back() == T{-12345});

                    std::vector<std::uint16_t> codes(n + offset + 1, 0xBEEF);
                    if (f.bits() > 16) continue;
                    encode(x, std::span(codes).subspan(offset, n), c, o);
                    CHECK(codes.back() == 0xBEEF);
                    std::size_t different = 0;
                    for (std::size_t i = 0; i < n; ++i) {
                        const code_type wanted =
                            std::isnan(x[i]) ? *o.nan_code : c.encode(x[i], o.source(5 + i));
                        if (codes[offset + i] != wanted) ++different;
                    }
                    CHECK(different == 0);

                    std::vector<T> back(n + 1, T{-12345});
                    decode(std::span<const std::uint16_t>(codes).subspan(offset, n),
                           std::span(back).first(n), c, o);
                    CHECK(back.back() == T{-12345});
                    for (std::size_t i = 0; i < n; ++i)
                        if (bits_of(back[i]) != bits_of(c.decode(codes[offset + i]))) ++different;
                    CHECK(different == 0);
                }
        }
}

TEST_CASE_TEMPLATE("in place is the same as out of place", T, float, double) {
    const std::vector<T> x = some_values<T>(3333, 2);
    for (const rounding r : some_roundings()) {
        const options o = dispatch::options({.source = {1, 2}, .threads = 2});
        std::vector<T> y(x.size());
        std::vector<T> z = x;
        quantize<T>(x, y, float8_e5m2, {r}, o);
        quantize<T>(std::span<T>(z), float8_e5m2, {r}, o);
        CHECK(bits_of_all<T>(y) == bits_of_all<T>(z));
    }
}

TEST_CASE_TEMPLATE("any number of threads gives the same bits", T, float, double) {
    const std::vector<T> x = some_values<T>(20011, 3);
    for (const format& f : some_formats())
        for (const rounding r : some_roundings()) {
            const projection p{r};
            options o = dispatch::options(
                {.source = {3, 4}, .first_index = 2, .nan_code = code_type{1}, .threads = 1});
            std::vector<T> wanted(x.size());
            std::vector<std::uint32_t> wanted_codes(x.size());
            std::vector<T> wanted_back(x.size());
            quantize<T>(x, wanted, f, p, o);
            encode<T, std::uint32_t>(x, wanted_codes, f, p, o);
            decode<T, std::uint32_t>(wanted_codes, wanted_back, f, o);
            for (int threads = 0; threads <= 8; ++threads) {
                INFO(text(f, p) << " threads " << threads);
                o.threads = threads;
                std::vector<T> y(x.size());
                std::vector<std::uint32_t> codes(x.size());
                std::vector<T> back(x.size());
                quantize<T>(x, y, f, p, o);
                encode<T, std::uint32_t>(x, codes, f, p, o);
                decode<T, std::uint32_t>(codes, back, f, o);
                const bool equal = bits_of_all<T>(y) == bits_of_all<T>(wanted) &&
                                   codes == wanted_codes &&
                                   bits_of_all<T>(back) == bits_of_all<T>(wanted_back);
                CHECK(equal);
            }
        }
}

TEST_CASE("large arrays, which take all cores by themselves, give the same bits") {
    const std::size_t n = detail::parallel_from + 12345;
    const std::vector<float> x = some_values<float>(n, 4);
    std::vector<float> y(n);
    const options o = dispatch::options({.source = {5, 6}});
    quantize<float>(x, y, float8_e4m3fn, {rounding::stochastic_b}, o);
    const bool equal =
        bits_of_all<float>(y) == one_by_one<float>(x, float8_e4m3fn, {rounding::stochastic_b}, o);
    CHECK(equal);
}

TEST_CASE("the loops of the including file's own target give the same bits") {
    const std::vector<double> x = some_values<double>(5000, 5);
    for (const format& f : some_formats())
        for (const rounding r : some_roundings()) {
            const options here{.source = {8, 9}};
            std::vector<double> a(x.size());
            std::vector<double> b(x.size());
            quantize<double>(x, a, f, {r}, here);
            quantize<double>(x, b, f, {r}, dispatch::options(here));
            CHECK(bits_of_all<double>(a) == bits_of_all<double>(b));
        }
}

TEST_CASE("parts of an array, each from its first index, give the bits of the whole") {
    const std::vector<float> x = some_values<float>(5000, 6);
    dice d(7);
    for (const std::uint64_t base :
         {std::uint64_t{0}, std::uint64_t{3}, (std::uint64_t{1} << 33) + 1}) {
        options o = dispatch::options({.source = {21, 22}, .first_index = base});
        std::vector<float> whole(x.size());
        std::vector<float> parts(x.size());
        quantize<float>(x, whole, float8_e4m3fn, {rounding::stochastic_a}, o);
        for (std::size_t i = 0; i < x.size();) {
            const std::size_t n = std::min<std::size_t>(x.size() - i, d.below(1500));
            o.first_index = base + i;
            quantize(std::span(x).subspan(i, n), std::span(parts).subspan(i, n), float8_e4m3fn,
                     {rounding::stochastic_a}, o);
            i += n;
        }
        CHECK(bits_of_all<float>(whole) == bits_of_all<float>(parts));
    }
}

TEST_CASE("random integers that are given take the place of the source") {
    const std::vector<float> x(4, 2.25F);  // a quarter of the way from 2 to 3
    std::vector<float> y(4);
    const std::vector<std::uint32_t> random{0, 2, 3, 1};
    const projection p{rounding::stochastic_a, saturation::none, 2};
    quantize<float>(x, y, float4_e2m1fn, p, {.random = random});
    CHECK(y == std::vector<float>{2, 2, 3, 2});
    std::vector<std::uint8_t> codes(4);
    encode<float, std::uint8_t>(x, codes, float4_e2m1fn, p, {.random = random});
    CHECK(codes == std::vector<std::uint8_t>{4, 4, 5, 4});
}

TEST_CASE_TEMPLATE("encode and decode take every integer that is wide enough", Code, std::uint8_t,
                   std::uint16_t, std::uint32_t, std::uint64_t) {
    const std::vector<float> x = some_values<float>(2500, 8);
    const std::vector<double> wide(x.begin(), x.end());
    const options o = dispatch::options({.nan_code = code_type{2}, .threads = 3});
    for (const format& f :
         {float8_e4m3fn, float4_e2m1fn, float16, float32, parse_format("e5m13")}) {
        INFO(name(f));
        std::vector<Code> codes(x.size());
        if (f.bits() > static_cast<int>(8 * sizeof(Code))) {
            CHECK_THROWS_WITH_AS((encode<float, Code>(x, codes, f, {}, o)),
                                 doctest::Contains("use a wider integer"), std::invalid_argument);
            continue;
        }
        encode<float, Code>(x, codes, f, {}, o);
        std::size_t different = 0;
        for (std::size_t i = 0; i < x.size(); ++i)
            if (codes[i] != (std::isnan(x[i]) ? 2 : encode(x[i], f))) ++different;
        CHECK(different == 0);
        std::vector<Code> same(x.size());
        encode<double, Code>(wide, same, f, {}, o);
        CHECK(codes == same);
        std::vector<float> y(x.size());
        std::vector<double> y_wide(x.size());
        decode<float, Code>(codes, y, f, o);
        decode<double, Code>(codes, y_wide, f, o);
        for (std::size_t i = 0; i < x.size(); ++i) {
            if (bits_of(y[i]) != bits_of(decode<float>(codes[i], f))) ++different;
            if (bits_of(y_wide[i]) != bits_of(decode<double>(codes[i], f))) ++different;
        }
        CHECK(different == 0);
    }
}

TEST_CASE("a NaN without a code is refused, or becomes nan_code") {
    std::vector<std::uint8_t> codes(3000);
    for (const std::size_t at : std::initializer_list<std::size_t>{0, 1, 1023, 1024, 2999}) {
        std::vector<float> x(3000, 1.0F);
        x[at] = -std::numeric_limits<float>::quiet_NaN();
        CAPTURE(at);
        for (const rounding r : {rounding::nearest_ties_to_even, rounding::stochastic_a})
            CHECK_THROWS_WITH_AS(
                (encode<float, std::uint8_t>(x, codes, float4_e2m1fn, {r}, dispatch::options())),
                doctest::Contains("options::nan_code"), std::invalid_argument);
        encode<float, std::uint8_t>(x, codes, float4_e2m1fn, {},
                                    dispatch::options({.nan_code = code_type{9}}));
        CHECK(codes[at] == 9);
        CHECK(std::count(codes.begin(), codes.end(), 2) == 2999);
    }
    std::vector<float> x(3, std::numeric_limits<float>::quiet_NaN());
    codes.resize(3);
    encode<float, std::uint8_t>(x, codes, float8_e4m3fn, {}, dispatch::options());
    CHECK(codes == std::vector<std::uint8_t>{0x7F, 0x7F, 0x7F});
    CHECK_THROWS_WITH_AS(
        (encode<float, std::uint8_t>(x, codes, float4_e2m1fn, {}, {.nan_code = code_type{16}})),
        doctest::Contains("a code of 4 bits; got 16"), std::invalid_argument);
}

TEST_CASE("an infinity is no NaN") {
    const std::vector<float> x{std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity()};
    std::vector<std::uint8_t> codes(2);
    CHECK_NOTHROW((encode<float, std::uint8_t>(x, codes, float4_e2m1fn, {}, dispatch::options())));
    CHECK(codes == std::vector<std::uint8_t>{7, 15});
}

TEST_CASE("decode refuses codes with bits above the format's") {
    std::vector<float> y(3000);
    for (const std::size_t at : std::initializer_list<std::size_t>{0, 1023, 1024, 2999}) {
        std::vector<std::uint8_t> codes(3000, 0x0F);
        CHECK_NOTHROW((decode<float, std::uint8_t>(codes, y, float4_e2m1fn, dispatch::options())));
        codes[at] = 0x1F;
        CHECK_THROWS_WITH_AS(
            (decode<float, std::uint8_t>(codes, y, float4_e2m1fn, dispatch::options())),
            doctest::Contains("above the format's 4"), std::invalid_argument);
    }
    const std::vector<std::uint64_t> wide{std::uint64_t{1} << 63};
    std::vector<float> one(1);
    CHECK_THROWS_AS((decode<float, std::uint64_t>(wide, one, float16, dispatch::options())),
                    std::invalid_argument);
}

TEST_CASE("contradicting arguments are refused with what, got and limit") {
    const std::vector<float> x(10, 1.0F);
    std::vector<float> y(9);
    std::vector<std::uint8_t> codes(9);
    const std::vector<std::uint32_t> three{0, 1, 2};
    const std::vector<std::uint32_t> large(10, 16);
    std::vector<float> z(10);
    const projection four_bits{rounding::stochastic_a, saturation::none, 4};
    const auto refuses = [](const auto& call, const char* message) {
        CHECK_THROWS_WITH_AS(call(), doctest::Contains(message), std::invalid_argument);
    };
    refuses([&] { quantize<float>(x, y, float16); },
            "lowp::quantize: input and output must have one length; got 10 and 9");
    refuses([&] { encode<float, std::uint8_t>(x, codes, float8_e5m2); },
            "lowp::encode: input and output");
    refuses([&] { decode<float, std::uint8_t>(codes, z, float8_e5m2); }, "got 9 and 10");
    refuses([&] { quantize<float>(x, z, float16, {}, {.threads = -1}); },
            "threads must be between 0 (all cores) and 1024; got -1");
    refuses([&] { quantize<float>(x, z, float16, {}, {.threads = 1025}); }, "got 1025");
    refuses([&] { quantize<float>(x, z, float16, four_bits, {.random = three}); },
            "one integer an element, 10; got 3");
    refuses([&] { quantize<float>(x, z, float16, four_bits, {.random = large}); },
            "below 2^random_bits = 16; got 16");
    refuses([&] { quantize<float>(x, z, float64); }, "float32 does not hold");
    refuses(
        [&] {
        quantize<float>(x, z, float16, {rounding::stochastic_a, saturation::none, 0});
        },
        "random_bits");
    // Deterministic modes look at no random integers.
    CHECK_NOTHROW(quantize<float>(x, z, float16, {}, {.random = three}));
    CHECK_THROWS_WITH_AS((void)dispatch::loops("sse9"),
                         doctest::Contains("\"sse9\" is not available"), std::invalid_argument);
}

TEST_CASE("LOWP_ISA chooses the loops in use") {
    const char* const wanted = std::getenv("LOWP_ISA");
    const std::string_view used = dispatch::loops().isa;
    CHECK(used == (wanted != nullptr && *wanted != '\0' ? std::string_view(wanted)
                                                        : dispatch::available().back()));
    CHECK(dispatch::available().front() == "baseline");
    for (const std::string_view isa : dispatch::available()) CHECK(dispatch::loops(isa).isa == isa);
}

// ---- the thread's floating-point control --------------------------------------------------------

namespace {

/// Bits of quantize, encode and decode of formats that reach into the carrier's subnormals.
template <class T>
std::vector<std::uint64_t> all_results(const std::vector<T>& x, int threads) {
    std::vector<std::uint64_t> results;
    const options o =
        dispatch::options({.source = {1, 1}, .nan_code = code_type{0}, .threads = threads});
    for (const format& f :
         {float8_e4m3fn, bfloat16, parse_format("e8m3b140fn"), parse_format("e7m5b124fn"), int8})
        for (const rounding r : all_roundings()) {
            std::vector<T> y(x.size());
            std::vector<std::uint16_t> codes(x.size());
            quantize<T>(x, y, f, {r}, o);
            encode<T, std::uint16_t>(x, codes, f, {r}, o);
            for (const T v : y) results.push_back(bits_of(v));
            decode<T, std::uint16_t>(codes, y, f, o);
            for (const T v : y) results.push_back(bits_of(v));
            results.insert(results.end(), codes.begin(), codes.end());
        }
    return results;
}

}  // namespace

TEST_CASE_TEMPLATE("the thread's rounding direction changes nothing and is kept", T, float,
                   double) {
    const std::vector<T> x = some_values<T>(4099, 9);
    const auto wanted = all_results(x, 1);
    for (const int direction : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO})
        for (const int threads : {1, 3}) {
            std::fesetround(direction);
            const auto got = all_results(x, threads);
            const int after = std::fegetround();
            std::fesetround(FE_TONEAREST);
            const bool equal = got == wanted;
            CHECK(equal);
            CHECK(after == direction);
        }
}

#if defined(__x86_64__)
TEST_CASE_TEMPLATE("flush-to-zero changes nothing and is kept", T, float, double) {
    const std::vector<T> x = some_values<T>(4099, 10);
    const auto wanted = all_results(x, 1);
    const unsigned before = _mm_getcsr();
    for (const unsigned flags : {0x8000U, 0x0040U, 0x8040U})
        for (const int threads : {1, 3}) {
            _mm_setcsr((before & ~0x3FU) | flags);
            const auto got = all_results(x, threads);
            const unsigned after = _mm_getcsr();
            _mm_setcsr(before);
            const bool equal = got == wanted;
            CHECK(equal);
            CHECK((after & 0xFFC0U) == (((before & ~0x3FU) | flags) & 0xFFC0U));
        }
}
#endif

// ---- threads that meet --------------------------------------------------------------------------

TEST_CASE("calls from many threads at once give the same bits") {
    const std::vector<float> x = some_values<float>(9001, 11);
    const projection p{rounding::stochastic_a};
    const options o = dispatch::options({.source = {7, 7}, .threads = 4});
    std::vector<float> wanted(x.size());
    quantize<float>(x, wanted, float8_e5m2, p, o);
    constexpr std::size_t callers = 6;
    std::vector<std::vector<float>> results(callers, std::vector<float>(x.size()));
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < callers; ++i)
        threads.emplace_back([&, i] {
            for (int round = 0; round < 20; ++round)
                quantize<float>(x, results[i], float8_e5m2, p, o);
        });
    for (std::thread& t : threads) t.join();
    for (const std::vector<float>& y : results)
        CHECK(bits_of_all<float>(y) == bits_of_all<float>(wanted));
}

TEST_CASE("a call inside a worker does its work") {
    const std::vector<float> x = some_values<float>(6000, 12);
    const options o = dispatch::options({.threads = 4});
    std::vector<float> wanted(x.size());
    quantize<float>(x, wanted, float8_e5m2, {}, o);
    std::vector<std::vector<float>> results(8, std::vector<float>(x.size()));
    detail::for_ranges(results.size(), 4, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i)
            quantize<float>(x, results[i], float8_e5m2, {}, o);
    });
    for (const std::vector<float>& y : results)
        CHECK(bits_of_all<float>(y) == bits_of_all<float>(wanted));
}

TEST_CASE("ranges cover every index once, from multiples of the grain") {
    for (const std::size_t n : std::initializer_list<std::size_t>{0, 1, 999, 1000, 1001, 12345})
        for (int threads = 0; threads <= 8; ++threads)
            for (const std::size_t grain : std::initializer_list<std::size_t>{1, 7, 1000}) {
                std::vector<std::atomic<int>> hits(n);
                std::atomic<int> uneven{0};
                detail::for_ranges(n, threads, grain, [&](std::size_t begin, std::size_t end) {
                    uneven += begin % grain != 0 ? 1 : 0;
                    for (std::size_t i = begin; i < end; ++i) ++hits[i];
                });
                std::size_t wrong = 0;
                for (const std::atomic<int>& h : hits)
                    if (h != 1) ++wrong;
                CHECK(wrong == 0);
                CHECK(uneven == 0);
            }
}
