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
inline constexpr int both_blocks = 7, maxima_blocks = 5;
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
__global__ void __launch_bounds__(both_threads, maxima_blocks)
    both_maxima(const __grid_constant__ both_call c) {
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

// ---- scales ---------------------------------------------------------------------------------------

// Loops over scales are not unrolled: a warp goes through each piece of code once, so that it waits for
// instructions where there are many.

/// What a block is scaled by, in shared memory.
struct both_scale {
    quick_scale scale;
    float multiplier;
};

/// The largest magnitudes of the row blocks of a warp's tiles: the lanes of a block have as many rows each.
template <carrier C, int Rows>
struct row_maxima {
    static constexpr int lanes_a_block = Rows / both_columns<Rows>;
    static constexpr int pairs = Rows / 2;  ///< of rows: r and r + Rows / 2
    static constexpr int own = pairs / lanes_a_block;
    static constexpr int count = 2 * own;

    std::uint32_t m[pairs];

    __device__ explicit row_maxima(const both_tile<C, Rows>& x) {
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
    }
    /// Of row k of this lane's, as float bits.
    [[nodiscard]] __device__ std::uint32_t at(int k) const {
        static_assert(own <= 2);  // registers have no index
        const std::uint32_t two = k % own == 0 ? m[0] : m[1];
        return widened<C>(k < own ? two & 0xFFFFU : two >> 16);
    }
    [[nodiscard]] __device__ static int row_of(int k) {
        const int first = static_cast<int>(threadIdx.x % lanes_a_block) * own;
        return k < own ? first + k : first + k - own + pairs;
    }

private:
    __device__ static std::uint32_t largest_of_row(const both_tile<C, Rows>& x, int r) {
        std::uint32_t m = 0;
        for (const auto w : x.w[r]) m = larger_magnitudes<C>(m, w);
        return largest_in<C>(m);
    }
};

/// Scales of the rows of a block, each worked out by one of its lanes; whether the quick ways are exact for
/// them. NaN and infinity are alike: either makes a block NaN.
template <carrier C, int Rows>
__device__ bool scales_of_rows(const block_call<float>& c, const block_call<float>& slow,
                               const both_tile<C, Rows>& x, both_scale (&of_rows)[Rows]) {
    const row_maxima<C, Rows> largest(x);
    const auto outer = outer_scale_of(c, 0);
    bool is_common = true;
#pragma unroll 1
    for (int k = 0; k < row_maxima<C, Rows>::count; ++k) {
        block_content<float> content{.largest = largest.at(k)};
        content.has_nan = content.largest >= infinity_bits<float>;
        const auto found = block_scale_of<block_verb::quantize>(c, slow, 0, content, outer).scale;
        is_common = is_common && is_quick(c, content.largest, found);
        of_rows[row_maxima<C, Rows>::row_of(k)] = {found, multiplier_of(c, found)};
    }
    return is_common;
}

/// The columns of a shelf transformed, if they are to be, a word after the other; largest: of each word's
/// magnitudes.
template <carrier C, int Rows, int Words>
__device__ void turn_kept(const column_turn<C, 16>& turn, shelf<Rows, Words, both_threads>& kept,
                          std::uint32_t (&largest)[Words]) {
#pragma unroll 1
    for (int j = 0; j < Words; ++j) {
        std::uint32_t w[Rows];
#pragma unroll
        for (int r = 0; r < Rows; ++r) w[r] = kept.rows[r][threadIdx.x].at[j];
        if constexpr (Rows == 16) {
            if (turn.plan.log2_size > 0) {
                turn.down_words(w);
#pragma unroll
                for (int r = 0; r < Rows; ++r) kept.rows[r][threadIdx.x].at[j] = w[r];
            }
        }
        std::uint32_t m = 0;
#pragma unroll
        for (int r = 0; r < Rows; ++r) m = larger_magnitudes<C>(m, w[r]);
#pragma unroll
        for (int i = 0; i < Words; ++i) largest[i] = i == j ? m : largest[i];
    }
}

/// Scales of a lane's columns. largest: as turn_kept has it.
template <carrier C, int Rows, int Words>
__device__ bool scales_of_kept_columns(const block_call<float>& c, const block_call<float>& slow,
                                       const shelf<Rows, Words, both_threads>& kept,
                                       const std::uint32_t (&largest)[Words],
                                       word_scales<C> (&s)[Words]) {
    constexpr int N = values_a_word<C>;
    __shared__ both_scale found[Words * N][both_threads];
    const auto outer = outer_scale_of(c, 0);
    bool is_common = true;
#pragma unroll 1
    for (int k = 0; k < Words * N; ++k) {
        std::uint32_t word = largest[0];
#pragma unroll
        for (int j = 1; j < Words; ++j) word = k / N == j ? largest[j] : word;
        block_content<float> content{.largest = value_of<C>(word, k % N)};
        if (content.largest >= infinity_bits<float>) content = kept.template content<C>(k);
        const auto of = block_scale_of<block_verb::quantize>(c, slow, 0, content, outer).scale;
        is_common = is_common && is_quick(c, value_of<C>(word, k % N), of);
        found[k][threadIdx.x] = {of, multiplier_of(c, of)};
    }
#pragma unroll
    for (int k = 0; k < Words * N; ++k)
        s[k / N].set(k % N, found[k][threadIdx.x].scale, found[k][threadIdx.x].multiplier);
    return is_common;
}

// ---- rows -----------------------------------------------------------------------------------------

/// Rows of a shelf in their blocks, two a step; x: the same in registers.
template <class Way, int Rows, int Words>
__device__ void finish_rows(const block_call<float>& c, const block_call<float>& slow,
                            const both_tile<Way::C, Rows>& x,
                            const shelf<Rows, Words, both_threads>& kept, const both_place& at,
                            std::uint32_t columns) {
    constexpr carrier C = Way::C;
    constexpr int lanes_a_block = row_maxima<C, Rows>::lanes_a_block;
    __shared__ both_scale of_rows[both_threads / lanes_a_block][Rows];
    auto& mine = of_rows[threadIdx.x / lanes_a_block];
    const bool is_common = __all_sync(all_lanes, scales_of_rows(c, slow, x, mine));
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
                s.set(j, mine[r + k].scale, mine[r + k].multiplier);
            auto y = kept.rows[r + k][threadIdx.x];
            convert_words<block_verb::quantize, Way>(
                c, slow, [&](int /*j*/) -> const auto& { return s; }, is_common, random[k], y.at);
            store_row<block_verb::quantize, C>(c, packing::loose, i + std::uint64_t{columns} * k,
                                               y);
        }
    }
}

// ---- both -----------------------------------------------------------------------------------------

template <class Way, int Rows>
__global__ void __launch_bounds__(both_threads, both_blocks)
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
    std::uint32_t largest[Words] = {};
    turn_kept(turn, kept, largest);
    word_scales<C> s[Words];
    const bool is_common = scales_of_kept_columns(c.by_columns, slow.by_columns, kept, largest, s);
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
    if (c.by_rows.way == quick_elements::chance) with_way(chance_way<C, V>{});
    else if (c.by_rows.fits_pairs) with_way(pairs_way<V>{});
    else with_way(floats_way<C, V>{});
}

}  // namespace lowp::cuda::detail
