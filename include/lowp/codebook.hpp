// Elements that are a sorted list of values instead of a minifloat: NF4 and its like.
// A code is the index of its value; rounding picks one of the two neighbours, as everywhere.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>

#include "lowp/rounding.hpp"

namespace lowp {

/// Up to 256 float32 values in ascending order. Finite values beyond the ends, and infinities, become
/// the ends; a tie goes to the even index; "odd" means an odd index.
class codebook {
public:
    static constexpr std::size_t capacity = 256;

    constexpr codebook() = default;

    /// values: 2 to 256, ascending, finite, exact in float32; else std::invalid_argument.
    explicit constexpr codebook(std::span<const double> values) {
        if (values.size() < 2 || values.size() > capacity)
            fail("needs 2 to 256 values; got " + std::to_string(values.size()));
        for (const double v : values) {
            const bool first = size_ == 0;
            if (!(v >= -std::numeric_limits<float>::max() &&
                  v <= std::numeric_limits<float>::max()))
                fail("values must be finite float32 numbers; got " + std::to_string(v));
            if (static_cast<double>(static_cast<float>(v)) != v)
                fail("value " + std::to_string(v) + " is no float32 number; round it first");
            if (!first && !(values_.at(size_ - 1) < v))
                fail("values must ascend; got " + std::to_string(values_.at(size_ - 1)) +
                     " before " + std::to_string(v));
            values_.at(size_++) = v;
        }
        if (!(max() > 0)) fail("the largest magnitude must be above 0");
    }

    [[nodiscard]] constexpr std::size_t size() const { return size_; }
    [[nodiscard]] constexpr bool empty() const { return size_ == 0; }
    [[nodiscard]] constexpr std::span<const double> values() const {
        return std::span(values_).first(size_);
    }
    /// Bits of a code.
    [[nodiscard]] constexpr int bits() const { return static_cast<int>(std::bit_width(size_ - 1)); }
    /// The largest magnitude.
    [[nodiscard]] constexpr double max() const {
        return std::max(-values_.front(), values_.at(size_ - 1));
    }

    /// Index of the value to which x rounds. x: no NaN. `random`: 32 bits, of which stochastic modes
    /// take the upper `random_bits`.
    [[nodiscard]] constexpr std::size_t nearest(double x, const projection& p,
                                                std::uint32_t random = 0) const {
        if (!(x > values_[0])) return 0;
        std::size_t lower = 0;
        std::size_t upper = size_ - 1;
        if (!(x < values_[upper])) return upper;
        while (upper - lower > 1) {
            const std::size_t middle = (lower + upper) / 2;
            (x < values_[middle] ? upper : lower) = middle;
        }
        const double low = values_[lower];
        if (x == low) return lower;
        return lower + (steps_up(x, low, values_[upper], lower, p, random) ? 1 : 0);
    }

    friend constexpr bool operator==(const codebook&, const codebook&) = default;

private:
    // Away from zero is up where the upper neighbour has the larger magnitude.
    static constexpr bool steps_up(double x, double low, double high, std::size_t lower,
                                   const projection& p, std::uint32_t random) {
        using enum rounding;
        const bool away_is_up = low + high > 0;
        const bool lower_is_even = lower % 2 == 0;
        const int side = side_of_middle(x, low / 2, high / 2);
        switch (p.rounding) {
            case nearest_ties_to_even: return side > 0 || (side == 0 && !lower_is_even);
            case nearest_ties_to_away: return side > 0 || (side == 0 && away_is_up);
            case nearest_ties_to_zero: return side > 0 || (side == 0 && !away_is_up);
            case toward_zero: return !away_is_up;
            case away_from_zero: return away_is_up;
            case toward_positive: return true;
            case toward_negative: return false;
            case to_odd: return lower_is_even;
            case stochastic_equal: return (random >> 31 != 0) == away_is_up;
            default: break;
        }
        const double cut = (away_is_up ? x - low : high - x) / (high - low);
        return steps_away(cut, p, random) == away_is_up;
    }

    // Of x - (a + b): the rounded sum, and what its rounding cut off (Knuth's TwoSum).
    static constexpr int side_of_middle(double x, double a, double b) {
        const double middle = a + b;
        if (x != middle) return x > middle ? 1 : -1;
        const double part = middle - a;
        const double rest = (a - (middle - part)) + (b - part);
        return rest < 0 ? 1 : rest > 0 ? -1 : 0;
    }

    static constexpr bool steps_away(double cut, const projection& p, std::uint32_t random) {
        const auto count = static_cast<double>(std::uint64_t{1} << p.random_bits);
        const auto r = static_cast<double>(random >> (32 - p.random_bits));
        const double scaled = cut * count;
        const auto whole = static_cast<double>(static_cast<std::uint64_t>(scaled));
        if (p.rounding == rounding::stochastic_a) return whole + r >= count;
        if (p.rounding == rounding::stochastic_b)
            return static_cast<double>(static_cast<std::uint64_t>(2 * scaled)) + 2 * r + 1 >=
                   2 * count;
        const double rest = scaled - whole;
        const bool odd = static_cast<std::uint64_t>(whole) % 2 != 0;
        return whole + (rest > 0.5 || (rest == 0.5 && odd) ? 1 : 0) + r >= count;
    }

    [[noreturn]] static void fail(const std::string& message) {
        throw std::invalid_argument("lowp::codebook: " + message);
    }

    std::array<double, capacity> values_{};
    std::size_t size_ = 0;
};

// clang-format off
/// Quantiles of the normal distribution, one of them zero.
/// Source: Dettmers et al., QLoRA: efficient finetuning of quantized LLMs, 2023, appendix E.
inline constexpr codebook nf4{std::array<double, 16>{
    -1.0,                -0.6961928009986877F, -0.5250730514526367F, -0.39491748809814453F,
    -0.28444138169288635F, -0.18477343022823334F, -0.09105003625154495F, 0.0,
    0.07958029955625534F, 0.16093020141124725F, 0.24611230194568634F, 0.33791524171829224F,
    0.44070982933044434F, 0.5626170039176941F,  0.7229568362236023F,  1.0}};
// clang-format on

}  // namespace lowp
