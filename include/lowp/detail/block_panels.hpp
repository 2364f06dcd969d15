// How an array is cut for the walk over its blocks: panels of some whole blocks side by side, or parts
// of one huge block; and what is kept of a panel's blocks between the passes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "lowp/block_format.hpp"
#include "lowp/detail/block_kernel.hpp"
#include "lowp/detail/environment.hpp"
#include "lowp/detail/stores.hpp"
#include "lowp/detail/threads.hpp"

namespace lowp::detail {

/// A panel: `rows` runs of `width` elements, `stride` apart, in blocks of c columns. `first` and
/// `stride` say where its elements lie in memory, `index` and `index_stride` which ones of the array
/// they are: the same, but for a panel that lies in memory of its own.
struct panel {
    std::size_t first = 0, first_block = 0;
    std::size_t rows = 1, width = 0, stride = 0, c = 1;
    std::size_t index = first, index_stride = stride;

    /// The same panel in memory of its own, row after row.
    [[nodiscard]] panel alone() const {
        panel p = *this;
        p.first = 0;
        p.stride = width;
        return p;
    }

    [[nodiscard]] std::size_t blocks() const { return (width + c - 1) / c; }
    [[nodiscard]] std::size_t elements() const { return rows * width; }
    /// Runs that fit the buffers: whole rows, or parts of the rows of one block.
    [[nodiscard]] std::size_t runs_a_row() const { return (width + block_chunk - 1) / block_chunk; }
    [[nodiscard]] std::size_t runs() const { return rows * runs_a_row(); }
    struct run {
        std::size_t begin, index, n, c;
    };
    [[nodiscard]] run at(std::size_t k) const {
        const std::size_t offset = k % runs_a_row() * block_chunk;
        const std::size_t n = std::min(block_chunk, width - offset);
        const std::size_t row = k / runs_a_row();
        return {first + row * stride + offset, index + row * index_stride + offset, n,
                std::min(c, n)};
    }
};

/// What the blocks of a panel get, one entry a block.
template <class T>
struct panel_scales {
    // As long as the widest panel in blocks of one, a multiple of any register's width.
    std::array<T, block_chunk> statistics, outer, ideals, scales, totals, factors;
    bool has_nan = false;
    stores how = stores::cached;  ///< of results

    /// Loops over whole registers read some entries behind the last block.
    void pad(std::size_t blocks) {
        const std::size_t end = std::min(block_chunk, (blocks + 63) / 64 * 64);
        for (auto* const list : {&statistics, &outer, &scales})
            std::fill(list->begin() + static_cast<std::ptrdiff_t>(blocks),
                      list->begin() + static_cast<std::ptrdiff_t>(end), T{1});
    }
};

/// Outer scales, one or one a line, and what they were made from: their inverses, which round to
/// something else.
template <class T>
struct outer_values {
    std::vector<T> scales, inverses;
};

/// How an array is cut into panels. Flat where blocks follow each other in memory.
class panels {
public:
    explicit panels(const block_layout& l) : l_(l) {
        const std::size_t matrix = l.rows * l.columns;
        if (l.size() == 0) {
            l_.count = 0;
            return;
        }
        if (l.block_columns == l.columns) {
            const bool whole = l.rows % l.block_rows == 0;
            l_ = whole ? block_layout{1, 1, l.size(), 1, l.block_rows * l.columns}
                       : block_layout{1, l.count, matrix, 1, l.block_rows * l.columns};
        } else if (l.block_rows == 1 && l.columns % l.block_columns == 0) {
            l_ = {1, 1, l.size(), 1, l.block_columns};
        }
        // A panel of several rows is read twice: it should stay in the cache between.
        // Where it cannot, long runs are better.
        constexpr std::size_t narrow = 256;
        const bool fits = l_.block_rows <= 16 * block_chunk / narrow;
        const std::size_t wanted =
            fits ? std::clamp(4 * block_chunk / l_.block_rows, narrow, block_chunk) : block_chunk;
        // Whole blocks, and whole bytes of packed codes where that is possible.
        const std::size_t step =
            l_.block_columns * 8 <= wanted ? l_.block_columns * 8 : l_.block_columns;
        width_ = std::max(wanted / step * step, step);
        across_ = (l_.columns + width_ - 1) / width_;
    }

    [[nodiscard]] std::size_t size() const { return l_.count * l_.blocks_down() * across_; }
    /// The layout as it is walked: what follows itself in memory is one row.
    [[nodiscard]] const block_layout& layout() const { return l_; }
    [[nodiscard]] panel operator[](std::size_t i) const {
        const std::size_t column = i % across_ * width_;
        const std::size_t band = i / across_;
        const std::size_t row = band % l_.blocks_down() * l_.block_rows;
        return {.first = band / l_.blocks_down() * l_.rows * l_.columns + row * l_.columns + column,
                .first_block = band * l_.blocks_across() + column / l_.block_columns,
                .rows = std::min(l_.block_rows, l_.rows - row),
                .width = std::min(width_, l_.columns - column),
                .stride = l_.columns,
                .c = l_.block_columns};
    }
    /// Elements of the largest panel.
    [[nodiscard]] std::size_t most_elements() const {
        return std::min(l_.block_rows, l_.rows) * std::min(width_, l_.columns);
    }
    /// Whether packed codes of every panel begin at a whole byte, if those of every line do.
    [[nodiscard]] bool begin_at_bytes() const { return width_ % 8 == 0 || across_ <= 1; }
    /// Whether a panel is a part of one block, and worth more than one thread.
    [[nodiscard]] bool are_huge() const {
        return width_ > block_chunk && l_.block_rows * width_ >= parallel_from;
    }

private:
    block_layout l_;
    std::size_t width_ = 1, across_ = 0;
};

/// work(k) for every run of a panel, on one thread or on several.
template <class Isa, class Work>
void for_runs(const panel& p, int threads, const Work& work) {
    if (threads == 1) {
        for (std::size_t k = 0; k < p.runs(); ++k) work(k);
        return;
    }
    for_tasks(p.runs(), p.elements(), threads, [&](std::size_t begin, std::size_t end) {
        const default_environment environment;
        for (std::size_t k = begin; k < end; ++k) work(k);
    });
}

/// One value a block of a panel: work(run, result) adds to it, run by run; in parallel inside a
/// huge block, with the same partial results in the same order.
template <class Isa, class Value, class Work, class Merge>
void accumulate(const panel& p, int threads, Value* results, const Work& work, const Merge& merge) {
    std::fill(results, results + p.blocks(), Value{});
    if (p.width <= block_chunk) {
        for (std::size_t k = 0; k < p.runs(); ++k) work(p.at(k), results);
        return;
    }
    std::vector<Value> parts(p.runs());
    for_runs<Isa>(p, threads, [&](std::size_t k) { work(p.at(k), &parts[k]); });
    for (const Value& part : parts) results[0] = merge(results[0], part);
}

}  // namespace lowp::detail
