// The transform is the matrix that its comment says, with the same bits on every instruction set.
#include "lowp/hadamard.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "all_isas.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

constexpr std::size_t all_sizes[] = {2, 4, 8, 16, 32, 64, 128, 256};

template <class T>
std::vector<T> values(std::size_t count, dice& d) {
    std::vector<T> x(count);
    for (T& v : x) v = static_cast<T>(d.between(-100000, 100000)) / T{4096};
    return x;
}

template <class T>
std::vector<word_of<T>> bits_of_all(const std::vector<T>& x) {
    std::vector<word_of<T>> bits(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) bits[i] = bits_of(x[i]);
    return bits;
}

/// Butterfly by butterfly, distances 1, 2, 4, ..., then 1 / sqrt(size).
template <class T>
std::vector<T> by_butterflies(std::vector<T> x, std::size_t size, const std::vector<int>& before,
                              const std::vector<int>& after) {
    for (std::size_t i = 0; i < x.size(); ++i)
        if (!before.empty() && before[i % size] < 0) x[i] = -x[i];
    for (std::size_t h = 1; h < size; h *= 2)
        for (std::size_t i = 0; i < x.size(); ++i)
            if ((i & h) == 0) {
                const T a = x[i];
                const T b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
    const T norm = static_cast<T>(1 / std::sqrt(static_cast<double>(size)));
    for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = x[i] * norm;
        if (!after.empty() && after[i % size] < 0) x[i] = -x[i];
    }
    return x;
}

/// x D H / sqrt(size), from H[i][j] = (-1)^(bits that i and j share).
template <class T>
std::vector<double> by_matrix(const std::vector<T>& x, std::size_t size,
                              const std::vector<int>& before, const std::vector<int>& after) {
    std::vector<double> y(x.size());
    for (std::size_t run = 0; run < x.size(); run += size)
        for (std::size_t j = 0; j < size; ++j) {
            double sum = 0;
            for (std::size_t i = 0; i < size; ++i) {
                const int sign = before.empty() ? 1 : before[i];
                const double h = std::popcount(i & j) % 2 == 0 ? 1 : -1;
                sum += static_cast<double>(x[run + i]) * sign * h;
            }
            const int sign = after.empty() ? 1 : after[j];
            y[run + j] = sum * sign / std::sqrt(static_cast<double>(size));
        }
    return y;
}

std::vector<int> signs_of(const random_source& source, std::size_t size) {
    std::vector<int> signs(size);
    for (std::size_t i = 0; i < size; ++i) signs[i] = source(i) >> 31 != 0 ? -1 : 1;
    return signs;
}

}  // namespace

TEST_CASE_TEMPLATE("every size and length is the matrix, bit for bit the butterflies", T, float,
                   double) {
    dice d(1);
    for (const std::size_t size : all_sizes)
        for (const std::size_t runs : std::initializer_list<std::size_t>{1, 2, 3, 5, 8, 17, 100}) {
            const std::vector<T> x = values<T>(size * runs, d);
            const random_source source{d(), d()};
            const std::vector<int> signs = signs_of(source, size);
            for (const bool has_signs : {false, true})
                for (const bool is_inverse : {false, true}) {
                    CAPTURE(size);
                    CAPTURE(runs);
                    hadamard_options o;
                    if (has_signs) o.source = source;
                    o.is_inverse = is_inverse;
                    const std::vector<int> some = has_signs ? signs : std::vector<int>{};
                    const std::vector<int> none;
                    const auto& before = is_inverse ? none : some;
                    const auto& after = is_inverse ? some : none;
                    const std::vector<T> wanted = by_butterflies(x, size, before, after);
                    const std::vector<double> exact = by_matrix(x, size, before, after);
                    double worst = 0;
                    for (std::size_t i = 0; i < x.size(); ++i)
                        worst =
                            std::max(worst, std::fabs(static_cast<double>(wanted[i]) - exact[i]));
                    CHECK(worst < 400 * static_cast<double>(std::numeric_limits<T>::epsilon()));
                    for (const std::string_view isa : isas()) {
                        o.loops = &dispatch::loops(isa);
                        std::vector<T> y(x.size() + 1, T{-12345});
                        hadamard(std::span<const T>(x), std::span(y).first(x.size()), size, o);
                        CHECK(y.back() == T{-12345});
                        y.pop_back();
                        const bool equal = bits_of_all(y) == bits_of_all(wanted);
                        CHECK_MESSAGE(equal, isa);
                        std::vector<T> in_place = x;
                        hadamard(std::span<const T>(in_place), std::span(in_place), size, o);
                        const bool same = bits_of_all(in_place) == bits_of_all(wanted);
                        CHECK_MESSAGE(same, isa);
                    }
                }
        }
}

TEST_CASE_TEMPLATE("the inverse undoes the transform", T, float, double) {
    dice d(2);
    for (const std::size_t size : all_sizes) {
        const std::vector<T> x = values<T>(size * 7, d);
        hadamard_options o;
        o.source = random_source{1, size};
        std::vector<T> y(x.size());
        hadamard(std::span<const T>(x), std::span(y), size, o);
        o.is_inverse = true;
        hadamard(std::span<const T>(y), std::span(y), size, o);
        double worst = 0;
        for (std::size_t i = 0; i < x.size(); ++i)
            worst = std::max(worst, std::fabs(static_cast<double>(y[i] - x[i])));
        CHECK(worst < 1000 * static_cast<double>(std::numeric_limits<T>::epsilon()));
    }
    // Where sums and 1 / sqrt(size) are exact, so is the way back.
    for (const std::size_t size : std::initializer_list<std::size_t>{4, 16, 64, 256}) {
        std::vector<T> x(size * 3);
        for (T& v : x) v = static_cast<T>(d.between(-1000, 1000));
        std::vector<T> y(x.size());
        hadamard(std::span<const T>(x), std::span(y), size);
        hadamard(std::span<const T>(y), std::span(y), size);
        CHECK(x == y);
    }
}

