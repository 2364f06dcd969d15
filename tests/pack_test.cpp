// Dense bytes hold codes bit after bit, the first in the lowest bits.
#include "lowp/pack.hpp"

#include <doctest/doctest.h>

#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

using bytes = std::vector<std::uint8_t>;

TEST_CASE("bit j of code i is bit i * bits + j of the bytes, for every width and length") {
    dice d(1);
    for (int bits = 1; bits <= 8; ++bits)
        for (std::size_t n = 0; n <= 70; ++n) {
            bytes codes(n);
            for (std::uint8_t& c : codes)
                c = static_cast<std::uint8_t>(d.below(std::uint64_t{1} << bits));
            bytes packed(packed_size(n, bits) + 1, 0xA5);
            pack(codes, bits, std::span(packed).first(packed.size() - 1));
            CHECK(packed.back() == 0xA5);
            packed.pop_back();
            bytes wanted(packed.size(), 0);  // unused bits are zero
            for (std::size_t i = 0; i < n; ++i)
                for (int j = 0; j < bits; ++j) {
                    const std::size_t at =
                        i * static_cast<std::size_t>(bits) + static_cast<std::size_t>(j);
                    wanted[at / 8] =
                        static_cast<std::uint8_t>(wanted[at / 8] | ((codes[i] >> j & 1) << at % 8));
                }
            CHECK(packed == wanted);
            bytes back(n + 1, 0x5A);
            unpack(packed, bits, std::span(back).first(n));
            CHECK(back.back() == 0x5A);
            back.pop_back();
            CHECK(back == codes);
        }
}

TEST_CASE("the even element of FP4 is the low nibble") {
    bytes packed(2);
    pack(bytes{0x1, 0x2, 0x3}, 4, packed);
    CHECK(packed == bytes{0x21, 0x03});
    // OCP MX 1.0 gives no order for FP6; it is the same rule: 4 codes in 3 bytes.
    bytes six(3);
    pack(bytes{0x01, 0x02, 0x03, 0x3F}, 6, six);
    CHECK(six == bytes{0x81, 0x30, 0xFC});
}

TEST_CASE("unused bits of the last byte are not read") {
    bytes codes(1);
    unpack(bytes{0xF5}, 4, codes);
    CHECK(codes == bytes{0x5});
    bytes three(3);
    unpack(bytes{0xFF, 0xFF}, 3, three);
    CHECK(three == bytes{7, 7, 7});
}

TEST_CASE("packed_size is the number of bits, rounded up to bytes") {
    static_assert(packed_size(0, 3) == 0 && packed_size(1, 3) == 1 && packed_size(3, 3) == 2);
    for (int bits = 1; bits <= 8; ++bits)
        for (std::size_t n = 0; n < 100; ++n)
            CHECK(packed_size(n, bits) == (n * static_cast<std::size_t>(bits) + 7) / 8);
    CHECK(packed_size(std::size_t{1} << 63, 4) == std::size_t{1} << 62);  // no overflow on the way
}

TEST_CASE("what does not fit is refused with what was got") {
    bytes out(1);
    CHECK_THROWS_WITH_AS(pack(bytes{1}, 0, out), doctest::Contains("between 1 and 8; got 0"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(pack(bytes{1}, 9, out), doctest::Contains("between 1 and 8; got 9"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(pack(bytes{1, 2, 3}, 4, out),
                         doctest::Contains("3 codes of 4 bits take 2 bytes; got 1"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(pack(bytes{16}, 4, out), doctest::Contains("more than 4 bits"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(pack(bytes{0, 0x80}, 1, out), doctest::Contains("more than 1 bits"),
                         std::invalid_argument);
    CHECK_THROWS_AS(unpack(bytes{1, 2}, 4, out), std::invalid_argument);
    CHECK_THROWS_AS(unpack(bytes{1}, -1, out), std::invalid_argument);
}
