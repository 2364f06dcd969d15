// The loops over blocks of one instruction set: maxima, sums, scales and the passes that scale; the table
// that names them with the fused ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "lowp/detail/block_kernel.hpp"
#include "lowp/detail/eight_doubles.hpp"
#include "lowp/detail/fused_loops.hpp"
#include "lowp/detail/hadamard_loops.hpp"
#include "lowp/detail/power_2_4.hpp"

namespace lowp::detail {

/// Loops over blocks of one carrier. A run of n elements has blocks of c, the last one short.
template <class T>
struct block_loops {
    using word = typename carrier<T>::word;
    using scaling_loop = void (*)(const T* x, T* y, std::size_t n, std::size_t c, const T* scales);

    /// maxima[b] = the larger of it and of the magnitudes in block b, as float bits: NaN over infinity.
    void (*maxima)(const T* x, std::size_t n, std::size_t c, word* maxima);
    /// sums[b] += sum of |x|, or for the rms of squares, in a fixed order.
    void (*sums)(const T* x, std::size_t n, std::size_t c, statistic of, double* sums);
    /// errors[b] += sum of |x - q|^p, in a fixed order.
    void (*errors)(const T* x, const T* q, std::size_t n, std::size_t c, error_norm p,
                   double* errors);
    bool (*any_special)(const word* maxima, std::size_t n);
    // These two work on whole registers: arrays are as long as a multiple of any width.
    void (*ideals)(const scale_plan<T>&, const T* statistics, const T* outer, T* ideals,
                   std::size_t n);
    /// totals = scales * outer * post_gain; factors: what `multiply` or `divide` takes before.
    void (*totals)(const totals_plan<T>&, const T* scales, const T* outer, T* totals, T* factors,
                   std::size_t n);
    scaling_loop multiply, divide, multiply_sticky, divide_sticky;
    /// quantize of elements, fused, for formats of path::plain_sum: y = project(x op factors) * totals.
    void (*quantize)(const plan<T>&, scaling, stores, const T* x, T* y, std::size_t n,
                     std::size_t c, const T* factors, const T* totals, const std::uint32_t* random);
    /// encode to bytes, fused.
    void (*encode)(const plan<T>&, scaling, const T* x, std::uint8_t* codes, std::size_t n,
                   std::size_t c, const T* factors, const std::uint32_t* random);
    /// Values of codes of four bits or fewer, looked up among sixteen.
    void (*look_up)(const T* values, const std::uint8_t* codes, T* y, std::size_t n, std::size_t c,
                    const T* totals);
    /// decode of bytes, fused.
    void (*decode)(const plan<T>&, const std::uint8_t* codes, T* y, std::size_t n, std::size_t c,
                   const T* totals);
    /// Codes of a codebook of up to sixteen values.
    void (*code_by_thresholds)(const word* thresholds, const T* x, std::uint8_t* codes,
                               std::size_t n);
    /// y = D H D' x / sqrt(size) of each run of `size` elements; D and D': signs, or null.
    void (*hadamard)(const T* x, T* y, std::size_t n, std::size_t size, const word* signs_before,
                     const word* signs_after, T norm);
    void (*hadamard_columns)(const T* x, T* y, std::size_t columns, std::size_t size,
                             const word* signs_before, const word* signs_after, T norm);
};

template <class L>
struct over_blocks {
    using T = typename L::element;
    using word = typename carrier<T>::word;
    using lanes_word = typename L::word;
    static constexpr word magnitude_mask = ~word{0} >> 1;

    [[gnu::always_inline]] static lanes_word magnitudes(const T* x) {
        return L::load_bits(x) & L::set(magnitude_mask);
    }
    static word magnitude(T x) { return __builtin_bit_cast(word, x) & magnitude_mask; }

    /// The largest magnitude of n elements.
    static word maximum(const T* x, std::size_t n) {
        word found = 0;
        std::size_t i = 0;
        if (n >= L::width) {
            lanes_word m = magnitudes(x);
            for (i = L::width; i + L::width <= n; i += L::width)
                m = L::larger(m, magnitudes(x + i));
            word each[L::width];
            L::store_words(each, m);
            for (const word w : each) found = w > found ? w : found;
        }
        for (; i < n; ++i) found = magnitude(x[i]) > found ? magnitude(x[i]) : found;
        return found;
    }

