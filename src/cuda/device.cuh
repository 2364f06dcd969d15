// What every kernel of src/cuda needs: lanes of a thread, values in memory, launches.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "conversion.hpp"
#include "lowp/codec.hpp"
#include "pairs.cuh"

namespace lowp::cuda::detail {

template <class T>
using word_of = typename lowp::detail::carrier<T>::word;

struct device_isa;

/// One thread is one lane: the device runs the text of detail/kernel.hpp as it stands. What differs
/// from scalar_lanes is what the device's instructions do at once.
template <class T>
struct lanes : lowp::detail::scalar_lanes<T, device_isa> {
    using word = word_of<T>;

    /// Shifts of PTX give 0 from the width on.
    __device__ static word shift_left_each(word a, word n) {
        const auto count = clamped(n);
        if constexpr (sizeof(T) == 4) asm("shl.b32 %0, %1, %2;" : "=r"(a) : "r"(a), "r"(count));
        else asm("shl.b64 %0, %1, %2;" : "=l"(a) : "l"(a), "r"(count));
        return a;
    }
    __device__ static word shift_right_each(word a, word n) {
        const auto count = clamped(n);
        if constexpr (sizeof(T) == 4) asm("shr.b32 %0, %1, %2;" : "=r"(a) : "r"(a), "r"(count));
        else asm("shr.b64 %0, %1, %2;" : "=l"(a) : "l"(a), "r"(count));
        return a;
    }
    /// A subtraction that is exact; subnormal results stay, whatever the thread was set to.
    __device__ static word on_grid_of(word power, word fraction) {
        return lowp::detail::scalar_lanes<T, device_isa>::difference(power | fraction, power);
    }

private:
    /// Counts of 64 bits, read as unsigned, fit 32 but for those that clear everything anyway.
    __device__ static std::uint32_t clamped(word n) {
        if constexpr (sizeof(T) == 4) return n;
        else return n < 64 ? static_cast<std::uint32_t>(n) : 64U;
    }
};

template <class T>
__device__ constexpr bool is_nan_word(word_of<T> bits) {
    using c = lowp::detail::carrier<T>;
    constexpr word_of<T> magnitude = ~word_of<T>{0} >> 1;
    return (bits & magnitude) > magnitude >> c::mantissa << c::mantissa;
}

/// Values of a carrier in memory, and as words of the float that works on them.
template <carrier C>
struct memory {
    using T = worker_t<C>;
    using stored = word_of<T>;
    __device__ static word_of<T> widened(stored s) { return s; }
    __device__ static stored narrowed(word_of<T> w) { return w; }
    __device__ static void narrow_two(word_of<T> a, word_of<T> b, stored* to) {
        to[0] = a;
        to[1] = b;
    }
};
/// Two halves in a word as they go to memory. The device's conversion makes every NaN 0x7FFF, which no
/// number is larger than: one NaN for all, but IEEE's quiet one. Source: PTX ISA, cvt.
__device__ inline void store_halves(std::uint32_t both, std::uint16_t quiet_nan,
                                    std::uint16_t* to) {
    both = smaller_halves(both, quiet_nan * 0x10001U);
    to[0] = static_cast<std::uint16_t>(both);
    to[1] = static_cast<std::uint16_t>(both >> 16);
}

/// Widening is exact; narrowing rounds to nearest even, once, and gives one NaN for all.
template <>
struct memory<carrier::float16> {
    using T = float;
    using stored = std::uint16_t;
    static constexpr stored quiet_nan = 0x7E00;
    __device__ static std::uint32_t widened(stored s) {
        return __float_as_uint(__half2float(__ushort_as_half(s)));
    }
    __device__ static void narrow_two(std::uint32_t a, std::uint32_t b, stored* to) {
        std::uint32_t both;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;"
            : "=r"(both)
            : "f"(__uint_as_float(b)), "f"(__uint_as_float(a)));
        store_halves(both, quiet_nan, to);
    }
    __device__ static stored narrowed(std::uint32_t w) {
        stored two[2];
        narrow_two(w, 0, two);
        return two[0];
    }
};
template <>
struct memory<carrier::bfloat16> {
    using T = float;
    using stored = std::uint16_t;
    static constexpr stored quiet_nan = 0x7FC0;
    __device__ static std::uint32_t widened(stored s) {
        return static_cast<std::uint32_t>(s) << 16;
    }
    __device__ static void narrow_two(std::uint32_t a, std::uint32_t b, stored* to) {
        std::uint32_t both;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
            : "=r"(both)
            : "f"(__uint_as_float(b)), "f"(__uint_as_float(a)));
        store_halves(both, quiet_nan, to);
    }
    __device__ static stored narrowed(std::uint32_t w) {
        stored two[2];
        narrow_two(w, 0, two);
        return two[0];
    }
};

