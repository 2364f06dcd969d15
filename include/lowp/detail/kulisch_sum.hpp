// A sum of products of floats without any rounding: digits of 32 bits in 64-bit words, whose carries wait.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "lowp/detail/wide.hpp"

namespace lowp::detail {

/// Digits from 2^Lowest, a multiple of 32, up to 2^Highest. Integers alone, but for what is no number.
/// Source: Kulisch, Computer Arithmetic and Validity, 8 (the complete accumulator).
template <int Lowest, int Highest>
class kulisch_digits {
public:
    /// Adds a b. Infinities and NaN are added as floats beside the digits.
    constexpr void add_product(double a, double b) {
        const parts x = taken_apart(a);
        const parts y = taken_apart(b);
        if (x.significand == 0 || y.significand == 0 || !x.is_finite || !y.is_finite) {
            special_ += a * b;  // NaN of 0 times infinity, or a zero
            return;
        }
        const int at = x.exponent + y.exponent - Lowest;
        const bool negative = x.negative != y.negative;
        // Two products of 27 by 53 bits: with a shift below 32 they stay within 128 bits.
        add_digits(static_cast<uint128>(x.significand & 0x7FFFFFF) * y.significand, at, negative);
        add_digits(static_cast<uint128>(x.significand >> 27) * y.significand, at + 27, negative);
        if (++waiting == most_waiting) carry();
    }
    constexpr void add(double a) { add_product(a, 1.0); }

    /// The sum rounded to odd in float64: what rounds from it is rounded once, for up to 51 bits.
    [[nodiscard]] constexpr double rounded_to_odd() {
        if (special_ != 0) return special_;  // NaN, too
        carry();
        const bool negative = digits_[count - 1] < 0;
        if (negative)
            for (auto& d : digits_) d = -d;
        if (negative) carry();
        std::size_t top = count;
        while (top > 0 && digits_[top - 1] == 0) --top;
        if (top == 0) return 0;
        // The 64 bits from the leading one on, and whether anything follows.
        const auto digit = [&](std::size_t below) {
            return top > below ? static_cast<std::uint64_t>(digits_[top - 1 - below]) : 0;
        };
        int places = 0;
        while ((digit(0) << places >> 31) == 0) ++places;
        const uint128 upper =
            (static_cast<uint128>(digit(0)) << 64 | static_cast<uint128>(digit(1)) << 32 | digit(2))
            << places;
        auto leading = static_cast<std::uint64_t>(upper >> 32);
        bool rest = static_cast<std::uint32_t>(upper) != 0;
        for (std::size_t i = 3; i < top && !rest; ++i) rest = digit(i) != 0;
        const int exponent = Lowest + 32 * static_cast<int>(top) - places - 64;  // of the last bit
        const int from_subnormal = -1074 - exponent;
        const int kept_from = from_subnormal > 11 ? from_subnormal : 11;
        std::uint64_t bits = 1;  // below the subnormal numbers: an odd one
        if (kept_from <= 63) {
            rest = rest || (leading & ((std::uint64_t{1} << kept_from) - 1)) != 0;
            leading = leading >> kept_from | (rest ? 1 : 0);
            // A normal number has its leading bit at 2^52, one more in the exponent field.
            const int field = kept_from > 11 ? 0 : exponent + 11 + 1074;
            bits = (static_cast<std::uint64_t>(field) << 52) + leading;
            if (field > 2045) bits = largest;
        }
        return __builtin_bit_cast(double, bits | (negative ? std::uint64_t{1} << 63 : 0));
    }

private:
    static constexpr int most_waiting = 1 << 29;
    static constexpr std::size_t count = (Highest - Lowest) / 32;
    static constexpr std::uint64_t largest = 0x7FEFFFFFFFFFFFFFU;
    std::array<std::int64_t, count> digits_{};
    double special_ = 0;
    int waiting = 0;

    /// significand 2^exponent; of infinity and NaN nothing but is_finite.
    struct parts {
        std::uint64_t significand;
        int exponent;
        bool negative, is_finite;
    };
    [[nodiscard]] static constexpr parts taken_apart(double x) {
        const auto bits = __builtin_bit_cast(std::uint64_t, x);
        const auto field = static_cast<int>(bits >> 52 & 0x7FF);
        const std::uint64_t fraction = bits & ((std::uint64_t{1} << 52) - 1);
        const std::uint64_t hidden = field == 0 ? 0 : std::uint64_t{1} << 52;
        return {hidden | fraction, (field == 0 ? 1 : field) - 1075, bits >> 63 != 0,
                field != 0x7FF};
    }
    constexpr void add_digits(uint128 value, int at, bool negative) {
        const auto first = static_cast<std::size_t>(at / 32);
        value <<= at % 32;
        for (std::size_t i = first; value != 0; ++i, value >>= 32) {
            const auto digit = static_cast<std::int64_t>(static_cast<std::uint32_t>(value));
            digits_[i] += negative ? -digit : digit;
        }
    }
    constexpr void carry() {
        waiting = 0;
        for (std::size_t i = 0; i + 1 < count; ++i) {
            const std::int64_t over = digits_[i] >> 32;
            digits_[i] -= over * (std::int64_t{1} << 32);
            digits_[i + 1] += over;
        }
    }
};

/// Any products of float64: the least is 2^-2148. They reach 2^2048; 2^29 of them and more, once carried,
/// 2^2100.
using kulisch_sum = kulisch_digits<-2272, 2176>;
/// Products of float32: from 2^-298, with the bits below that their float64 has, to 2^256.
using kulisch_float_sum = kulisch_digits<-416, 352>;

}  // namespace lowp::detail
