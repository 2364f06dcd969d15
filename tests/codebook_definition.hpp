// The definition of rounding to a codebook: look at all values, find the two neighbours, pick one.
#pragma once

#include <cmath>
#include <cstdint>

#include "lowp/codebook.hpp"
#include "lowp/rounding.hpp"

namespace lowp::test {

/// An index, and whether it is certain: odds next to a whole number of 2^-N depend on how the
/// quotient is rounded where the distance of two values is no power of two.
struct codebook_choice {
    std::size_t index = 0;
    bool is_certain = true;
};

/// The index to which x rounds; no NaN. random: R of N bits.
[[nodiscard]] inline codebook_choice define_choice(const codebook& book, double x,
                                                   const projection& p, std::uint32_t random) {
    using exact = long double;
    const auto values = book.values();
    std::size_t low = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (values[i] <= x) low = i;
    const std::size_t high = low + 1 < values.size() ? low + 1 : low;
    if (x <= values[0]) return {0};
    if (low == high || x == values[low]) return {low};
    const exact v = x;
    const exact below = v - static_cast<exact>(values[low]);
    const exact gap = static_cast<exact>(values[high]) - static_cast<exact>(values[low]);
    const exact middle = static_cast<exact>(values[low]) + gap / 2;
    const bool high_is_away = values[low] + values[high] > 0;
    const std::size_t away = high_is_away ? high : low;
    const std::size_t near = high_is_away ? low : high;
    const std::size_t even = low % 2 == 0 ? low : high;
    const std::size_t odd = low % 2 == 0 ? high : low;
    const auto nearest = [&](std::size_t of_tie) {
        return codebook_choice{v < middle ? low : v > middle ? high : of_tie};
    };
    const exact cut = (high_is_away ? below : gap - below) / gap;
    const exact count = std::ldexp(exact{1}, p.random_bits);
    const auto by_chance = [&](exact steps, exact of, exact r) {
        const exact scaled = cut * of;
        const bool is_certain =
            std::fabs(scaled - std::round(scaled)) > 1e-5L || scaled == std::round(scaled);
        return codebook_choice{steps + r >= of ? away : near, is_certain};
    };
    switch (p.rounding) {
        case rounding::nearest_ties_to_even: return nearest(even);
        case rounding::nearest_ties_to_away: return nearest(away);
        case rounding::nearest_ties_to_zero: return nearest(near);
        case rounding::toward_zero: return {near};
        case rounding::toward_positive: return {high};
        case rounding::toward_negative: return {low};
        case rounding::away_from_zero: return {away};
        case rounding::to_odd: return {odd};
        case rounding::stochastic_a: return by_chance(std::floor(cut * count), count, random);
        case rounding::stochastic_b:
            return by_chance(std::floor(cut * 2 * count), 2 * count,
                             2 * static_cast<exact>(random) + 1);
        case rounding::stochastic_c: {
            const codebook_choice c = by_chance(std::nearbyint(cut * count), count, random);
            const exact twice = 2 * cut * count;  // ties of nearbyint, too
            return {c.index, c.is_certain && (std::fabs(twice - std::round(twice)) > 1e-5L ||
                                              twice == std::round(twice))};
        }
        case rounding::stochastic_equal: break;
    }
    return {2 * static_cast<exact>(random) >= count ? away : near};
}

}  // namespace lowp::test
