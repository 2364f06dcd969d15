// What the host calls for block formats: which kernels a call takes.
#pragma once

#include "block_decode.cuh"
#include "block_kernels.cuh"
#include "block_outer.cuh"
#include "block_search.cuh"

namespace lowp::cuda::detail {

template <class T>
any_elements elements_of(const block_call<T>& c) {
    return c.book == nullptr ? any_elements{} : any_elements{*c.book};
}

template <carrier C>
void find_line_maxima(const block_call<worker_t<C>>& c, stream s) {
    const block_layout& l = c.lines_of;
    if (c.outer_per == granularity::tensor) {
        check(cudaMemsetAsync(c.lines, 0, sizeof(*c.lines), s), "the workspace");
        if (l.size() == 0) return;
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
    if (c.outer_given == nullptr && !(c.outer_fixed > 0)) find_line_maxima<C>(c, s);
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

/// Elements whose scales are known, in groups where they lie so.
template <carrier C, block_verb V, chance Chance>
void work_with_scales(const block_call<worker_t<C>>& c, bool in_groups, stream s) {
    constexpr int N = block_step<C>;
    const block_layout& l = c.layout;
    const std::uint64_t n = l.size();
    if (in_groups && l.columns % N == 0 && l.block_columns % N == 0)
        return launch(&scaled_elements<C, V, Chance, N>, blocks_for(n / N), s, c, elements_of(c),
                      n / N);
    launch(&scaled_elements<C, V, Chance, 1>, blocks_for(n), s, c, elements_of(c), n);
}

template <carrier C, block_verb V, chance Chance>
void work_on(const block_call<worker_t<C>>& c, stream s) {
    using lowp::detail::plan;
    const block_layout& l = c.layout;
    const std::uint64_t n = l.size();
    const std::size_t k = l.block_columns;
    constexpr int N = block_step<C>;
    const bool in_groups = is_aligned(c.from, bytes_of(C), N) &&
                           (V == block_verb::encode ? is_aligned(c.to, c.code_bytes, N)
                                                    : is_aligned(c.to, bytes_of(C), N));
    if (c.known != nullptr) return work_with_scales<C, V, Chance>(c, in_groups, s);
    using plain = path_elements<path::plain_sum>;
    const path way = V == block_verb::quantize ? c.element.path : c.element.encode_path;
    const bool is_plain = way == path::plain_sum && c.book == nullptr;
    if (lies_in_lines<C>(l) && in_groups) {
        const auto log2_lanes = static_cast<unsigned>(std::countr_zero(k / N));
        if (is_plain)
            return launch(&block_lines<C, V, Chance, plain>, blocks_for(n / N), s, c, plain{},
                          n / N, log2_lanes);
        return launch(&block_lines<C, V, Chance, any_elements>, blocks_for(n / N), s, c,
                      elements_of(c), n / N, log2_lanes);
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
        return launch(&block_teams<C, V, Chance, any_elements>, grid, s, c, elements_of(c),
                      std::uint64_t{l.blocks()}, lanes_a_block, groups);
    }
    const std::uint64_t pieces = (size + piece - 1) / piece;
    const std::uint64_t tasks = pieces * l.blocks();
    check(cudaMemsetAsync(c.blocks, 0, l.blocks() * sizeof(*c.blocks), s), "the workspace");
    const unsigned grid = blocks_for(tasks * block_threads);
    launch(&huge_contents<C>, grid, s, c, tasks, pieces, in_groups);
    launch(&huge_scales<V, worker_t<C>>, blocks_for(l.blocks()), s, c, std::uint64_t{l.blocks()});
    if (is_plain)
        launch(&huge_elements<C, V, Chance, plain>, grid, s, c, plain{}, tasks, pieces, in_groups);
    else
        launch(&huge_elements<C, V, Chance, any_elements>, grid, s, c, elements_of(c), tasks,
               pieces, in_groups);
}

template <carrier C, block_verb V>
void block_elements<C, V>::work(const block_call<worker_t<C>>& c, stream s) {
    with_chance(c.element.rounding, [&](auto kind) { work_on<C, V, decltype(kind)::value>(c, s); });
}

template <carrier C>
void block_kernels<C>::decode(const block_call<T>& c, stream s) {
    const std::uint64_t n = c.layout.size();
    constexpr int N = block_step<C>;
    const bool in_groups = is_aligned(c.from, 1, N) && is_aligned(c.to, bytes_of(C), N);
    const bool is_simple =
        c.book == nullptr && c.code_bytes == 1 && (c.code_bits == 4 || !c.is_dense);
    const block_layout& l = c.layout;
    const bool fits = l.columns % N == 0 && l.block_columns % N == 0;
    if (fits && in_groups && is_simple && c.line_codes == n)
        return launch(&decode_groups<C>, blocks_for(n / N), s, c, n / N,
                      lies_in_lines<C>(l) ? std::countr_zero(l.block_columns / N) : -1);
    launch(&decode_blocks<C>, blocks_for(n), s, c, elements_of(c), n);
}

}  // namespace lowp::cuda::detail
