// The kernels of block formats. What a block's elements have in common is found by the lanes that hold
// them, by shuffles; every lane then works out the block's scale by the text of detail/block_kernel.hpp.
//
//     block_lines   blocks of some lanes' elements each, one after the other in memory
//     block_teams   any other layout: up to 32 lanes a block, which read it twice
//     huge_...      blocks of more than some thousand elements: many thread blocks each, two kernels
#pragma once

#include "block_parts.cuh"

namespace lowp::cuda::detail {

// ---- blocks in lines ------------------------------------------------------------------------------

/// A word with those of `lanes` neighbouring lanes, a power of two: the largest; or all bits.
template <class Word>
__device__ Word largest_of(Word w, unsigned lanes) {
    for (unsigned d = lanes / 2; d > 0; d /= 2) {
        const Word other = __shfl_xor_sync(all_lanes, w, d);
        w = other > w ? other : w;
    }
    return w;
}
__device__ inline unsigned bits_of_all(unsigned w, unsigned lanes) {
    for (unsigned d = lanes / 2; d > 0; d /= 2) w |= __shfl_xor_sync(all_lanes, w, d);
    return w;
}
template <class T>
__device__ void merge(block_content<T>& content, unsigned lanes) {
    content.largest = largest_of(content.largest, lanes);
    const unsigned flags =
        bits_of_all((content.has_nan ? 1U : 0U) | (content.has_inf ? 2U : 0U), lanes);
    content.has_nan = (flags & 1) != 0;
    content.has_inf = (flags & 2) != 0;
}

template <carrier C, block_verb V, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    block_lines(const __grid_constant__ block_call<T> c,
                const __grid_constant__ any_elements<T> elements, std::uint64_t groups,
                unsigned log2_lanes) {
    using word = word_of<T>;
    constexpr int N = small_step;
    const unsigned lanes_a_block = 1U << log2_lanes;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const unsigned lane = threadIdx.x % 32;
    for (std::uint64_t g = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; g - lane < groups;
         g += threads) {
        const bool is_there = g < groups;
        word v[N] = {};
        if (is_there) load_values<C>(c.from, g * N, v);
        word largest = 0;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const word magnitude = v[j] & magnitude_bits<T>;
            largest = magnitude > largest ? magnitude : largest;
        }
        block_content<T> content{.largest = largest_of(largest, lanes_a_block)};
        if (__any_sync(all_lanes, content.largest >= infinity_bits<T>)) {
            content = {};
            for (int j = 0; j < N; ++j) content.add(v[j] & magnitude_bits<T>);
            merge(content, lanes_a_block);
        }
        if (!is_there) continue;
        const std::uint64_t block = g >> log2_lanes;
        const auto s = scale_of(c, elements.scale, block, content);
        if (V == block_verb::encode && (lane & (lanes_a_block - 1)) == 0)
            store_scale(c, elements.scale, block, s.ideal);
        convert_elements<V>(c, elements, s, g * N, v);
        store_elements<C, V>(c, g * N, v);
    }
}

// ---- blocks of any layout -------------------------------------------------------------------------

/// Where a block lies: `rows` rows of `columns` elements from `first` on.
struct block_place {
    std::uint64_t first = 0;
    std::uint32_t rows = 0, columns = 0;
};

__device__ inline block_place place_of(const block_layout& l, std::uint64_t block) {
    const std::uint64_t across = block % l.blocks_across();
    const std::uint64_t band = block / l.blocks_across();
    const std::uint64_t row = band % l.blocks_down() * l.block_rows;
    const std::uint64_t column = across * l.block_columns;
    const auto smaller = [](std::uint64_t a, std::uint64_t b) {
        return static_cast<std::uint32_t>(a < b ? a : b);
    };
    return {(band / l.blocks_down() * l.rows + row) * l.columns + column,
            smaller(l.block_rows, l.rows - row), smaller(l.block_columns, l.columns - column)};
}

/// Element e of a block, in C order there, in the array.
__device__ inline std::uint64_t element_at(const block_layout& l, const block_place& p,
                                           std::uint32_t e) {
    if (p.rows == 1) return p.first + e;
    const std::uint32_t row = e / p.columns;
    return p.first + row * l.columns + (e - row * p.columns);
}

/// Whether groups of N neighbours lie in one row of the block each, on their own boundaries.
template <int N>
__device__ bool has_groups(const block_layout& l, const block_place& p, bool moves_groups) {
    const bool in_rows = p.rows == 1 || (p.columns % N == 0 && l.columns % N == 0);
    return moves_groups && in_rows && p.first % N == 0;
}

/// body(N, e) for elements [begin, end) of a block, shared by some lanes, of which this is one: in
/// groups where they lie so, one by one else.
template <carrier C, class Body>
__device__ void for_elements(const block_layout& l, const block_place& p, std::uint32_t begin,
                             std::uint32_t end, unsigned lane, unsigned count, bool moves_groups,
                             const Body& body) {
    constexpr int N = small_step;
    std::uint32_t e = begin;
    if (has_groups<N>(l, p, moves_groups)) {
        const std::uint32_t whole = begin + (end - begin) / N * N;
        for (e = begin + lane * N; e < whole; e += count * N)
            body(std::integral_constant<int, N>{}, e);
        e = whole;
    }
    for (e += lane; e < end; e += count) body(std::integral_constant<int, 1>{}, e);
}

