// A codebook rounds to one of the two neighbours, by the same rules as a format.
#include "lowp/codebook.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "codebook_definition.hpp"
#include "lowp/random.hpp"
#include "lowp/spec.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double largest = std::numeric_limits<float>::max();

codebook book_of(const std::vector<double>& values) { return codebook(std::span(values)); }

codebook random_book(dice& d) {
    std::vector<double> values;
    const std::size_t size =
        d.pick({std::size_t{2}, std::size_t{3}, std::size_t{16}, std::size_t{2} + d.below(255)});
    const int spread = d.pick({0, 3, 20});
    while (values.size() < size) {
        const auto fraction = static_cast<double>(d.below(1U << 20)) / (1U << 20);
        const auto v = static_cast<float>(
            std::ldexp(d.coin() ? fraction : -fraction, d.between(-spread, spread)));
        if (std::find(values.begin(), values.end(), double{v}) == values.end())
            values.push_back(double{v});
    }
    std::sort(values.begin(), values.end());
    return book_of(values);
}

/// Values, middles and quarters with the numbers next to them, and what lies beyond the ends.
template <class T>
std::vector<double> points(const codebook& book) {
    std::vector<double> x{0.0,
                          -0.0,
                          infinity,
                          -infinity,
                          std::numeric_limits<T>::max(),
                          double{-std::numeric_limits<T>::max()},
                          1e-40,
                          -1e-40};
    const auto add = [&](double value) {
        const T v = static_cast<T>(value);
        const T most = std::numeric_limits<T>::infinity();
        for (const T near : {v, std::nextafter(v, most), std::nextafter(v, -most)})
            x.push_back(static_cast<double>(near));
    };
    const auto values = book.values();
    for (std::size_t i = 0; i < values.size(); ++i) {
        add(values[i]);
        for (const double quarter : {0.25, 0.5, 0.75})
            if (i + 1 < values.size()) add(values[i] + (values[i + 1] - values[i]) * quarter);
    }
    return x;
}

template <class T>
void compare(const codebook& book, dice& d) {
    std::size_t different = 0;
    std::size_t uncertain = 0;
    std::size_t compared = 0;
    std::string first;
    for (const rounding r : all_roundings())
        for (const int n : {1, 3, 23, 32})
            for (const double x : points<T>(book)) {
                if (!is_stochastic(r) && n != 32) continue;
                const projection p{r, saturation::finite, n};
                const std::uint32_t last = 0xFFFFFFFFU >> (32 - n);
                for (const std::uint32_t random :
                     {0U, last, last / 2, last / 2 + 1, static_cast<std::uint32_t>(d()) & last}) {
                    const codebook_choice wanted = define_choice(book, x, p, random);
                    ++compared;
                    uncertain += wanted.is_certain ? 0U : 1U;
                    const std::size_t got = book.nearest(x, p, random << (32 - n));
                    if (!wanted.is_certain || got == wanted.index) continue;
                    if (++different < 4)
                        first += "\n" + std::string(name(r)) + " N=" + std::to_string(n) +
                                 " x=" + std::to_string(x) + " R=" + std::to_string(random) +
                                 ": got " + std::to_string(got) + ", wanted " +
                                 std::to_string(wanted.index);
                }
            }
    CHECK_MESSAGE(different == 0, different << " differ:" << first);
    CHECK(uncertain * 2 < compared);
}

}  // namespace

TEST_CASE("every rounding takes the neighbour that the definition takes") {
    dice d(1);
    const std::vector<double> ints{-2, -1, 0, 1, 2};
    const std::vector<double> uneven{-6, -1, 0.25, 3, 100};
    const std::vector<double> positive{0.5, 1, 8};
    const std::vector<double> negative{-8, -1, -0.5};
    for (const codebook& book : {nf4, book_of(ints), book_of(uneven), book_of(positive),
                                 book_of(negative), book_of({-largest, largest})}) {
        compare<float>(book, d);
        compare<double>(book, d);
    }
    for (std::size_t i = 0; i < 60 / scale() + 1; ++i) {
        const codebook book = random_book(d);
        compare<float>(book, d);
        compare<double>(book, d);
    }
}

TEST_CASE("the nearer value wins however close the tie is") {
    // The middle of these is no number that the distances to them show in float64.
    const codebook close = book_of({-1, 1 + 0x1p-23});
    CHECK(close.nearest(0x1p-24, {}) == 0);
    CHECK(close.nearest(std::nextafter(0x1p-24, 1), {}) == 1);
    CHECK(close.nearest(std::nextafter(0x1p-24, 0), {rounding::nearest_ties_to_away}) == 0);
    const codebook far = book_of({0x1p-100, 1});
    CHECK(far.nearest(0.5, {}) == 0);
    CHECK(far.nearest(std::nextafter(0.5, 1), {}) == 1);
}

