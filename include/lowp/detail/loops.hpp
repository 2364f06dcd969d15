// The loops over contiguous memory, one set an instruction set, and the table that names them.
// Mode and path are chosen here, once a call; inside, the kernel runs without a branch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "lowp/codec.hpp"
#include "lowp/detail/block_loops.hpp"
#include "lowp/detail/kernel.hpp"
#include "lowp/random.hpp"

namespace lowp::detail {

/// Elements that the passes of one call share: their buffers stay in the first-level cache. Longer
/// ones make traffic with memory come in bursts: stochastic bfloat16 then runs at half the speed.
inline constexpr std::size_t chunk = 512;

/// Loops of one carrier. `random`: a word an element, or nullptr in deterministic modes; codes are
/// unsigned integers of `code_bytes` (1, 2, 4 or 8) bytes.
template <class T>
struct carrier_loops {
    void (*quantize)(const plan<T>&, const T* x, T* y, const std::uint32_t* random, std::size_t n);
    void (*encode)(const plan<T>&, const T* x, void* codes, int code_bytes,
                   const std::uint32_t* random, std::size_t n);
    void (*decode)(const plan<T>&, const void* codes, int code_bytes, T* y, std::size_t n);
    bool (*any_nan)(const T* x, std::size_t n);
    block_loops<T> blocks;
};

/// The loop that no carrier has a part in: whether a code has bits that `allowed` has not.
using any_above_loop = bool (*)(const void* codes, int code_bytes, std::uint64_t allowed,
                                std::size_t n);

struct arithmetic_loops;
struct product_loops;

struct loop_table {
    const char* isa;
    carrier_loops<float> of_float;
    carrier_loops<double> of_double;
    any_above_loop any_above;
    /// Two codes of four bits in a byte, the first in the lower half; n: codes, even.
    void (*pack_nibbles)(const std::uint8_t* codes, std::uint8_t* bytes, std::size_t n);
    void (*unpack_nibbles)(const std::uint8_t* bytes, std::uint8_t* codes, std::size_t n);
    void (*random)(const random_source&, std::uint64_t first, std::uint32_t* words, std::size_t n);
    // Of the compiled library; nullptr: the headers arithmetic.hpp and gemm.hpp bring their own.
    const arithmetic_loops* arithmetic = nullptr;
    const product_loops* products = nullptr;
    /// After a part's streamed stores; nullptr where there are none.
    void (*finish_streams)() = nullptr;

