// The scale of a block: from what is in the block to an ideal scale, from there to a scale's code.
// A rule is data: a statistic, a gain, whether it steps to a power of two, and what is searched.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowp/format.hpp"

namespace lowp {

/// What of a block's magnitudes the scale follows. `rms` is the standard deviation about zero;
/// `none`: nothing, the scale is `gain` itself.
enum class statistic : std::uint8_t { amax, mean_abs, rms, none };

/// Whether the ideal scale is a power of two. M: the element's largest value, emax its exponent.
///     none    t / (M / gain)                      ceil   2^(ceil(log2 t) - emax)
///     floor   2^(floor(log2 t) - emax)            rceil  2^ceil(log2(t / M))
///     even    as floor, of t rounded to the element's significant bits, ties up
/// Source: OCP MX 1.0, 6.3 (floor); torchao, ScaleCalculationMode; arXiv 2506.08027 (rceil).
enum class power_of_two : std::uint8_t { none, floor, ceil, even, rceil };

/// Which scales are tried besides the ideal one; the block's smallest error, of elements rounded to
/// nearest even, wins, the first of equals. NaN does not count; with an infinity the ideal scale stays.
///     four_six  the ideal scale and 1.5 times it: the largest value at M or at M / 1.5
///     shrink    the ideal scale times 1, 0.992, ... 0.208: GPTQ's grid of 100
///     all       every positive code of a scale format of up to 8 bits, else as shrink
enum class search : std::uint8_t { none, four_six, shrink, all };

/// The error that a search compares: sum of |x - q|, of its square, or of its 2.4th power (GPTQ).
enum class error_norm : std::uint8_t { absolute, squared, power_2_4 };

struct scale_rule {
    lowp::statistic statistic = statistic::amax;
    lowp::power_of_two power_of_two = power_of_two::none;
    lowp::search search = search::none;
    lowp::error_norm error_norm = error_norm::squared;
    double gain = 1;       ///< of the statistic; without one, the scale itself
    double post_gain = 1;  ///< elements are scaled by the scale times this; codes do not know it

    friend constexpr bool operator==(const scale_rule&, const scale_rule&) = default;

    constexpr void validate() const {
        constexpr double largest = std::numeric_limits<double>::max();
        const auto check = [](const char* field, double got) {
            if (!(got > 0 && got <= largest))
                throw std::invalid_argument(std::string("lowp::scale_rule: ") + field +
                                            " must be positive and finite; got " +
                                            std::to_string(got));
        };
        check("gain", gain);
        check("post_gain", post_gain);
        if (statistic == statistic::none && power_of_two != power_of_two::none)
            throw std::invalid_argument(
                "lowp::scale_rule: a fixed scale has no statistic whose power of two could be "
                "taken; set power_of_two=none");
    }
};

struct named_rule {
    std::string_view name;
    scale_rule rule;
    std::string_view source;
};

// clang-format off
/// The rules by name. A new one is a line here.
inline constexpr std::array scale_rules{
    named_rule{"floor",      {.power_of_two = power_of_two::floor},            "OCP MX 1.0, 6.3"},
    named_rule{"ceil",       {.power_of_two = power_of_two::ceil},             "torchao"},
    named_rule{"even",       {.power_of_two = power_of_two::even},             "torchao"},
    named_rule{"rceil",      {.power_of_two = power_of_two::rceil},            "arXiv 2506.08027"},
    named_rule{"amax",       {},                                               "amax / M"},
    named_rule{"mse",        {.search = search::all},                          "least squared error"},
    named_rule{"shrink",     {.search = search::shrink, .error_norm = error_norm::power_2_4},
                                                                               "GPTQ's observer"},
    named_rule{"four_six",   {.search = search::four_six},                     "adaptive block scaling, 4/6"},
    named_rule{"mean_abs",   {.statistic = statistic::mean_abs, .gain = 2},    "2 mean|x| / M"},
    named_rule{"std",        {.statistic = statistic::rms, .gain = 2.92247856},"QuEST, for E2M1"},
    named_rule{"three_quarters", {.power_of_two = power_of_two::floor, .post_gain = 4.0 / 3},
                                                                               "Tseng et al.; Quartet, backward"},
};
// clang-format on

/// The rule of a name; throws std::invalid_argument with all names.
[[nodiscard]] inline const scale_rule& find_rule(std::string_view name) {
    for (const named_rule& r : scale_rules)
        if (r.name == name) return r.rule;
    std::string message = "unknown scale rule \"" + std::string(name) + "\"; known:";
    for (const named_rule& r : scale_rules) message.append(" ").append(r.name);
    throw std::invalid_argument(message);
}

/// Per-tensor scales from the amax of past steps: what a tensor is quantized with now does not wait
/// for its own amax. Use: quantize with a fixed scale of scale(), then observe() the tensor's amax.
/// Source: NVIDIA Transformer Engine, DelayedScaling.
class delayed_scaling {
public:
    enum class take : std::uint8_t { max, most_recent };

