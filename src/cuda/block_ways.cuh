// How the elements of common block formats become what they are, where the values of a warp's blocks are
// numbers and their scales are of common sizes: rounding that saturates, by the sums of
// detail/sum_kernel.hpp or of chance.cuh, on magnitudes; signs are put back at the end. Whatever else
// there is goes the careful way.
#pragma once

#include "block_parts.cuh"
#include "chance.cuh"
#include "pairs.cuh"

namespace lowp::cuda::detail {

// ---- scales ---------------------------------------------------------------------------------------

/// What elements of one value of a word, or of two, are scaled by.
struct quick_scale {
    std::uint32_t total, factor;
};

/// What magnitudes are multiplied by, at first where they are divided by `factor`.
__device__ inline float multiplier_of(const block_call<float>& c, const quick_scale& s) {
    const float factor = __uint_as_float(s.factor);
    return c.before == scaling::divide ? 1.0F / factor : factor;
}

/// What the quick ways take.
template <carrier C>
struct word_scales {
    std::uint32_t total[values_a_word<C>], factor[values_a_word<C>];
    float multiplier[values_a_word<C>];

    __device__ void set(int k, const block_call<float>& c, const quick_scale& s) {
        set(k, s, multiplier_of(c, s));
    }
    __device__ void set(int k, const quick_scale& s, float multiplier_of_scale) {
        total[k] = s.total;
        factor[k] = s.factor;
        multiplier[k] = multiplier_of_scale;
    }
    __device__ void set_all(const block_call<float>& c, const quick_scale& s) {
#pragma unroll
        for (int k = 0; k < values_a_word<C>; ++k) set(k, c, s);
    }
};

/// A quotient rounded once, from the divisor's rounded inverse: two corrections by remainders, which are
/// exact where nothing underflows. Source: Markstein, 1990; the device's own division does the same.
__device__ inline std::uint32_t quotient_by(std::uint32_t x, std::uint32_t divisor, float inverse) {
    const float d = -__uint_as_float(divisor);
    const float a = __uint_as_float(x);
    float q = __fmul_rn(a, inverse);
    q = __fmaf_rn(__fmaf_rn(d, q, a), inverse, q);
    q = __fmaf_rn(__fmaf_rn(d, q, a), inverse, q);
    return __float_as_uint(q);
}

/// Whether the quick ways are exact for a block of numbers of which this is the largest magnitude.
__device__ inline bool is_quick(const block_call<float>& c, std::uint32_t largest,
                                const quick_scale& s) {
    const float d = __uint_as_float(s.factor);
    const bool divides_well = d >= c.least_divisor && d <= 0x1p100F;
    return largest < infinity_bits<float> && s.total < infinity_bits<float> &&
           (c.before == scaling::multiply || divides_well);
}

/// A block's scale, and its code where encode wants it.
struct quick_block {
    quick_scale scale;
    std::uint32_t code;
};
/// As every block can have it: for those that the quick way leaves.
template <block_verb V>
__device__ __noinline__ quick_block slow_block_of(const block_call<float>& c, std::uint64_t block,
                                                  block_content<float> content) {
    const auto outer = outer_scale_of(c, block);
    const auto ideal = ideal_of(c, block, statistic_of(c, content), outer);
    const auto s = rounded_scale(c, c.scale, block, ideal, outer);
    quick_block result{{s.total, s.factor}, 0};
    if (V == block_verb::encode)
        result.code = scale_as<block_verb::encode, float>(c.scale, ideal, scale_random(c, block));
    // Zeros over any scale are zeros; over an infinite one they would look uncommon.
    const bool is_empty = content.largest == 0 && !content.has_nan && !content.has_inf;
    if (is_empty && c.before == scaling::divide && s.factor == infinity_bits<float>)
        result.scale.factor = __float_as_uint(1.0F);
    return result;
}

template <class T>
__device__ __forceinline__ quick_block quick_block_of(const block_call<T>& c,
                                                      const lowp::detail::outer_pair<T>& outer,
                                                      std::uint32_t largest) {
    using L = lanes<T>;
    const bool is_te = c.rule.arithmetic == arithmetic::transformer_engine;
    const auto ideal = lowp::detail::ideal_scale<L>(
        c.rule, largest, __float_as_uint(is_te ? outer.inverse : outer.scale));
    std::uint32_t scale = ideal;
    std::uint32_t code = (ideal >> 23) - c.scale.low_field;
    if (c.scale_way == quick_scales::sums) {
        const auto r =
            lowp::detail::round_saturated<L, rounding::nearest_ties_to_even>(c.scale, ideal, 0);
        scale = r.value;
        code = r.code;
    }
    const auto total = lowp::detail::total_of<L>(c.totals, scale, __float_as_uint(outer.scale));
    const bool is_infinite = c.before == scaling::divide && total.factor == infinity_bits<float>;
    return {{total.total, largest == 0 && is_infinite ? __float_as_uint(1.0F) : total.factor},
            code};
}
/// c, and `slow`, the same once more: what has its address taken is read like memory, slowly. outer: the
/// block's, which loops over blocks read once.
template <block_verb V>
__device__ __forceinline__ quick_block
block_scale_of(const block_call<float>& c, const block_call<float>& slow, std::uint64_t block,
               const block_content<float>& content, const lowp::detail::outer_pair<float>& outer) {
    const bool is_common =
        c.scale_way != quick_scales::none && !content.has_nan && !content.has_inf;
    if (is_common) return quick_block_of(c, outer, content.largest);
    return slow_block_of<V>(slow, block, content);
}
template <block_verb V>
__device__ __forceinline__ quick_block block_scale_of(const block_call<float>& c,
                                                      const block_call<float>& slow,
                                                      std::uint64_t block,
                                                      const block_content<float>& content) {
    return block_scale_of<V>(c, slow, block, content, outer_scale_of(c, block));
}

// ---- elements -------------------------------------------------------------------------------------

// A way makes values, or codes, of the values of a word: one of float32, two side by side of 16-bit
// carriers. Those by chance take the random words of their values, and lower `margin` to the least they
// meet.

/// Pairs of bfloat16 as they are, between powers of two.
template <block_verb V>
struct pairs_way {
    static constexpr carrier C = carrier::bfloat16;
    static constexpr rounding mode = rounding::nearest_ties_to_even;
    static constexpr bool always_multiplies = true;
    template <scaling S>
    __device__ static std::uint32_t apply(const block_call<float>& c, const word_scales<C>& s,
                                          std::uint32_t w) {
        using L = bfloat16_pairs;
        const auto factor = __byte_perm(s.factor[0], s.factor[1], 0x7632);
        const auto r = lowp::detail::round_saturated<L, rounding::nearest_ties_to_even>(
            c.halves, L::product(w & ~word_signs<C>, factor), 0);
        const auto sign = w & word_signs<C>;
        if constexpr (V == block_verb::encode) return r.code | sign >> c.halves.sign_shift;
        else return L::product(r.value, __byte_perm(s.total[0], s.total[1], 0x7632)) | sign;
    }
};

/// Each value as a float, to nearest even.
template <carrier Carrier, block_verb V>
struct floats_way {
    static constexpr carrier C = Carrier;
    static constexpr rounding mode = rounding::nearest_ties_to_even;
    static constexpr bool always_multiplies = false;
    template <scaling S>
    __device__ static std::uint32_t apply(const block_call<float>& c, const word_scales<C>& s,
                                          std::uint32_t w) {
        using L = lanes<float>;
        std::uint32_t v[values_a_word<C>];
        const auto magnitudes = w & ~word_signs<C>;
#pragma unroll
        for (int k = 0; k < values_a_word<C>; ++k) {
            const auto m = value_of<C>(magnitudes, k);
            const auto scaled = S == scaling::multiply
                                    ? L::product(m, s.factor[k])
                                    : quotient_by(m, s.factor[k], s.multiplier[k]);
            const auto r = lowp::detail::round_saturated<L, mode>(c.element, scaled, 0);
            v[k] = V == block_verb::encode ? r.code : L::product(r.value, s.total[k]);
        }
        if constexpr (V == block_verb::quantize) return word_of_values<C>(v) | (w & word_signs<C>);
        else return word_of_codes<C>(v, w, c.element.sign_shift);
    }
};

/// Each value as a float, by chance.
template <carrier Carrier, block_verb V>
struct chance_way {
    static constexpr carrier C = Carrier;
    static constexpr rounding mode = rounding::stochastic_a;
    __device__ static std::uint32_t apply(const block_call<float>& c, const word_scales<C>& s,
                                          std::uint32_t w, const std::uint32_t* random,
                                          std::uint32_t& margin) {
        const auto scaled = [&](int k, float m) { return __fmul_rn(m, s.multiplier[k]); };
        if constexpr (V == block_verb::encode)
            return drawn_codes<C>(c.chance, w, random, c.element.sign_shift, margin, scaled);
        else
            return drawn_values<C>(
                c.chance, w, random, margin, scaled,
                [&](int k, std::uint32_t v) { return lanes<float>::product(v, s.total[k]); });
    }
};

/// A word of values of any kind in blocks of any scale.
template <carrier C, block_verb V, rounding R>
__device__ __noinline__ std::uint32_t word_carefully(const block_call<float>& c, std::uint32_t w,
                                                     quick_scale first, quick_scale second,
                                                     std::uint32_t random0, std::uint32_t random1) {
    using L = lanes<float>;
    constexpr int N = values_a_word<C>;
    std::uint32_t result = 0;
#pragma unroll
    for (int k = 0; k < N; ++k) {
        const quick_scale s = k == 0 ? first : second;
        const auto x = value_of<C>(w, k);
        const auto m = x & magnitude_bits<float>;
        const auto scaled =
            c.before == scaling::multiply ? L::product(m, s.factor) : L::quotient(m, s.factor);
        const bool is_nan = is_nan_word<float>(scaled);
        const auto r = lowp::detail::round_saturated<L, R>(c.element, is_nan ? 0 : scaled,
                                                           k == 0 ? random0 : random1);
        if constexpr (V == block_verb::quantize) {
            const auto sign = x ^ m;
            auto v = is_nan ? quiet_nan_bits<float> : L::product(r.value | sign, s.total);
            if (is_nan_word<float>(x)) v = x | quiet_nan_bits<float>;
            if (is_nan_word<float>(s.total)) v = quiet_nan_bits<float>;
            if constexpr (N == 1) result = v;
            else result |= std::uint32_t{memory<C>::narrowed(v)} << (16 * k);
        } else {
            const auto sign = (x ^ m) >> c.element.sign_shift;
            result |= (is_nan ? c.element.nan_code : r.code | sign) << (16 * k);
        }
    }
    return result;
}

/// The same with the scales of a word, which stay in registers.
template <carrier C, block_verb V, rounding R>
__device__ std::uint32_t apply_carefully(const block_call<float>& c, const word_scales<C>& s,
                                         std::uint32_t w, std::uint32_t random0,
                                         std::uint32_t random1) {
    constexpr int last = values_a_word<C> - 1;
    return word_carefully<C, V, R>(c, w, {s.total[0], s.factor[0]}, {s.total[last], s.factor[last]},
                                   random0, random1);
}

/// f(way) for the quick way of a call.
template <carrier C, block_verb V, class F>
void with_quick_way(const block_call<worker_t<C>>& c, const F& f) {
    if (c.way == quick_elements::chance) return f(chance_way<C, V>{});
    if constexpr (C == carrier::bfloat16)
        if (c.fits_pairs) return f(pairs_way<V>{});
    f(floats_way<C, V>{});
}

/// Some words, whatever their blocks are like: scales(j) are those of word j, `random` those of all values.
template <block_verb V, class Way, int W, class Scales>
__device__ void convert_words(const block_call<float>& c, const block_call<float>& slow,
                              const Scales& scales, bool is_common,
                              const std::uint32_t (&random)[W * values_a_word<Way::C>],
                              std::uint32_t (&w)[W]) {
    constexpr carrier C = Way::C;
    constexpr int N = values_a_word<C>;
    if constexpr (is_stochastic(Way::mode)) {
        std::uint32_t y[W];
        std::uint32_t margin = ~0U;
#pragma unroll
        for (int j = 0; j < W; ++j) y[j] = Way::apply(c, scales(j), w[j], random + j * N, margin);
        if (is_common && margin >= c.chance.doubtful) {
#pragma unroll
            for (int j = 0; j < W; ++j) w[j] = y[j];
            return;
        }
    } else if (is_common) {
        const auto all = [&]<scaling S>() {
#pragma unroll
            for (int j = 0; j < W; ++j) w[j] = Way::template apply<S>(c, scales(j), w[j]);
        };
        if (Way::always_multiplies || c.before == scaling::multiply)
            return all.template operator()<scaling::multiply>();
        return all.template operator()<scaling::divide>();
    }
#pragma unroll
    for (int j = 0; j < W; ++j)
        w[j] = apply_carefully<C, V, Way::mode>(slow, scales(j), w[j], random[j * N],
                                                random[j * N + N - 1]);
}

// ---- codes ----------------------------------------------------------------------------------------

/// Codes of N neighbours, side by side in words as `apply` gives them, closed up: two a word of 16-bit
/// carriers, one a word of float32. how: a packing, or a constant one.
template <carrier C, class How, int W>
__device__ void store_code_words(const block_call<float>& c, How how, std::uint64_t i,
                                 const std::uint32_t (&w)[W]) {
    const bool is_dense = how == packing::dense;
    constexpr int pairs = W * values_a_word<C> / 2;
    std::uint32_t two[pairs];
#pragma unroll
    for (int k = 0; k < pairs; ++k)
        two[k] = bytes_of(C) == 2 ? w[k] : w[2 * k] | w[2 * k + 1] << 16;
    auto* const to = static_cast<std::uint8_t*>(c.to);
    if constexpr (pairs % 4 == 0) {  // eight codes: bytes put together by permutations
        if (is_dense) {
            group<std::uint32_t, pairs / 4> g;
#pragma unroll
            for (int k = 0; k < pairs; k += 4) {
                std::uint32_t b[4];
#pragma unroll
                for (int j = 0; j < 4; ++j) b[j] = two[k + j] | two[k + j] >> 12;
                g.at[k / 4] = __byte_perm(__byte_perm(b[0], b[1], 0x0040),
                                          __byte_perm(b[2], b[3], 0x0040), 0x5410);
            }
            *reinterpret_cast<group<std::uint32_t, pairs / 4>*>(to + i / 2) = g;
        } else {
            group<std::uint32_t, pairs / 2> g;
#pragma unroll
            for (int k = 0; k < pairs / 2; ++k)
                g.at[k] = __byte_perm(two[2 * k], two[2 * k + 1], 0x6420);
            *reinterpret_cast<group<std::uint32_t, pairs / 2>*>(to + i) = g;
        }
    } else {
        if (is_dense) {
            group<std::uint8_t, pairs> g;
#pragma unroll
            for (int k = 0; k < pairs; ++k)
                g.at[k] = static_cast<std::uint8_t>(two[k] | two[k] >> 12);
            *reinterpret_cast<group<std::uint8_t, pairs>*>(to + i / 2) = g;
        } else {
            group<std::uint8_t, 2 * pairs> g;
#pragma unroll
            for (int k = 0; k < pairs; ++k) {
                g.at[2 * k] = static_cast<std::uint8_t>(two[k]);
                g.at[2 * k + 1] = static_cast<std::uint8_t>(two[k] >> 16);
            }
            *reinterpret_cast<group<std::uint8_t, 2 * pairs>*>(to + i) = g;
        }
    }
}

}  // namespace lowp::cuda::detail
