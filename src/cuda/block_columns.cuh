// Blocks that stand upright, of 16 or 32 rows, in common formats: a thread holds a block or some side by
// side, all of their rows, so the array is read once; neighbouring threads have neighbouring columns.
#pragma once

#include "block_kernels.cuh"
#include "block_turn.cuh"
#include "block_ways.cuh"

namespace lowp::cuda::detail {

/// Rows of some words each, side by side in memory.
template <carrier C, int Rows, int Words>
struct upright {
    static constexpr int columns = Words * values_a_word<C>;
    std::uint32_t w[Rows][Words] = {};

    /// x: the first value; stride: values between rows; rows: of them there are so many.
    __device__ void load(const void* x, std::uint64_t first, std::uint64_t stride,
                         std::uint32_t rows) {
        using pack = group<std::uint32_t, Words>;
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
            if (static_cast<std::uint32_t>(r) >= rows) continue;
            const auto g = *reinterpret_cast<const pack*>(static_cast<const std::uint8_t*>(x) +
                                                          (first + r * stride) * bytes_of(C));
#pragma unroll
            for (int j = 0; j < Words; ++j) w[r][j] = g.at[j];
        }
    }
    /// What is in column k.
    [[nodiscard]] __device__ block_content<float> content(int k) const {
        constexpr int N = values_a_word<C>;
        block_content<float> found;
#pragma unroll
        for (int r = 0; r < Rows; ++r)
            found.add(value_of<C>(w[r][k / N], k % N) & magnitude_bits<float>);
        return found;
    }
};

/// Scales of the columns of a thread; whether the quick ways are exact for all of them.
template <block_verb V, carrier C, int Rows, int Words>
__device__ bool scales_of_columns(const block_call<float>& c, const block_call<float>& slow,
                                  const upright<C, Rows, Words>& x, std::uint64_t block,
                                  word_scales<C> (&s)[Words]) {
    constexpr int N = values_a_word<C>;
    bool is_common = true;
#pragma unroll
    for (int j = 0; j < Words; ++j) {
        std::uint32_t m = 0;
#pragma unroll
        for (int r = 0; r < Rows; ++r) m = larger_magnitudes<C>(m, x.w[r][j]);
#pragma unroll
        for (int k = 0; k < N; ++k) {
            const auto largest = value_of<C>(m, k);
            block_content<float> content{.largest = largest};
            if (largest >= infinity_bits<float>) content = x.content(j * N + k);
            const auto found = block_scale_of<V>(c, slow, block + j * N + k, content);
            if (V == block_verb::encode) store_scale_code(c, block + j * N + k, found.code);
            is_common = is_common && is_quick(c, largest, found.scale);
            s[j].set(k, c, found.scale);
        }
    }
    return is_common;
}

/// Random words of two rows of a thread's columns, of which `rows` are there, from element i on; stream:
/// the source's, which is in memory. A thread with half a counter's words works out one row's for its
/// neighbour, too, who has the other half and works out the other row's. Where a row is a multiple of
/// four long, the two are in one band and have the same rows, so that neither misses the exchange.
template <int N>
__device__ void draw(const block_call<float>& c, std::uint64_t stream, std::uint64_t i,
                     std::uint64_t stride, std::uint32_t rows, std::uint32_t (&random)[2][N]) {
    if constexpr (N == 4) {
        if (c.random == nullptr && (c.first_index + i) % 4 == 0 && stride % 4 == 0) {
            const std::uint64_t first = (c.first_index + i) / 4;
            const std::uint64_t counters[2] = {first, first + stride / 4};
            std::uint32_t words[8];
            counted_words(c.source, stream, counters, words);
#pragma unroll
            for (int k = 0; k < 8; ++k) random[k / 4][k % 4] = words[k];
            return;
        }
    }
    if constexpr (N == 2) {
        const unsigned odd = threadIdx.x % 2;
        const std::uint64_t begin = c.first_index + i - 2 * odd;
        if (c.random == nullptr && begin % 4 == 0 && stride % 4 == 0) {
            const std::uint64_t counter[1] = {(begin + (odd != 0 ? stride : 0)) / 4};
            std::uint32_t four[4];
            counted_words(c.source, stream, counter, four);
            const unsigned both = 3U << (threadIdx.x % 32 - odd);
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                const auto mine = odd != 0 ? four[k + 2] : four[k];
                const auto other = __shfl_xor_sync(both, odd != 0 ? four[k] : four[k + 2], 1);
                random[0][k] = odd != 0 ? other : mine;
                random[1][k] = odd != 0 ? mine : other;
            }
            return;
        }
    }
    draw(c, i, random[0]);
    if (rows > 1) draw(c, i + stride, random[1]);  // the caller's bits end with the last row
}