    /// max: largest element value. history: steps looked back at, >= 1. margin: the scale is 2^margin
    /// times what would just fit.
    explicit delayed_scaling(double max, std::size_t history = 1024, int margin = 0,
                             take which = take::max)
        : max_(max), margin_(margin), take_(which), history_(history, 0.0F) {
        if (!(max > 0 && std::isfinite(max)))
            throw std::invalid_argument(
                "lowp::delayed_scaling: max must be positive and finite; got " +
                std::to_string(max));
        if (history == 0)
            throw std::invalid_argument("lowp::delayed_scaling: history must be at least 1; got 0");
    }

    /// Value of a quantum's scale: elements are x / scale(). 1 before the first amax.
    [[nodiscard]] float scale() const { return scale_; }

    /// Records the amax of a step; the next scale follows. It stays as it is while the largest of the
    /// history is 0, infinite or NaN: as in Transformer Engine, one such step holds it for all of it.
    void observe(float amax) {
        std::rotate(history_.rbegin(), history_.rbegin() + 1, history_.rend());
        history_.front() = amax;
        float chosen = amax;
        if (take_ == take::max)
            for (const float a : history_) chosen = a > chosen || std::isnan(a) ? a : chosen;
        if (chosen > 0 && std::isfinite(chosen)) scale_ = fitting(chosen, max_, margin_);
    }

    /// The scale after a positive finite amax: 2^margin times amax / max, rounded to a float first,
    /// within the normal floats.
    [[nodiscard]] static constexpr float fitting(float amax, double max, int margin) {
        const auto quotient = static_cast<double>(static_cast<float>(amax / max));
        // Of a float, 2^400 and 2^-400 times are beyond all floats.
        const double scaled = quotient * format::power_of_two(std::clamp(margin, -400, 400));
        return static_cast<float>(
            std::clamp(scaled, static_cast<double>(std::numeric_limits<float>::min()),
                       static_cast<double>(std::numeric_limits<float>::max())));
    }

    /// Past amaxes, the latest first; what a checkpoint keeps, with scale().
    [[nodiscard]] const std::vector<float>& history() const { return history_; }
    void restore(std::vector<float> history, float scale) {
        if (!(scale > 0 && std::isfinite(scale)))
            throw std::invalid_argument(
                "lowp::delayed_scaling: scale must be positive and finite; got " +
                std::to_string(scale));
        if (history.size() != history_.size())
            throw std::invalid_argument("lowp::delayed_scaling: history must have " +
                                        std::to_string(history_.size()) + " entries; got " +
                                        std::to_string(history.size()));
        history_ = std::move(history);
        scale_ = scale;
    }

private:
    double max_;
    int margin_;
    take take_;
    float scale_ = 1;
    std::vector<float> history_;
};

}  // namespace lowp
