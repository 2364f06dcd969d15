// Blocks of many strips in common formats: rows, tiles of 128 x 128, whole tensors. Those of one piece are
// a thread block's, which reads them twice, the second time from a cache; of larger ones many thread blocks
// gather what there is, then convert it.
#pragma once

#include "block_fast.cuh"
#include "block_kernels.cuh"

namespace lowp::cuda::detail {

/// body(strip, group) for the strips of [begin, end) of a block, shared by a thread block: Count of a
/// thread are on their way at once.
template <carrier C, int Count, class Body>
__device__ void for_strips(const block_call<float>& c, const block_place& p, std::uint32_t begin,
                           std::uint32_t end, const Body& body) {
    constexpr int N = narrow_strips::values;
    constexpr std::uint32_t apart = block_threads * N;
    for (std::uint32_t e = threadIdx.x * N; e < end - begin; e += Count * apart) {
        strip<C, N> x[Count];
        std::uint64_t group[Count];
#pragma unroll
        for (int u = 0; u < Count; ++u) {
            if (e + u * apart >= end - begin) continue;
            group[u] = element_at(c.layout, p, begin + e + u * apart) / N;
            x[u].load(c.from, group[u]);
        }
#pragma unroll
        for (int u = 0; u < Count; ++u)
            if (e + u * apart < end - begin) body(x[u], group[u]);
    }
}

/// What a warp's strips of [begin, end) have.
template <carrier C>
__device__ block_content<float> content_of_strips(const block_call<float>& c, const block_place& p,
                                                  std::uint32_t begin, std::uint32_t end) {
    std::uint32_t m = 0;
    for_strips<C, 4>(c, p, begin, end,
                     [&](const auto& x, std::uint64_t /*group*/) { m = umax(m, x.largest()); });
    block_content<float> found{.largest = widened<C>(m)};
    if (found.largest >= infinity_bits<float>) {
        found = {};
        for_strips<C, 1>(c, p, begin, end, [&](const auto& x, std::uint64_t /*group*/) {
            const auto each = x.content();
            found.largest = umax(found.largest, each.largest);
            found.has_nan = found.has_nan || each.has_nan;
            found.has_inf = found.has_inf || each.has_inf;
        });
    }
    __syncwarp();
    merge(found, 32);
    return found;
}

/// What the warps of a thread block have found together.
__device__ inline block_content<float> merged_by_block(const block_content<float>& own) {
    constexpr int warps = block_threads / 32;
    __shared__ std::uint32_t largest[warps];
    __shared__ bool has_nan[warps];
    __shared__ bool has_inf[warps];
    if (threadIdx.x % 32 == 0) {
        const unsigned warp = threadIdx.x / 32;
        largest[warp] = own.largest;
        has_nan[warp] = own.has_nan;
        has_inf[warp] = own.has_inf;
    }
    __syncthreads();
    block_content<float> all;
    for (int w = 0; w < warps; ++w) {
        all.largest = umax(all.largest, largest[w]);
        all.has_nan = all.has_nan || has_nan[w];
        all.has_inf = all.has_inf || has_inf[w];
    }
    __syncthreads();
    return all;
}

/// huge_contents in strips.
template <carrier C>
__global__ void __launch_bounds__(block_threads)
    quick_contents(const __grid_constant__ block_call<float> c, std::uint64_t tasks,
                   std::uint64_t pieces) {
    for (std::uint64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
        const std::uint64_t block = task / pieces;
        const block_place p = place_of(c.layout, block);
        const auto begin = static_cast<std::uint32_t>(task % pieces * piece);
        const auto content = content_of_strips<C>(c, p, begin, end_of_piece(p, begin));
        if (threadIdx.x % 32 == 0) raise(c.blocks[block], content);
    }
}

/// Blocks of one piece, or of several whose scales huge_scales has worked out.
template <block_verb V, class Way>
__global__ void __launch_bounds__(block_threads, quick_blocks<V, Way::mode>)
    quick_pieces(const __grid_constant__ block_call<float> c,
                 const __grid_constant__ block_call<float> slow, std::uint64_t tasks,
                 std::uint64_t pieces) {
    constexpr carrier C = Way::C;
    for (std::uint64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
        const std::uint64_t block = task / pieces;
        const block_place p = place_of(c.layout, block);
        const auto begin = static_cast<std::uint32_t>(task % pieces * piece);
        const std::uint32_t end = end_of_piece(p, begin);
        block_content<float> content;
        quick_scale scale;
        if (pieces == 1) {
            content = merged_by_block(content_of_strips<C>(c, p, begin, end));
            const auto found = block_scale_of<V>(c, slow, block, content);
            if (V == block_verb::encode && threadIdx.x == 0) store_scale_code(c, block, found.code);
            scale = found.scale;
        } else {
            const huge_block<float>& all = c.blocks[block];
            content = {static_cast<std::uint32_t>(all.largest), all.has_nan != 0, all.has_inf != 0};
            scale = {all.total, all.factor};
        }
        const bool is_common =
            !content.has_nan && !content.has_inf && is_quick(c, content.largest, scale);
        for_strips<C, 2>(c, p, begin, end, [&](const auto& x, std::uint64_t group) {
            finish_strip<V, Way>(c, slow, x, scale, is_common, group);
        });
    }
}

}  // namespace lowp::cuda::detail
