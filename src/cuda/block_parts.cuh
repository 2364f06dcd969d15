// What every kernel of block formats is made of: the elements of a block converted, its scale worked out
// by the text of detail/block_kernel.hpp.
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

/// The random words of N neighbours from element i on: the source's, or the caller's.
template <int N, class T>
__device__ void draw(const block_call<T>& c, std::uint64_t i, std::uint32_t (&random)[N]) {
    if (c.random == nullptr) random_words(c.source, c.first_index + i, random);
    else given_words(c.random, i, c.element.random_shift, c.failures, random);
}

/// Words of N elements, passed in registers.
template <class T, int N>
struct element_words {
    word_of<T> v[N];
    std::uint32_t random[N];
};

/// N elements of any format in any mode: once, not in every kernel.
template <block_verb V, int N, class T>
__device__ __noinline__ element_words<T, N> converted(const lowp::detail::plan<T>& p,
                                                      element_words<T, N> e) {
    const path way = V == block_verb::quantize ? p.path : p.encode_path;
    any_path::with<T>(way, [&](auto found) {
        lowp::detail::with_rounding(p.rounding, [&](auto mode) {
            constexpr rounding R = decltype(mode)::value;
            constexpr path P = decltype(found)::value;
#pragma unroll
            for (int j = 0; j < N; ++j)
                if constexpr (V == block_verb::quantize)
                    e.v[j] = lowp::detail::quantize_lanes<lanes<T>, R, P>(p, e.v[j], e.random[j]);
                else
                    e.v[j] = lowp::detail::encode_lanes < lanes<T>, R,
                    P == path::plain_aligned ? path::aligned : P > (p, e.v[j], e.random[j]);
        });
    });
    return e;
}

/// Elements of any format, or of a codebook. Plans that functions which are not inlined read are here, an
/// argument of kernels apart: what has its address taken is read like memory, slowly.
template <class T>
struct any_elements {
    lowp::detail::plan<T> element, scale;
    codebook book;

    [[nodiscard]] __device__ static bool takes_random(const block_call<T>& c) {
        return is_stochastic(c.element.rounding);
    }

    template <block_verb V, int N>
    __device__ void convert(const block_call<T>& c, const std::uint32_t (&random)[N],
                            word_of<T> (&v)[N]) const {
        if (!book.empty()) return of_book_each<V>(c, random, v);
        element_words<T, N> e;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            e.v[j] = v[j];
            e.random[j] = random[j];
        }
        e = converted<V, N>(element, e);
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = e.v[j];
    }
    template <block_verb V, int N>
    __device__ void of_book_each(const block_call<T>& c, const std::uint32_t (&random)[N],
                                 word_of<T> (&v)[N]) const {
        for (int j = 0; j < N; ++j) v[j] = of_book<V>(c, random[j], v[j]);
    }

private:
    template <block_verb V>
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
any_elements<T> elements_of(const block_call<T>& c) {
    return {c.element, c.scale, c.book == nullptr ? codebook{} : *c.book};
}

template <class T>
struct block_scale {
    word_of<T> ideal, total, factor;
};

/// N elements of one block: scaled, converted and, by quantize, scaled back.
template <block_verb V, class Elements, int N, class T>
__device__ void convert_elements(const block_call<T>& c, const Elements& elements,
                                 const block_scale<T>& s, std::uint64_t index, word_of<T> (&v)[N]) {
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
    if (elements.takes_random(c)) draw(c, index, random);
    elements.template convert<V>(c, random, v);
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
    random_source s = c.source.source;
    s.stream = c.source.stream() ^ std::uint64_t{1} << 63;
    return s(block);
}

/// An ideal scale in the scale's format, as float bits or a code: all modes once, not in every kernel.
template <block_verb V, class T>
__device__ __noinline__ word_of<T> scale_as(const lowp::detail::plan<T>& scale, word_of<T> ideal,
                                            std::uint32_t random) {
    word_of<T> result = 0;
    lowp::detail::with_rounding(scale.rounding, [&](auto mode) {
        lowp::detail::with_integer_path(scale.path, [&](auto way) {
            constexpr rounding R = decltype(mode)::value;
            constexpr path P = decltype(way)::value;
            result = V == block_verb::quantize
                         ? lowp::detail::quantize_lanes<lanes<T>, R, P>(scale, ideal, random)
                         : lowp::detail::encode_lanes<lanes<T>, R, P>(scale, ideal, random);
        });
    });
    return result;
}