    /// Blocks in groups of as many as a register has lanes; returns how many were done. Registers: of a
    /// block, or 0 where only c knows.
    template <std::size_t Registers>
    static std::size_t maxima_of_groups(const T* x, std::size_t n, std::size_t c, word* maxima) {
        const std::size_t size = Registers > 0 ? Registers * L::width : c;
        std::size_t b = 0;
        for (; (b + L::width) * size <= n; b += L::width) {
            const T* const group = x + b * size;
            const auto found =
                maxima_of_rows<L>([=](std::size_t row) __attribute__((always_inline)) {
                    lanes_word m = magnitudes(group + row * size);
                    for (std::size_t i = L::width; i < size; i += L::width)
                        m = L::larger(m, magnitudes(group + row * size + i));
                    return m;
                });
            L::store_words(maxima + b, L::larger(L::load_words(maxima + b), found));
        }
        return b;
    }

    static void maxima(const T* x, std::size_t n, std::size_t c, word* maxima) {
        std::size_t b = 0;
        if (c == 1) {
            for (; b + L::width <= n; b += L::width)
                L::store_words(maxima + b, L::larger(L::load_words(maxima + b), magnitudes(x + b)));
        } else if (c % L::width == 0) {
            const std::size_t registers = c / L::width;
            if (registers == 1) b = maxima_of_groups<1>(x, n, c, maxima);
            else if (registers == 2) b = maxima_of_groups<2>(x, n, c, maxima);
            else if (registers == 4) b = maxima_of_groups<4>(x, n, c, maxima);
            else b = maxima_of_groups<0>(x, n, c, maxima);
        }
        for (; b * c < n; ++b) {
            const word m = maximum(x + b * c, n - b * c < c ? n - b * c : c);
            maxima[b] = m > maxima[b] ? m : maxima[b];
        }
    }

    /// sums[b] += terms of block b: eight partial sums, then those. term(i, count, eight): of count
    /// elements from i on, zeros behind.
    template <class Term>
    [[gnu::always_inline]] static void sum_blocks(std::size_t n, std::size_t c, double* sums,
                                                  const Term& term) {
        for (std::size_t b = 0; b * c < n; ++b) {
            const std::size_t end = n - b * c < c ? n : (b + 1) * c;
            eight_doubles part{};
            for (std::size_t i = b * c; i < end; i += 8) {
                eight_doubles next;
                term(i, end - i, next);
                part += next;
            }
            sums[b] += ((part[0] + part[4]) + (part[2] + part[6])) +
                       ((part[1] + part[5]) + (part[3] + part[7]));
        }
    }

    [[gnu::always_inline]] static void square(eight_doubles& x) {
        x = x * x;
        keep_rounded(x);
    }
    [[gnu::always_inline]] static void absolute(eight_doubles& x) { x = x < 0.0 ? -x : x; }

    static void sums(const T* x, std::size_t n, std::size_t c, statistic of, double* sums) {
        const auto value = [x](std::size_t i, std::size_t count, eight_doubles& v) {
            load_eight(x + i, count, v);
        };
        if (of == statistic::rms)
            sum_blocks(n, c, sums, [&](std::size_t i, std::size_t count, eight_doubles& v) {
                value(i, count, v);
                square(v);
            });
        else
            sum_blocks(n, c, sums, [&](std::size_t i, std::size_t count, eight_doubles& v) {
                value(i, count, v);
                absolute(v);
            });
    }

    static void errors(const T* x, const T* q, std::size_t n, std::size_t c, error_norm p,
                       double* errors) {
        const auto difference = [x, q](std::size_t i, std::size_t count, eight_doubles& d) {
            eight_doubles of_q;
            load_eight(x + i, count, d);
            load_eight(q + i, count, of_q);
            // NaN and infinity are not what a scale is chosen for.
            const auto is_finite = d - d == eight_doubles{};
            d = is_finite ? d - of_q : eight_doubles{};
        };
        const auto sum = [&](const auto& of) {
            sum_blocks(n, c, errors, [&](std::size_t i, std::size_t count, eight_doubles& d) {
                difference(i, count, d);
                of(d);
            });
        };
        if (p == error_norm::absolute) sum([](eight_doubles& d) { absolute(d); });
        else if (p == error_norm::squared) sum([](eight_doubles& d) { square(d); });
        else
            sum([](eight_doubles& d) {
                absolute(d);
                raise_to_2_4(d);
            });
    }

    // The plan by value, as in loops.hpp: its constants stay in registers.
    static void ideal_loop(scale_plan<T> c, const T* statistics, const T* outer, T* ideals,
                           std::size_t n) {
        for (std::size_t i = 0; i < n; i += L::width)
            L::store_bits(ideals + i,
                          ideal_scale<L>(c, L::load_bits(statistics + i), L::load_bits(outer + i)));
    }

