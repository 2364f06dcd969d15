// The kernels of block formats. What a block's elements have in common is found by the lanes that hold
// them, by shuffles; every lane then works out the block's scale by the text of detail/block_kernel.hpp.
//
//     block_lines   blocks of some lanes' elements each, one after the other in memory
//     block_teams   any other layout: up to 32 lanes a block, which read it twice
//     huge_...      blocks of more than some thousand elements: many thread blocks each, two kernels
#pragma once

#include "block.hpp"
#include "conversion.cuh"

namespace lowp::cuda::detail {

using lowp::detail::block_content;
using lowp::detail::scaling;

inline constexpr unsigned all_lanes = 0xFFFFFFFF;

template <class T>
inline constexpr word_of<T> magnitude_bits = ~word_of<T>{0} >> 1;
template <class T>
inline constexpr word_of<T> infinity_bits =
    lowp::detail::float_bits<T>(std::numeric_limits<double>::infinity());
template <class T>
inline constexpr word_of<T> quiet_nan_bits =
    lowp::detail::float_bits<T>(std::numeric_limits<double>::quiet_NaN());

// ---- elements -------------------------------------------------------------------------------------

/// Elements of one path of the kernel.
template <path P>
struct path_elements {
    template <chance Chance, block_verb V, int N, class T>
    __device__ void convert(const block_call<T>& c, const std::uint32_t (&random)[N],
                            word_of<T> (&v)[N]) const {
        with_mode<Chance>(c.element.rounding, [&](auto mode) {
            constexpr rounding R = decltype(mode)::value;
#pragma unroll
            for (int j = 0; j < N; ++j)
                v[j] = V == block_verb::quantize
                           ? lowp::detail::quantize_lanes<lanes<T>, R, P>(c.element, v[j], random[j])
                           : lowp::detail::encode_lanes<lanes<T>, R,
                                                        P == path::plain_aligned ? path::aligned : P>(
                                 c.element, v[j], random[j]);
        });
    }
};

/// Elements of any format, or of a codebook.
struct any_elements {
    codebook book;

