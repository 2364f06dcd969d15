// Common conversions of one dense run each, element by element, in fewer instructions than conversion.cuh
// takes for all formats and modes: bytes are looked up; bfloat16 go two at a time.
#pragma once

#include "device.cuh"
#include "lowp/detail/kernel.hpp"
#include "pairs.cuh"

namespace lowp::cuda::detail {

/// What each byte stands for as a code, as float bits: worked out once a thread block.
template <class T, class Table>
__device__ void decode_every_byte(const lowp::detail::plan<T>& p, const Table& table) {
    for (unsigned code = threadIdx.x; code < 256; code += blockDim.x)
        lowp::detail::with_integer_path(p.path, [&](auto way) {
            table(code, lowp::detail::decode_lanes<lanes<T>, decltype(way)::value>(p, code));
        });
}

/// Codes of a thread and step.
inline constexpr int byte_step = 16;

/// Values of 16 bits of n codes of one byte each.
template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    decode_bytes(const __grid_constant__ call<T> c, std::uint64_t n) {
    constexpr int N = byte_step;
    using stored = typename memory<C>::stored;
    __shared__ stored values[256];
    decode_every_byte(c.plan, [&](unsigned code, word_of<T> value) {
        values[code] = memory<C>::narrowed(value);
    });
    __syncthreads();
    const auto mask = static_cast<std::uint32_t>(c.plan.code_mask);
    std::uint32_t met = 0;
    const auto convert = [&]<int Count>(std::uint64_t i, std::integral_constant<int, Count>) {
        std::uint32_t codes[Count];
        load_codes(c.from, 1, i, codes);
        group<stored, Count> g;
#pragma unroll
        for (int j = 0; j < Count; ++j) {
            met |= codes[j];
            g.at[j] = values[codes[j]];
        }
        *reinterpret_cast<group<stored, Count>*>(static_cast<stored*>(c.to) + i) = g;
    };
    const std::uint64_t thread = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t g = thread; g < n / N; g += threads)
        convert(g * N, std::integral_constant<int, N>{});
    if (thread < n % N) convert(n / N * N + thread, std::integral_constant<int, 1>{});
    if ((met & ~mask) != 0 && c.failures != nullptr) atomicOr(c.failures, code_too_wide);
}

/// Words of a thread and step: two values each.
inline constexpr int pair_words = 8;

/// The sign of overflow's code: the number's, or none where that code is a NaN without one.
enum class overflow_sign : std::uint8_t { kept, dropped };

/// Codes of one byte each of n bfloat16, to nearest even on path::plain_sum. c.plan: halved.
template <overflow_sign Sign>
__global__ void __launch_bounds__(block_threads)
    encode_pairs(const __grid_constant__ call<float> c, std::uint64_t n) {
    using L = bfloat16_pairs;
    constexpr int W = pair_words;
    const std::uint32_t nan_codes = c.plan.nan_code * 0x10001U;
    const std::uint32_t signs = c.plan.sign_mask * 0x10001U;
    const std::uint32_t below = 0x80008000U - L::set(c.plan.codes.over_positive);
    std::uint32_t met_nan = 0;
    const auto codes_of = [&](std::uint32_t w) {
        const lowp::detail::operand<L> x{w, w & 0x7FFF7FFFU, {}};
        const auto nan = L::nans(x.magnitude);
        met_nan |= nan;
        auto codes = lowp::detail::plain_code<L, rounding::nearest_ties_to_even>(c.plan, x, 0);
        if constexpr (Sign == overflow_sign::dropped)
            codes &= ~(((codes & ~signs) + below) >> c.plan.sign_shift & signs);
        return (codes & ~nan) | (nan_codes & nan);
    };
    const std::uint64_t thread = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    using words = group<std::uint32_t, W>;
    using four_codes = group<std::uint32_t, W / 2>;
    for (std::uint64_t g = thread; g < n / (2 * W); g += threads) {
        const words x = static_cast<const words*>(c.from)[g];
        four_codes y;
#pragma unroll
        for (int k = 0; k < W / 2; ++k)
            y.at[k] = __byte_perm(codes_of(x.at[2 * k]), codes_of(x.at[2 * k + 1]), 0x6420);
        static_cast<four_codes*>(c.to)[g] = y;
    }
    if (thread < n % (2 * W)) {
        const std::uint64_t i = n / (2 * W) * (2 * W) + thread;
        const std::uint32_t w = static_cast<const std::uint16_t*>(c.from)[i];
        static_cast<std::uint8_t*>(c.to)[i] = static_cast<std::uint8_t>(codes_of(w));
    }
    if (c.refuses_nan && met_nan != 0) atomicOr(c.failures, nan_without_code);
}

}  // namespace lowp::cuda::detail