template <class T>
__device__ void lose_nan(const block_call<T>& c) {
    if (c.failures != nullptr) atomicOr(c.failures, nan_without_code);
}

/// The statistic that the scale follows, NaN where the block is to become NaN. mean: what the statistics
/// that are sums come to.
template <class T>
__device__ T statistic_of(const block_call<T>& c, const block_content<T>& content, T mean = 0) {
    if (content.has_nan || content.has_inf) {
        const bool nan_wins = content.becomes_nan(c.nan, c.infinity);
        const bool is_lost = nan_wins ? !c.scale_has_nan : content.has_nan && !c.has_nan_code;
        if (is_lost) lose_nan(c);
        if (nan_wins) return __builtin_bit_cast(T, quiet_nan_bits<T>);
        if (c.statistic != statistic::none && content.has_inf)
            return __builtin_bit_cast(T, infinity_bits<T>);
    }
    if (c.statistic == statistic::none) return c.fixed;
    return c.statistic == statistic::amax ? __builtin_bit_cast(T, content.largest) : mean;
}

/// The ideal scale that follows from a statistic, or the caller's.
template <class T>
__device__ word_of<T> ideal_of(const block_call<T>& c, std::uint64_t block, T statistic,
                               const lowp::detail::outer_pair<T>& outer) {
    const auto bits = __builtin_bit_cast(word_of<T>, statistic);
    if (c.ideals != nullptr) {
        const T ideal = static_cast<T>(c.ideals[block]) / outer.scale;
        // An infinity over a scale of 0 is NaN.
        if (bits == infinity_bits<T> && ideal == 0 && !c.has_nan_code) lose_nan(c);
        return is_nan_word<T>(bits) ? bits : __builtin_bit_cast(word_of<T>, ideal);
    }
    if (c.rule.by_logarithm && statistic > 0)
        return __builtin_bit_cast(word_of<T>,
                                  lowp::detail::power_by_logarithm<lanes<T>>(c.rule, statistic));
    const bool is_te = c.rule.arithmetic == arithmetic::transformer_engine;
    return lowp::detail::ideal_scale<lanes<T>>(
        c.rule, bits, __builtin_bit_cast(word_of<T>, is_te ? outer.inverse : outer.scale));
}

/// The scale that an ideal one rounds to, and what elements are scaled by.
template <class T>
__device__ block_scale<T> rounded_scale(const block_call<T>& c, const lowp::detail::plan<T>& plan,
                                        std::uint64_t block, word_of<T> ideal,
                                        const lowp::detail::outer_pair<T>& outer) {
    word_of<T> scale = ideal;
    if (!c.is_on_grid)
        scale = scale_as<block_verb::quantize, T>(plan, ideal, scale_random(c, block));
    const auto total = lowp::detail::total_of<lanes<T>>(
        c.totals, scale, __builtin_bit_cast(word_of<T>, outer.scale));
    return {ideal, total.total, total.factor};
}

template <class T>
__device__ block_scale<T> scale_of(const block_call<T>& c, const lowp::detail::plan<T>& plan,
                                   std::uint64_t block, const block_content<T>& content) {
    const auto outer = outer_scale_of(c, block);
    return rounded_scale(c, plan, block, ideal_of(c, block, statistic_of(c, content), outer),
                         outer);
}

/// What encode writes once a block: the code of its scale.
template <class T>
__device__ void store_scale(const block_call<T>& c, const lowp::detail::plan<T>& plan,
                            std::uint64_t block, word_of<T> ideal) {
    const word_of<T> code[1] = {
        scale_as<block_verb::encode, T>(plan, ideal, scale_random(c, block))};
    store_codes(c.scale_codes, c.scale_bytes, block, code);
}

template <class T>
__device__ void store_scale_code(const block_call<T>& c, std::uint64_t block, word_of<T> code) {
    const word_of<T> codes[1] = {code};
    store_codes(c.scale_codes, c.scale_bytes, block, codes);
}

/// Codes or values of N neighbours from element i on.
template <carrier C, block_verb V, int N, class T>
__device__ void store_elements(const block_call<T>& c, std::uint64_t i, const word_of<T> (&v)[N]) {
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

}  // namespace lowp::cuda::detail
