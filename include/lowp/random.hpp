// Random bits that depend on nothing but (seed, stream, index): a counter, put through Philox.
// So results do not change with threads, chunks, instruction set, language or order of calls.
#pragma once

#include <array>
#include <cstdint>

namespace lowp {

/// Philox4x32 with 10 rounds, or with 7, the fewest that pass TestU01's BigCrush.
/// Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
enum class generator : std::uint8_t { philox4x32_10, philox4x32_7 };

[[nodiscard]] constexpr int rounds(generator g) { return g == generator::philox4x32_10 ? 10 : 7; }

namespace detail {

struct philox {
    static constexpr std::uint32_t multiplier0 = 0xD2511F53U, multiplier1 = 0xCD9E8D57U;
    static constexpr std::uint32_t weyl0 = 0x9E3779B9U, weyl1 = 0xBB67AE85U;

    [[nodiscard]] static constexpr std::array<std::uint32_t, 4> round(
        const std::array<std::uint32_t, 4>& counter, const std::array<std::uint32_t, 2>& key) {
        const std::uint64_t a = std::uint64_t{multiplier0} * counter[0];
        const std::uint64_t b = std::uint64_t{multiplier1} * counter[2];
        return {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0],
                static_cast<std::uint32_t>(b),
                static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1],
                static_cast<std::uint32_t>(a)};
    }
    [[nodiscard]] static constexpr std::array<std::uint32_t, 2> next(
        const std::array<std::uint32_t, 2>& key) {
        return {key[0] + weyl0, key[1] + weyl1};
    }
};

}  // namespace detail

/// Four words of Philox4x32: a bijection of the counter for each key.
[[nodiscard]] constexpr std::array<std::uint32_t, 4> philox4x32(
    std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key, int rounds = 10) {
    for (int round = 0; round < rounds; ++round) {
        counter = detail::philox::round(counter, key);
        key = detail::philox::next(key);
    }
    return counter;
}

/// Where the random bits of an array come from. Element i, counted in C order, has word i % 4 of
/// Philox with counter (i / 4, stream) and key seed, low words first; a mode with N random bits
/// takes its N upper ones as R.
struct random_source {
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;
    lowp::generator generator = generator::philox4x32_10;

    [[nodiscard]] constexpr std::uint32_t operator()(std::uint64_t index) const {
        const std::uint64_t block = index / 4;
        return philox4x32({low(block), high(block), low(stream), high(stream)},
                          {low(seed), high(seed)}, rounds(generator))[index % 4];
    }

    [[nodiscard]] static constexpr std::uint32_t low(std::uint64_t w) {
        return static_cast<std::uint32_t>(w);
    }
    [[nodiscard]] static constexpr std::uint32_t high(std::uint64_t w) {
        return static_cast<std::uint32_t>(w >> 32);
    }

    friend constexpr bool operator==(const random_source&, const random_source&) = default;
};

}  // namespace lowp
