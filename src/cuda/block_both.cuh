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
inline constexpr int both_blocks = 5;
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
    /// Row r's, from the lane that worked it out. fits_halves: bfloat16 holds both numbers.
    __device__ quick_scale of(int r, bool fits_halves) const {
        const int i = r % pairs;
        const unsigned owner = (threadIdx.x % 32 & ~(lanes_a_block - 1U)) + i / own;
        const quick_scale& mine = scales[i % own + (r < pairs ? 0 : own)];
        if (fits_halves) {
            const auto both =
                __shfl_sync(all_lanes, __byte_perm(mine.total, mine.factor, 0x7632), owner);
            return {both << 16, both & 0xFFFF0000U};
        }
        return {__shfl_sync(all_lanes, mine.total, owner),
                __shfl_sync(all_lanes, mine.factor, owner)};
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

template <class Way, int Rows>
__device__ void finish_rows(const block_call<float>& c, const block_call<float>& slow,
                            const both_tile<Way::C, Rows>& x, const both_place& at,
                            std::uint32_t columns) {
    constexpr carrier C = Way::C;
    constexpr int N = values_a_word<C>;
    constexpr int Words = both_columns<Rows> / N;
    const row_scales<C, Rows> scales(c, slow, x);
    const bool is_common = __all_sync(all_lanes, scales.is_common);
    constexpr bool fits_halves = Way::always_multiplies;  // then scales are powers of two
    const auto all = [&](const auto& apply) {
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
            word_scales<C> s;
            s.set_all(c, scales.of(r, fits_halves));
            const std::uint64_t i = at.first + std::uint64_t{columns} * r;
            std::uint32_t random[both_columns<Rows>] = {};
            if constexpr (is_stochastic(Way::mode)) draw(c, i, random);
            group<std::uint32_t, Words> g;
#pragma unroll
            for (int j = 0; j < Words; ++j) {
                std::uint32_t own[N];
#pragma unroll
                for (int k = 0; k < N; ++k) own[k] = random[j * N + k];
                g.at[j] = apply(s, x.w[r][j], own);
            }
            if (at.is_there)
                *reinterpret_cast<group<std::uint32_t, Words>*>(static_cast<std::uint8_t*>(c.to) +
                                                                i * bytes_of(C)) = g;
        }
    };
    const auto carefully = [&](const auto& s, std::uint32_t w, const auto& random) {
        return apply_carefully<C, block_verb::quantize, Way::mode>(slow, s, w, random[0],
                                                                   random[N - 1]);
    };
    const auto multiplied = [&](const auto& s, std::uint32_t w, const auto& random) {
        return Way::template apply<scaling::multiply>(c, s, w, random);
    };
    const auto divided = [&](const auto& s, std::uint32_t w, const auto& random) {
        return Way::template apply<scaling::divide>(c, s, w, random);
    };
    if constexpr (is_stochastic(Way::mode)) {
        all([&](const auto& s, std::uint32_t w, const auto& random) {
            return !is_common                      ? carefully(s, w, random)
                   : c.before == scaling::multiply ? multiplied(s, w, random)
                                                   : divided(s, w, random);
        });
    } else if (!is_common) {
        all(carefully);
    } else if (Way::always_multiplies || c.before == scaling::multiply) {
        all(multiplied);
    } else {
        all(divided);
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
    finish_rows<Way, Rows>(c.by_rows, slow.by_rows, x, at, c.columns);
    if (!at.is_there) return;
    if constexpr (Rows == 16)
        if (c.by_columns.turn.log2_size > 0) turn.down(x.w);
    word_scales<C> s[Words];
    const bool is_common =
        scales_of_columns<block_verb::quantize>(c.by_columns, slow.by_columns, x, 0, s);
    finish_columns<block_verb::quantize, Way>(c.by_columns, slow.by_columns, x, s, is_common,
                                              at.first, c.columns, Rows);
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
