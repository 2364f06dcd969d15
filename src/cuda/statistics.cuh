// Largest magnitudes, counts of codes, and what the host calls.
#pragma once

#include "block_kernels.cuh"
#include "statistics_error.cuh"

namespace lowp::cuda::detail {

// ---- largest magnitudes ---------------------------------------------------------------------------

// As unsigned integers, magnitudes are in order: numbers, infinity, NaN.

template <carrier C>
__device__ void store_amax(const amax_call& c, std::uint64_t block, std::uint64_t largest) {
    using T = worker_t<C>;
    using word = word_of<T>;
    const word bits[1] = {largest > infinity_bits<T> ? quiet_nan_bits<T>
                                                     : static_cast<word>(largest)};
    store_values<C>(c.to, block, bits);
}

template <carrier C, int N>
__device__ word_of<worker_t<C>> largest_at(const void* from, std::uint64_t i) {
    using T = worker_t<C>;
    word_of<T> v[N];
    load_values<C>(from, i, v);
    word_of<T> largest = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        const auto magnitude = v[j] & magnitude_bits<T>;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

/// Blocks of some lanes' groups each, one after the other in memory.
template <carrier C>
__global__ void __launch_bounds__(block_threads)
    amax_lines(const __grid_constant__ amax_call c, std::uint64_t groups, unsigned log2_lanes) {
    constexpr int N = block_step<C>;
    const unsigned lanes_a_block = 1U << log2_lanes;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const unsigned lane = threadIdx.x % 32;
    for (std::uint64_t g = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; g - lane < groups;
         g += threads) {
        const auto own = g < groups ? largest_at<C, N>(c.from, g * N) : 0;
        const auto largest = largest_of(own, lanes_a_block);
        if (g < groups && (lane & (lanes_a_block - 1)) == 0)
            store_amax<C>(c, g >> log2_lanes, largest);
    }
}

template <carrier C>
__device__ word_of<worker_t<C>> amax_of_part(const amax_call& c, const block_place& p,
                                             std::uint64_t begin, std::uint64_t end, unsigned lane,
                                             unsigned count, bool moves_groups) {
    word_of<worker_t<C>> largest = 0;
    for_elements<C>(c.layout, p, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end),
                    lane, count, moves_groups,
                    [&](auto n, std::uint32_t e) {
        const auto here = largest_at<C, decltype(n)::value>(c.from, element_at(c.layout, p, e));
        largest = here > largest ? here : largest;
    });
    return largest;
}

/// Up to 32 lanes a block.
template <carrier C>
__global__ void __launch_bounds__(block_threads)
    amax_teams(const __grid_constant__ amax_call c, unsigned lanes_a_block, bool moves_groups) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const std::uint64_t blocks = c.layout.blocks();
    const unsigned lane = threadIdx.x % 32;
    const unsigned own = lane & (lanes_a_block - 1);
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
         (t - lane) / lanes_a_block < blocks; t += threads) {
        const std::uint64_t block = t / lanes_a_block;
        const block_place p = block < blocks ? place_of(c.layout, block) : block_place{};
        const auto largest = largest_of(
            amax_of_part<C>(c, p, 0, p.rows * p.columns, own, lanes_a_block, moves_groups),
            lanes_a_block);
        if (block < blocks && own == 0) store_amax<C>(c, block, largest);
    }
}

/// The piece of a block from element `begin` of it on, as a block of its own where blocks are runs,
/// which may be of any length.
__device__ inline block_place piece_of(const block_layout& l, std::uint64_t block,
                                       std::uint64_t& begin) {
    if (l.block_rows > 1) return place_of(l, block);
    const std::uint64_t column = block % l.blocks_across() * l.block_columns;
    const std::uint64_t left = l.columns - column;
    const std::uint64_t length = left < l.block_columns ? left : l.block_columns;
    const std::uint64_t rest = begin < length ? length - begin : 0;
    const std::uint64_t first = block / l.blocks_across() * l.columns + column + begin;
    begin = 0;
    return {first, 1, static_cast<std::uint32_t>(rest < piece ? rest : piece)};
}