    static void ideals(const scale_plan<T>& c, const T* statistics, const T* outer, T* ideals,
                       std::size_t n) {
        ideal_loop(c, statistics, outer, ideals, n);
        if (!c.by_logarithm) return;
        for (std::size_t i = 0; i < n; ++i)
            if (statistics[i] > 0) ideals[i] = power_by_logarithm<L>(c, statistics[i]);
    }

    static void totals(const totals_plan<T>& p, const T* scales, const T* outer, T* totals,
                       T* factors, std::size_t n) {
        for (std::size_t i = 0; i < n; i += L::width) {
            const auto block = total_of<L>(p, L::load_bits(scales + i), L::load_bits(outer + i));
            L::store_bits(totals + i, block.total);
            L::store_bits(factors + i, block.factor);
        }
    }

    static bool any_special(const word* maxima, std::size_t n) {
        constexpr word infinity = float_bits<T>(std::numeric_limits<double>::infinity());
        word found = 0;
        for (std::size_t i = 0; i < n; ++i) found |= maxima[i] >= infinity ? 1 : 0;
        return found != 0;
    }

    template <scaling S, bool Sticky>
    [[gnu::always_inline]] static void scale_run(const T* x, T* y, std::size_t n, lanes_word s) {
        std::size_t i = 0;
        for (; i + L::width <= n; i += L::width)
            L::store_bits(y + i, scaled<L, S, Sticky>(L::load_bits(x + i), s));
        if (i == n) return;
        T rest[L::width] = {};
        __builtin_memcpy(rest, x + i, (n - i) * sizeof(T));
        L::store_bits(rest, scaled<L, S, Sticky>(L::load_bits(rest), s));
        __builtin_memcpy(y + i, rest, (n - i) * sizeof(T));
    }

    template <scaling S, bool Sticky>
    static void scale_each(const T* x, T* y, std::size_t n, const T* scales) {
        std::size_t i = 0;
        for (; i + L::width <= n; i += L::width)
            L::store_bits(y + i,
                          scaled<L, S, Sticky>(L::load_bits(x + i), L::load_bits(scales + i)));
        if (i == n) return;
        T rest[L::width] = {};
        T s[L::width] = {};
        __builtin_memcpy(rest, x + i, (n - i) * sizeof(T));
        __builtin_memcpy(s, scales + i, (n - i) * sizeof(T));
        L::store_bits(rest, scaled<L, S, Sticky>(L::load_bits(rest), L::load_bits(s)));
        __builtin_memcpy(y + i, rest, (n - i) * sizeof(T));
    }

    template <scaling S, bool Sticky>
    static void scale_blocks(const T* x, T* y, std::size_t n, std::size_t c, const T* scales) {
        if (c == 1) return scale_each<S, Sticky>(x, y, n, scales);
        if (fused_loops<L>::fills_registers(c)) {
            for (std::size_t b = 0; b * c < n; ++b) {
                const std::size_t size = n - b * c < c ? n - b * c : c;
                const auto s = L::set(__builtin_bit_cast(word, scales[b]));
                scale_run<S, Sticky>(x + b * c, y + b * c, size, s);
            }
            return;
        }
        T each[block_chunk];
        const std::size_t step = block_chunk / c * c;
        for (std::size_t begin = 0; begin < n; begin += step) {
            const std::size_t size = n - begin < step ? n - begin : step;
            const T* s = scales + begin / c;
            for (std::size_t i = 0; i < size; ++s)
                for (std::size_t end = i + c < size ? i + c : size; i < end; ++i) each[i] = *s;
            scale_each<S, Sticky>(x + begin, y + begin, size, each);
        }
    }

    static constexpr block_loops<T> table() {
        return {&maxima,
                &sums,
                &errors,
                &any_special,
                &ideals,
                &totals,
                &scale_blocks<scaling::multiply, false>,
                &scale_blocks<scaling::divide, false>,
                &scale_blocks<scaling::multiply, true>,
                &scale_blocks<scaling::divide, true>,
                &fused_loops<L>::quantize,
                &fused_loops<L>::encode,
                &fused_loops<L>::look_up,
                &fused_loops<L>::decode,
                &fused_loops<L>::code_by_thresholds,
                &hadamard_loops<L>::hadamard,
                &hadamard_loops<L>::hadamard_columns};
    }
};

}  // namespace lowp::detail
