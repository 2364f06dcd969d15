// How a real number becomes a value of a format: a rounding, a saturation, and how many random bits.
// The three together are a projection, IEEE P3109's word.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace lowp {

/// Which neighbour of an inexact value is taken. Stochastic modes compare the cut-off part d of a
/// quantum with an integer R of N random bits and step away from zero when
///     a: floor(d 2^N) + R >= 2^N      b: floor(d 2^(N+1)) + 2R + 1 >= 2^(N+1)
///     c: half_even(d 2^N) + R >= 2^N  equal: R >= 2^(N-1)
/// Source: IEEE 754-2019, 4.3; IEEE P3109 (to_odd, stochastic a, b, c); CPFloat (equal).
enum class rounding : std::uint8_t {
    nearest_ties_to_even,
    nearest_ties_to_away,
    nearest_ties_to_zero,
    toward_zero,
    toward_positive,
    toward_negative,
    away_from_zero,
    to_odd,
    stochastic_a,
    stochastic_b,
    stochastic_c,
    stochastic_equal,
};

/// What a rounded value beyond the largest becomes. `none`: infinity, or NaN where there is none,
/// or the largest value where there is neither; modes that round toward it keep the largest value
/// (IEEE 754, 7.4). `propagate`: the largest value, infinite inputs stay infinite. `finite`: the
/// largest value always. A NaN so made has the sign of the input. Source: IEEE P3109, Saturate.
enum class saturation : std::uint8_t { none, propagate, finite };

struct projection {
    lowp::rounding rounding = rounding::nearest_ties_to_even;
    lowp::saturation saturation = saturation::none;
    int random_bits = 32;  ///< N of the stochastic modes, 1..32

    friend constexpr bool operator==(const projection&, const projection&) = default;

    constexpr void validate() const {
        if (random_bits < 1 || random_bits > 32)
            throw std::invalid_argument(
                "lowp::projection: random_bits must be between 1 and 32; got " +
                std::to_string(random_bits));
    }
};

[[nodiscard]] constexpr bool is_stochastic(rounding r) { return r >= rounding::stochastic_a; }

/// Whether the odds depend on how much is cut off.
[[nodiscard]] constexpr bool weighs_tail(rounding r) {
    return is_stochastic(r) && r != rounding::stochastic_equal;
}

// clang-format off
inline constexpr std::array<std::string_view, 12> rounding_names{
    "nearest_ties_to_even", "nearest_ties_to_away", "nearest_ties_to_zero",
    "toward_zero",          "toward_positive",      "toward_negative",
    "away_from_zero",       "to_odd",
    "stochastic_a",         "stochastic_b",         "stochastic_c",         "stochastic_equal",
};
inline constexpr std::array<std::string_view, 3> saturation_names{"none", "propagate", "finite"};
// clang-format on

[[nodiscard]] constexpr std::string_view name(rounding r) {
    return rounding_names.at(static_cast<std::size_t>(r));
}
[[nodiscard]] constexpr std::string_view name(saturation s) {
    return saturation_names.at(static_cast<std::size_t>(s));
}

}  // namespace lowp