TEST_CASE("signs that are given take the place of random ones") {
    // NVIDIA's signs for its NVFP4 recipe.
    const std::vector<std::int8_t> signs{1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1};
    const std::vector<int> wide(signs.begin(), signs.end());
    dice d(3);
    const std::vector<float> x = values<float>(16 * 5, d);
    hadamard_options o;
    o.signs = signs;
    for (const std::string_view isa : isas()) {
        o.loops = &dispatch::loops(isa);
        std::vector<float> y(x.size());
        hadamard(std::span<const float>(x), std::span(y), 16, o);
        CHECK(bits_of_all(y) == bits_of_all(by_butterflies(x, 16, wide, {})));
    }
    o.source = random_source{1, 2};  // also given: signs win
    std::vector<float> y(x.size());
    hadamard(std::span<const float>(x), std::span(y), 16, o);
    CHECK(bits_of_all(y) == bits_of_all(by_butterflies(x, 16, wide, {})));
}

TEST_CASE_TEMPLATE("runs down columns are those of the transposed array", T, float, double) {
    dice d(17);
    for (const std::size_t size : all_sizes)
        for (const std::size_t columns : {2U, 5U, 16U, 37U}) {
            const std::size_t rows = 2 * size;
            const std::vector<T> x = values<T>(rows * columns, d);
            const auto turned = [](const std::vector<T>& m, std::size_t high, std::size_t wide) {
                std::vector<T> t(m.size());
                for (std::size_t i = 0; i < high; ++i)
                    for (std::size_t j = 0; j < wide; ++j) t[j * high + i] = m[i * wide + j];
                return t;
            };
            for (const bool is_inverse : {false, true}) {
                hadamard_options o{.source = random_source{3, 4}, .is_inverse = is_inverse};
                std::vector<T> wanted(x.size()), got(x.size());
                hadamard<T>(turned(x, rows, columns), wanted, size, o);
                o.columns = columns;
                hadamard<T>(x, got, size, o);
                CHECK(bits_of_all(got) == bits_of_all(turned(wanted, columns, rows)));
            }
        }
}

TEST_CASE("any number of threads gives the same bits") {
    dice d(4);
    for (const std::size_t n : {std::size_t{64} * 100, detail::parallel_from + 64}) {
        const std::vector<float> x = values<float>(n, d);
        hadamard_options o;
        o.loops = &dispatch::loops();
        o.source = random_source{3, 4};
        o.threads = 1;
        std::vector<float> wanted(n);
        hadamard(std::span<const float>(x), std::span(wanted), 64, o);
        for (const int threads : {0, 2, 3, 5}) {
            o.threads = threads;
            std::vector<float> y(n);
            hadamard(std::span<const float>(x), std::span(y), 64, o);
            const bool equal = bits_of_all(y) == bits_of_all(wanted);
            CHECK(equal);
        }
    }
}

TEST_CASE("NaN and infinity spread over their run alone, and zeros stay zeros") {
    std::vector<float> x(64, 0.0F);
    x[17] = std::numeric_limits<float>::quiet_NaN();
    x[33] = std::numeric_limits<float>::infinity();
    for (const std::string_view isa : isas()) {
        hadamard_options o;
        o.loops = &dispatch::loops(isa);
        std::vector<float> y(64);
        hadamard(std::span<const float>(x), std::span(y), 16, o);
        for (std::size_t i = 0; i < 64; ++i) {
            if (i / 16 == 1) CHECK(std::isnan(y[i]));
            else if (i / 16 == 2) CHECK_FALSE(std::isfinite(y[i]));
            else CHECK(y[i] == 0);
        }
    }
}

TEST_CASE("no elements are no runs") {
    std::vector<float> none;
    CHECK_NOTHROW(hadamard(std::span<const float>(none), std::span(none), 16));
}

TEST_CASE("contradicting arguments are refused with what, got and limit") {
    const std::vector<float> x(64, 1.0F);
    std::vector<float> y(64);
    const std::span<const float> in(x);
    const auto refuses = [](const auto& call, const char* message) {
        CHECK_THROWS_WITH_AS(call(), doctest::Contains(message), std::invalid_argument);
    };
    for (const std::size_t size : std::initializer_list<std::size_t>{0, 1, 3, 24, 512})
        refuses([&] { hadamard(in, std::span(y), size); },
                "size must be a power of two from 2 to 256; got ");
    refuses([&] { hadamard(in, std::span(y), 128); },
            "length must be a multiple of size 128; got 64: pad with zeros");
    refuses([&] { hadamard(in, std::span(y), 2, {.columns = std::size_t{1} << 63}); },
            "length must be a multiple of size 2 times columns 9223372036854775808; got 64");
    refuses([&] { hadamard(in, std::span(y).first(32), 16); }, "got 64 and 32");
    hadamard_options o;
    o.threads = -1;
    refuses([&] { hadamard(in, std::span(y), 16, o); }, "threads must be between 0");
    o = {};
    const std::vector<std::int8_t> three{1, -1, 1};
    o.signs = three;
    refuses([&] { hadamard(in, std::span(y), 16, o); }, "signs must have 16 entries; got 3");
    std::vector<std::int8_t> zero(16, 1);
    zero[3] = 0;
    o.signs = zero;
    refuses([&] { hadamard(in, std::span(y), 16, o); }, "signs must be 1 or -1; got 0");
}
