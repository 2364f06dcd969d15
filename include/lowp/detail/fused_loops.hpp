// The element kernel fused with the scalings around it, over runs of blocks; and codebooks of few values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "lowp/codec.hpp"
#include "lowp/detail/block_kernel.hpp"
#include "lowp/detail/kernel.hpp"
#include "lowp/detail/stores.hpp"

namespace lowp::detail {

template <class L>
struct fused_loops {
    using T = typename L::element;
    using word = typename carrier<T>::word;
    using lanes_word = typename L::word;
    static constexpr word magnitude_mask = ~word{0} >> 1;

    /// Whether blocks are whole registers, or so long that a rest does not matter.
    static bool fills_registers(std::size_t c) { return c % L::width == 0 || c >= 4 * L::width; }

    /// One value a block, or one an element: what a register is multiplied by.
    template <bool Each>
    [[gnu::always_inline]] static lanes_word value_at(const T* values, std::size_t i,
                                                      std::size_t b) {
        if constexpr (Each) return L::load_bits(values + i);
        else return broadcast<L>(values[b]);
    }

    /// body(i, block's index) for whole registers from i on; what is left goes through padded copies
    /// by rest(i, count, index). Each: all is one run.
    template <bool Each, class Body, class Rest>
    [[gnu::always_inline]] static void each_register(std::size_t n, std::size_t c, const Body& body,
                                                     const Rest& rest) {
        const std::size_t size = Each ? n : c;
        std::size_t first = 0;
        // The blocks of most formats are one register or two: no loop over registers then.
        if (!Each && c == L::width)
            for (; (first + 1) * c <= n; ++first) body(first * c, first);
        if (!Each && c == 2 * L::width)
            for (; (first + 1) * c <= n; ++first) {
                body(first * c, first);
                body(first * c + L::width, first);
            }
        for (std::size_t b = first; b * size < n; ++b) {
            const std::size_t end = n - b * size < size ? n : (b + 1) * size;
            std::size_t i = b * size;
            for (; i + L::width <= end; i += L::width) body(i, b);
            if (i < end) rest(i, end - i, b);
        }
    }

    template <class Value>
    struct padded_copy {
        Value at[L::width] = {};
        padded_copy() = default;
        padded_copy(const Value* from, std::size_t count) {
            if (from != nullptr) __builtin_memcpy(at, from, count * sizeof(Value));
        }
    };

    template <rounding R, scaling S, bool Each, stores Stores>
    static void quantize_blocks(plan<T> p, const T* x, T* y, std::size_t n, std::size_t c,
                                const T* factors, const T* totals, const std::uint32_t* random) {
        constexpr bool sticky = looks_for_anything(R);
        const auto convert = [p](lanes_word v, lanes_word f, lanes_word t, lanes_word r)
            __attribute__((always_inline)) {
            return L::product(
                quantize_lanes<L, R, path::plain_sum>(p, scaled<L, S, sticky>(v, f), r), t);
        };
        each_register<Each>(
            n, c,
            [&](std::size_t i, std::size_t b) __attribute__((always_inline)) {
                // The maxima of the next panel find their elements in the cache. From memory they need
                // longer, and come to the second level.
                if constexpr (Stores == stores::cached) __builtin_prefetch(x + i + block_chunk);
                else __builtin_prefetch(x + i + 2 * block_chunk, 0, 2);
                store_result<L, Stores>(
                    y + i, convert(L::load_bits(x + i), value_at<Each>(factors, i, b),
                                   value_at<Each>(totals, i, b), random_at<L, R>(random, i)));
            },
            [&](std::size_t i, std::size_t count, std::size_t b) __attribute__((always_inline)) {
                padded_copy<T> some(x + i, count);
                const padded_copy<T> f(factors + (Each ? i : b), Each ? count : 1);
                const padded_copy<T> t(totals + (Each ? i : b), Each ? count : 1);
                const padded_copy<std::uint32_t> words(is_stochastic(R) ? random + i : nullptr,
                                                       count);
                L::store_bits(some.at,
                              convert(L::load_bits(some.at), value_at<Each>(f.at, 0, 0),
                                      value_at<Each>(t.at, 0, 0), random_at<L, R>(words.at, 0)));
                __builtin_memcpy(y + i, some.at, count * sizeof(T));
            });
    }

    template <rounding R, scaling S, bool Each>
    static void encode_blocks(plan<T> p, const T* x, std::uint8_t* codes, std::size_t n,
                              std::size_t c, const T* factors, const std::uint32_t* random) {
        constexpr bool sticky = looks_for_anything(R);
        const auto convert = [p](lanes_word v, lanes_word f, lanes_word r)
            __attribute__((always_inline)) {
            return encode_lanes<L, R, path::plain_sum>(p, scaled<L, S, sticky>(v, f), r);
        };
        each_register<Each>(
            n, c,
            [&](std::size_t i, std::size_t b) __attribute__((always_inline)) {
                __builtin_prefetch(x + i + block_chunk);  // the next panel's, for its maxima
                L::store_bytes(codes + i,
                               convert(L::load_bits(x + i), value_at<Each>(factors, i, b),
                                       random_at<L, R>(random, i)));
            },
            [&](std::size_t i, std::size_t count, std::size_t b) __attribute__((always_inline)) {
                const padded_copy<T> some(x + i, count);
                const padded_copy<T> f(factors + (Each ? i : b), Each ? count : 1);
                const padded_copy<std::uint32_t> words(is_stochastic(R) ? random + i : nullptr,
                                                       count);
                padded_copy<std::uint8_t> bytes;
                L::store_bytes(bytes.at, convert(L::load_bits(some.at), value_at<Each>(f.at, 0, 0),
                                                 random_at<L, R>(words.at, 0)));
                __builtin_memcpy(codes + i, bytes.at, count);
            });
    }

