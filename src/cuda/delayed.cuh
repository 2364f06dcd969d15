// Delayed scaling: a pass over the array that rounds it with the scale of past calls and finds its largest
// magnitude, then a step that moves the history on, or makes NaN of what a NaN or an infinity was in.
#pragma once

#include "block_fast.cuh"
#include "block_kernels.cuh"
#include "delayed.hpp"

namespace lowp::cuda::detail {

/// What elements are scaled by, worked out once a thread block. scale: of the format, of c's address.
template <class T>
__device__ block_scale<T> scale_of_call(const block_call<T>& c, const lowp::detail::plan<T>& scale,
                                        const float* given) {
    __shared__ block_scale<T> s;
    if (threadIdx.x == 0) {
        const auto ideal = __builtin_bit_cast(word_of<T>, static_cast<T>(*given));
        s = rounded_scale(c, scale, 0, ideal, lowp::detail::outer_pair<T>{1, 1});
    }
    __syncthreads();
    return s;
}

/// What a warp's threads have found, for all to see.
template <class T>
__device__ void tell(const block_call<T>& c, block_content<T> found) {
    __syncwarp();
    merge(found, 32);
    if (threadIdx.x % 32 == 0) raise(*c.blocks, found);
}

/// In strips, two of a thread on their way at once.
template <class Way>
__global__ void __launch_bounds__(block_threads, quick_blocks<block_verb::quantize, Way::mode>)
    delayed_strips(const __grid_constant__ block_call<float> c,
                   const __grid_constant__ block_call<float> slow, const float* given,
                   std::uint64_t groups) {
    constexpr carrier C = Way::C;
    constexpr unsigned count = 2;
    const auto s = scale_of_call(slow, slow.scale, given);
    const quick_scale scale{s.total, s.factor};
    const bool is_common = is_quick(c, 0, scale);
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    block_content<float> found;
    for (std::uint64_t g = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; g < groups;
         g += count * threads) {
        strip<C, narrow_strips::values> x[count];
#pragma unroll
        for (unsigned u = 0; u < count; ++u)
            if (g + u * threads < groups) x[u].load(c.from, g + u * threads);
#pragma unroll
        for (unsigned u = 0; u < count; ++u) {
            if (g + u * threads >= groups) continue;
            block_content<float> each{.largest = widened<C>(x[u].largest())};
            if (each.largest >= infinity_bits<float>) each = x[u].content();
            found.largest = umax(found.largest, each.largest);
            found.has_nan = found.has_nan || each.has_nan;
            found.has_inf = found.has_inf || each.has_inf;
            finish_strip<block_verb::quantize, Way>(c, slow, x[u], scale, is_common,
                                                    g + u * threads);
        }
    }
    tell(c, found);
}

/// One by one: any format, mode and carrier.
template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    delayed_values(const __grid_constant__ block_call<T> c,
                   const __grid_constant__ any_elements<T> elements, const float* given,
                   std::uint64_t n) {
    const auto s = scale_of_call(c, elements.scale, given);
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    block_content<T> found;
    for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
         i += threads) {
        word_of<T> v[1];
        load_values<C>(c.from, i, v);
        found.add(v[0] & magnitude_bits<T>);
        convert_elements<block_verb::quantize>(c, elements, s, i, v);
        store_values<C>(c.to, i, v);
    }
    tell(c, found);
}

/// The larger of two, NaN where one is.
__device__ inline float larger_or_nan(float a, float b) { return b > a || isnan(b) ? b : a; }

/// lowp::delayed_scaling::observe by one thread block.
__device__ inline void observe(const delayed_step& d, float amax) {
    float chosen = amax;
    for (std::size_t end = d.memory.length; end > 0;) {  // the latest first: all move by one
        const std::size_t begin = end > block_threads ? end - block_threads : 0;
        const std::size_t i = begin + threadIdx.x;
        float moved = 0;
        if (i < end) moved = i == 0 ? amax : d.memory.history[i - 1];
        __syncthreads();
        if (i < end) d.memory.history[i] = moved;
        if (i < end && d.take == delayed_scaling::take::max) chosen = larger_or_nan(chosen, moved);
        __syncthreads();
        end = begin;
    }
    __shared__ float of_warps[block_threads / 32];
    for (unsigned away = 16; away > 0; away /= 2)
        chosen = larger_or_nan(chosen, __shfl_xor_sync(all_lanes, chosen, away));
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = chosen;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (const float other : of_warps) chosen = larger_or_nan(chosen, other);
    if (chosen > 0 && !isinf(chosen))
        *d.memory.scale = delayed_scaling::fitting(chosen, d.largest_element, d.margin);
}

/// Once all of the array has been seen.
template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    delayed_end(const __grid_constant__ block_call<T> c, const __grid_constant__ delayed_step d,
                std::uint64_t n) {
    const huge_block<T>& all = *c.blocks;
    if (all.has_nan != 0 || all.has_inf != 0) {
        const word_of<T> nan[1] = {quiet_nan_bits<T>};
        const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
        for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
             i += threads)
            store_values<C>(c.to, i, nan);
    }
    if (blockIdx.x != 0 || d.observes == observing::nothing) return;
    const T largest = all.has_nan != 0 ? std::numeric_limits<T>::quiet_NaN()
                      : all.has_inf != 0
                          ? std::numeric_limits<T>::infinity()
                          : __builtin_bit_cast(T, static_cast<word_of<T>>(all.largest));
    observe(d, static_cast<float>(largest));
}

/// Thread blocks for the pass: what they find together costs each a look at one place.
inline constexpr unsigned delayed_times = 4;

template <carrier C>
void delayed_kernels<C>::work(const block_call<worker_t<C>>& c, const delayed_step& d,
                              std::uint64_t n, stream s) {
    constexpr int N = narrow_strips::values;
    check(cudaMemsetAsync(c.blocks, 0, sizeof(*c.blocks), s), "the workspace");
    bool is_done = n == 0;
    if constexpr (C != carrier::float64) {
        if (!is_done && c.way != quick_elements::none && n % N == 0 &&
            is_aligned(c.from, bytes_of(C), N) && is_aligned(c.to, bytes_of(C), N)) {
            with_quick_way<C, block_verb::quantize>(c, [&](auto way) {
                launch(&delayed_strips<decltype(way)>, blocks_for(n / N / 2 + 1, delayed_times), s,
                       c, c, d.memory.scale, n / N);
            });
            is_done = true;
        }
    }
    if (!is_done)
        launch(&delayed_values<C>, blocks_for(n, delayed_times), s, c, elements_of(c),
               d.memory.scale, n);
    launch(&delayed_end<C>, n == 0 ? 1 : blocks_for(n, 1), s, c, d, n);
}

}  // namespace lowp::cuda::detail
