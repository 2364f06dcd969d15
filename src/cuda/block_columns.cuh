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

/// Random words of one row of a thread's columns, from element i on.
template <int N>
__device__ void draw(const block_call<float>& c, std::uint64_t i, std::uint32_t (&random)[N]) {
    if (c.random == nullptr) random_words(c.source, c.first_index + i, random);
    else given_words(c.random, i, c.element.random_shift, c.failures, random);
}

template <block_verb V, class Way, int Rows, int Words>
__device__ void finish_columns(const block_call<float>& c, const block_call<float>& slow,
                               const upright<Way::C, Rows, Words>& x,
                               const word_scales<Way::C> (&s)[Words], bool is_common,
                               std::uint64_t first, std::uint64_t stride, std::uint32_t rows) {
    constexpr carrier C = Way::C;
    constexpr int N = values_a_word<C>;
    const bool is_dense = V == block_verb::encode && c.is_dense;
    // Which rows there are, and how codes are packed, are asked before the loop where it is quick.
    const auto over = [&](std::uint32_t count, auto how, const auto& apply) {
        std::uint64_t i = first;
#pragma unroll
        for (int r = 0; r < Rows; ++r, i += stride) {
            if (static_cast<std::uint32_t>(r) >= count) continue;
            std::uint32_t random[Words * N] = {};
            if constexpr (is_stochastic(Way::mode)) draw(c, i, random);
            std::uint32_t y[Words];
#pragma unroll
            for (int j = 0; j < Words; ++j) {
                std::uint32_t own[N];
#pragma unroll
                for (int k = 0; k < N; ++k) own[k] = random[j * N + k];
                y[j] = apply(s[j], x.w[r][j], own);
            }
            if constexpr (V == block_verb::encode) {
                store_code_words<C>(c, how, i, y);
            } else {
                using pack = group<std::uint32_t, Words>;
                pack g;
#pragma unroll
                for (int j = 0; j < Words; ++j) g.at[j] = y[j];
                *reinterpret_cast<pack*>(static_cast<std::uint8_t*>(c.to) + i * bytes_of(C)) = g;
            }
        }
    };
    const auto some = [&](const auto& apply) {
        over(rows, is_dense ? packing::dense : packing::loose, apply);
    };
    const auto all = [&](const auto& apply) {
        if (is_dense) over(Rows, std::integral_constant<packing, packing::dense>{}, apply);
        else over(Rows, std::integral_constant<packing, packing::loose>{}, apply);
    };
    const auto carefully = [&](const auto& of, std::uint32_t w, const auto& random) {
        return apply_carefully<C, V, Way::mode>(slow, of, w, random[0], random[N - 1]);
    };
    const auto multiplied = [&](const auto& of, std::uint32_t w, const auto& random) {
        return Way::template apply<scaling::multiply>(c, of, w, random);
    };
    const auto divided = [&](const auto& of, std::uint32_t w, const auto& random) {
        return Way::template apply<scaling::divide>(c, of, w, random);
    };
    if constexpr (is_stochastic(Way::mode)) {  // random words are the larger part: once
        some([&](const auto& of, std::uint32_t w, const auto& random) {
            return !is_common                      ? carefully(of, w, random)
                   : c.before == scaling::multiply ? multiplied(of, w, random)
                                                   : divided(of, w, random);
        });
    } else if (!is_common || rows != Rows) {
        some(carefully);
    } else if (Way::always_multiplies || c.before == scaling::multiply) {
        all(multiplied);
    } else {
        all(divided);
    }
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
        finish_columns<V, Way>(c, slow, x, s, is_common, first, l.columns, rows);
    }
}

}  // namespace lowp::cuda::detail
