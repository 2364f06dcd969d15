// The second level of scales: the largest magnitudes of the tensor or of its lines.
#pragma once

#include "block_kernels.cuh"

namespace lowp::cuda::detail {

template <class T>
__device__ word_of<T> finite_or_zero(word_of<T> bits) {
    const word_of<T> magnitude = bits & magnitude_bits<T>;
    return magnitude < infinity_bits<T> ? magnitude : 0;
}

/// The largest finite magnitude of the tensor: groups side by side, single elements at the end.
template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    tensor_maximum(const void* x, std::uint64_t n, bool moves_groups, outer_line<T>* whole) {
    constexpr int N = block_step<C>;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const std::uint64_t thread = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    word_of<T> largest = 0;
    const auto take = [&](word_of<T> bits) {
        const auto m = finite_or_zero<T>(bits);
        largest = m > largest ? m : largest;
    };
    const std::uint64_t groups = moves_groups ? n / N : 0;
    for (std::uint64_t g = thread; g < groups; g += threads) {
        word_of<T> v[N];
        load_values<C>(x, g * N, v);
#pragma unroll
        for (int j = 0; j < N; ++j) take(v[j]);
    }
    for (std::uint64_t i = groups * N + thread; i < n; i += threads) {
        word_of<T> v[1];
        load_values<C>(x, i, v);
        take(v[0]);
    }
    largest = largest_of(largest, 32);
    if (threadIdx.x % 32 == 0) raise(whole->largest, largest);
}

/// Those of lines: of `length` elements `stride` apart; lines one after the other, in `inner` side by side.
template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    line_maxima_of(const void* x, std::uint64_t lines, std::uint64_t length, std::uint64_t stride,
                   std::uint64_t inner, unsigned lanes_a_line, outer_line<T>* all) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const unsigned lane = threadIdx.x % 32;
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
         (t - lane) / lanes_a_line < lines; t += threads) {
        const std::uint64_t line = t / lanes_a_line;
        const std::uint64_t first = line / inner * inner * length + line % inner;
        word_of<T> largest = 0;
        for (std::uint64_t e = lane % lanes_a_line; line < lines && e < length; e += lanes_a_line) {
            word_of<T> v[1];
            load_values<C>(x, inner == 1 ? line * length + e : first + e * stride, v);
            const auto m = finite_or_zero<T>(v[0]);
            largest = m > largest ? m : largest;
        }
        largest = largest_of(largest, lanes_a_line);
        if (line < lines && lane % lanes_a_line == 0) all[line].largest = largest;
    }
}

}  // namespace lowp::cuda::detail
