// Walsh-Hadamard transforms on the way into blocks (lowp/hadamard.hpp): butterflies within a lane, then
// across lanes, in the order of the CPU; results of 16-bit carriers are rounded to them, as its are.
#pragma once

#include "block_ways.cuh"

namespace lowp::cuda::detail {

/// Butterflies of the values of one thread, `Count` of them, at distances 1, 2, ... below `size`.
template <int Count>
__device__ void turn_in_thread(std::uint32_t (&v)[Count], unsigned size) {
#pragma unroll
    for (int h = 1; h < Count; h *= 2) {
        if (static_cast<unsigned>(h) >= size) break;
#pragma unroll
        for (int i = 0; i < Count; ++i) {
            if ((i & h) != 0) continue;
            const auto a = v[i];
            v[i] = lanes<float>::sum(a, v[i + h]);
            v[i + h] = lanes<float>::difference(a, v[i + h]);
        }
    }
}

/// Whether place i of a transform is negated.
__device__ inline bool is_minus(const turn_plan& t, unsigned i) {
    if (t.signs == turn_signs::none) return false;
    const unsigned at = i & ((1U << t.log2_size) - 1);
    return t.signs == turn_signs::given ? t.given[at] < 0 : random_word(t.source, at) >> 31 != 0;
}

/// A word of values, NaN among them.
template <carrier C>
__device__ std::uint32_t narrowed_word(const std::uint32_t (&v)[values_a_word<C>]) {
    if constexpr (values_a_word<C> == 1) {
        return v[0];
    } else {
        typename memory<C>::stored two[2];
        memory<C>::narrow_two(v[0], v[1], two);
        return two[0] | std::uint32_t{two[1]} << 16;
    }
}

/// The transform of strips of eight values a lane, of runs of up to 256 across a warp.
template <carrier C>
struct lane_turn {
    turn_plan plan;
    unsigned lane;
    std::uint32_t signs = 0;

    /// first: the place of the lane's first value among 256.
    __device__ lane_turn(const turn_plan& t, unsigned first) : plan(t), lane(first / 8) {
        for (unsigned i = 0; i < 8 && t.log2_size > 0; ++i)
            signs |= is_minus(t, first + i) ? 1U << i : 0;
    }

    template <int W>
    __device__ void across(std::uint32_t (&w)[W]) const {
        constexpr int N = values_a_word<C>;
        std::uint32_t v[W * N];
#pragma unroll
        for (int i = 0; i < W * N; ++i) v[i] = value_of<C>(w[i / N], i % N);
#pragma unroll
        for (int i = 0; i < W * N; ++i) v[i] ^= signs << (31 - i) & 0x80000000U;
        const unsigned size = 1U << plan.log2_size;
        turn_in_thread(v, size);
        for (unsigned d = 1; d * 8 < size; d *= 2) {
            const std::uint32_t minus = (lane & d) != 0 ? 0x80000000U : 0;
#pragma unroll
            for (int i = 0; i < W * N; ++i)
                v[i] = lanes<float>::sum(__shfl_xor_sync(all_lanes, v[i], d), v[i] ^ minus);
        }
#pragma unroll
        for (int i = 0; i < W * N; ++i)
            v[i] = lanes<float>::product(v[i], __float_as_uint(plan.norm));
#pragma unroll
        for (int j = 0; j < W; ++j) {
            std::uint32_t own[N];
#pragma unroll
            for (int k = 0; k < N; ++k) own[k] = v[j * N + k];
            w[j] = narrowed_word<C>(own);
        }
    }
};

/// The transform down the columns of a thread: Rows values each, in runs of up to as many.
template <carrier C, int Rows>
struct column_turn {
    turn_plan plan;
    std::uint32_t signs = 0;  ///< bit r: row r is negated

    /// All threads of the warp, each with a row's sign.
    __device__ explicit column_turn(const turn_plan& t) : plan(t) {
        if (t.log2_size > 0) signs = __ballot_sync(all_lanes, is_minus(t, threadIdx.x % 32));
    }

    template <int Words>
    __device__ void down(std::uint32_t (&w)[Rows][Words]) const {
#pragma unroll
        for (int j = 0; j < Words; ++j) {
            std::uint32_t column[Rows];
#pragma unroll
            for (int r = 0; r < Rows; ++r) column[r] = w[r][j];
            down_words(column);
#pragma unroll
            for (int r = 0; r < Rows; ++r) w[r][j] = column[r];
        }
    }
    /// The same of one word a row.
    __device__ void down_words(std::uint32_t (&w)[Rows]) const {
        constexpr int N = values_a_word<C>;
        std::uint32_t v[N][Rows];
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
            const auto turned = w[r] ^ ((signs >> r & 1) != 0 ? word_signs<C> : 0);
#pragma unroll
            for (int k = 0; k < N; ++k) v[k][r] = value_of<C>(turned, k);
        }
#pragma unroll
        for (int k = 0; k < N; ++k) turn_in_thread(v[k], 1U << plan.log2_size);
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
            std::uint32_t row[N];
#pragma unroll
            for (int k = 0; k < N; ++k)
                row[k] = lanes<float>::product(v[k][r], __float_as_uint(plan.norm));
            w[r] = narrowed_word<C>(row);
        }
    }
};

}  // namespace lowp::cuda::detail