    template <chance Chance, block_verb V, int N, class T>
    __device__ void convert(const block_call<T>& c, const std::uint32_t (&random)[N],
                            word_of<T> (&v)[N]) const {
        if (!book.empty()) {
            for (int j = 0; j < N; ++j) v[j] = of_book<V>(c, random[j], v[j]);
            return;
        }
        const path way = V == block_verb::quantize ? c.element.path : c.element.encode_path;
        any_path::with<T>(way, [&](auto p) {
            path_elements<decltype(p)::value>{}.template convert<Chance, V>(c, random, v);
        });
    }

private:
    template <block_verb V, class T>
    __device__ word_of<T> of_book(const block_call<T>& c, std::uint32_t random,
                                  word_of<T> bits) const {
        const bool is_nan = is_nan_word<T>(bits);
        if (is_nan) return V == block_verb::quantize ? bits : c.element.nan_code;
        const auto code = book.nearest(static_cast<double>(__builtin_bit_cast(T, bits)),
                                       c.element_projection, random);
        if constexpr (V == block_verb::encode) return static_cast<word_of<T>>(code);
        else return __builtin_bit_cast(word_of<T>, static_cast<T>(book.values()[code]));
    }
};

template <class T>
struct block_scale {
    word_of<T> ideal, total, factor;
};

/// N elements of one block: scaled, converted and, by quantize, scaled back.
template <block_verb V, chance Chance, class Elements, int N, class T>
__device__ void convert_elements(const block_call<T>& c, const Elements& elements,
                                 const block_scale<T>& s, std::uint64_t index,
                                 word_of<T> (&v)[N]) {
    using L = lanes<T>;
    const auto scale_all = [&]<scaling S, bool Sticky>() {
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = lowp::detail::scaled<L, S, Sticky>(v[j], s.factor);
    };
    word_of<T> given[N];
#pragma unroll
    for (int j = 0; j < N; ++j) given[j] = v[j];
    if (c.before == scaling::multiply && !c.is_sticky)
        scale_all.template operator()<scaling::multiply, false>();
    else if (c.before == scaling::multiply)
        scale_all.template operator()<scaling::multiply, true>();
    else if (!c.is_sticky) scale_all.template operator()<scaling::divide, false>();
    else scale_all.template operator()<scaling::divide, true>();
    if (c.zeros != zero_sign::kept) {
        const word_of<T> zero = c.zeros == zero_sign::negative ? ~magnitude_bits<T> : 0;
        for (int j = 0; j < N; ++j) v[j] = (v[j] & magnitude_bits<T>) == 0 ? zero : v[j];
    }
    std::uint32_t random[N] = {};
    if constexpr (Chance == chance::random)
        random_words(c.source, c.stream_offset, c.first_index + index, random);
    elements.template convert<Chance, V>(c, random, v);
    if constexpr (V == block_verb::quantize) {
        const bool is_nan = is_nan_word<T>(s.total);
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = is_nan ? quiet_nan_bits<T> : L::product(v[j], s.total);
        if (c.nan == nan_policy::block) return;
        // A NaN that stays alone keeps its bits; the device's products would give another.
#pragma unroll
        for (int j = 0; j < N; ++j)
            if (is_nan_word<T>(given[j]) && !is_nan) v[j] = given[j] | quiet_nan_bits<T>;
    }
}

// ---- scales ---------------------------------------------------------------------------------------

template <class T>
__device__ lowp::detail::outer_pair<T> outer_scale_of(const block_call<T>& c, std::uint64_t block) {
    if (c.outer_per == granularity::none) return {1, 1};
    return c.lines[c.outer_per == granularity::row ? c.lines_of.line_of(block) : 0].pair;
}

/// The outer scale of each line, once its largest magnitude is known.
template <class T>
__global__ void outer_scales(const __grid_constant__ block_call<T> c) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t line = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
         line < c.line_count; line += threads) {
        lowp::detail::outer_pair<T> pair{c.outer_fixed, 1};
        if (c.outer_given != nullptr)
            pair.scale = static_cast<T>(c.outer_given[c.outer_count == 1 ? 0 : line]);
        pair.inverse = T{1} / pair.scale;
        if (c.outer_given == nullptr && !(c.outer_fixed > 0)) {
            const T amax = __builtin_bit_cast(T, static_cast<word_of<T>>(c.lines[line].largest));
            lowp::detail::with_integer_path(c.outer.format.path, [&](auto p) {
                pair = lowp::detail::outer_of<lanes<T>, decltype(p)::value>(c.outer, amax);
            });
        }
        c.lines[line].pair = pair;
        if (c.outer_codes != nullptr) c.outer_codes[line] = static_cast<double>(pair.scale);
    }
}

template <class T>
__device__ std::uint32_t scale_random(const block_call<T>& c, std::uint64_t block) {
    if (!is_stochastic(c.scale.rounding)) return 0;
    random_source s = c.source;
    if (c.stream_offset != nullptr) s.stream += *c.stream_offset;
    s.stream ^= std::uint64_t{1} << 63;
    return s(block);
}

/// f(mode, path) for the scale's conversion, quantize's or encode's; both agree on the integer paths.
template <class T, class F>
__device__ void with_scale_variant(const block_call<T>& c, F&& f) {
    lowp::detail::with_rounding(c.scale.rounding, [&](auto mode) {
        lowp::detail::with_integer_path(c.scale.path, [&](auto way) { f(mode, way); });
    });
}

/// The statistic that the scale follows, NaN where the block is to become NaN.
template <class T>
__device__ T statistic_of(const block_call<T>& c, const block_content<T>& content) {
    if (content.has_nan || content.has_inf) {
        const bool nan_wins = content.becomes_nan(c.nan, c.infinity);
        const bool is_lost =
            nan_wins ? !c.scale_has_nan : content.has_nan && !c.has_nan_code;
        if (is_lost && c.failures != nullptr) atomicOr(c.failures, nan_without_code);
        if (nan_wins) return __builtin_bit_cast(T, quiet_nan_bits<T>);
        if (c.follows_amax && content.has_inf) return __builtin_bit_cast(T, infinity_bits<T>);
    }
    return c.follows_amax ? __builtin_bit_cast(T, content.largest) : c.fixed;
}

