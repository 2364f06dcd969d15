// A sum of products of floats without any rounding: digits of 32 bits in 64-bit words, whose carries wait.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace lowp::detail {

/// Source: Kulisch, Computer Arithmetic and Validity, 8 (the complete accumulator).
class kulisch_sum {
public:
    /// Adds a b. Infinities and NaN are added as floats beside the digits.
    void add_product(double a, double b) {
        if (a == 0 || b == 0 || !std::isfinite(a) || !std::isfinite(b)) {
            special_ += a * b;  // NaN of 0 times infinity, or a zero
            return;
        }
        int of_a = 0;
        int of_b = 0;
        const double x = std::ldexp(std::frexp(a, &of_a), 53);
        const double y = std::ldexp(std::frexp(b, &of_b), 53);
        const auto m = static_cast<std::uint64_t>(std::fabs(x));
        const auto n = static_cast<std::uint64_t>(std::fabs(y));
        const bool negative = std::signbit(a) != std::signbit(b);
        const int at = of_a + of_b - 106 - base;
        // Two products of 27 by 53 bits: with a shift below 32 they stay within 128 bits.
        add_digits(static_cast<wide>(m & 0x7FFFFFF) * n, at, negative);
        add_digits(static_cast<wide>(m >> 27) * n, at + 27, negative);
        if (++waiting == most_waiting) carry();
    }
    void add(double a) { add_product(a, 1.0); }

    /// The sum rounded to odd in float64: what rounds from it is rounded once, for up to 51 bits.
    [[nodiscard]] double rounded_to_odd() {
        if (special_ != 0) return special_;  // NaN, too
        carry();
        const bool negative = digits_.back() < 0;
        if (negative)
            for (auto& d : digits_) d = -d;
        if (negative) carry();
        std::size_t top = digits_.size();
        while (top > 0 && digits_[top - 1] == 0) --top;
        if (top == 0) return 0;
        // The 64 bits from the leading one on, and whether anything follows.
        const auto digit = [&](std::size_t below) {
            return top > below ? static_cast<std::uint64_t>(digits_[top - 1 - below]) : 0;
        };
        const int places = std::countl_zero(static_cast<std::uint32_t>(digit(0)));
        const wide upper =
            (static_cast<wide>(digit(0)) << 64 | static_cast<wide>(digit(1)) << 32 | digit(2))
            << places;
        auto leading = static_cast<std::uint64_t>(upper >> 32);
        bool rest = static_cast<std::uint32_t>(upper) != 0;
        for (std::size_t i = 3; i < top && !rest; ++i) rest = digit(i) != 0;
        const int exponent = base + 32 * static_cast<int>(top) - places - 64;  // of the last bit
        const int kept_from = std::max(11, -1074 - exponent);
        if (kept_from > 63) {
            leading = 1;  // below the subnormal numbers: an odd one
        } else {
            rest = rest || (leading & ((std::uint64_t{1} << kept_from) - 1)) != 0;
            leading = leading >> kept_from | (rest ? 1 : 0);
        }
        const double size =
            std::ldexp(static_cast<double>(leading), exponent + std::min(kept_from, 1100));
        const double bounded = kept_from > 63     ? std::numeric_limits<double>::denorm_min()
                               : std::isinf(size) ? std::numeric_limits<double>::max()
                                                  : size;
        return negative ? -bounded : bounded;
    }

private:
    __extension__ using wide = unsigned __int128;
    static constexpr int base = -2272;  // significands shifted up to 53 bits begin at 2^-2252
    static constexpr int most_waiting = 1 << 29;
    // Products reach 2^2048; 2^29 of them and more, once carried, 2^2100.
    std::array<std::int64_t, (2272 + 2176) / 32> digits_{};
    double special_ = 0;
    int waiting = 0;

    void add_digits(wide value, int at, bool negative) {
        const auto first = static_cast<std::size_t>(at / 32);
        value <<= at % 32;
        for (std::size_t i = first; value != 0; ++i, value >>= 32) {
            const auto digit = static_cast<std::int64_t>(static_cast<std::uint32_t>(value));
            digits_[i] += negative ? -digit : digit;
        }
    }
    void carry() {
        waiting = 0;
        for (std::size_t i = 0; i + 1 < digits_.size(); ++i) {
            const std::int64_t over = digits_[i] >> 32;
            digits_[i] -= over * (std::int64_t{1} << 32);
            digits_[i + 1] += over;
        }
    }
};

}  // namespace lowp::detail
