// The Walsh-Hadamard transform over lanes: butterflies within a register, then across registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lowp/detail/lanes.hpp"

namespace lowp::detail {

template <class L>
struct hadamard_loops {
    using T = typename L::element;
    using word = typename carrier<T>::word;
    using lanes_word = typename L::word;
    static constexpr word magnitude_mask = ~word{0} >> 1;

    /// Butterflies of lanes h apart, for h = Distance, 2 Distance, ... below `size` and the width.
    template <std::size_t Distance>
    [[gnu::always_inline]] static lanes_word butterflies(lanes_word x, std::size_t size) {
        if constexpr (Distance < L::width) {
            if (Distance >= size) return x;
            alignas(64) static constexpr auto signs = [] {
                struct {
                    word at[L::width];
                } s{};
                for (std::size_t i = 0; i < L::width; ++i)
                    s.at[i] = (i & Distance) != 0 ? ~magnitude_mask : 0;
                return s;
            }();
            const auto y = L::sum(L::template exchange<Distance>(x), x ^ L::load_words(signs.at));
            return butterflies<2 * Distance>(y, size);
        }
        return x;
    }

    /// Butterflies of whole registers.
    template <std::size_t Registers>
    [[gnu::always_inline]] static constexpr void cross(lanes_word (&v)[Registers]) {
        for (std::size_t h = 1; h < Registers; h *= 2)
            for (std::size_t r = 0; r < Registers; ++r) {
                if ((r & h) != 0) continue;
                const auto a = v[r];
                v[r] = L::sum(a, v[r + h]);
                v[r + h] = L::difference(a, v[r + h]);
            }
    }

    template <std::size_t Registers>
    static void hadamard_of(const T* x, T* y, std::size_t n, std::size_t size, const word* before,
                            const word* after, T norm) {
        constexpr std::size_t step = Registers * L::width;
        const auto factor = L::set(__builtin_bit_cast(word, norm));
        T padded[step];
        for (std::size_t i = 0; i < n; i += step) {
            const bool whole = n - i >= step;
            const T* from = x + i;
            if (!whole) {
                __builtin_memset(padded, 0, sizeof(padded));
                __builtin_memcpy(padded, from, (n - i) * sizeof(T));
                from = padded;
            }
            lanes_word v[Registers];
            for (std::size_t r = 0; r < Registers; ++r) {
                v[r] = L::load_bits(from + r * L::width);
                if (before != nullptr) v[r] = v[r] ^ L::load_words(before + r * L::width);
                v[r] = butterflies<1>(v[r], size);
            }
            cross<Registers>(v);
            T* const to = whole ? y + i : padded;
            for (std::size_t r = 0; r < Registers; ++r) {
                v[r] = L::product(v[r], factor);
                if (after != nullptr) v[r] = v[r] ^ L::load_words(after + r * L::width);
                L::store_bits(to + r * L::width, v[r]);
            }
            if (!whole) __builtin_memcpy(y + i, padded, (n - i) * sizeof(T));
        }
    }

    /// The transform down `columns` columns of Size rows, `columns` values apart.
    template <std::size_t Size>
    static void hadamard_down(const T* x, T* y, std::size_t columns, const word* before,
                              const word* after, T norm) {
        const auto factor = L::set(__builtin_bit_cast(word, norm));
        for (std::size_t j = 0; j < columns; j += L::width) {
            const std::size_t n = columns - j < L::width ? columns - j : L::width;
            lanes_word v[Size];
            for (std::size_t r = 0; r < Size; ++r) {
                T padded[L::width] = {};
                const T* from = x + r * columns + j;
                if (n < L::width) from = copied(padded, from, n);
                v[r] = L::load_bits(from);
                if (before != nullptr) v[r] = v[r] ^ L::set(before[r]);
            }
            cross<Size>(v);
            for (std::size_t r = 0; r < Size; ++r) {
                v[r] = L::product(v[r], factor);
                if (after != nullptr) v[r] = v[r] ^ L::set(after[r]);
                T padded[L::width];
                T* const to = y + r * columns + j;
                L::store_bits(n < L::width ? padded : to, v[r]);
                if (n < L::width) copied(to, padded, n);
            }
        }
    }

    static T* copied(T* to, const T* from, std::size_t n) {
        __builtin_memcpy(to, from, n * sizeof(T));
        return to;
    }

    /// One run down each column: size rows of `columns` values.
    static void hadamard_columns(const T* x, T* y, std::size_t columns, std::size_t size,
                                 const word* before, const word* after, T norm) {
        const auto run = [&]<std::size_t Size>() {
            hadamard_down<Size>(x, y, columns, before, after, norm);
        };
        if (size == 2) return run.template operator()<2>();
        if (size == 4) return run.template operator()<4>();
        if (size == 8) return run.template operator()<8>();
        if (size == 16) return run.template operator()<16>();
        if (size == 32) return run.template operator()<32>();
        if (size == 64) return run.template operator()<64>();
        if (size == 128) return run.template operator()<128>();
        return run.template operator()<256>();
    }

    /// n: a multiple of size, size: a power of two from 2 to 256; signs: one an element of a register
    /// or of a transform, whichever is longer.
    static void hadamard(const T* x, T* y, std::size_t n, std::size_t size, const word* before,
                         const word* after, T norm) {
        const auto run = [&]<std::size_t R>() {
            hadamard_of<R>(x, y, n, size, before, after, norm);
        };
        const std::size_t registers = size / L::width;
        if (registers <= 1) return run.template operator()<1>();
        if (registers == 2) return run.template operator()<2>();
        if (registers == 4) return run.template operator()<4>();
        if (registers == 8) return run.template operator()<8>();
        if (registers == 16) return run.template operator()<16>();
        if (registers == 32) return run.template operator()<32>();
        if (registers == 64) return run.template operator()<64>();
        if (registers == 128) return run.template operator()<128>();
        return run.template operator()<256>();
    }
};

}  // namespace lowp::detail
