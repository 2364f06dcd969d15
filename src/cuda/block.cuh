// What the host calls for block formats: which kernels a call takes.
#pragma once

#include "block_columns.cuh"
#include "block_decode.cuh"
#include "block_fast.cuh"
#include "block_kernels.cuh"
#include "block_outer.cuh"
#include "block_pieces.cuh"
#include "block_search.cuh"

namespace lowp::cuda::detail {

/// The tensor's largest magnitude by the kernels that transform on the way, or move whole strips.
template <carrier C>
bool find_maximum_quickly(const block_call<worker_t<C>>& c, stream s) {
    if constexpr (C != carrier::float64) {
        const block_layout& l = c.layout;
        if (c.turn.log2_size > 0 && l.block_columns == 1) {
            const auto across = static_cast<std::uint32_t>(l.columns / (4 / bytes_of(C)));
            const std::uint64_t tasks = l.count * ((l.rows + 31) / 32) * across;
            launch(&turned_columns_maximum<C>, blocks_for(tasks), s, c, tasks, across);
            return true;
        }
        if (l.size() % 8 != 0 || !is_aligned(c.from, bytes_of(C), 8)) return false;
        const std::uint64_t groups = l.size() / 8;
        launch(&strips_maximum<C>, blocks_for(groups / narrow_strips::count + 1), s, c, groups);
        return true;
    }
    return false;
}

template <carrier C>
void find_line_maxima(const block_call<worker_t<C>>& c, stream s) {
    const block_layout& l = c.lines_of;
    if (c.outer_per == granularity::tensor) {
        check(cudaMemsetAsync(c.lines, 0, sizeof(*c.lines), s), "the workspace");
        if (l.size() == 0) return;
        if (find_maximum_quickly<C>(c, s)) return;
        const bool groups = is_aligned(c.from, bytes_of(C), block_step<C>);
        return launch(&tensor_maximum<C>, blocks_for(l.size() / block_step<C> + 1), s, c.from,
                      std::uint64_t{l.size()}, groups, c.lines);
    }
    const bool stand = l.is_upright;
    const unsigned lanes_a_line = stand ? 1 : 32;
    launch(&line_maxima_of<C>, blocks_for(l.lines() * lanes_a_line), s, c.from,
           std::uint64_t{l.lines()}, std::uint64_t{stand ? l.rows : l.columns},
           std::uint64_t{stand ? l.columns : 1}, std::uint64_t{stand ? l.columns : 1}, lanes_a_line,
           c.lines);
}

template <carrier C>
void block_kernels<C>::find_outer(const block_call<T>& c, stream s) {
    if (c.follows_maximum()) find_line_maxima<C>(c, s);
    scale_outer(c, s);
}

template <carrier C>
void block_kernels<C>::scale_outer(const block_call<T>& c, stream s) {
    launch(&outer_scales<T>, blocks_for(c.line_count), s, c);
}

template <carrier C>
void block_kernels<C>::find_scales(const block_call<T>& c, stream s) {
    const block_layout& l = c.layout;
    const std::uint64_t n = l.blocks();
    if (std::uint64_t{l.block_rows} * l.block_columns <= huge_from)
        launch(&cuda::detail::find_scales<C, 1>, blocks_for(n * 8), s, c, elements_of(c), n);
    else
        launch(&cuda::detail::find_scales<C, block_threads / 8>, blocks_for(n * block_threads), s,
               c, elements_of(c), n);
}

/// Whether blocks follow each other in strips of a shape, as many or more of them a block.
template <carrier C, block_verb V, class Shape>
bool lies_in_strips(const block_call<worker_t<C>>& c) {
    constexpr int N = Shape::values;
    const block_layout& l = c.layout;
    const bool is_aligned_here = is_aligned(c.from, bytes_of(C), N) &&
                                 is_aligned(c.to, V == block_verb::quantize ? bytes_of(C) : 1, N);
    return follows_itself(l, N) && l.block_columns / N >= Shape::count && is_aligned_here;
}

/// The quick kernel of a shape of strips, if blocks lie so.
template <class Way, block_verb V, class Shape>
bool start_strips(const block_call<float>& c, stream s) {
    if (!lies_in_strips<Way::C, V, Shape>(c)) return false;
    const std::uint64_t groups = c.layout.size() / Shape::values;
    const auto log2_lanes =
        static_cast<unsigned>(std::countr_zero(c.layout.block_columns / Shape::values));
    launch(&quick_lines<V, Way, Shape>, blocks_for(groups / Shape::count), s, c, c, groups,
           log2_lanes);
    return true;
}

/// The same with the shape that is fastest.
template <class Way, block_verb V>
bool start_lines(const block_call<float>& c, stream s) {
    if constexpr (bytes_of(Way::C) == 2 && !is_stochastic(Way::mode)) {
        const bool is_turned = c.turn.log2_size > 0;
        if (!is_turned && c.layout.block_columns == 16 && start_strips<Way, V, whole_strips>(c, s))
            return true;
        if constexpr (V == block_verb::encode)
            if (!is_turned && start_strips<Way, V, wide_strips>(c, s)) return true;
    }
    return start_strips<Way, V, narrow_strips>(c, s);
}

/// Blocks of at least a strip for each thread of a thread block, in whole strips. Returns whether they
/// are.
template <class Way, block_verb V>
bool start_pieces(const block_call<float>& c, stream s) {
    constexpr int N = narrow_strips::values;
    const block_layout& l = c.layout;
    const std::uint64_t size = std::uint64_t{l.block_rows} * l.block_columns;
    const bool is_aligned_here =
        is_aligned(c.from, bytes_of(Way::C), N) &&
        is_aligned(c.to, V == block_verb::quantize ? bytes_of(Way::C) : 1, N);
    if (size < block_threads * N || l.columns % N != 0 || l.block_columns % N != 0 ||
        !is_aligned_here)
        return false;
    const std::uint64_t pieces = (size + piece - 1) / piece;
    const std::uint64_t tasks = pieces * l.blocks();
    const unsigned grid = blocks_for(tasks * block_threads);
    if (pieces > 1) {
        check(cudaMemsetAsync(c.blocks, 0, l.blocks() * sizeof(*c.blocks), s), "the workspace");
        launch(&quick_contents<Way::C>, grid, s, c, tasks, pieces);
        launch(&huge_scales<V, float>, blocks_for(l.blocks()), s, c, std::uint64_t{l.blocks()});
    }
    launch(&quick_pieces<V, Way>, grid, s, c, c, tasks, pieces);
    return true;
}

/// Whether a quick kernel did it.
template <carrier C, block_verb V>
bool work_quickly(const block_call<worker_t<C>>& c, stream s) {
    if constexpr (C != carrier::float64) {
        if (c.way == quick_elements::none) return false;
        if (stands_in_words<C, V>(c)) {
            constexpr int W = column_words<C, V>;
            const block_layout& l = c.layout;
            const auto across = static_cast<std::uint32_t>(l.columns / (W * (4 / bytes_of(C))));
            const std::uint64_t tasks = l.count * l.blocks_down() * across;
            with_quick_way<C, V>(c, [&](auto way) {
                if (l.block_rows == 16)
                    launch(&quick_columns<V, decltype(way), 16, W>, blocks_for(tasks), s, c, c,
                           tasks, across);
                else
                    launch(&quick_columns<V, decltype(way), 32, W>, blocks_for(tasks), s, c, c,
                           tasks, across);
            });
            return true;
        }
        bool is_done = false;
        with_quick_way<C, V>(c, [&](auto way) {
            using Way = decltype(way);
            is_done = start_lines<Way, V>(c, s) || start_pieces<Way, V>(c, s);
        });
        return is_done;
    }
    return false;
}

/// Elements whose scales are known, in groups where they lie so.
template <carrier C, block_verb V>
void work_with_scales(const block_call<worker_t<C>>& c, bool in_groups, stream s) {
    constexpr int N = small_step;
    const block_layout& l = c.layout;
    const std::uint64_t n = l.size();
    if (in_groups && l.columns % N == 0 && l.block_columns % N == 0)
        return launch(&scaled_elements<C, V, N>, blocks_for(n / N), s, c, elements_of(c), n / N);
    launch(&scaled_elements<C, V, 1>, blocks_for(n), s, c, elements_of(c), n);
}

template <carrier C, block_verb V>
void work_on(const block_call<worker_t<C>>& c, stream s) {
    const block_layout& l = c.layout;
    const std::uint64_t n = l.size();
    const std::size_t k = l.block_columns;
    constexpr int N = small_step;
    const bool in_groups = is_aligned(c.from, bytes_of(C), N) &&
                           (V == block_verb::encode ? is_aligned(c.to, c.code_bytes, N)
                                                    : is_aligned(c.to, bytes_of(C), N));
    if (c.known != nullptr) return work_with_scales<C, V>(c, in_groups, s);
    if (follows_itself(l, small_step) && in_groups) {
        const auto log2_lanes = static_cast<unsigned>(std::countr_zero(k / N));
        return launch(&block_lines<C, V>, blocks_for(n / N), s, c, elements_of(c), n / N,
                      log2_lanes);
    }
    const std::uint64_t size = std::uint64_t{l.block_rows} * l.block_columns;
    if (size <= huge_from) {
        const bool groups = in_groups && l.block_columns % N == 0 && l.columns % N == 0;
        const std::uint64_t shares = groups ? size / N : size;
        const unsigned lanes_a_block =
            l.block_columns == 1 ? 1U
                                 : static_cast<unsigned>(
                                       std::bit_ceil(shares < 32 ? (shares > 0 ? shares : 1) : 32));
        const unsigned grid = blocks_for(l.blocks() * lanes_a_block);
        return launch(&block_teams<C, V>, grid, s, c, elements_of(c), std::uint64_t{l.blocks()},
                      lanes_a_block, groups);
    }
    const std::uint64_t pieces = (size + piece - 1) / piece;
    const std::uint64_t tasks = pieces * l.blocks();
    check(cudaMemsetAsync(c.blocks, 0, l.blocks() * sizeof(*c.blocks), s), "the workspace");
    const unsigned grid = blocks_for(tasks * block_threads);
    launch(&huge_contents<C>, grid, s, c, tasks, pieces, in_groups);
    launch(&huge_scales<V, worker_t<C>>, blocks_for(l.blocks()), s, c, std::uint64_t{l.blocks()});
    launch(&huge_elements<C, V>, grid, s, c, elements_of(c), tasks, pieces, in_groups);
}

template <carrier C, block_verb V>
void block_elements<C, V>::work(const block_call<worker_t<C>>& c, stream s) {
    if (c.known == nullptr && work_quickly<C, V>(c, s)) return;
    if (c.turn.log2_size > 0)
        throw std::logic_error("lowp::cuda: these kernels transform nothing on their way");
    work_on<C, V>(c, s);
}

/// f(bits) for codes that lie 1 to 8 bits apart, groups of N in whole bytes. Returns whether they do.
template <int N, int Bits = 8, class F>
bool with_close_codes(int bits, const F& f) {
    if constexpr (Bits > 0) {
        if (bits != Bits) return with_close_codes<N, Bits - 1>(bits, f);
        if constexpr (N * Bits % 8 == 0) {
            f(std::integral_constant<int, Bits>{});
            return true;
        }
    }
    return false;
}

/// Whether blocks follow each other in memory, each a power of two of groups: its logarithm, else -1.
inline int log2_of_groups(const block_layout& l, int step) {
    const std::size_t n = static_cast<std::size_t>(step);
    const bool follows = l.block_rows == 1 && l.count * l.rows == 1 &&
                         l.columns % l.block_columns == 0 && l.block_columns % n == 0 &&
                         std::has_single_bit(l.block_columns / n);
    return follows ? std::countr_zero(l.block_columns / n) : -1;
}

template <carrier C>
void block_kernels<C>::decode(const block_call<T>& c, stream s) {
    const std::uint64_t n = c.layout.size();
    constexpr int N = block_step<C>;
    const block_layout& l = c.layout;
    const bool are_aligned = is_aligned(c.from, 1, N) && is_aligned(c.to, bytes_of(C), N);
    const bool are_groups = l.columns % N == 0 && l.block_columns % N == 0 && c.line_codes == n;
    // Where a step finds its block, too, or looks values up, steps of a thread help each other.
    const int log2_groups = log2_of_groups(l, N);
    const bool moves_only = bytes_of(C) > 2 && log2_groups >= 0;
    const auto in_groups = [&](auto bits) {
        launch(&decode_groups<C, decltype(bits)::value>,
               blocks_for(n / N, moves_only ? many_times : usual_times), s, c,
               c.book == nullptr ? codebook{} : *c.book, n / N, log2_groups);
    };
    if (are_aligned && are_groups && c.code_bytes == 1 &&
        with_close_codes<N>(c.is_dense ? c.code_bits : 8, in_groups))
        return;
    launch(&decode_blocks<C>, blocks_for(n), s, c, elements_of(c), n);
}

}  // namespace lowp::cuda::detail
