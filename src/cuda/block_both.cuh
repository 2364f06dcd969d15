// A matrix in blocks along its rows and in blocks along its columns, read once, in common formats. A warp
// has as many rows as a block has elements, a lane two or four columns: a block along the rows lies in
// some neighbouring lanes, which share out the rows' scales; one along the columns is a lane's own.
// Between the two, columns may go through Hadamard runs of 16 rows.
#pragma once

#include "block_columns.cuh"
#include "block_kernels.cuh"
#include "both.hpp"

namespace lowp::cuda::detail {

inline constexpr int both_threads = 128;
/// Blocks a processor: so few registers a thread that some warps wait for memory while others work.
template <rounding R>
inline constexpr int both_blocks = is_stochastic(R) ? 5 : 7;
/// Columns of a lane: as many as keep its values in 32 words.
template <int Rows>
inline constexpr int both_columns = Rows == 16 ? 4 : 2;

template <carrier C, int Rows>
using both_tile = upright<C, Rows, both_columns<Rows> / values_a_word<C>>;

/// Where a lane's tile lies.
struct both_place {
    std::uint64_t first = 0;
    std::uint32_t row = 0, column = 0;
    bool is_there = false;
};
template <int Rows>
__device__ both_place place_of_lane(const both_call& c) {
    const std::uint64_t thread = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    constexpr std::uint32_t width = 32 * both_columns<Rows>;
    const std::uint32_t across = (c.columns + width - 1) / width;
    const auto band = static_cast<std::uint32_t>(thread / 32 / across);
    const auto group = static_cast<std::uint32_t>(thread / 32 - std::uint64_t{band} * across);
    const std::uint32_t column = group * width + threadIdx.x % 32 * both_columns<Rows>;
    return {std::uint64_t{band} * Rows * c.columns + column, band * Rows, column,
            band < c.rows / Rows && column < c.columns};
}

// ---- second levels --------------------------------------------------------------------------------

/// The largest finite magnitude of a warp's tiles, as float bits.
template <carrier C, int Rows, int Words>
__device__ std::uint32_t largest_finite(const upright<C, Rows, Words>& x) {
    std::uint32_t m = 0;
#pragma unroll
    for (int r = 0; r < Rows; ++r)
#pragma unroll
        for (int j = 0; j < Words; ++j) m = larger_magnitudes<C>(m, x.w[r][j]);
    std::uint32_t largest = widened<C>(largest_in<C>(m));
    if (largest >= infinity_bits<float>) {
        largest = 0;
#pragma unroll
        for (int k = 0; k < both_columns<Rows>; ++k) largest = umax(largest, x.content(k).largest);
    }
    return largest_of(largest, 32);
}

template <carrier C>
__global__ void __launch_bounds__(both_threads) both_maxima(const __grid_constant__ both_call c) {
    const column_turn<C, 16> turn(c.by_columns.turn);
    const both_place at = place_of_lane<16>(c);
    both_tile<C, 16> x;
    if (at.is_there) x.load(c.by_rows.from, at.first, c.columns, 16);
    const auto of_rows = largest_finite(x);
    auto of_columns = of_rows;
    if (c.by_columns.turn.log2_size > 0) {
        turn.down(x.w);
        of_columns = largest_finite(x);
    }
    if (threadIdx.x % 32 != 0) return;
    if (c.by_rows.line_count > 0) raise(c.by_rows.lines->largest, of_rows);
    if (c.by_columns.line_count > 0) raise(c.by_columns.lines->largest, of_columns);
}

// ---- rows -----------------------------------------------------------------------------------------

/// Scales of the row blocks of a warp's tiles: the lanes of a block work out as many of its rows' each.
template <carrier C, int Rows>
struct row_scales {
    static constexpr int lanes_a_block = Rows / both_columns<Rows>;
    static constexpr int pairs = Rows / 2;  ///< of rows: r and r + Rows / 2
    static constexpr int own = pairs / lanes_a_block;

    quick_scale scales[2 * own];
    bool is_common = true;