template <class T>
__device__ block_scale<T> scale_of(const block_call<T>& c, std::uint64_t block,
                                   const block_content<T>& content) {
    using L = lanes<T>;
    using word = word_of<T>;
    const auto outer = outer_scale_of(c, block);
    const bool is_te = c.rule.arithmetic == arithmetic::transformer_engine;
    const word ideal = lowp::detail::ideal_scale<L>(
        c.rule, __builtin_bit_cast(word, statistic_of(c, content)),
        __builtin_bit_cast(word, is_te ? outer.inverse : outer.scale));
    word scale = ideal;
    if (!c.is_on_grid)
        with_scale_variant(c, [&](auto mode, auto way) {
            scale = lowp::detail::quantize_lanes<L, decltype(mode)::value, decltype(way)::value>(
                c.scale, ideal, scale_random(c, block));
        });
    const auto total =
        lowp::detail::total_of<L>(c.totals, scale, __builtin_bit_cast(word, outer.scale));
    return {ideal, total.total, total.factor};
}

/// What encode writes once a block: the code of its scale.
template <class T>
__device__ void store_scale(const block_call<T>& c, std::uint64_t block, word_of<T> ideal) {
    word_of<T> code[1] = {};
    with_scale_variant(c, [&](auto mode, auto way) {
        code[0] = lowp::detail::encode_lanes<lanes<T>, decltype(mode)::value, decltype(way)::value>(
            c.scale, ideal, scale_random(c, block));
    });
    store_codes(c.scale_codes, c.scale_bytes, block, code);
}

/// Codes or values of N neighbours from element i on.
template <carrier C, block_verb V, int N, class T>
__device__ void store_elements(const block_call<T>& c, std::uint64_t i,
                               const word_of<T> (&v)[N]) {
    if constexpr (V == block_verb::quantize) {
        store_values<C>(c.to, i, v);
    } else {
        if constexpr (N % 4 == 0)
            if (c.is_dense && c.code_bits == 4) {  // two codes a byte, whole groups
                std::uint32_t bytes[N / 2];
#pragma unroll
                for (int j = 0; j < N / 2; ++j)
                    bytes[j] = static_cast<std::uint32_t>(v[2 * j] | v[2 * j + 1] << 4);
                store_codes(c.to, 1, i / 2, bytes);
                return;
            }
        store_codes(c.to, c.code_bytes, i, v);
    }
}

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

template <carrier C, block_verb V, chance Chance, class Elements, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    block_lines(const __grid_constant__ block_call<T> c, const __grid_constant__ Elements elements,
                std::uint64_t groups, unsigned log2_lanes) {
    using word = word_of<T>;
    constexpr int N = block_step<C>;
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
        const auto s = scale_of(c, block, content);
        if (V == block_verb::encode && (lane & (lanes_a_block - 1)) == 0)
            store_scale(c, block, s.ideal);
        convert_elements<V, Chance>(c, elements, s, g * N, v);
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
    constexpr int N = block_step<C>;
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
template <carrier C, block_verb V, chance Chance, class Elements, class T>
__device__ void convert_part(const block_call<T>& c, const Elements& elements,
                             const block_scale<T>& s, const block_place& p, std::uint32_t begin,
                             std::uint32_t end, unsigned lane, unsigned count, bool moves_groups) {
    for_elements<C>(c.layout, p, begin, end, lane, count, moves_groups,
                    [&](auto n, std::uint32_t e) {
                        constexpr int N = decltype(n)::value;
                        word_of<T> v[N];
                        const std::uint64_t i = element_at(c.layout, p, e);
                        load_values<C>(c.from, i, v);
                        convert_elements<V, Chance>(c, elements, s, i, v);
                        store_elements<C, V>(c, i, v);
                    });
}

template <carrier C, block_verb V, chance Chance, class Elements, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    block_teams(const __grid_constant__ block_call<T> c,
                const __grid_constant__ Elements elements, std::uint64_t blocks,
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
        const auto s = scale_of(c, block, content);
        if (V == block_verb::encode && own == 0) store_scale(c, block, s.ideal);
        convert_part<C, V, Chance>(c, elements, s, p, 0, size, own, lanes_a_block, moves_groups);
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
        if (threadIdx.x % 32 != 0) continue;
        huge_block<T>& all = c.blocks[block];
        raise(all.largest, content.largest);
        if (content.has_nan) atomicOr(&all.has_nan, 1U);
        if (content.has_inf) atomicOr(&all.has_inf, 1U);
    }
}