    template <bool Each, class Value>
    [[gnu::always_inline]] static void decode_by(const std::uint8_t* codes, T* y, std::size_t n,
                                                 std::size_t c, const T* totals,
                                                 const Value& value) {
        each_register<Each>(
            n, c,
            [&](std::size_t i, std::size_t b) __attribute__((always_inline)) {
                L::store_bits(y + i, L::product(value(L::load_bytes(codes + i)),
                                                value_at<Each>(totals, i, b)));
            },
            [&](std::size_t i, std::size_t count, std::size_t b) __attribute__((always_inline)) {
                const padded_copy<std::uint8_t> bytes(codes + i, count);
                const padded_copy<T> t(totals + (Each ? i : b), Each ? count : 1);
                padded_copy<T> some;
                L::store_bits(some.at, L::product(value(L::load_bytes(bytes.at)),
                                                  value_at<Each>(t.at, 0, 0)));
                __builtin_memcpy(y + i, some.at, count * sizeof(T));
            });
    }

    /// work(c, lists...) with lists of one value an element where blocks do not fill registers: run(true)
    /// then. n: at most block_chunk in that case.
    template <class Run>
    [[gnu::always_inline]] static void with_values(std::size_t n, std::size_t c, const T* first,
                                                   const T* second, const Run& run) {
        if (fills_registers(c)) return run(std::false_type{}, first, second);
        if (c == 1) return run(std::true_type{}, first, second);
        T each_first[block_chunk];
        T each_second[block_chunk];
        for (std::size_t i = 0, b = 0; i < n; ++b)
            for (const std::size_t end = i + c < n ? i + c : n; i < end; ++i) {
                each_first[i] = first[b];
                each_second[i] = second[b];
            }
        run(std::true_type{}, each_first, each_second);
    }

    static void quantize(const plan<T>& p, scaling s, stores how, const T* x, T* y, std::size_t n,
                         std::size_t c, const T* factors, const T* totals,
                         const std::uint32_t* random) {
        with_rounding(p.rounding, [&](auto mode) {
            constexpr rounding R = decltype(mode)::value;
            with_values(n, c, factors, totals, [&](auto each, const T* f, const T* t) {
                constexpr bool Each = decltype(each)::value;
                with_stores<L>(how, [&](auto stores_) {
                    constexpr stores Stores = decltype(stores_)::value;
                    if (s == scaling::multiply)
                        quantize_blocks<R, scaling::multiply, Each, Stores>(p, x, y, n, c, f, t,
                                                                            random);
                    else
                        quantize_blocks<R, scaling::divide, Each, Stores>(p, x, y, n, c, f, t,
                                                                          random);
                });
            });
        });
    }
    static void encode(const plan<T>& p, scaling s, const T* x, std::uint8_t* codes, std::size_t n,
                       std::size_t c, const T* factors, const std::uint32_t* random) {
        with_rounding(p.rounding, [&](auto mode) {
            constexpr rounding R = decltype(mode)::value;
            with_values(n, c, factors, factors, [&](auto each, const T* f, const T*) {
                constexpr bool Each = decltype(each)::value;
                if (s == scaling::multiply)
                    encode_blocks<R, scaling::multiply, Each>(p, x, codes, n, c, f, random);
                else encode_blocks<R, scaling::divide, Each>(p, x, codes, n, c, f, random);
            });
        });
    }
    static void look_up(const T* values, const std::uint8_t* codes, T* y, std::size_t n,
                        std::size_t c, const T* totals) {
        word table[16];
        __builtin_memcpy(table, values, sizeof(table));
        with_values(n, c, totals, totals, [&](auto each, const T* t, const T*) {
            decode_by<decltype(each)::value>(
                codes, y, n, c, t, [&](lanes_word code) __attribute__((always_inline)) {
                    return L::lookup(table, code);
                });
        });
    }
    static void decode(const plan<T>& p, const std::uint8_t* codes, T* y, std::size_t n,
                       std::size_t c, const T* totals) {
        const plan<T> own = p;
        with_values(n, c, totals, totals, [&](auto each, const T* t, const T*) {
            with_integer_path(own.path, [&](auto path) {
                decode_by<decltype(each)::value>(
                    codes, y, n, c, t, [own](lanes_word code) __attribute__((always_inline)) {
                        return decode_lanes<L, decltype(path)::value>(own, code);
                    });
            });
        });
    }

    /// Codes of a codebook of up to sixteen values: how many thresholds lie at or below x. thresholds:
    /// on the line where floats are in order as signed integers, less one; 15 of them.
    static void code_by_thresholds(const word* thresholds, const T* x, std::uint8_t* codes,
                                   std::size_t n) {
        const auto zero = L::set(0);
        const auto one = L::set(1);
        const auto code = [&](lanes_word v) __attribute__((always_inline)) {
            const auto bits = L::sum(v, zero);  // -0 + 0 is +0
            const auto line = bits ^ L::select(L::less(bits, zero), L::set(magnitude_mask), zero);
            auto count = zero;
            for (std::size_t k = 0; k < 15; ++k)
                count = count + L::select(L::less(L::set(thresholds[k]), line), one, zero);
            return count;
        };
        each_register<true>(
            n, n,
            [&](std::size_t i, std::size_t) {
            L::store_bytes(codes + i, code(L::load_bits(x + i)));
            },
            [&](std::size_t i, std::size_t count, std::size_t) {
            const padded_copy<T> some(x + i, count);
            padded_copy<std::uint8_t> bytes;
            L::store_bytes(bytes.at, code(L::load_bits(some.at)));
            __builtin_memcpy(codes + i, bytes.at, count);
        });
    }
};

}  // namespace lowp::detail
