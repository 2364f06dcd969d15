// Walsh-Hadamard transforms on the way into blocks (lowp/hadamard.hpp): butterflies within a lane, then
// across lanes, in the order of the CPU; results of 16-bit carriers are rounded to them, as its are.
#pragma once

#include "block_ways.cuh"

namespace lowp::cuda::detail {

/// Butterflies of the values of one lane, `Count` of them, at distances 1, 2, ... below `size`.
template <class T, int Count>
__device__ void butterflies(word_of<T> (&v)[Count], unsigned size) {
#pragma unroll
    for (int h = 1; h < Count; h *= 2) {
        if (static_cast<unsigned>(h) >= size) break;
#pragma unroll
        for (int i = 0; i < Count; ++i) {
            if ((i & h) != 0) continue;
            const auto a = v[i];
            v[i] = lanes<T>::sum(a, v[i + h]);
            v[i + h] = lanes<T>::difference(a, v[i + h]);
        }
    }
}

/// Bit i: the sign of place first + i of a transform, for `count` places.
__device__ inline std::uint32_t signs_at(const turn_plan& t, unsigned first, unsigned count) {
    if (t.signs == turn_signs::none) return 0;
    const unsigned mask = (1U << t.log2_size) - 1;
    std::uint32_t signs = 0;
    for (unsigned i = 0; i < count; ++i) {
        const unsigned at = (first + i) & mask;
        const std::uint32_t sign = t.signs == turn_signs::given ? t.given[at / 32] >> (at % 32) & 1
                                                                : random_word(t.source, at) >> 31;
        signs |= sign << i;
    }
    return signs;
}

/// The transform of strips of eight values a lane, of runs of up to 256 across a warp.
template <carrier C>
struct lane_turn {
    turn_plan plan;
    unsigned lane;
    std::uint32_t signs = 0;

    /// first: the place of the lane's first value among 256.
    __device__ lane_turn(const turn_plan& t, unsigned first) : plan(t), lane(first / 8) {
        if (t.log2_size > 0) signs = signs_at(t, first, 8);
    }

    template <int W>
    __device__ void across(std::uint32_t (&w)[W]) const {
        constexpr int N = values_a_word<C>;
        std::uint32_t v[W * N];
#pragma unroll
        for (int i = 0; i < W * N; ++i) v[i] = value_of<C>(w[i / N], i % N);
        if (!plan.is_inverse) flip(v);
        const unsigned size = 1U << plan.log2_size;
        butterflies<float>(v, size);
        for (unsigned d = 1; d * 8 < size; d *= 2) {
            const std::uint32_t minus = (lane & d) != 0 ? 0x80000000U : 0;
#pragma unroll
            for (int i = 0; i < W * N; ++i)
                v[i] = lanes<float>::sum(__shfl_xor_sync(all_lanes, v[i], d), v[i] ^ minus);
        }
#pragma unroll
        for (int i = 0; i < W * N; ++i)
            v[i] = lanes<float>::product(v[i], __float_as_uint(plan.norm));
        if (plan.is_inverse) flip(v);
#pragma unroll
        for (int j = 0; j < W; ++j) {
            if constexpr (N == 1) {
                w[j] = v[j];
            } else {
                typename memory<C>::stored two[2];
                memory<C>::narrow_two(v[2 * j], v[2 * j + 1], two);
                w[j] = two[0] | std::uint32_t{two[1]} << 16;
            }
        }
    }

private:
    template <int Count>
    __device__ void flip(std::uint32_t (&v)[Count]) const {
        if (signs == 0) return;
#pragma unroll
        for (int i = 0; i < Count; ++i) v[i] ^= signs << (31 - i) & 0x80000000U;
    }
};

}  // namespace lowp::cuda::detail