template <block_verb V, class T>
__global__ void __launch_bounds__(block_threads)
    huge_scales(const __grid_constant__ block_call<T> c, std::uint64_t blocks) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t b = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; b < blocks;
         b += threads) {
        huge_block<T>& all = c.blocks[b];
        const auto s =
            scale_of(c, b, block_content<T>{static_cast<word_of<T>>(all.largest), all.has_nan != 0,
                                            all.has_inf != 0});
        all.total = s.total;
        all.factor = s.factor;
        if (V == block_verb::encode) store_scale(c, b, s.ideal);
    }
}

template <carrier C, block_verb V, chance Chance, class Elements, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    huge_elements(const __grid_constant__ block_call<T> c,
                  const __grid_constant__ Elements elements, std::uint64_t tasks,
                  std::uint64_t pieces, bool moves_groups) {
    for (std::uint64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
        const std::uint64_t block = task / pieces;
        const block_place p = place_of(c.layout, block);
        const block_scale<T> s{0, c.blocks[block].total, c.blocks[block].factor};
        const auto begin = static_cast<std::uint32_t>(task % pieces * piece);
        convert_part<C, V, Chance>(c, elements, s, p, begin, end_of_piece(p, begin), threadIdx.x,
                                   blockDim.x, moves_groups);
    }
}

// ---- the second level -----------------------------------------------------------------------------

template <class T>
__device__ word_of<T> finite_or_zero(word_of<T> bits) {
    const word_of<T> magnitude = bits & magnitude_bits<T>;
    return magnitude < infinity_bits<T> ? magnitude : 0;
}

/// The largest finite magnitude of the tensor: groups side by side, single elements at the end.
template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    tensor_maximum(const void* x, std::uint64_t n, bool moves_groups, outer_line<T>* whole) {
    constexpr int N = block_step<C>;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const std::uint64_t thread = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    word_of<T> largest = 0;
    const auto take = [&](word_of<T> bits) {
        const auto m = finite_or_zero<T>(bits);
        largest = m > largest ? m : largest;
    };
    const std::uint64_t groups = moves_groups ? n / N : 0;
    for (std::uint64_t g = thread; g < groups; g += threads) {
        word_of<T> v[N];
        load_values<C>(x, g * N, v);
#pragma unroll
        for (int j = 0; j < N; ++j) take(v[j]);
    }
    for (std::uint64_t i = groups * N + thread; i < n; i += threads) {
        word_of<T> v[1];
        load_values<C>(x, i, v);
        take(v[0]);
    }
    largest = largest_of(largest, 32);
    if (threadIdx.x % 32 == 0) raise(whole->largest, largest);
}

/// Those of lines: of `length` elements `stride` apart; lines one after the other, in `inner` side by side.
template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    line_maxima_of(const void* x, std::uint64_t lines, std::uint64_t length, std::uint64_t stride,
                   std::uint64_t inner, unsigned lanes_a_line, outer_line<T>* all) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const unsigned lane = threadIdx.x % 32;
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
         (t - lane) / lanes_a_line < lines; t += threads) {
        const std::uint64_t line = t / lanes_a_line;
        const std::uint64_t first = line / inner * inner * length + line % inner;
        word_of<T> largest = 0;
        for (std::uint64_t e = lane % lanes_a_line; line < lines && e < length;
             e += lanes_a_line) {
            word_of<T> v[1];
            load_values<C>(x, inner == 1 ? line * length + e : first + e * stride, v);
            const auto m = finite_or_zero<T>(v[0]);
            largest = m > largest ? m : largest;
        }
        largest = largest_of(largest, lanes_a_line);
        if (line < lines && lane % lanes_a_line == 0) all[line].largest = largest;
    }
}

