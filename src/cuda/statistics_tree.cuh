// In what order sums are made: the tree of NumPy's pairwise sum, whose leaves are up to 128 neighbours
// each, added as eight sums of every eighth and then together. A few lanes share a leaf, a warp adds
// some leaves, a thread block a run of up to 65536 elements.
//
//     leaf  r0 r1 r2 r3 r4 r5 r6 r7      ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
//           +8 +8 ...                    then what is left over, one by one
#pragma once

#include "block_parts.cuh"

namespace lowp::cuda::detail {

/// Sums of x^2, (q - x)^2, x q and q^2. Minus zero is what adds nothing, not even to minus zero.
struct four_sums {
    double at[4] = {-0.0, -0.0, -0.0, -0.0};

    __device__ void add(const four_sums& other) {
#pragma unroll
        for (int i = 0; i < 4; ++i) at[i] += other.at[i];
    }
    __device__ void add(double x, double q, double difference) {
        at[0] += x * x;
        at[1] += difference * difference;
        at[2] += x * q;
        at[3] += q * q;
    }
    /// Values that are floats: their products are exact in float64, so that one rounding is left.
    __device__ void add_floats(double x, double q, double difference) {
        at[0] = __fma_rn(x, x, at[0]);
        at[1] += difference * difference;
        at[2] = __fma_rn(x, q, at[2]);
        at[3] = __fma_rn(q, q, at[3]);
    }
    /// With those of the lane whose number differs in one bit.
    __device__ void add_lane(unsigned bit) {
        four_sums other;
#pragma unroll
        for (int i = 0; i < 4; ++i) other.at[i] = __shfl_xor_sync(all_lanes, at[i], bit);
        add(other);
    }
};

/// How many times a run is halved until all of it is leaves; the second half is never the smaller one.
__device__ inline int depth_of(std::uint32_t n) {
    int depth = 0;
    for (; n > 128; n -= n / 16 * 8) ++depth;
    return depth;
}

struct leaf {
    std::uint32_t first = 0, count = 0;
};

/// The leaf in one of 2^depth slots, empty where a leaf further up has the slots of its subtree.
__device__ inline leaf leaf_of(std::uint32_t n, int depth, std::uint32_t slot) {
    if (slot >> depth != 0) return {};
    std::uint32_t first = 0;
    for (int d = depth - 1; d >= 0; --d) {
        if (n <= 128) return {first, (slot & ((2U << d) - 1U)) == 0 ? n : 0U};
        const std::uint32_t half = n / 16 * 8;
        if ((slot >> d & 1U) != 0) {
            first += half;
            n -= half;
        } else {
            n = half;
        }
    }
    return {first, n};
}

/// The sums of a leaf, in the first of the 8 / V lanes that share it. add(N, k, sums): those of element
/// k + j to sums[j], j < N.
template <int V, class Add>
__device__ four_sums sum_of_leaf(const leaf& l, unsigned lane, const Add& add) {
    four_sums parts[V];
    const std::uint32_t whole = l.count / 8 * 8;
    const std::uint32_t own = lane % (8 / V) * V;
    for (std::uint32_t k = own; k < whole; k += 8)
        add(std::integral_constant<int, V>{}, l.first + k, parts);
#pragma unroll
    for (int step = 1; step < V; step *= 2)
#pragma unroll
        for (int j = 0; j < V; j += 2 * step) parts[j].add(parts[j + step]);
#pragma unroll
    for (unsigned bit = 1; bit < 8 / V; bit *= 2) parts[0].add_lane(bit);
    if (own == 0)
        for (std::uint32_t k = whole; k < l.count; ++k)
            add(std::integral_constant<int, 1>{}, l.first + k, parts);
    return parts[0];
}

/// The most subtrees of a warp that a run has, each of 4 V leaves.
template <int V>
inline constexpr int most_subtrees = 1024 / (4 * V);

/// The sums of n <= 65536 elements, in subtrees[0]. All threads of the block must come here.
template <int V, class Add>
__device__ void sum_of_run(std::uint32_t n, four_sums (&subtrees)[most_subtrees<V>],
                           const Add& add) {
    constexpr std::uint32_t leaves = 4 * V;
    const unsigned lane = threadIdx.x % 32;
    const int depth = depth_of(n);
    const std::uint32_t slots = 1U << depth;
    for (std::uint32_t base = threadIdx.x / 32 * leaves; base < slots;
         base += blockDim.x / 32 * leaves) {
        four_sums sums = sum_of_leaf<V>(leaf_of(n, depth, base + lane / (8 / V)), lane, add);
#pragma unroll
        for (unsigned bit = 8 / V; bit < 32; bit *= 2) sums.add_lane(bit);
        if (lane == 0) subtrees[base / leaves] = sums;
    }
    __syncthreads();
    for (std::uint32_t step = 1; step < slots / leaves; step *= 2) {
        const std::uint32_t at = threadIdx.x * 2 * step;
        if (at + step < slots / leaves) subtrees[at].add(subtrees[at + step]);
        __syncthreads();
    }
}

// ---- elements that count, found by their number ---------------------------------------------------

/// Which elements of a run add to its sums, and how many of them come before each 32.
struct chosen {
    std::uint32_t bits[error_run / 32];
    std::uint16_t before[error_run / 32];
    std::uint32_t total;
};

/// Fills `c`; is_chosen(k) for k < n. All threads of the block must come here.
template <class Choice>
__device__ void choose(chosen& c, std::uint32_t n, const Choice& is_chosen) {
    const unsigned lane = threadIdx.x % 32;
    constexpr std::uint32_t words = error_run / 32;
    for (std::uint32_t w = threadIdx.x / 32; w < words; w += blockDim.x / 32) {
        const std::uint32_t k = w * 32 + lane;
        const unsigned bits = __ballot_sync(all_lanes, k < n && is_chosen(k));
        if (lane == 0) c.bits[w] = bits;
    }
    __syncthreads();
    if (threadIdx.x < 32) {  // rare: one warp is enough
        std::uint32_t sum = 0;
        for (std::uint32_t w = lane * (words / 32); w < (lane + 1) * (words / 32); ++w)
            sum += static_cast<std::uint32_t>(__popc(c.bits[w]));
        std::uint32_t before = sum;
        for (unsigned d = 1; d < 32; d *= 2) {
            const std::uint32_t other = __shfl_up_sync(all_lanes, before, d);
            if (lane >= d) before += other;
        }
        if (lane == 31) c.total = before;
        before -= sum;
        for (std::uint32_t w = lane * (words / 32); w < (lane + 1) * (words / 32); ++w) {
            c.before[w] = static_cast<std::uint16_t>(before);
            before += static_cast<std::uint32_t>(__popc(c.bits[w]));
        }
    }
    __syncthreads();
}

/// The place of the chosen element number k.
__device__ inline std::uint32_t place_of_chosen(const chosen& c, std::uint32_t k) {
    std::uint32_t word = 0;
    for (std::uint32_t step = error_run / 64; step > 0; step /= 2)
        if (c.before[word + step] <= k) word += step;
    std::uint32_t bits = c.bits[word];
    for (std::uint32_t left = k - c.before[word]; left > 0; --left) bits &= bits - 1;
    return word * 32 + static_cast<std::uint32_t>(__ffs(static_cast<int>(bits))) - 1;
}

}  // namespace lowp::cuda::detail
