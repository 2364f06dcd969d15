// The carriers, and lanes of one value a step: what the operations of lanes.hpp mean.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace lowp::detail {

/// Layout of the carrier: S EEEEEEEE MMM... with `width` bits, `mantissa` of them stored mantissa.
template <class T>
struct carrier;
template <>
struct carrier<float> {
    using word = std::uint32_t;
    using signed_word = std::int32_t;
    static constexpr int width = 32, mantissa = 23, bias = 127;
};
template <>
struct carrier<double> {
    using word = std::uint64_t;
    using signed_word = std::int64_t;
    static constexpr int width = 64, mantissa = 52, bias = 1023;
};

/// One value a step. `Isa` only makes the symbols of translation units built for different
/// instruction sets different, so that the linker cannot put one in place of another.
template <class T, class Isa>
struct scalar_lanes {
    using element = T;
    using word = typename carrier<T>::word;
    using mask = bool;
    static constexpr std::size_t width = 1;

    [[gnu::always_inline]] static constexpr word set(word w) { return w; }
    [[gnu::always_inline]] static constexpr word load_bits(const T* p) {
        return __builtin_bit_cast(word, *p);
    }
    [[gnu::always_inline]] static constexpr void store_bits(T* p, word w) {
        *p = __builtin_bit_cast(T, w);
    }
    [[gnu::always_inline]] static constexpr word load_words(const word* p) { return *p; }
    [[gnu::always_inline]] static constexpr void store_words(word* p, word w) { *p = w; }
    [[gnu::always_inline]] static constexpr word load_random(const std::uint32_t* p) { return *p; }
    [[gnu::always_inline]] static constexpr word load_bytes(const std::uint8_t* p) { return *p; }
    [[gnu::always_inline]] static constexpr void store_bytes(std::uint8_t* p, word w) {
        *p = static_cast<std::uint8_t>(w);
    }