// ---- decode ---------------------------------------------------------------------------------------

/// The code of element i, loose or closed up.
template <class T>
__device__ std::uint64_t code_at(const block_call<T>& c, std::uint64_t i) {
    if (!c.is_dense) {
        std::uint64_t code[1];
        load_codes(c.from, c.code_bytes, i, code);
        return code[0];
    }
    const std::uint64_t line = i / c.line_codes;
    const std::uint64_t bit = (i - line * c.line_codes) * c.code_bits;
    const auto* const bytes = static_cast<const std::uint8_t*>(c.from) + line * c.line_bytes;
    const unsigned shift = bit % 8;
    unsigned code = bytes[bit / 8] >> shift;
    if (shift + c.code_bits > 8) code |= static_cast<unsigned>(bytes[bit / 8 + 1]) << (8 - shift);
    return code & ((1U << c.code_bits) - 1U);
}

/// The block of element i.
__device__ inline std::uint64_t block_of(const block_layout& l, std::uint64_t i) {
    if (l.block_rows >= l.rows && l.block_columns >= l.columns && l.count == 1) return 0;
    const std::uint64_t row = i / l.columns;
    const std::uint64_t column = i - row * l.columns;
    const std::uint64_t matrix = row / l.rows;
    const std::uint64_t down = (row - matrix * l.rows) / l.block_rows;
    return (matrix * l.blocks_down() + down) * l.blocks_across() + column / l.block_columns;
}

template <class T>
__device__ word_of<T> decoded_total(const block_call<T>& c, std::uint64_t block) {
    word_of<T> code[1];
    std::uint64_t above = load_codes(c.scale_codes, c.scale_bytes, block, code);
    above |= code[0] & ~c.scale.code_mask;
    if (above != 0 && c.failures != nullptr) atomicOr(c.failures, code_too_wide);
    word_of<T> scale = 0;
    lowp::detail::with_integer_path(c.scale.path, [&](auto way) {
        scale = lowp::detail::decode_lanes<lanes<T>, decltype(way)::value>(c.scale, code[0]);
    });
    const auto outer = outer_scale_of(c, block);
    return lowp::detail::total_of<lanes<T>>(c.totals, scale,
                                            __builtin_bit_cast(word_of<T>, outer.scale))
        .total;
}

/// The values of codes as float bits; bits above the format's are told of.
template <int N, class T>
__device__ void decode_all(const block_call<T>& c, const codebook* book,
                           const std::uint64_t (&codes)[N], word_of<T> (&v)[N]) {
    const std::uint64_t mask =
        c.code_bits < 64 ? (std::uint64_t{1} << c.code_bits) - 1 : ~std::uint64_t{0};
    std::uint64_t above = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) above |= codes[j] & ~mask;
    if (above != 0 && c.failures != nullptr) atomicOr(c.failures, code_too_wide);
    if (book != nullptr) {
        for (int j = 0; j < N; ++j)
            v[j] = codes[j] < book->size() ? __builtin_bit_cast(
                                                 word_of<T>, static_cast<T>(book->values()[codes[j]]))
                                           : quiet_nan_bits<T>;
        return;
    }
    lowp::detail::with_integer_path(c.element.path, [&](auto way) {
#pragma unroll
        for (int j = 0; j < N; ++j)
            v[j] = lowp::detail::decode_lanes<lanes<T>, decltype(way)::value>(
                c.element, static_cast<word_of<T>>(codes[j]));
    });
}

/// An element times its block's total; every NaN is the quiet one.
template <class T>
__device__ word_of<T> scaled_back(word_of<T> value, word_of<T> total) {
    const bool is_nan = is_nan_word<T>(total) || is_nan_word<T>(value);
    return is_nan ? quiet_nan_bits<T> : lanes<T>::product(value, total);
}

