// What the host hands to the kernels of block formats. Plain C++: plans are made in blocks.cpp, the
// kernels are in block.cuh.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "conversion.hpp"
#include "lowp/block_format.hpp"
#include "lowp/detail/block_kernel.hpp"
#include "lowp/detail/block_search.hpp"

namespace lowp::cuda::detail {

/// What elements are multiplied by after rounding, and multiplied or divided by before, as float bits.
template <class T>
struct known_scale {
    typename lowp::detail::carrier<T>::word total = 0, factor = 0;
};

/// What is known of a huge block: its elements, gathered by several thread blocks, then its scale.
template <class T>
struct huge_block {
    std::uint64_t largest = 0;  ///< of the finite magnitudes, as float bits
    std::uint32_t has_nan = 0, has_inf = 0;
    typename lowp::detail::carrier<T>::word total = 0, factor = 0;
};

/// A line or the tensor: its largest finite magnitude, then its outer scale.
template <class T>
struct outer_line {
    std::uint64_t largest = 0;
    lowp::detail::outer_pair<T> pair{1, 1};
};

enum class block_verb : std::uint8_t { quantize, encode };

/// How elements of common formats are worked on (block_ways.cuh), if so: to nearest even, or by chance.
enum class quick_elements : std::uint8_t { none, nearest, chance };
/// How ideal scales become scales and codes: by the kernel; they are powers of two, whose codes are their
/// exponents; or by sums, to nearest even.
enum class quick_scales : std::uint8_t { none, exponents, sums };

/// One call on an array in a block format: read by every thread.
template <class T>
struct block_call {
    lowp::detail::plan<T> element;
    lowp::detail::plan<T> scale;
    lowp::detail::scale_plan<T> rule;
    lowp::detail::totals_plan<T> totals;
    lowp::detail::outer_plan<T> outer;
    lowp::detail::scaling before = lowp::detail::scaling::divide;
    bool is_sticky = false, is_on_grid = false;
    bool has_nan_code = false, scale_has_nan = false;
    lowp::statistic statistic = statistic::amax;
    T fixed = 1;  ///< the statistic where it follows nothing
    nan_policy nan = nan_policy::block;
    infinity_policy infinity = infinity_policy::nan;
    zero_sign zeros = zero_sign::kept;
    projection element_projection = {};
    quick_elements way = quick_elements::none;
    chance_plan chance = {};  ///< of quick_elements::chance
    quick_scales scale_way = quick_scales::none;
    bool fits_pairs = false;
    lowp::detail::plan<T> halves;  ///< the element's for pairs of bfloat16
    T least_divisor = 0;  ///< of the quick ways: quotients that underflow are too small to count
    const codebook* book = nullptr;  ///< on the host; the device's is an argument of its own

    block_layout layout = {};    ///< as walked: what follows itself in memory is one row
    block_layout lines_of = {};  ///< as given: which line a block is of
    granularity outer_per = granularity::none;
    const double* outer_given = nullptr;
    std::size_t outer_count = 0;
    T outer_fixed = 0;               ///< 0: from the data
    outer_line<T>* lines = nullptr;  ///< of the second level
    std::uint64_t line_count = 0;
    huge_block<T>* blocks = nullptr;
    known_scale<T>* known = nullptr;  ///< scales of all blocks, worked out before the elements
    const double* ideals = nullptr;   ///< the caller's
    lowp::detail::search_plan search = {};

    turn_plan turn = {};  ///< of values on their way into blocks
    device_source source = {};
    std::uint64_t first_index = 0;
    const std::uint32_t* random = nullptr;  ///< instead of the source
    std::uint32_t* failures = nullptr;

    const void* from = nullptr;
    void* to = nullptr;  ///< values, or codes of `code_bits` in code_bytes
    int code_bytes = 1, code_bits = 8;
    bool is_dense = false;  ///< codes closed up, line by line of `line_codes`
    std::uint64_t line_codes = 0, line_bytes = 0;
    std::uint8_t* scale_codes = nullptr;
    int scale_bytes = 1;
    double* outer_codes = nullptr;

    /// Whether outer scales follow from the values.
    [[nodiscard]] bool follows_maximum() const {
        return line_count > 0 && outer_given == nullptr && !(outer_fixed > 0);
    }
};

/// Kernels of blocks of a carrier. Each .cu file defines some.
template <carrier C>
struct block_kernels {
    using T = worker_t<C>;
    /// The outer scales of all lines, from the data where nobody gives them.
    static void find_outer(const block_call<T>& c, stream s);
    /// The same where block_call::lines have the maxima, or need none.
    static void scale_outer(const block_call<T>& c, stream s);
    /// block_call::known, and codes of scales where they are wanted. c: its elements round to nearest even.
    static void find_scales(const block_call<T>& c, stream s);
    static void decode(const block_call<T>& c, stream s);
};
template <carrier C, block_verb V>
struct block_elements {
    static void work(const block_call<worker_t<C>>& c, stream s);
};

/// Elements of a thread in kernels that move them in groups, whatever the format; and in those that
/// only find maxima or decode.
inline constexpr int small_step = 4;
template <carrier C>
inline constexpr int block_step = bytes_of(C) == 8   ? 4
                                  : bytes_of(C) == 4 ? 8
                                                     : 16;

/// Whether blocks follow each other in memory, each a power of two of groups of `step`, at most a warp's.
[[nodiscard]] constexpr bool follows_itself(const block_layout& l, int step) {
    const std::size_t n = static_cast<std::size_t>(step);
    const std::size_t groups = l.block_columns / n;
    return l.block_rows == 1 && l.count * l.rows == 1 && l.columns % l.block_columns == 0 &&
           l.block_columns % n == 0 && groups <= 32 && std::has_single_bit(groups);
}

/// Whether blocks stand upright, of 16 or 32 rows, and `columns` side by side are whole.
[[nodiscard]] constexpr bool stands_in_columns(const block_layout& l, int columns) {
    return l.block_columns == 1 && (l.block_rows == 16 || l.block_rows == 32) &&
           l.columns % static_cast<std::size_t>(columns) == 0 && l.columns >> 32 == 0 &&
           l.rows >> 32 == 0;
}

/// Words of a row that a thread of quick_columns holds: codes are written two at a time.
template <carrier C, block_verb V>
inline constexpr int column_words = V == block_verb::encode&& bytes_of(C) == 4 ? 2 : 1;

/// Whether quick_columns does a call: blocks of 16 or 32 rows stand upright, their columns in whole words.
template <carrier C, block_verb V>
[[nodiscard]] bool stands_in_words(const block_call<worker_t<C>>& c) {
    constexpr bool encodes = V == block_verb::encode;
    const int columns = column_words<C, V> * (4 / bytes_of(C));
    return C != carrier::float64 && c.way != quick_elements::none && c.known == nullptr &&
           stands_in_columns(c.layout, columns) && is_aligned(c.from, bytes_of(C), columns) &&
           is_aligned(c.to, encodes ? 1 : bytes_of(C), columns);
}

/// The same in groups of block_step.
template <carrier C>
[[nodiscard]] bool lies_in_lines(const block_layout& l) {
    return follows_itself(l, block_step<C>);
}

/// Blocks of more elements are worked on by several thread blocks.
inline constexpr std::size_t huge_from = 4096;

/// Codes, one a byte, closed up line by line (pack.cu).
void pack_lines(const std::uint8_t* codes, std::size_t lines, std::size_t count, int bits,
                std::uint8_t* bytes, stream s);

}  // namespace lowp::cuda::detail