/// Pieces of large blocks, a thread block each.
template <carrier C>
__global__ void __launch_bounds__(block_threads)
    amax_pieces(const __grid_constant__ amax_call c, std::uint64_t tasks, std::uint64_t pieces,
                bool moves_groups) {
    for (std::uint64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
        const std::uint64_t block = task / pieces;
        std::uint64_t begin = task % pieces * piece;
        const block_place p = piece_of(c.layout, block, begin);
        const auto from = static_cast<std::uint32_t>(begin);
        const auto largest = largest_of(amax_of_part<C>(c, p, from, end_of_piece(p, from),
                                                        threadIdx.x, blockDim.x, moves_groups),
                                        32);
        if (threadIdx.x % 32 == 0) raise(c.largest[block], largest);
    }
}

/// Upright blocks: a thread goes down some rows of N columns side by side, its neighbours beside them.
/// Where it sees all rows of the blocks it stores what it finds, else it raises their words.
template <carrier C, int N>
__global__ void __launch_bounds__(block_threads)
    amax_columns(const __grid_constant__ amax_call c, std::uint64_t parts) {
    using T = worker_t<C>;
    const block_layout& l = c.layout;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const std::uint64_t bands = l.count * l.blocks_down();
    const std::uint64_t wide = l.columns / N;
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
         t < bands * parts * wide; t += threads) {
        const std::uint64_t column = t % wide * N;
        const std::uint64_t part = t / wide % parts;
        const std::uint64_t band = t / wide / parts;
        const std::uint64_t row = band % l.blocks_down() * l.block_rows;
        const std::uint64_t rows = l.rows - row < l.block_rows ? l.rows - row : l.block_rows;
        const std::uint64_t begin = part * rows_a_thread;
        const std::uint64_t end = begin + rows_a_thread < rows ? begin + rows_a_thread : rows;
        const std::uint64_t first = (band / l.blocks_down() * l.rows + row) * l.columns + column;
        word_of<T> largest[N] = {};
#pragma unroll 8
        for (std::uint64_t k = begin; k < end; ++k) {
            word_of<T> v[N];
            load_values<C>(c.from, first + k * l.columns, v);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                const auto magnitude = v[j] & magnitude_bits<T>;
                largest[j] = magnitude > largest[j] ? magnitude : largest[j];
            }
        }
        for (int j = 0; j < N; ++j) {
            const std::uint64_t block = band * l.columns + column + j;
            if (parts == 1) store_amax<C>(c, block, largest[j]);
            else if (begin < end) raise(c.largest[block], largest[j]);
        }
    }
}

template <carrier C>
__global__ void __launch_bounds__(block_threads)
    store_raised(const __grid_constant__ amax_call c, std::uint64_t blocks) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t b = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; b < blocks;
         b += threads)
        store_amax<C>(c, b, c.largest[b]);
}

inline bool is_upright(const block_layout& l) { return l.block_columns == 1 && l.columns > 1; }

template <carrier C>
void go_down(const amax_call& c, bool groups, stream s) {
    const block_layout& l = c.layout;
    constexpr int N = 16 / bytes_of(C);
    const std::uint64_t parts = (l.block_rows + rows_a_thread - 1) / rows_a_thread;
    const std::uint64_t threads = l.count * l.blocks_down() * parts * l.columns;
    if (groups && l.columns % N == 0)
        return launch(&amax_columns<C, N>, blocks_for(threads / N), s, c, parts);
    launch(&amax_columns<C, 1>, blocks_for(threads), s, c, parts);
}

template <carrier C>
void raise_shared(const amax_call& c, bool groups, stream s) {
    const block_layout& l = c.layout;
    check(cudaMemsetAsync(c.largest, 0, l.blocks() * sizeof(*c.largest), s), "the workspace");
    if (is_upright(l)) {
        go_down<C>(c, groups, s);
    } else {
        const std::uint64_t pieces =
            (std::uint64_t{l.block_rows} * l.block_columns + piece - 1) / piece;
        const std::uint64_t tasks = pieces * l.blocks();
        launch(&amax_pieces<C>, blocks_for(tasks * block_threads), s, c, tasks, pieces, groups);
    }
    launch(&store_raised<C>, blocks_for(l.blocks()), s, c, std::uint64_t{l.blocks()});
}

