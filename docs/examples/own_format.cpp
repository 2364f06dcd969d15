// A format of one's own: five bits, three of them exponent, no infinity, one NaN.
#include <array>
#include <cstdint>
#include <cstdio>
#include <lowp/lowp.hpp>

constexpr lowp::format mine{.exponent_bits = 3, .mantissa_bits = 1, .bias = 3, .nan_codes = 1};

// Its non-negative values, worked out by the compiler.
constexpr auto values = [] {
    std::array<double, mine.max_code() + 1> table{};
    for (lowp::code_type c = 0; c < table.size(); ++c) table[c] = lowp::decode<double>(c, mine);
    return table;
}();
static_assert(values.back() == mine.max());

int main() {
    std::printf("%s: %d bits, %d values\n", lowp::name(mine).c_str(), mine.bits(),
                static_cast<int>(mine.finite_values()));
    std::printf("values");
    for (const double x : values) std::printf(" %g", x);
    std::printf("\n5.1 -> %g\n", lowp::quantize(5.1, mine));

    const std::array<float, 8> x{0, 1, 2, 3, 4, 5, 6, 7};
    std::array<std::uint8_t, 8> codes{};
    lowp::encode(std::span<const float>(x), std::span<std::uint8_t>(codes), mine);
    std::printf("codes of 0..7");
    for (const int c : codes) std::printf(" %d", c);

    std::array<std::uint8_t, lowp::packed_size(8, mine.bits())> packed{};
    lowp::pack(codes, mine.bits(), packed);
    std::printf("\npacked into %d bytes:", static_cast<int>(packed.size()));
    for (const unsigned b : packed) std::printf(" %02x", b);
    std::printf("\n");
}