/// N neighbours, moved in pieces of up to 16 bytes.
template <class Value, int N>
struct alignas(sizeof(Value) * N < 16 ? sizeof(Value) * N : 16) group {
    Value at[N];
};

/// Codes of one of four widths from and to words; the width is the same for all threads. Returns the
/// bits that no word has.
template <int N, class Word>
__device__ std::uint64_t load_codes(const void* codes, int bytes, std::uint64_t i,
                                    Word (&words)[N]) {
    std::uint64_t lost = 0;
    const auto load = [&]<class Code>(Code) {
        const auto g =
            *reinterpret_cast<const group<Code, N>*>(static_cast<const Code*>(codes) + i);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            words[j] = static_cast<Word>(g.at[j]);
            if constexpr (sizeof(Code) > sizeof(Word)) lost |= g.at[j] ^ words[j];
        }
    };
    if (bytes == 1) load(std::uint8_t{});
    else if (bytes == 2) load(std::uint16_t{});
    else if (bytes == 4) load(std::uint32_t{});
    else load(std::uint64_t{});
    return lost;
}
template <int N, class Word>
__device__ void store_codes(void* codes, int bytes, std::uint64_t i, const Word (&words)[N]) {
    const auto store = [&]<class Code>(Code) {
        group<Code, N> g;
#pragma unroll
        for (int j = 0; j < N; ++j) g.at[j] = static_cast<Code>(words[j]);
        *reinterpret_cast<group<Code, N>*>(static_cast<Code*>(codes) + i) = g;
    };
    if (bytes == 1) store(std::uint8_t{});
    else if (bytes == 2) store(std::uint16_t{});
    else if (bytes == 4) store(std::uint32_t{});
    else store(std::uint64_t{});
}

template <carrier C, int N>
__device__ void load_values(const void* x, std::uint64_t i, word_of<worker_t<C>> (&words)[N]) {
    using stored = typename memory<C>::stored;
    const auto g = *reinterpret_cast<const group<stored, N>*>(static_cast<const stored*>(x) + i);
#pragma unroll
    for (int j = 0; j < N; ++j) words[j] = memory<C>::widened(g.at[j]);
}
template <carrier C, int N>
__device__ void store_values(void* y, std::uint64_t i, const word_of<worker_t<C>> (&words)[N]) {
    using stored = typename memory<C>::stored;
    group<stored, N> g;
    if constexpr (N == 1) g.at[0] = memory<C>::narrowed(words[0]);
    else
#pragma unroll
        for (int j = 0; j < N; j += 2) memory<C>::narrow_two(words[j], words[j + 1], g.at + j);
    *reinterpret_cast<group<stored, N>*>(static_cast<stored*>(y) + i) = g;
}

/// The four random words of each of some Philox counters, round by round together: none waits for another.
template <int Count>
__device__ void counted_words(const device_source& s, std::uint64_t stream,
                              const std::uint64_t (&counters)[Count],
                              std::uint32_t (&words)[4 * Count]) {
    using source = random_source;
    std::array<std::uint32_t, 4> four[Count];
#pragma unroll
    for (int c = 0; c < Count; ++c)
        four[c] = {source::low(counters[c]), source::high(counters[c]), source::low(stream),
                   source::high(stream)};
    const auto rounds = [&](int from, int to) {
#pragma unroll
        for (int round = from; round < to; ++round)
#pragma unroll
            for (int c = 0; c < Count; ++c)
                four[c] = lowp::detail::philox::round(four[c], s.keys[round]);
    };
    rounds(0, 7);
    if (s.source.generator != generator::philox4x32_7) rounds(7, 10);
#pragma unroll
    for (int j = 0; j < 4 * Count; ++j) words[j] = four[j / 4][j % 4];
}