TEST_CASE("a codebook of a format's values rounds as the format") {
    dice d(2);
    for (const format& f : {float4_e2m1fn, float6_e2m3fn, float8_e4m3fn, int8}) {
        std::vector<double> values;
        for (code_type c = 0; c <= f.code_mask(); ++c)
            if (const double v = f.value(c); std::isfinite(v) && !(v == 0 && c != 0))
                values.push_back(v);
        std::sort(values.begin(), values.end());
        const codebook book = book_of(values);
        CHECK(book.max() == -f.lowest());
        CHECK(book.bits() <= f.bits());
        std::size_t different = 0;
        for (const rounding r : all_roundings()) {
            // Even and odd are those of codes there, of indices here.
            if (r == rounding::nearest_ties_to_even || r == rounding::to_odd) continue;
            const projection p{r, saturation::finite, 8};
            for (const double x : points<double>(book)) {
                const auto random = static_cast<std::uint32_t>(d.below(256));
                const double got = values[book.nearest(x, p, random << 24)];
                if (got != spec::quantize(x, f, p, random)) ++different;
            }
        }
        CHECK(different == 0);
    }
}

TEST_CASE("stochastic odds are those of the distance") {
    const codebook book = book_of({-3, 1, 2});
    const random_source source{5, 6};
    for (const rounding r : {rounding::stochastic_a, rounding::stochastic_b, rounding::stochastic_c,
                             rounding::stochastic_equal})
        for (const double x : {-2.5, -1.0, 0.5, 1.25, 1.9}) {
            CAPTURE(name(r));
            CAPTURE(x);
            const projection p{r};
            std::size_t up = 0;
            constexpr std::size_t n = 40000;
            const std::size_t low = x < 1 ? 0 : 1;
            for (std::size_t i = 0; i < n; ++i) up += book.nearest(x, p, source(i)) > low ? 1U : 0U;
            const double odds = r == rounding::stochastic_equal ? 0.5 : x < 1 ? (x + 3) / 4 : x - 1;
            const double got = static_cast<double>(up) / n;
            CHECK(std::fabs(got - odds) < 4 * std::sqrt(odds * (1 - odds) / n));
        }
}

TEST_CASE("NF4 is QLoRA's table") {
    static_assert(nf4.size() == 16 && nf4.bits() == 4 && nf4.max() == 1 && !nf4.empty());
    static_assert(nf4.nearest(0.0, {}) == 7 && nf4.nearest(0.9, {}) == 15);
    CHECK(nf4.values()[7] == 0);
    CHECK(nf4.values()[0] == -1);
    // bitsandbytes, functional.py: get_4bit_type("nf4")
    const double printed[] = {-1.0,        -0.69619280, -0.52507305, -0.39491749,
                              -0.28444138, -0.18477343, -0.09105004, 0.0,
                              0.07958030,  0.16093020,  0.24611230,  0.33791524,
                              0.44070983,  0.56261700,  0.72295684,  1.0};
    for (std::size_t i = 0; i < 16; ++i) CHECK(std::fabs(nf4.values()[i] - printed[i]) < 1e-8);
}

TEST_CASE("bits are those of the last index, max the largest magnitude") {
    CHECK(book_of({0, 1}).bits() == 1);
    CHECK(book_of({-1, 0, 1}).bits() == 2);
    CHECK(book_of({-5, 0, 1}).max() == 5);
    CHECK(book_of({-1, 0, 4}).max() == 4);
    CHECK(book_of({-2, -1}).max() == 2);
    std::vector<double> many(256);
    for (std::size_t i = 0; i < 256; ++i) many[i] = static_cast<double>(i);
    CHECK(book_of(many).bits() == 8);
    CHECK(codebook{}.empty());
    CHECK(book_of({0, 1}) == book_of({0, 1}));
    CHECK_FALSE(book_of({0, 1}) == book_of({0, 2}));
}

TEST_CASE("what is no codebook is refused with what was got") {
    const auto refuses = [](const std::vector<double>& values, const char* message) {
        CHECK_THROWS_WITH_AS((void)book_of(values), doctest::Contains(message),
                             std::invalid_argument);
    };
    refuses({}, "needs 2 to 256 values; got 0");
    refuses({1}, "got 1");
    refuses(std::vector<double>(257, 0.0), "got 257");
    refuses({0, infinity}, "must be finite float32 numbers; got inf");
    refuses({0, std::nan("")}, "must be finite float32 numbers");
    refuses({0, 1e300}, "must be finite float32 numbers");
    refuses({0, 0.1}, "no float32 number; round it first");
    refuses({1, 0}, "must ascend; got 1");
    refuses({0, 1, 1}, "must ascend");
    refuses({-0.0, 0.0}, "must ascend");
}
