// Common conversions of one dense run each, element by element, in fewer instructions than conversion.cuh
// takes for all formats and modes: bytes are looked up.
#pragma once

#include "device.cuh"

namespace lowp::cuda::detail {

/// What each byte stands for as a code, as float bits: worked out once a thread block.
template <class T, class Table>
__device__ void decode_every_byte(const lowp::detail::plan<T>& p, const Table& table) {
    for (unsigned code = threadIdx.x; code < 256; code += blockDim.x)
        lowp::detail::with_integer_path(p.path, [&](auto way) {
            table(code, lowp::detail::decode_lanes<lanes<T>, decltype(way)::value>(p, code));
        });
}

/// Codes of a thread and step: up to 32 bytes of values.
template <carrier C>
inline constexpr int byte_step = bytes_of(C) == 2 ? 16 : 32 / bytes_of(C);

/// Values of n codes of one byte each.
template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    decode_bytes(const __grid_constant__ call<T> c, std::uint64_t n) {
    constexpr int N = byte_step<C>;
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

}  // namespace lowp::cuda::detail