    template <class T>
    [[nodiscard]] constexpr const carrier_loops<T>& of() const {
        if constexpr (sizeof(T) == sizeof(float)) return of_float;
        else return of_double;
    }
};

// Loops take the plan by value: it cannot alias what they write, so its constants stay in registers.
// What does not fill a register goes through a padded copy.
template <class L, rounding R, path P>
void quantize_loop(plan<typename L::element> c, const typename L::element* x,
                   typename L::element* y, const std::uint32_t* random, std::size_t n) {
    std::size_t i = 0;
    for (; i + L::width <= n; i += L::width)
        L::store_bits(y + i,
                      quantize_lanes<L, R, P>(c, L::load_bits(x + i), random_at<L, R>(random, i)));
    if (i == n) return;
    typename L::element padded[L::width] = {};
    std::uint32_t words[L::width] = {};
    __builtin_memcpy(padded, x + i, (n - i) * sizeof(padded[0]));
    if (is_stochastic(R)) __builtin_memcpy(words, random + i, (n - i) * sizeof(words[0]));
    L::store_bits(padded,
                  quantize_lanes<L, R, P>(c, L::load_bits(padded), random_at<L, R>(words, 0)));
    __builtin_memcpy(y + i, padded, (n - i) * sizeof(padded[0]));
}

template <class L, rounding R, path P>
void encode_loop(plan<typename L::element> c, const typename L::element* x,
                 typename plan<typename L::element>::word* codes, const std::uint32_t* random,
                 std::size_t n) {
    std::size_t i = 0;
    for (; i + L::width <= n; i += L::width)
        L::store_words(codes + i,
                       encode_lanes<L, R, P>(c, L::load_bits(x + i), random_at<L, R>(random, i)));
    if (i == n) return;
    typename L::element padded[L::width] = {};
    std::uint32_t words[L::width] = {};
    typename plan<typename L::element>::word result[L::width];
    __builtin_memcpy(padded, x + i, (n - i) * sizeof(padded[0]));
    if (is_stochastic(R)) __builtin_memcpy(words, random + i, (n - i) * sizeof(words[0]));
    L::store_words(result,
                   encode_lanes<L, R, P>(c, L::load_bits(padded), random_at<L, R>(words, 0)));
    __builtin_memcpy(codes + i, result, (n - i) * sizeof(result[0]));
}

template <class L, path P>
void decode_loop(plan<typename L::element> c, const typename plan<typename L::element>::word* codes,
                 typename L::element* y, std::size_t n) {
    std::size_t i = 0;
    for (; i + L::width <= n; i += L::width)
        L::store_bits(y + i, decode_lanes<L, P>(c, L::load_words(codes + i)));
    if (i == n) return;
    typename plan<typename L::element>::word padded[L::width] = {};
    typename L::element result[L::width];
    __builtin_memcpy(padded, codes + i, (n - i) * sizeof(padded[0]));
    L::store_bits(result, decode_lanes<L, P>(c, L::load_words(padded)));
    __builtin_memcpy(y + i, result, (n - i) * sizeof(result[0]));
}

/// From[i] to To[i], bits kept; compilers vectorise it. L keeps the symbol of this instruction set.
template <class L, class To, class From>
[[gnu::always_inline]] inline void convert_words(const From* from, void* to, std::size_t n) {
    auto* const out = static_cast<To*>(to);
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<To>(from[i]);
}

template <class L>
struct loops {
    using T = typename L::element;
    using word = typename plan<T>::word;

    static void quantize(const plan<T>& c, const T* x, T* y, const std::uint32_t* random,
                         std::size_t n) {
        with_variant(c.rounding, c.path, [&](auto mode, auto path) {
            quantize_loop<L, decltype(mode)::value, decltype(path)::value>(c, x, y, random, n);
        });
    }

    static void encode(const plan<T>& c, const T* x, void* codes, int code_bytes,
                       const std::uint32_t* random, std::size_t n) {
        with_variant(c.rounding, c.encode_path, [&](auto mode, auto way) {
            constexpr auto wanted = decltype(way)::value;
            constexpr path P = wanted == path::plain_sum ? wanted : without_plain(wanted);
            const auto run = [&](std::size_t i, std::size_t count, word* to) {
                encode_loop<L, decltype(mode)::value, P>(
                    c, x + i, to, random == nullptr ? nullptr : random + i, count);
            };
            if (code_bytes == sizeof(word)) return run(0, n, static_cast<word*>(codes));
            word buffer[chunk];
            for (std::size_t i = 0; i < n; i += chunk) {
                const std::size_t count = n - i < chunk ? n - i : chunk;
                run(i, count, buffer);
                narrow(
                    buffer,
                    static_cast<unsigned char*>(codes) + i * static_cast<std::size_t>(code_bytes),
                    code_bytes, count);
            }
        });
    }

    static void decode(const plan<T>& c, const void* codes, int code_bytes, T* y, std::size_t n) {
        with_integer_path(c.path, [&](auto path) {
            constexpr auto P = decltype(path)::value;
            if (code_bytes == sizeof(word))
                return decode_loop<L, P>(c, static_cast<const word*>(codes), y, n);
            word buffer[chunk];
            for (std::size_t i = 0; i < n; i += chunk) {
                const std::size_t count = n - i < chunk ? n - i : chunk;
                widen(static_cast<const unsigned char*>(codes) +
                          i * static_cast<std::size_t>(code_bytes),
                      buffer, code_bytes, count);
                decode_loop<L, P>(c, buffer, y + i, count);
            }
        });
    }

