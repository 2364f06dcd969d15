// The kernels of the Walsh-Hadamard transform: butterflies in a thread's registers by the text of
// detail/hadamard_loops.hpp, then between lanes, or between threads by way of shared memory.
#pragma once

#include "block_parts.cuh"
#include "hadamard.hpp"
#include "lowp/detail/hadamard_loops.hpp"

namespace lowp::cuda::detail {

template <class T>
using butterflies = lowp::detail::hadamard_loops<lanes<T>>;

/// The sign bits of values begin, begin + 1, ... of a run.
template <class T, int N>
__device__ void sign_bits(const hadamard_call<T>& c, std::uint32_t begin, word_of<T> (&bits)[N]) {
    constexpr word_of<T> minus = ~magnitude_bits<T>;
    if (c.signs == sign_source::given) {
        for (int j = 0; j < N; ++j) bits[j] = c.given[begin + j] < 0 ? minus : 0;
        return;
    }
    std::uint32_t words[N] = {};
    if (c.signs == sign_source::random) random_words(c.source, c.stream_offset, begin, words);
    for (int j = 0; j < N; ++j) bits[j] = words[j] >> 31 != 0 ? minus : 0;
}

template <class T, int N>
__device__ void turn(const word_of<T> (&bits)[N], word_of<T> (&v)[N]) {
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] ^= bits[j];
}

template <class T, int N>
__device__ void scale(T norm, word_of<T> (&v)[N]) {
#pragma unroll
    for (int j = 0; j < N; ++j)
        v[j] = lanes<T>::product(v[j], __builtin_bit_cast(word_of<T>, norm));
}

/// N neighbours in one access, or one by one where they lie on no boundary.
template <carrier C, int N>
__device__ void load_neighbours(const void* x, std::uint64_t i, bool moves_groups,
                                word_of<worker_t<C>> (&v)[N]) {
    if (moves_groups) return load_values<C>(x, i, v);
    for (int j = 0; j < N; ++j) {
        word_of<worker_t<C>> one[1];
        load_values<C>(x, i + j, one);
        v[j] = one[0];
    }
}
template <carrier C, int N>
__device__ void store_neighbours(void* y, std::uint64_t i, bool moves_groups,
                                 const word_of<worker_t<C>> (&v)[N]) {
    if (moves_groups) return store_values<C>(y, i, v);
    for (int j = 0; j < N; ++j) {
        const word_of<worker_t<C>> one[1] = {v[j]};
        store_values<C>(y, i + j, one);
    }
}

/// Runs of neighbours: N of a run a thread, and the run's other values in the lanes beside it.
template <carrier C, int N, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    hadamard_runs(const __grid_constant__ hadamard_call<T> c, bool moves_groups) {
    using word = word_of<T>;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const unsigned lane = threadIdx.x % 32;
    const std::uint32_t lanes_a_run = c.run / N;
    const std::uint64_t groups = c.size / N;
    // Threads go in steps of whole warps, so that a lane's place in its run stays.
    const std::uint32_t own = lane % lanes_a_run;
    word bits[N];
    sign_bits(c, own * N, bits);
    for (std::uint64_t g = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; g - lane < groups;
         g += threads) {
        word v[N] = {};
        if (g < groups) load_neighbours<C>(c.from, g * N, moves_groups, v);
        if (!c.signs_after) turn<T>(bits, v);
        butterflies<T>::template cross<N>(v);
        for (std::uint32_t distance = 1; distance < lanes_a_run; distance *= 2) {
            const word minus = (own & distance) != 0 ? ~magnitude_bits<T> : 0;
#pragma unroll
            for (int j = 0; j < N; ++j)
                v[j] = lanes<T>::sum(__shfl_xor_sync(all_lanes, v[j], distance), v[j] ^ minus);
        }
        scale<T>(c.norm, v);
        if (c.signs_after) turn<T>(bits, v);
        if (g < groups) store_neighbours<C>(c.to, g * N, moves_groups, v);
    }
}

/// Where the values of a run down a column lie: the first, then `columns` apart.
template <class T>
__device__ std::uint64_t first_of_column(const hadamard_call<T>& c, std::uint64_t run) {
    return run / c.columns * c.run * c.columns + run % c.columns;
}