/// One word, out of line and by values, so that those who seldom need it stay small.
__device__ __noinline__ inline std::uint32_t word_apart(random_source s, std::uint64_t stream,
                                                        std::uint64_t index) {
    s.stream = stream;
    return s(index);
}

/// The random words of N neighbours from `index` on: a Philox counter has four of them.
template <int N>
__device__ void random_words(const device_source& s, std::uint64_t index,
                             std::uint32_t (&words)[N]) {
    const std::uint64_t stream = s.stream();
    if constexpr (N % 4 == 0) {
        if (index % 4 == 0) {
            std::uint64_t counters[N / 4];
#pragma unroll
            for (int j = 0; j < N / 4; ++j) counters[j] = index / 4 + j;
            return counted_words(s, stream, counters, words);
        }
    }
    if (N <= 2 && index % N == 0) {  // N words of one counter, without a place in memory
        const std::uint64_t counter[1] = {index / 4};
        std::uint32_t four[4];
        counted_words(s, stream, counter, four);
        const bool upper = (index & 2) != 0;
        if constexpr (N == 1) {
            const bool odd = (index & 1) != 0;
            words[0] = upper ? (odd ? four[3] : four[2]) : (odd ? four[1] : four[0]);
        } else if constexpr (N == 2) {
            words[0] = upper ? four[2] : four[0];
            words[1] = upper ? four[3] : four[1];
        }
        return;
    }
#pragma unroll
    for (int j = 0; j < N; ++j) words[j] = word_apart(s.source, stream, index + j);
}

/// The same of a source whose keys nobody has worked out before.
template <int N>
__device__ void random_words(const random_source& s, const std::uint64_t* stream_offset,
                             std::uint64_t index, std::uint32_t (&words)[N]) {
    random_words(device_source(s, stream_offset), index, words);
}

[[nodiscard]] __device__ inline std::uint32_t random_word(const device_source& s,
                                                          std::uint64_t index) {
    std::uint32_t word[1];
    random_words(s, index, word);
    return word[0];
}

/// The same from the caller's array of R, each below 2^(32 - shift).
template <int N>
__device__ void given_words(const std::uint32_t* random, std::uint64_t i, int shift,
                            std::uint32_t* failures, std::uint32_t (&words)[N]) {
    std::uint32_t lost = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        const std::uint32_t r = random[i + j];
        words[j] = r << shift;
        lost |= words[j] >> shift ^ r;
    }
    if (lost != 0 && failures != nullptr) atomicOr(failures, random_too_wide);
}

// ---- launches -------------------------------------------------------------------------------------

inline void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess)
        throw std::runtime_error(std::string("lowp::cuda: ") + what + ": " +
                                 cudaGetErrorString(status));
}

inline constexpr int block_threads = 256;

/// How many times as many blocks there are as a device holds at once: few where a thread's steps help each
/// other, many where all a thread does is to move some words.
inline constexpr unsigned usual_times = 16, many_times = 64;

/// Blocks for so many threads' work: enough to fill the device `times` over, the rest in strides.
inline unsigned blocks_for(std::uint64_t threads, unsigned times = usual_times) {
    int device = 0;
    int processors = 0;
    check(cudaGetDevice(&device), "no device");
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
          "the device's attributes");
    const std::uint64_t most = std::uint64_t{times} * 8 * static_cast<unsigned>(processors);
    const std::uint64_t wanted = (threads + block_threads - 1) / block_threads;
    return static_cast<unsigned>(wanted < most ? wanted : most);
}

template <class Kernel, class... Arguments>
void launch(Kernel* kernel, unsigned blocks, stream s, const Arguments&... arguments) {
    if (blocks == 0) return;
    kernel<<<blocks, block_threads, 0, s>>>(arguments...);
    check(cudaGetLastError(), "a kernel did not start");
}

}  // namespace lowp::cuda::detail