/// Rows of words that a thread keeps in shared memory, for loops that are not unrolled: registers have no
/// index.
template <int Rows, int Words, int Threads>
struct shelf {
    group<std::uint32_t, Words> rows[Rows][Threads];

    /// Those of `w` from row `first` on.
    template <int All>
    __device__ void put(const std::uint32_t (&w)[All][Words], int first = 0) {
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
            group<std::uint32_t, Words> g;
#pragma unroll
            for (int j = 0; j < Words; ++j) g.at[j] = w[first + r][j];
            rows[r][threadIdx.x] = g;
        }
    }
    /// What is in column k.
    template <carrier C>
    [[nodiscard]] __device__ block_content<float> content(int k) const {
        constexpr int N = values_a_word<C>;
        block_content<float> found;
#pragma unroll 1
        for (int r = 0; r < Rows; ++r)
            found.add(value_of<C>(rows[r][threadIdx.x].at[k / N], k % N) & magnitude_bits<float>);
        return found;
    }
};

/// What became of a row of a thread's columns, from element i on: values, or codes closed up as `how` says.
template <block_verb V, carrier C, class How, int Words>
__device__ void store_row(const block_call<float>& c, How how, std::uint64_t i,
                          const group<std::uint32_t, Words>& y) {
    if constexpr (V == block_verb::encode) store_code_words<C>(c, how, i, y.at);
    else
        *reinterpret_cast<group<std::uint32_t, Words>*>(static_cast<std::uint8_t*>(c.to) +
                                                        i * bytes_of(C)) = y;
}

/// Columns whose scales are known, of rows on a shelf: two a step.
template <block_verb V, class Way, int Rows, int Words, int Threads>
__device__ void finish_kept_columns(const block_call<float>& c, const block_call<float>& slow,
                                    const shelf<Rows, Words, Threads>& x,
                                    const word_scales<Way::C> (&s)[Words], bool is_common,
                                    std::uint64_t first, std::uint64_t stride, std::uint32_t rows) {
    constexpr carrier C = Way::C;
    const std::uint64_t of_source = c.source.stream();
#pragma unroll 1
    for (std::uint32_t r = 0; r < rows; r += 2) {
        const std::uint64_t i = first + r * stride;
        std::uint32_t random[2][Words * values_a_word<C>] = {};
        if constexpr (is_stochastic(Way::mode)) draw(c, of_source, i, stride, rows - r, random);
#pragma unroll
        for (std::uint32_t k = 0; k < 2; ++k) {
            if (r + k >= rows) continue;
            auto y = x.rows[r + k][threadIdx.x];
            convert_words<V, Way>(
                c, slow, [&](int j) -> const auto& { return s[j]; }, is_common, random[k], y.at);
            store_row<V, C>(c, c.is_dense ? packing::dense : packing::loose, i + k * stride, y);
        }
    }
}

/// Columns whose scales are known, in modes without chance.
template <block_verb V, class Way, int Rows, int Words>
__device__ void finish_columns(const block_call<float>& c, const block_call<float>& slow,
                               const upright<Way::C, Rows, Words>& x,
                               const word_scales<Way::C> (&s)[Words], bool is_common,
                               std::uint64_t first, std::uint64_t stride, std::uint32_t rows) {
    constexpr carrier C = Way::C;
    const bool is_dense = V == block_verb::encode && c.is_dense;
    // Which rows there are, and how codes are packed, are asked before the loop where it is quick.
    const auto over = [&](std::uint32_t count, auto how, const auto& apply) {
        std::uint64_t i = first;
#pragma unroll
        for (int r = 0; r < Rows; ++r, i += stride) {
            if (static_cast<std::uint32_t>(r) >= count) continue;
            group<std::uint32_t, Words> y;
#pragma unroll
            for (int j = 0; j < Words; ++j) y.at[j] = apply(s[j], x.w[r][j]);
            store_row<V, C>(c, how, i, y);
        }
    };
    const auto all = [&](const auto& apply) {
        if (is_dense) over(Rows, std::integral_constant<packing, packing::dense>{}, apply);
        else over(Rows, std::integral_constant<packing, packing::loose>{}, apply);
    };
    if (!is_common || rows != Rows)
        over(rows, is_dense ? packing::dense : packing::loose,
             [&](const auto& of, std::uint32_t w) {
            return apply_carefully<C, V, Way::mode>(slow, of, w, 0, 0);
        });
    else if (Way::always_multiplies || c.before == scaling::multiply)
        all([&](const auto& of, std::uint32_t w) {
            return Way::template apply<scaling::multiply>(c, of, w);
        });
    else
        all([&](const auto& of, std::uint32_t w) {
            return Way::template apply<scaling::divide>(c, of, w);
        });
}