template <carrier C, int N, class T = worker_t<C>>
__device__ void load_column(const hadamard_call<T>& c, std::uint64_t first, word_of<T> (&v)[N]) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
        word_of<T> one[1];
        load_values<C>(c.from, first + j * c.columns, one);
        v[j] = one[0];
    }
}
template <carrier C, int N, class T = worker_t<C>>
__device__ void store_column(const hadamard_call<T>& c, std::uint64_t first,
                             const word_of<T> (&v)[N]) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
        const word_of<T> one[1] = {v[j]};
        store_values<C>(c.to, first + j * c.columns, one);
    }
}

/// Runs down columns, each in one thread; its neighbours have the columns beside it.
template <carrier C, int N, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    hadamard_columns(const __grid_constant__ hadamard_call<T> c) {
    using word = word_of<T>;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    word bits[N];
    sign_bits(c, 0, bits);
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; t < c.size / N;
         t += threads) {
        const std::uint64_t first = first_of_column(c, t);
        word v[N];
        load_column<C>(c, first, v);
        if (!c.signs_after) turn<T>(bits, v);
        butterflies<T>::template cross<N>(v);
        scale<T>(c.norm, v);
        if (c.signs_after) turn<T>(bits, v);
        store_column<C>(c, first, v);
    }
}

/// Long runs down columns: some threads have N rows each of a run, and meet in shared memory.
template <carrier C, int N, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    hadamard_long_columns(const __grid_constant__ hadamard_call<T> c) {
    using word = word_of<T>;
    __shared__ word at[N * block_threads];
    const std::uint32_t parts = c.run / N;  // of a run
    const std::uint32_t wide = block_threads / parts;
    const std::uint32_t column = threadIdx.x % wide;
    const std::uint32_t part = threadIdx.x / wide;
    const std::uint64_t runs = c.size / c.run;
    word bits[N];
    sign_bits(c, part * N, bits);
    for (std::uint64_t begin = std::uint64_t{blockIdx.x} * wide; begin < runs;
         begin += std::uint64_t{gridDim.x} * wide) {
        const bool is_there = begin + column < runs;
        const std::uint64_t first =
            is_there ? first_of_column(c, begin + column) + part * N * c.columns : 0;
        word v[N] = {};
        if (is_there) load_column<C>(c, first, v);
        if (!c.signs_after) turn<T>(bits, v);
        butterflies<T>::template cross<N>(v);
        for (std::uint32_t distance = 1; distance < parts; distance *= 2) {
            const word minus = (part & distance) != 0 ? ~magnitude_bits<T> : 0;
#pragma unroll
            for (int j = 0; j < N; ++j) at[j * block_threads + threadIdx.x] = v[j];
            __syncthreads();
            const std::uint32_t other = (part ^ distance) * wide + column;
#pragma unroll
            for (int j = 0; j < N; ++j)
                v[j] = lanes<T>::sum(at[j * block_threads + other], v[j] ^ minus);
            __syncthreads();
        }
        scale<T>(c.norm, v);
        if (c.signs_after) turn<T>(bits, v);
        if (is_there) store_column<C>(c, first, v);
    }
}

template <carrier C, class T>
void transform_runs(const hadamard_call<T>& c, stream s) {
    const auto run = [&]<int N>() {
        const bool groups = is_aligned(c.from, bytes_of(C), N) && is_aligned(c.to, bytes_of(C), N);
        launch(&hadamard_runs<C, N>, blocks_for(c.size / N), s, c, groups);
    };
    if (c.run >= 8) run.template operator()<8>();
    else run.template operator()<2>();
}

template <carrier C>
void hadamard_kernels<C>::transform(const hadamard_call<worker_t<C>>& c, stream s) {
    if (c.columns == 1) return transform_runs<C>(c, s);
    constexpr int most = bytes_of(C) == 8 ? 16 : 32;
    const auto down = [&]<int N>() {
        launch(&hadamard_columns<C, N>, blocks_for(c.size / N), s, c);
    };
    switch (c.run) {
        case 2: return down.template operator()<2>();
        case 4: return down.template operator()<4>();
        case 8: return down.template operator()<8>();
        case 16: return down.template operator()<16>();
        default: break;
    }
    if (c.run == most) return down.template operator()<most>();
    launch(&hadamard_long_columns<C, most>, blocks_for(c.size / most), s, c);
}

}  // namespace lowp::cuda::detail
