// Random bits of element-by-element conversions, and those of one dense run by the sums of chance.cuh.
#pragma once

#include "chance.cuh"
#include "lowp/random.hpp"

namespace lowp::cuda::detail {

/// The random words of a step of a thread: the source's, or the caller's.
template <chance Chance, int N, class T>
__device__ void words_of_step(const call<T>& c, std::uint64_t index, std::uint32_t (&words)[N]) {
    if constexpr (Chance == chance::random) {
        if (c.random == nullptr) random_words(c.source, index, words);
        else given_words(c.random, index - c.first_index, c.plan.random_shift, c.failures, words);
    }
}

/// Floats in registers, to and from a function that is not inlined.
template <int N>
struct some_floats {
    std::uint32_t at[N];
};
template <class Verb, int N>
__device__ __noinline__ some_floats<N> converted_with_care(const call<float>& slow,
                                                           std::uint64_t index, some_floats<N> v) {
    Verb::convert(slow, index, v.at);
    return v;
}

/// convert_run by the sums of chance.cuh: numbers up to the format's limit, where no sum is in doubt. slow:
/// c once more, since what has its address taken is read like memory, slowly.
template <carrier C, class Verb>
__global__ void __launch_bounds__(block_threads)
    draw_run(const __grid_constant__ call<float> c, const __grid_constant__ call<float> slow,
             std::uint64_t first_index, std::uint64_t n) {
    constexpr int N = Verb::step;
    constexpr int each = values_a_word<C>;
    using words = group<std::uint32_t, N / each>;
    const std::uint64_t thread = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const auto same = [](int /*k*/, auto v) { return v; };
    for (std::uint64_t g = thread; g < n / N; g += threads) {
        const words x = static_cast<const words*>(c.from)[g];
        words y;
        std::uint32_t random[N];
        words_of_step<chance::random>(c, first_index + g * N, random);
        std::uint32_t margin = ~0U;
        std::uint32_t largest = 0;
#pragma unroll
        for (int j = 0; j < N / each; ++j) {
            largest = larger_magnitudes<C>(largest, x.at[j]);
            if constexpr (Verb::encodes)
                y.at[j] = drawn_codes<C>(c.chance, x.at[j], random + j * each, c.plan.sign_shift,
                                         margin, same);
            else
                y.at[j] = drawn_values<C>(c.chance, x.at[j], random + j * each, margin, same, same);
        }
        const float most = __uint_as_float(widened<C>(largest_in<C>(largest)));
        if (margin < c.chance.doubtful || !(most <= c.chance.limit)) {
            some_floats<N> v;
            Verb::load(c, g * N, v.at);
            v = converted_with_care<Verb>(slow, first_index + g * N, v);
            Verb::store(c, g * N, v.at);
            continue;
        }
        if constexpr (Verb::encodes) {
            std::uint32_t codes[N];
#pragma unroll
            for (int j = 0; j < N; ++j)
                codes[j] = each == 1 ? y.at[j] : y.at[j / each] >> (16 * (j % each)) & 0xFFFFU;
            Verb::store(c, g * N, codes);
        } else {
            static_cast<words*>(c.to)[g] = y;
        }
    }
    if (thread >= n % N) return;
    const std::uint64_t i = n / N * N + thread;
    some_floats<1> v;
    Verb::load(c, i, v.at);
    v = converted_with_care<Verb>(slow, first_index + i, v);
    Verb::store(c, i, v.at);
}

}  // namespace lowp::cuda::detail