/// The largest finite magnitude of what comes from the transform down columns of 32 rows.
template <carrier C>
__global__ void __launch_bounds__(block_threads)
    turned_columns_maximum(const __grid_constant__ block_call<float> c, std::uint64_t tasks,
                           std::uint32_t across) {
    using tile = upright<C, 32, 1>;
    const block_layout& l = c.layout;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const auto down = static_cast<std::uint32_t>((l.rows + 31) / 32);
    const column_turn<C, 32> turn(c.turn);
    std::uint32_t largest = 0;
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; t < tasks;
         t += threads) {
        const std::uint64_t band = t / across;
        const std::uint32_t column = static_cast<std::uint32_t>(t - band * across) * tile::columns;
        const std::uint64_t matrix = band / down;
        const auto row = static_cast<std::uint32_t>(band - matrix * down) * 32;
        const auto left = static_cast<std::uint32_t>(l.rows) - row;
        tile x;
        x.load(c.from, (matrix * l.rows + row) * l.columns + column, l.columns,
               left < 32 ? left : 32);
        turn.down(x.w);
        std::uint32_t m = 0;
#pragma unroll
        for (int r = 0; r < 32; ++r) m = larger_magnitudes<C>(m, x.w[r][0]);
        auto found = widened<C>(largest_in<C>(m));
        if (found >= infinity_bits<float>) {
            found = 0;
#pragma unroll
            for (int k = 0; k < tile::columns; ++k) found = umax(found, x.content(k).largest);
        }
        largest = umax(largest, found);
    }
    largest = largest_of(largest, 32);
    if (threadIdx.x % 32 == 0) raise(c.lines->largest, largest);
}

/// tasks: of `across` threads' columns and a band of Rows rows each.
template <block_verb V, class Way, int Rows, int Words>
__global__ void __launch_bounds__(block_threads, Rows* Words <= 16 ? 3 : 2)
    quick_columns(const __grid_constant__ block_call<float> c,
                  const __grid_constant__ block_call<float> slow, std::uint64_t tasks,
                  std::uint32_t across) {
    constexpr carrier C = Way::C;
    using tile = upright<C, Rows, Words>;
    const block_layout& l = c.layout;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const auto down = static_cast<std::uint32_t>(l.blocks_down());
    const column_turn<C, Rows> turn(c.turn);
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; t < tasks;
         t += threads) {
        const std::uint64_t band = t / across;
        const std::uint32_t column = static_cast<std::uint32_t>(t - band * across) * tile::columns;
        const std::uint64_t matrix = band / down;
        const auto row = static_cast<std::uint32_t>(band - matrix * down) * Rows;
        const std::uint64_t first = (matrix * l.rows + row) * l.columns + column;
        const auto left = static_cast<std::uint32_t>(l.rows) - row;
        const std::uint32_t rows = left < Rows ? left : Rows;
        tile x;
        x.load(c.from, first, l.columns, rows);
        if (c.turn.log2_size > 0) turn.down(x.w);
        word_scales<C> s[Words];
        const bool is_common = scales_of_columns<V>(c, slow, x, band * l.columns + column, s);
        if constexpr (is_stochastic(Way::mode)) {
            constexpr int some = Rows * Words <= 32 ? Rows : Rows / 2;  // a shelf has its limits
            __shared__ shelf<some, Words, block_threads> kept;
#pragma unroll
            for (std::uint32_t r = 0; r < Rows; r += some) {
                if (r >= rows) continue;
                kept.put(x.w, static_cast<int>(r));
                finish_kept_columns<V, Way>(c, slow, kept, s, is_common, first + r * l.columns,
                                            l.columns, umin(some, rows - r));
            }
        } else {
            finish_columns<V, Way>(c, slow, x, s, is_common, first, l.columns, rows);
        }
    }
}

}  // namespace lowp::cuda::detail