    static bool any_nan(const T* x, std::size_t n) {
        constexpr word magnitude = ~word{0} >> 1;
        constexpr word infinity = float_bits<T>(std::numeric_limits<double>::infinity());
        word found = 0;
        for (std::size_t i = 0; i < n; ++i)
            found |= (__builtin_bit_cast(word, x[i]) & magnitude) > infinity ? 1 : 0;
        return found != 0;
    }

    static constexpr carrier_loops<T> table() {
        return {&quantize, &encode, &decode, &any_nan, over_blocks<L>::table()};
    }

private:
    static void narrow(const word* from, void* to, int bytes, std::size_t n) {
        if (bytes == 1) convert_words<L, std::uint8_t>(from, to, n);
        if (bytes == 2) convert_words<L, std::uint16_t>(from, to, n);
        if (bytes == 4) convert_words<L, std::uint32_t>(from, to, n);
        if (bytes == 8) convert_words<L, std::uint64_t>(from, to, n);
    }
    static void widen(const void* from, word* to, int bytes, std::size_t n) {
        if (bytes == 1) convert_words<L, word>(static_cast<const std::uint8_t*>(from), to, n);
        if (bytes == 2) convert_words<L, word>(static_cast<const std::uint16_t*>(from), to, n);
        if (bytes == 4) convert_words<L, word>(static_cast<const std::uint32_t*>(from), to, n);
        if (bytes == 8) convert_words<L, word>(static_cast<const std::uint64_t*>(from), to, n);
    }
};

/// Philox over counters [block, block + 4 * width) in lanes of 64 bits: products are whole there,
/// and what stands in the upper halves between rounds is never looked at. Several registers go side
/// by side, as each round waits for the one before. `words`: 16 words for each lane.
template <class L, int Rounds>
[[gnu::always_inline]] inline void philox_registers(const random_source& s, std::uint64_t block,
                                                    std::uint32_t* words) {
    constexpr std::size_t side = 4;
    using word = typename L::word;
    word c0[side];
    word c1[side];
    word c2[side];
    word c3[side];
    std::uint64_t counters[side * L::width];
    for (std::size_t j = 0; j < side * L::width; ++j) counters[j] = block + j;
    for (std::size_t j = 0; j < side; ++j) {
        c0[j] = L::load_words(counters + j * L::width);
        c1[j] = L::shift_right(c0[j], 32);
        c2[j] = L::set(random_source::low(s.stream));
        c3[j] = L::set(random_source::high(s.stream));
    }
    std::uint32_t key0 = random_source::low(s.seed);
    std::uint32_t key1 = random_source::high(s.seed);
    for (int round = 0; round < Rounds; ++round) {
        const word k0 = L::set(key0);
        const word k1 = L::set(key1);
        for (std::size_t j = 0; j < side; ++j) {
            const word a = L::multiply_low_halves(c0[j], L::set(philox::multiplier0));
            const word b = L::multiply_low_halves(c2[j], L::set(philox::multiplier1));
            c0[j] = L::shift_right(b, 32) ^ c1[j] ^ k0;
            c2[j] = L::shift_right(a, 32) ^ c3[j] ^ k1;
            c1[j] = b;
            c3[j] = a;
        }
        key0 += philox::weyl0;
        key1 += philox::weyl1;
    }
    const word low_half = L::set(0xFFFFFFFFU);
    for (std::size_t j = 0; j < side; ++j)
        L::store_interleaved(words + 4 * L::width * j,
                             (c0[j] & low_half) | L::shift_left(c1[j], 32),
                             (c2[j] & low_half) | L::shift_left(c3[j], 32));
}

/// The words of `blocks` counters from `block` on.
template <class L, int Rounds>
void philox_blocks(const random_source& s, std::uint64_t block, std::uint32_t* words,
                   std::size_t blocks) {
    constexpr std::size_t step = 4 * L::width;
    std::size_t done = 0;
    for (; done + step <= blocks; done += step)
        philox_registers<L, Rounds>(s, block + done, words + 4 * done);
    if (done == blocks) return;
    std::uint32_t rest[4 * step];
    philox_registers<L, Rounds>(s, block + done, rest);
    __builtin_memcpy(words + 4 * done, rest, (blocks - done) * 4 * sizeof(rest[0]));
}

/// words[k] = the random word of element first + k. L: lanes of 64 bits.
template <class L>
void fill_random(const random_source& s, std::uint64_t first, std::uint32_t* words, std::size_t n) {
    const auto blocks = [&s](std::uint64_t block, std::uint32_t* to, std::size_t count) {
        if (s.generator == generator::philox4x32_7) philox_blocks<L, 7>(s, block, to, count);
        else philox_blocks<L, 10>(s, block, to, count);
    };
    const auto partial =
        [&](std::uint64_t block, std::size_t skip, std::size_t count, std::uint32_t* to) {
        std::uint32_t four[4];
        blocks(block, four, 1);
        __builtin_memcpy(to, four + skip, count * sizeof(four[0]));
    };
    const std::size_t skip = first % 4;
    std::uint64_t block = first / 4;
    if (skip != 0) {
        const std::size_t head = n < 4 - skip ? n : 4 - skip;
        partial(block++, skip, head, words);
        words += head;
        n -= head;
    }
    blocks(block, words, n / 4);
    if (n % 4 != 0) partial(block + n / 4, 0, n % 4, words + n / 4 * 4);
}

template <class L, class Code>
[[nodiscard]] bool any_above(const void* codes, std::uint64_t allowed, std::size_t n) {
    const auto* const from = static_cast<const Code*>(codes);
    Code all = 0;
    for (std::size_t i = 0; i < n; ++i) all = static_cast<Code>(all | from[i]);
    return (all & ~allowed) != 0;
}

template <class L>
[[nodiscard]] bool any_code_above(const void* codes, int bytes, std::uint64_t allowed,
                                  std::size_t n) {
    if (bytes == 1) return any_above<L, std::uint8_t>(codes, allowed, n);
    if (bytes == 2) return any_above<L, std::uint16_t>(codes, allowed, n);
    if (bytes == 4) return any_above<L, std::uint32_t>(codes, allowed, n);
    return any_above<L, std::uint64_t>(codes, allowed, n);
}

template <class L>
void pack_nibbles(const std::uint8_t* codes, std::uint8_t* bytes, std::size_t n) {
    for (std::size_t i = 0; i < n / 2; ++i)
        bytes[i] = static_cast<std::uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
}
template <class L>
void unpack_nibbles(const std::uint8_t* bytes, std::uint8_t* codes, std::size_t n) {
    for (std::size_t i = 0; i < n / 2; ++i) {
        codes[2 * i] = bytes[i] & 15;
        codes[2 * i + 1] = bytes[i] >> 4;
    }
}

template <class L>
constexpr auto finish_streams() -> void (*)() {
    if constexpr (L::has_streams) return &L::finish_streams;
    else return nullptr;
}

/// The loops of this translation unit's instruction set.
template <template <class> class Lanes>
constexpr loop_table make_loops(const char* isa, const arithmetic_loops* arithmetic = nullptr,
                                const product_loops* products = nullptr) {
    return {isa,
            loops<Lanes<float>>::table(),
            loops<Lanes<double>>::table(),
            &any_code_above<Lanes<double>>,
            &pack_nibbles<Lanes<double>>,
            &unpack_nibbles<Lanes<double>>,
            &fill_random<Lanes<double>>,
            arithmetic,
            products,
            finish_streams<Lanes<double>>()};
}

}  // namespace lowp::detail