/// What some elements of a block add to its content, and their conversion.
template <carrier C, class T>
__device__ void gather(const block_call<T>& c, const block_place& p, std::uint32_t begin,
                       std::uint32_t end, unsigned lane, unsigned count, bool moves_groups,
                       block_content<T>& content) {
    for_elements<C>(c.layout, p, begin, end, lane, count, moves_groups,
                    [&](auto n, std::uint32_t e) {
        constexpr int N = decltype(n)::value;
        word_of<T> v[N];
        load_values<C>(c.from, element_at(c.layout, p, e), v);
#pragma unroll
        for (int j = 0; j < N; ++j) content.add(v[j] & magnitude_bits<T>);
    });
}
template <carrier C, block_verb V, class T>
__device__ void convert_part(const block_call<T>& c, const any_elements<T>& elements,
                             const block_scale<T>& s, const block_place& p, std::uint32_t begin,
                             std::uint32_t end, unsigned lane, unsigned count, bool moves_groups) {
    for_elements<C>(c.layout, p, begin, end, lane, count, moves_groups,
                    [&](auto n, std::uint32_t e) {
        constexpr int N = decltype(n)::value;
        word_of<T> v[N];
        const std::uint64_t i = element_at(c.layout, p, e);
        load_values<C>(c.from, i, v);
        convert_elements<V>(c, elements, s, i, v);
        store_elements<C, V>(c, i, v);
    });
}

template <carrier C, block_verb V, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    block_teams(const __grid_constant__ block_call<T> c,
                const __grid_constant__ any_elements<T> elements, std::uint64_t blocks,
                unsigned lanes_a_block, bool moves_groups) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const unsigned lane = threadIdx.x % 32;
    const unsigned own = lane & (lanes_a_block - 1);
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
         (t - lane) / lanes_a_block < blocks; t += threads) {
        const std::uint64_t block = t / lanes_a_block;
        const bool is_there = block < blocks;
        const block_place p = is_there ? place_of(c.layout, block) : block_place{};
        const std::uint32_t size = p.rows * p.columns;
        block_content<T> content;
        gather<C>(c, p, 0, size, own, lanes_a_block, moves_groups, content);
        merge(content, lanes_a_block);
        if (!is_there) continue;
        const auto s = scale_of(c, elements.scale, block, content);
        if (V == block_verb::encode && own == 0) store_scale(c, elements.scale, block, s.ideal);
        convert_part<C, V>(c, elements, s, p, 0, size, own, lanes_a_block, moves_groups);
    }
}

// ---- huge blocks ----------------------------------------------------------------------------------

/// Elements of a huge block that a thread block works on at a time.
inline constexpr std::uint32_t piece = 16384;

/// The end of the piece that begins here.
__device__ inline std::uint32_t end_of_piece(const block_place& p, std::uint64_t begin) {
    const std::uint64_t size = std::uint64_t{p.rows} * p.columns;
    return static_cast<std::uint32_t>(begin >= size          ? begin
                                      : begin + piece < size ? begin + piece
                                                             : size);
}

/// at = max(at, w); most of those who come find that it is as large already.
__device__ inline void raise(std::uint64_t& at, std::uint64_t w) {
    if (w > *const_cast<volatile std::uint64_t*>(&at))
        atomicMax(reinterpret_cast<unsigned long long*>(&at), static_cast<unsigned long long>(w));
}

/// The same of what is known of a block.
template <class T>
__device__ void raise(huge_block<T>& all, const block_content<T>& content) {
    raise(all.largest, content.largest);
    if (content.has_nan) atomicOr(&all.has_nan, 1U);
    if (content.has_inf) atomicOr(&all.has_inf, 1U);
}

template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    huge_contents(const __grid_constant__ block_call<T> c, std::uint64_t tasks,
                  std::uint64_t pieces, bool moves_groups) {
    for (std::uint64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
        const std::uint64_t block = task / pieces;
        const block_place p = place_of(c.layout, block);
        block_content<T> content;
        const auto begin = static_cast<std::uint32_t>(task % pieces * piece);
        gather<C>(c, p, begin, end_of_piece(p, begin), threadIdx.x, blockDim.x, moves_groups,
                  content);
        merge(content, 32);
        if (threadIdx.x % 32 == 0) raise(c.blocks[block], content);
    }
}

template <block_verb V, class T>
__global__ void __launch_bounds__(block_threads)
    huge_scales(const __grid_constant__ block_call<T> c, std::uint64_t blocks) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t b = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; b < blocks;
         b += threads) {
        huge_block<T>& all = c.blocks[b];
        const auto s = scale_of(c, c.scale, b,
                                block_content<T>{static_cast<word_of<T>>(all.largest),
                                                 all.has_nan != 0, all.has_inf != 0});
        all.total = s.total;
        all.factor = s.factor;
        if (V == block_verb::encode) store_scale(c, c.scale, b, s.ideal);
    }
}

template <carrier C, block_verb V, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    huge_elements(const __grid_constant__ block_call<T> c,
                  const __grid_constant__ any_elements<T> elements, std::uint64_t tasks,
                  std::uint64_t pieces, bool moves_groups) {
    for (std::uint64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
        const std::uint64_t block = task / pieces;
        const block_place p = place_of(c.layout, block);
        const block_scale<T> s{0, c.blocks[block].total, c.blocks[block].factor};
        const auto begin = static_cast<std::uint32_t>(task % pieces * piece);
        convert_part<C, V>(c, elements, s, p, begin, end_of_piece(p, begin), threadIdx.x,
                           blockDim.x, moves_groups);
    }
}

}  // namespace lowp::cuda::detail