    __device__ row_scales(const block_call<float>& c, const block_call<float>& slow,
                          const both_tile<C, Rows>& x) {
        std::uint32_t m[pairs];
#pragma unroll
        for (int i = 0; i < pairs; ++i)
            m[i] = largest_of_row(x, i) | largest_of_row(x, i + pairs) << 16;
        int n = pairs;
#pragma unroll
        for (unsigned d = lanes_a_block / 2; d > 0; d /= 2) {
            n /= 2;
            const bool up = (threadIdx.x & d) != 0;
#pragma unroll
            for (int k = 0; k < pairs / 2; ++k) {
                if (k >= n) continue;
                const auto keep = up ? m[k + n] : m[k], give = up ? m[k] : m[k + n];
                m[k] = bfloat16_pairs::larger(keep, __shfl_xor_sync(all_lanes, give, d));
            }
        }
#pragma unroll
        for (int k = 0; k < own; ++k) {
            set(c, slow, k, m[k] & 0xFFFFU);
            set(c, slow, k + own, m[k] >> 16);
        }
    }
    /// The row of scale k of this lane.
    __device__ static int row_of(int k) {
        const int first = static_cast<int>(threadIdx.x % lanes_a_block) * own;
        return k < own ? first + k : first + k - own + pairs;
    }

private:
    __device__ static std::uint32_t largest_of_row(const both_tile<C, Rows>& x, int r) {
        std::uint32_t m = 0;
        for (const auto w : x.w[r]) m = larger_magnitudes<C>(m, w);
        return largest_in<C>(m);
    }
    /// largest: in memory's form. NaN and infinity are alike: either makes the block NaN.
    __device__ void set(const block_call<float>& c, const block_call<float>& slow, int k,
                        std::uint32_t largest) {
        block_content<float> content{.largest = widened<C>(largest)};
        content.has_nan = content.largest >= infinity_bits<float>;
        const auto found = block_scale_of<block_verb::quantize>(c, slow, 0, content);
        is_common = is_common && is_quick(c, content.largest, found.scale);
        scales[k] = found.scale;
    }
};

/// Rows of a shelf in their blocks, two a step; x: the same in registers.
template <class Way, int Rows, int Words>
__device__ void finish_rows(const block_call<float>& c, const block_call<float>& slow,
                            const both_tile<Way::C, Rows>& x,
                            const shelf<Rows, Words, both_threads>& kept, const both_place& at,
                            std::uint32_t columns) {
    constexpr carrier C = Way::C;
    using words = group<std::uint32_t, Words>;
    using row_scales = row_scales<C, Rows>;
    struct known_scale {
        quick_scale scale;
        float inverse;
    };
    __shared__ known_scale of_rows[both_threads / row_scales::lanes_a_block][Rows];
    known_scale* const mine = of_rows[threadIdx.x / row_scales::lanes_a_block];
    const row_scales scales(c, slow, x);
    const bool is_common = __all_sync(all_lanes, scales.is_common);
#pragma unroll
    for (int k = 0; k < 2 * row_scales::own; ++k)
        mine[row_scales::row_of(k)] = {scales.scales[k], inverse_of(c, scales.scales[k])};
    __syncwarp();
    if (!at.is_there) return;
    const std::uint64_t of_source = c.source.stream();
#pragma unroll 1
    for (int r = 0; r < Rows; r += 2) {
        const std::uint64_t i = at.first + std::uint64_t{columns} * static_cast<unsigned>(r);
        std::uint32_t random[2][both_columns<Rows>] = {};
        if constexpr (is_stochastic(Way::mode)) draw(c, of_source, i, columns, 2, random);
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            word_scales<C> s;
#pragma unroll
            for (int j = 0; j < values_a_word<C>; ++j)
                s.set(j, mine[r + k].scale, mine[r + k].inverse);
            const auto y = applied<C>(kept.rows[r + k][threadIdx.x], random[k],
                                      [&](int /*j*/, std::uint32_t w, const auto& own) {
                return by_any_way<block_verb::quantize, Way>(c, slow, s, is_common, w, own);
            });
            *reinterpret_cast<words*>(static_cast<std::uint8_t*>(c.to) +
                                      (i + std::uint64_t{columns} * k) * bytes_of(C)) = y;
        }
    }
}

// ---- both -----------------------------------------------------------------------------------------

template <class Way, int Rows>
__global__ void __launch_bounds__(both_threads, both_blocks<Way::mode>)
    quick_both(const __grid_constant__ both_call c, const __grid_constant__ both_call slow) {
    constexpr carrier C = Way::C;
    constexpr int Words = both_columns<Rows> / values_a_word<C>;
    const column_turn<C, 16> turn(c.by_columns.turn);
    const both_place at = place_of_lane<Rows>(c);
    both_tile<C, Rows> x;
    if (at.is_there) x.load(c.by_rows.from, at.first, c.columns, Rows);
    __shared__ shelf<Rows, Words, both_threads> kept;
    kept.put(x.w);
    finish_rows<Way>(c.by_rows, slow.by_rows, x, kept, at, c.columns);
    if (!at.is_there) return;
    kept.take(x.w);
    if constexpr (Rows == 16)
        if (c.by_columns.turn.log2_size > 0) turn.down(x.w);
    word_scales<C> s[Words];
    const bool is_common =
        scales_of_columns<block_verb::quantize>(c.by_columns, slow.by_columns, x, 0, s);
    kept.put(x.w);
    finish_kept_columns<block_verb::quantize, Way>(c.by_columns, slow.by_columns, kept, s,
                                                   is_common, at.first, c.columns, Rows);
}

template <carrier C>
void block_both<C>::work(const both_call& c, stream s) {
    const auto grid = [&](std::uint32_t rows) {
        const std::uint32_t width = 32U * (rows == 16 ? both_columns<16> : both_columns<32>);
        const std::uint64_t across = (c.columns + width - 1) / width;
        const std::uint64_t warps = std::uint64_t{c.rows / rows} * across;
        return static_cast<unsigned>((warps * 32 + both_threads - 1) / both_threads);
    };
    const auto start = [&](auto* kernel, std::uint32_t rows, const auto&... calls) {
        kernel<<<grid(rows), both_threads, 0, s>>>(calls...);
        check(cudaGetLastError(), "a kernel did not start");
    };
    if (c.by_rows.line_count + c.by_columns.line_count > 0) {
        for (const auto* way : {&c.by_rows, &c.by_columns})
            if (way->line_count > 0)
                check(cudaMemsetAsync(way->lines, 0, sizeof(*way->lines), s), "the workspace");
        start(&both_maxima<C>, 16, c);
        for (const auto* way : {&c.by_rows, &c.by_columns})
            if (way->line_count > 0) launch(&outer_scales<float>, 1, s, *way);
    }
    const auto with_way = [&](auto way) {
        using Way = decltype(way);
        if (c.size == 16) start(&quick_both<Way, 16>, 16, c, c);
        else start(&quick_both<Way, 32>, 32, c, c);
    };
    constexpr auto V = block_verb::quantize;
    if (c.by_rows.way == quick_elements::chance)
        with_way(floats_way<C, V, rounding::stochastic_a>{});
    else if (c.by_rows.fits_pairs) with_way(pairs_way<V>{});
    else with_way(floats_way<C, V, rounding::nearest_ties_to_even>{});
}

}  // namespace lowp::cuda::detail