/// Some neighbours of one block a thread: codes of 4 bits, closed up, or of one byte.
/// log2_groups: of a block, where blocks follow each other in memory; else negative.
template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    decode_groups(const __grid_constant__ block_call<T> c, std::uint64_t groups, int log2_groups) {
    constexpr int N = block_step<C>;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t g = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; g < groups;
         g += threads) {
        const std::uint64_t block = log2_groups < 0 ? block_of(c.layout, g * N) : g >> log2_groups;
        const word_of<T> total = decoded_total(c, block);
        std::uint64_t codes[N];
        if (c.is_dense) {
            std::uint64_t bytes[N / 2];
            load_codes(c.from, 1, g * (N / 2), bytes);
#pragma unroll
            for (int j = 0; j < N; ++j) codes[j] = bytes[j / 2] >> (4 * (j % 2)) & 15;
        } else {
            load_codes(c.from, 1, g * N, codes);
        }
        word_of<T> v[N];
        decode_all(c, nullptr, codes, v);
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = scaled_back<T>(v[j], total);
        store_values<C>(c.to, g * N, v);
    }
}

template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    decode_blocks(const __grid_constant__ block_call<T> c,
                  const __grid_constant__ any_elements elements, std::uint64_t n) {
    const codebook* const book = elements.book.empty() ? nullptr : &elements.book;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
         i += threads) {
        const word_of<T> total = decoded_total(c, block_of(c.layout, i));
        const std::uint64_t code[1] = {code_at(c, i)};
        word_of<T> v[1];
        decode_all(c, book, code, v);
        v[0] = scaled_back<T>(v[0], total);
        store_values<C>(c.to, i, v);
    }
}

// ---- what the host calls --------------------------------------------------------------------------

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
           std::uint64_t{stand ? l.columns : 1}, std::uint64_t{stand ? l.columns : 1},
           lanes_a_line, c.lines);
}

template <carrier C>
void block_kernels<C>::find_outer(const block_call<T>& c, stream s) {
    if (c.outer_given == nullptr && !(c.outer_fixed > 0)) find_line_maxima<C>(c, s);
    launch(&outer_scales<T>, blocks_for(c.line_count), s, c);
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
            l.block_columns == 1
                ? 1U
                : static_cast<unsigned>(std::bit_ceil(shares < 32 ? (shares > 0 ? shares : 1) : 32));
        const unsigned grid = blocks_for(l.blocks() * lanes_a_block);
        if (is_plain)
            return launch(&block_teams<C, V, Chance, plain>, grid, s, c, plain{},
                          std::uint64_t{l.blocks()}, lanes_a_block, groups);
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
        launch(&huge_elements<C, V, Chance, any_elements>, grid, s, c, elements_of(c), tasks, pieces,
               in_groups);
}

template <carrier C>
void block_kernels<C>::work(const block_call<T>& c, block_verb v, stream s) {
    with_chance(c.element.rounding, [&](auto kind) {
        constexpr chance K = decltype(kind)::value;
        if (v == block_verb::quantize) work_on<C, block_verb::quantize, K>(c, s);
        else work_on<C, block_verb::encode, K>(c, s);
    });
}

template <carrier C>
void block_kernels<C>::decode(const block_call<T>& c, stream s) {
    const std::uint64_t n = c.layout.size();
    constexpr int N = block_step<C>;
    const bool in_groups = is_aligned(c.from, 1, 8) && is_aligned(c.to, bytes_of(C), N);
    const bool is_simple = c.book == nullptr && c.code_bytes == 1 && (c.code_bits == 4 || !c.is_dense);
    const block_layout& l = c.layout;
    const bool fits = l.columns % N == 0 && l.block_columns % N == 0;
    if (fits && in_groups && is_simple && c.line_codes == n)
        return launch(&decode_groups<C>, blocks_for(n / N), s, c, n / N,
                      lies_in_lines<C>(l) ? std::countr_zero(l.block_columns / N) : -1);
    launch(&decode_blocks<C>, blocks_for(n), s, c, elements_of(c), n);
}

}  // namespace lowp::cuda::detail