template <carrier C>
void statistics<C>::amax(const amax_call& c, stream s) {
    const block_layout& l = c.layout;
    constexpr int N = block_step<C>;
    const bool groups = is_aligned(c.from, bytes_of(C), N);
    if (is_shared(l)) return raise_shared<C>(c, groups, s);
    if (is_upright(l)) return go_down<C>(c, groups, s);
    if (lies_in_lines<C>(l) && groups)
        return launch(&amax_lines<C>, blocks_for(l.size() / N), s, c, std::uint64_t{l.size() / N},
                      static_cast<unsigned>(std::countr_zero(l.block_columns / N)));
    const std::uint64_t size = std::uint64_t{l.block_rows} * l.block_columns;
    const bool in_groups = groups && l.block_columns % N == 0 && l.columns % N == 0;
    const std::uint64_t shares = in_groups ? size / N : size;
    const auto lanes_a_block = static_cast<unsigned>(std::bit_ceil(shares < 32 ? shares : 32));
    launch(&amax_teams<C>, blocks_for(l.blocks() * lanes_a_block), s, c, lanes_a_block, in_groups);
}

// ---- errors ---------------------------------------------------------------------------------------

template <carrier C>
void statistics<C>::measure(const error_call<T>& c, stream s) {
    const bool groups = is_aligned(c.x, bytes_of(C), accumulators<C>) &&
                        is_aligned(c.q, bytes_of(C), accumulators<C>);
    launch(&measure_runs<C>, blocks_for(error_runs(c.size) * block_threads), s, c, groups);
}

// ---- counts of codes ------------------------------------------------------------------------------

/// Codes of up to so many bits are counted in a thread block's own memory first.
inline constexpr int bits_at_hand = 12;

template <carrier C, class Code>
__global__ void __launch_bounds__(block_threads)
    count_all(const Code* codes, std::uint64_t n, int bits, unsigned long long* counts,
              const void* x) {
    __shared__ std::uint32_t own[1U << bits_at_hand];
    const std::uint32_t size = 1U << bits;
    const bool at_hand = bits <= bits_at_hand;
    for (std::uint32_t i = threadIdx.x; at_hand && i < size; i += blockDim.x) own[i] = 0;
    __syncthreads();
    // A thread block's counts fit 32 bits: it sees fewer elements at a time.
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
         i += threads) {
        if (x != nullptr && largest_at<C, 1>(x, i) >= infinity_bits<worker_t<C>>) continue;
        const std::uint32_t code = codes[i] & (size - 1);
        if (at_hand) atomicAdd(own + code, 1U);
        else atomicAdd(counts + code, 1ULL);
    }
    __syncthreads();
    for (std::uint32_t i = threadIdx.x; at_hand && i < size; i += blockDim.x)
        if (own[i] != 0) atomicAdd(counts + i, static_cast<unsigned long long>(own[i]));
}

template <carrier C>
void statistics<C>::count_codes(const void* codes, int bytes, std::uint64_t n, int bits,
                                std::uint64_t* counts, const void* x, stream s) {
    check(cudaMemsetAsync(counts, 0, (std::size_t{1} << bits) * sizeof(*counts), s), "the counts");
    auto* const to = reinterpret_cast<unsigned long long*>(counts);
    const unsigned blocks = blocks_for(n / 16 + 1);
    if (bytes == 1)
        launch(&count_all<C, std::uint8_t>, n > 0 ? blocks : 0, s,
               static_cast<const std::uint8_t*>(codes), n, bits, to, x);
    else
        launch(&count_all<C, std::uint16_t>, n > 0 ? blocks : 0, s,
               static_cast<const std::uint16_t*>(codes), n, bits, to, x);
}

}  // namespace lowp::cuda::detail