    [[gnu::always_inline]] static constexpr word sum(word a, word b) {
        return __builtin_bit_cast(word, __builtin_bit_cast(T, a) + __builtin_bit_cast(T, b));
    }
    [[gnu::always_inline]] static constexpr word difference(word a, word b) {
        return __builtin_bit_cast(word, __builtin_bit_cast(T, a) - __builtin_bit_cast(T, b));
    }
    [[gnu::always_inline]] static constexpr word product(word a, word b) {
        return __builtin_bit_cast(word, __builtin_bit_cast(T, a) * __builtin_bit_cast(T, b));
    }
    [[gnu::always_inline]] static constexpr word quotient(word a, word b) {
        return __builtin_bit_cast(word, __builtin_bit_cast(T, a) / __builtin_bit_cast(T, b));
    }
    /// a * b + c, rounded once.
    [[gnu::always_inline]] static constexpr word fused(word a, word b, word c) {
        const T x = __builtin_bit_cast(T, a);
        const T y = __builtin_bit_cast(T, b);
        const T z = __builtin_bit_cast(T, c);
        if constexpr (sizeof(T) == 4) return __builtin_bit_cast(word, __builtin_fmaf(x, y, z));
        else return __builtin_bit_cast(word, __builtin_fma(x, y, z));
    }
    static constexpr bool has_directed = false;
    static constexpr bool has_streams = false;
    [[gnu::always_inline]] static constexpr word root(word a) {
        const T x = __builtin_bit_cast(T, a);
        if constexpr (sizeof(T) == 4) return __builtin_bit_cast(word, __builtin_sqrtf(x));
        else return __builtin_bit_cast(word, __builtin_sqrt(x));
    }
    /// The integer next to a toward zero; -0, infinity and NaN stay.
    [[gnu::always_inline]] static constexpr word truncated(word a) {
        const T x = __builtin_bit_cast(T, a);
        if constexpr (sizeof(T) == 4) return __builtin_bit_cast(word, __builtin_truncf(x));
        else return __builtin_bit_cast(word, __builtin_trunc(x));
    }
    /// Lanes of float64 from and to float32; storing rounds to nearest.
    [[gnu::always_inline]] static constexpr word load_floats(const float* p) {
        return __builtin_bit_cast(word, static_cast<T>(*p));
    }
    [[gnu::always_inline]] static constexpr void store_floats(float* p, word w) {
        *p = static_cast<float>(__builtin_bit_cast(T, w));
    }
    /// Float bits of fraction * 2^(e - mantissa), where `power` is 2^e and fraction < 2^mantissa; any
    /// bits for larger fractions. By integers here: single values do not depend on the thread's
    /// floating-point environment.
    [[gnu::always_inline]] static constexpr word on_grid_of(word power, word fraction) {
        if (fraction == 0 || fraction >> carrier<T>::mantissa != 0) return 0;
        constexpr int mantissa = carrier<T>::mantissa;
        const int above = carrier<T>::width - 1 - mantissa;  // bits over the hidden one
        const int to_normal = std::countl_zero(fraction) - above;
        const int field = static_cast<int>(power >> mantissa) - 1;
        const int up = to_normal < field ? to_normal : field;
        return (fraction << up) + (static_cast<word>(field - up) << mantissa);
    }
    /// table[index & 15]; table: sixteen words.
    [[gnu::always_inline]] static constexpr word lookup(const word* table, word index) {
        return table[index & 15];
    }
    [[gnu::always_inline]] static constexpr mask less(word a, word b) {
        return to_signed(a) < to_signed(b);
    }
    [[gnu::always_inline]] static constexpr mask equal(word a, word b) { return a == b; }
    [[gnu::always_inline]] static constexpr mask both(mask a, mask b) { return a & b; }
    [[gnu::always_inline]] static constexpr mask either(mask a, mask b) { return a | b; }
    [[gnu::always_inline]] static constexpr word select(mask m, word yes, word no) {
        return m ? yes : no;
    }
    [[gnu::always_inline]] static constexpr word smaller(word a, word b) {
        return less(a, b) ? a : b;
    }
    [[gnu::always_inline]] static constexpr word larger(word a, word b) {
        return less(a, b) ? b : a;
    }
    /// Whether a + b, unsigned, carries out of the word.
    [[gnu::always_inline]] static constexpr mask carries(word a, word b) {
        return static_cast<word>(a + b) < b;
    }
    /// Shifts by the same count, below the width, in every lane.
    [[gnu::always_inline]] static constexpr word shift_left(word a, int n) { return a << n; }
    [[gnu::always_inline]] static constexpr word shift_right(word a, int n) { return a >> n; }
    /// Shifts lane by lane; a count outside [0, width), read as unsigned, gives 0.
    [[gnu::always_inline]] static constexpr word shift_left_each(word a, word n) {
        return n < bits ? a << (n & (bits - 1)) : 0;
    }
    [[gnu::always_inline]] static constexpr word shift_right_each(word a, word n) {
        return n < bits ? a >> (n & (bits - 1)) : 0;
    }
    /// Product of the lower 32 bits of 64-bit lanes.
    [[gnu::always_inline]] static constexpr word multiply_low_halves(word a, word b) {
        return (a & 0xFFFFFFFFU) * (b & 0xFFFFFFFFU);
    }
    /// a[0] b[0] a[1] b[1] ..., each 64-bit lane as two words, the lower half first.
    [[gnu::always_inline]] static constexpr void store_interleaved(std::uint32_t* p, word a,
                                                                   word b) {
        p[0] = static_cast<std::uint32_t>(a);
        p[1] = static_cast<std::uint32_t>(a >> 32);
        p[2] = static_cast<std::uint32_t>(b);
        p[3] = static_cast<std::uint32_t>(b >> 32);
    }

private:
    static constexpr word bits = carrier<T>::width;
    static constexpr auto to_signed(word w) {
        return static_cast<typename carrier<T>::signed_word>(w);
    }
};

}  // namespace lowp::detail
