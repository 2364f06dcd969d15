// Random bits are those of the published generator, a pure function of (seed, stream, index).
#include "lowp/random.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "all_isas.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

using four = std::array<std::uint32_t, 4>;
using two = std::array<std::uint32_t, 2>;

constexpr four zeros{};
constexpr four ones{0xFFFFFFFFU, 0xFFFFFFFFU, 0xFFFFFFFFU, 0xFFFFFFFFU};
constexpr four pi{0x243F6A88U, 0x85A308D3U, 0x13198A2EU, 0x03707344U};
constexpr two pi_key{0xA4093822U, 0x299F31D0U};

}  // namespace

// Source: Random123 1.14, tests/kat_vectors.
TEST_CASE("philox gives the known answers of Random123") {
    static_assert(philox4x32(zeros, {0, 0}) ==
                  four{0x6627E8D5U, 0xE169C58DU, 0xBC57AC4CU, 0x9B00DBD8U});
    CHECK(philox4x32(zeros, {0, 0}) == four{0x6627E8D5U, 0xE169C58DU, 0xBC57AC4CU, 0x9B00DBD8U});
    CHECK(philox4x32(ones, {ones[0], ones[1]}) ==
          four{0x408F276DU, 0x41C83B0EU, 0xA20BC7C6U, 0x6D5451FDU});
    CHECK(philox4x32(pi, pi_key) == four{0xD16CFE09U, 0x94FDCCEBU, 0x5001E420U, 0x24126EA1U});
    CHECK(philox4x32(zeros, {0, 0}, 7) == four{0x5F6FB709U, 0x0D893F64U, 0x4F121F81U, 0x4F730A48U});
    CHECK(philox4x32(ones, {ones[0], ones[1]}, 7) ==
          four{0x5207DDC2U, 0x45165E59U, 0x4D8EE751U, 0x8C52F662U});
    CHECK(philox4x32(pi, pi_key, 7) == four{0x4DFCCABAU, 0x190A87F0U, 0xC47362BAU, 0xB6B5242AU});
}

TEST_CASE("the counter is (index / 4, stream) and the key the seed, low words first") {
    // The known answer of pi's digits, as an element of a source.
    const random_source source{.seed = 0x299F31D0A4093822U, .stream = 0x0370734413198A2EU};
    const std::uint64_t block = 0x85A308D3243F6A88U & (~std::uint64_t{0} >> 2);
    const four words = philox4x32({0x243F6A88U, 0x05A308D3U, 0x13198A2EU, 0x03707344U}, pi_key);
    for (std::uint64_t i = 0; i < 4; ++i) CHECK(source(4 * block + i) == words[i]);
    const random_source first{};
    CHECK(first(0) == 0x6627E8D5U);
    CHECK(first(3) == 0x9B00DBD8U);
    static_assert(random_source{}(1) == 0xE169C58DU);
    static_assert(random_source{.generator = generator::philox4x32_7}(2) == 0x4F121F81U);
}

TEST_CASE("every instruction set fills the words of a source, from any index on") {
    const random_source sources[] = {{},
                                     {0x123456789ABCDEFU, 77},
                                     {~std::uint64_t{0}, ~std::uint64_t{0}},
                                     {5, 6, generator::philox4x32_7}};
    for (const std::string_view isa : isas())
        for (const random_source& source : sources)
            for (const std::uint64_t first :
                 {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3},
                  (std::uint64_t{1} << 34) - 5, std::uint64_t{1} << 40,
                  std::numeric_limits<std::uint64_t>::max() - 2000})
                for (const std::size_t n : std::initializer_list<std::size_t>{
                         0, 1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 127, 130, 255, 259, 1003}) {
                    CAPTURE(isa);
                    CAPTURE(first);
                    CAPTURE(n);
                    std::vector<std::uint32_t> words(n + 1, 0xABCDEF01U);
                    dispatch::loops(isa).random(source, first, words.data(), n);
                    std::size_t different = 0;
                    for (std::size_t i = 0; i < n; ++i)
                        if (words[i] != source(first + i)) ++different;
                    CHECK(different == 0);
                    CHECK(words[n] == 0xABCDEF01U);  // nothing is written past the end
                }
}

TEST_CASE("seed, stream and generator each change the words") {
    const random_source a{1, 2};
    const auto differ = [](const random_source& x, const random_source& y) {
        int count = 0;
        for (std::uint64_t i = 0; i < 1000; ++i) count += x(i) != y(i) ? 1 : 0;
        return count > 990;
    };
    CHECK(differ(a, {2, 2}));
    CHECK(differ(a, {1, 3}));
    CHECK(differ(a, {2, 1}));
    CHECK(differ(a, {1 + (std::uint64_t{1} << 32), 2}));
    CHECK(differ(a, {1, 2 + (std::uint64_t{1} << 32)}));
    CHECK(differ(a, {1, 2, generator::philox4x32_7}));
}

TEST_CASE("every bit is set about half of the time") {
    const random_source source{42, 0};
    constexpr int count = 1 << 16;
    int set[32] = {};
    for (std::uint64_t i = 0; i < count; ++i)
        for (int bit = 0; bit < 32; ++bit) set[bit] += static_cast<int>(source(i) >> bit & 1U);
    // Six standard deviations of a fair coin: 6 * sqrt(count) / 2 = 768.
    for (const int n : set) CHECK(std::abs(n - count / 2) < 768);
}
