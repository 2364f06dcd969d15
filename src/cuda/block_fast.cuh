// Blocks that follow each other in memory, in common formats: one reading of the values, some words of
// theirs a lane and step, side by side in a warp. Lanes share a block; each works out the scale of one of
// the blocks that its team has in a step, so that none is worked out by all.
#pragma once

#include "block_kernels.cuh"
#include "block_turn.cuh"

namespace lowp::cuda::detail {

/// Some values of a lane, in one run of memory.
template <carrier C, int Values>
struct strip {
    static constexpr int values = Values;
    static constexpr int words = Values / values_a_word<C>;
    std::uint32_t w[words] = {};

    __device__ void load(const void* x, std::uint64_t group) {
        const auto g = *reinterpret_cast<const cuda::detail::group<std::uint32_t, words>*>(
            static_cast<const std::uint32_t*>(x) + group * words);
#pragma unroll
        for (int j = 0; j < words; ++j) w[j] = g.at[j];
    }
    __device__ void store(void* y, std::uint64_t group) const {
        cuda::detail::group<std::uint32_t, words> g;
#pragma unroll
        for (int j = 0; j < words; ++j) g.at[j] = w[j];
        *reinterpret_cast<cuda::detail::group<std::uint32_t, words>*>(
            static_cast<std::uint32_t*>(y) + group * words) = g;
    }
    /// The largest magnitude in memory's form; NaN is larger than all.
    [[nodiscard]] __device__ std::uint32_t largest() const {
        std::uint32_t m = 0;
#pragma unroll
        for (int j = 0; j < words; ++j) m = larger_magnitudes<C>(m, w[j]);
        return largest_in<C>(m);
    }
    [[nodiscard]] __device__ block_content<float> content() const {
        block_content<float> found;
#pragma unroll
        for (int j = 0; j < words; ++j)
#pragma unroll
            for (int k = 0; k < values_a_word<C>; ++k)
                found.add(value_of<C>(w[j], k) & magnitude_bits<float>);
        return found;
    }
};

/// How many values a strip has, and how many strips a lane and step: the lanes of a block, at least as
/// many, work out a scale each.
template <int Values, int Count>
struct strip_shape {
    static constexpr int values = Values, count = Count;
};
/// For every carrier and mode, and with transforms on the way.
using narrow_strips = strip_shape<8, 2>;
/// Where a scale costs more than what is scaled: blocks of one strip, and codes of 16-bit carriers.
using whole_strips = strip_shape<16, 1>;
using wide_strips = strip_shape<16, 2>;

/// The largest finite magnitude of all strips, from the last to the first: what was read last is what
/// the next kernel finds in the cache, which goes the other way.
template <carrier C>
__global__ void __launch_bounds__(block_threads)
    strips_maximum(const __grid_constant__ block_call<float> c, std::uint64_t groups) {
    constexpr int strips = narrow_strips::count;
    const std::uint64_t warps = std::uint64_t{gridDim.x} * blockDim.x / 32;
    const unsigned lane = threadIdx.x % 32;
    const lane_turn<C> turn(c.turn, lane * 8);
    const std::uint64_t steps = (groups + 32 * strips - 1) / (32 * strips);
    std::uint32_t largest = 0;
    for (std::uint64_t t = (std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32; t < steps;
         t += warps) {
        const std::uint64_t first = (steps - 1 - t) * 32 * strips + lane;
        strip<C, narrow_strips::values> x[strips];
#pragma unroll
        for (int u = 0; u < strips; ++u)
            if (first + u * 32 < groups) x[u].load(c.from, first + u * 32);
#pragma unroll
        for (int u = 0; u < strips; ++u) {
            if (c.turn.log2_size > 0) turn.across(x[u].w);
            auto found = widened<C>(x[u].largest());
            if (found >= infinity_bits<float>) found = x[u].content().largest;
            largest = umax(largest, found);
        }
    }
    largest = largest_of(largest, 32);
    if (lane == 0) raise(c.lines->largest, largest);
}

/// Converts and stores a strip.
template <block_verb V, class Way, int Values>
__device__ void finish_strip(const block_call<float>& c, const block_call<float>& slow,
                             strip<Way::C, Values> x, const quick_scale& scale, bool is_common,
                             std::uint64_t group) {
    constexpr carrier C = Way::C;
    word_scales<C> s;
    s.set_all(c, scale);
    std::uint32_t random[Values] = {};
    if constexpr (is_stochastic(Way::mode)) draw(c, group * Values, random);
    convert_words<V, Way>(
        c, slow, [&](int /*j*/) -> const auto& { return s; }, is_common, random, x.w);
    if constexpr (V == block_verb::quantize) x.store(c.to, group);
    else store_code_words<C>(c, c.is_dense ? packing::dense : packing::loose, group * Values, x.w);
}

/// Thread blocks a processor, which bounds registers to 64. 0: as the compiler has it, which takes as many
/// for quantize (with 1 it would take 148, and half of the speed).
template <block_verb V, rounding R>
inline constexpr int quick_blocks = V == block_verb::encode || is_stochastic(R) ? 4 : 0;

/// What the lanes of a block found of each strip, shared out: the lane's own, of strip lane % Count.
template <int Count>
__device__ std::uint32_t largest_shared_out(std::uint32_t (&m)[Count], unsigned lane,
                                            unsigned lanes_a_block) {
#pragma unroll
    for (unsigned d = Count / 2; d > 0; d /= 2) {
        const bool up = (lane & d) != 0;
#pragma unroll
        for (unsigned k = 0; k < d; ++k) {
            const auto keep = up ? m[k + d] : m[k];
            const auto give = up ? m[k] : m[k + d];
            m[k] = umax(keep, __shfl_xor_sync(all_lanes, give, d));
        }
    }
    for (unsigned d = Count; d < lanes_a_block; d *= 2)
        m[0] = umax(m[0], __shfl_xor_sync(all_lanes, m[0], d));
    return m[0];
}

/// log2_lanes: of a block's strips, at least Shape::count.
template <block_verb V, class Way, class Shape>
__global__ void __launch_bounds__(block_threads, quick_blocks<V, Way::mode>)
    quick_lines(const __grid_constant__ block_call<float> c,
                const __grid_constant__ block_call<float> slow, std::uint64_t groups,
                unsigned log2_lanes) {
    constexpr carrier C = Way::C;
    constexpr unsigned strips = Shape::count;
    using values = strip<C, Shape::values>;
    constexpr bool may_turn = Shape::values == narrow_strips::values;
    const unsigned lanes_a_block = 1U << log2_lanes;
    const std::uint64_t warps = std::uint64_t{gridDim.x} * blockDim.x / 32;
    const unsigned lane = threadIdx.x % 32;
    const unsigned own = lane % strips;  // the strip whose block's scale this lane works out
    const lane_turn<C> turn(may_turn ? c.turn : turn_plan{}, lane * narrow_strips::values);
    for (std::uint64_t t = (std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
         t * 32 * strips < groups; t += warps) {
        const std::uint64_t first = t * 32 * strips + lane;
        values x[strips];
        std::uint32_t m[strips];
#pragma unroll
        for (unsigned u = 0; u < strips; ++u) {
            if (first + u * 32 < groups) x[u].load(c.from, first + u * 32);
        }
        if constexpr (may_turn) {
            if (c.turn.log2_size > 0) {
#pragma unroll
                for (unsigned u = 0; u < strips; ++u) turn.across(x[u].w);
            }
        }
#pragma unroll
        for (unsigned u = 0; u < strips; ++u) m[u] = x[u].largest();
        block_content<float> content{.largest =
                                         widened<C>(largest_shared_out(m, lane, lanes_a_block))};
        bool is_common = !__any_sync(all_lanes, content.largest >= infinity_bits<float>);
        if (!is_common) {
#pragma unroll
            for (unsigned u = 0; u < strips; ++u) {
                auto each = x[u].content();
                merge(each, lanes_a_block);
                if (u == own) content = each;
            }
        }
        const std::uint64_t mine = first + own * 32;
        const bool is_there = mine < groups;
        const auto block = block_scale_of<V>(c, slow, is_there ? mine >> log2_lanes : 0, content);
        if (V == block_verb::encode && is_there && (lane & (lanes_a_block - 1)) < strips)
            store_scale_code(c, mine >> log2_lanes, block.code);
        is_common = is_common && !__any_sync(all_lanes, !is_quick(c, content.largest, block.scale));
        quick_scale scales[strips] = {block.scale};
        if constexpr (strips > 1) {
#pragma unroll
            for (unsigned u = 0; u < strips; ++u) {
                const unsigned owner = (lane & ~(strips - 1)) + u;
                scales[u] = {__shfl_sync(all_lanes, block.scale.total, owner),
                             __shfl_sync(all_lanes, block.scale.factor, owner)};
            }
        }
#pragma unroll
        for (unsigned u = 0; u < strips; ++u)
            if (first + u * 32 < groups)
                finish_strip<V, Way>(c, slow, x[u], scales[u], is_common, first + u * 32);
    }
}

}  // namespace lowp::cuda::detail
