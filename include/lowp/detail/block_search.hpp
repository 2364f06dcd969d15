// Scales by search: candidates are tried on the blocks of a panel side by side, each block keeps the
// one of least error. What cannot win any more is left out; the result is that of trying all.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "lowp/block_format.hpp"
#include "lowp/codec.hpp"
#include "lowp/detail/block_panels.hpp"

namespace lowp::detail {

/// The best of the candidates so far. measure(scales, errors): errors of the panel's blocks.
template <class T, class Measure>
class scale_search {
public:
    /// s: a panel with ideal scales and statistics; outer: its blocks' outer scales.
    scale_search(const block_format& f, const panel_scales<T>& s, std::size_t blocks,
                 const T* outer, const Measure& measure)
        : format_(f), first_(s.ideals), best_(s.ideals), blocks_(blocks), measure_(measure) {
        const bool knows_amax = f.rule.statistic == statistic::amax;
        constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
        for (std::size_t b = 0; b < blocks; ++b) {
            amax_[b] = knows_amax ? static_cast<double>(s.statistics[b]) : unknown;
            unit_[b] = static_cast<double>(outer[b]) * f.rule.post_gain;
        }
        candidates_ = first_;
        measure_(candidates_.data(), least_.data());
    }

    [[nodiscard]] const std::array<T, block_chunk>& best() const { return best_; }

    /// The ideal scale times a factor.
    void try_factor(double factor) {
        const block_edges& e = format_.edges;
        for (std::size_t b = 0; b < blocks_; ++b) {
            const T wanted = first_[b] * static_cast<T>(factor);
            candidates_[b] = std::isnan(wanted) ? wanted
                                                : std::clamp(wanted, static_cast<T>(e.min_scale),
                                                             static_cast<T>(e.max_scale));
        }
        measure_(candidates_.data(), errors_.data());
        for (std::size_t b = 0; b < blocks_; ++b)
            if (errors_[b] < least_[b]) take(b);
    }

    /// Factors 0.992, 0.984, ... 0.208, as long as one of them can win.
    void try_shrinking() {
        for (int i = 1; i < 100; ++i) {
            const double factor = 1 - 0.008 * i;
            bool can_win = false;
            for (std::size_t b = 0; b < blocks_; ++b)
                can_win = can_win || !loses(b, rounded_up(static_cast<double>(first_[b]) * factor));
            if (!can_win) return;
            try_factor(factor);
        }
    }

    /// Every positive code of the scale format. Of equal errors the ideal scale wins, then the smallest.
    void try_all_codes(const converter<T>& scale) {
        const code_type lowest = format_.scale.min_positive_code();
        const code_type highest = format_.scale.max_code();
        for (std::size_t b = 0; b < blocks_; ++b)
            ideal_[b] = std::isnan(first_[b]) || first_[b] == 0
                            ? lowest
                            : std::clamp(scale.encode(first_[b]), lowest, highest);
        for (code_type d = 1; open_downward(scale, lowest, d); ++d) take_better(direction::down);
        for (code_type d = 0; open_upward(scale, highest, d); ++d) take_better(direction::up);
    }

private:
    void take(std::size_t b) {
        least_[b] = errors_[b];
        best_[b] = candidates_[b];
    }

    // Candidates d codes below the ideal ones: errors of clipping only grow that way. Whether any block
    // has one that can win.
    [[nodiscard]] bool open_downward(const converter<T>& scale, code_type lowest, code_type d) {
        bool any = false;
        for (std::size_t b = 0; b < blocks_; ++b) {
            bool is_left = ideal_[b] >= lowest + d;
            candidates_[b] = is_left ? scale.decode(ideal_[b] - d) : first_[b];
            is_left = is_left && is_within_limits(b);
            is_open_[b] = is_left && is_wanted(b) && !loses(b, static_cast<double>(candidates_[b]));
            any = any || is_open_[b];
        }
        return any;
    }

    // Candidates d codes above: from some scale on, all is zero.
    [[nodiscard]] bool open_upward(const converter<T>& scale, code_type highest, code_type d) {
        bool any = false;
        for (std::size_t b = 0; b < blocks_; ++b) {
            bool is_left = ideal_[b] + d <= highest;
            candidates_[b] = is_left ? scale.decode(ideal_[b] + d) : first_[b];
            is_left = is_left && is_within_limits(b);
            const bool was_zero = d > 1 && is_all_zero(b, candidates_[b] / 2);
            is_open_[b] = is_left && is_wanted(b) && !was_zero;
            any = any || is_open_[b];
        }
        return any;
    }

    [[nodiscard]] bool is_within_limits(std::size_t b) const {
        const auto s = static_cast<double>(candidates_[b]);
        return s >= format_.edges.min_scale && s <= format_.edges.max_scale;
    }

    // No rounding into the scale format gives more.
    [[nodiscard]] double rounded_up(double scale) const {
        const double step = format::power_of_two(-format_.scale.mantissa_bits);
        return scale * (1 + step) + format_.scale.min_positive();
    }

    [[nodiscard]] bool is_wanted(std::size_t b) const {
        return !std::isnan(first_[b]) && least_[b] > 0;
    }

    enum class direction : std::uint8_t { down, up };

    void take_better(direction d) {
        measure_(candidates_.data(), errors_.data());
        for (std::size_t b = 0; b < blocks_; ++b) {
            const bool is_equal =
                d == direction::down && errors_[b] == least_[b] && best_[b] < first_[b];
            if (is_open_[b] && (errors_[b] < least_[b] || is_equal)) take(b);
        }
    }

    [[nodiscard]] double power(double e) const {
        switch (format_.rule.error_norm) {
            case error_norm::absolute: return e;
            case error_norm::squared: return e * e;
            case error_norm::power_2_4: break;
        }
        return std::pow(e, 2.4);
    }

    // The largest magnitude alone is cut off by more than the least error. (Never so where it is not
    // known: it is NaN then.)
    [[nodiscard]] bool loses(std::size_t b, double scale) const {
        constexpr double slack = 1 + 1e-6;  // of the product's rounding
        const double reach = format_.elements.empty()
                                 ? std::max(format_.element.max(), -format_.element.lowest())
                                 : format_.elements.max();
        const double cut = amax_[b] - reach * scale * unit_[b] * slack;
        return cut > 0 && power(cut) > least_[b] * slack;
    }

    // Half of the smallest element at this scale is above everything in the block.
    [[nodiscard]] bool is_all_zero(std::size_t b, T scale) const {
        if (!format_.elements.empty()) return false;
        constexpr double slack = 1 - 1e-6;
        return static_cast<double>(scale) * unit_[b] * format_.element.min_positive() * slack >
               2 * amax_[b];
    }

    const block_format& format_;
    const std::array<T, block_chunk> first_;
    std::array<T, block_chunk> best_, candidates_;
    std::array<double, block_chunk> least_, errors_, amax_, unit_;
    std::array<bool, block_chunk> is_open_;
    std::array<code_type, block_chunk> ideal_;
    std::size_t blocks_;
    const Measure& measure_;
};

}  // namespace lowp::detail
