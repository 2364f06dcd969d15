// Scales by search: candidates are tried on the blocks of a panel side by side, each block keeps the
// one of least error. What cannot win any more is left out; the result is that of trying all.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "lowp/block_format.hpp"
#include "lowp/codec.hpp"
#include "lowp/detail/block_kernel.hpp"
#include "lowp/detail/power_2_4.hpp"

namespace lowp::detail {

/// What a search depends on, of the format: numbers alone, as on a device they are all there is.
struct search_plan {
    search kind = search::none;
    lowp::error_norm error_norm = error_norm::squared;
    bool knows_amax = true;
    code_type lowest = 0, highest = 0;          ///< positive codes of the scale format
    double scale_step = 0, scale_smallest = 0;  ///< of rounding into the scale format, at most
    double min_scale = 0, max_scale = 0;        ///< of ideal scales
    double reach = 0;                           ///< largest magnitude of an element
    double smallest = 0;                        ///< element's smallest; 0 in codebooks
    double post_gain = 1;
};

[[nodiscard]] inline search_plan make_search_plan(const block_format& f) {
    search_plan p;
    p.kind = f.rule.search == search::all && f.scale.bits() > 8 ? search::shrink : f.rule.search;
    p.error_norm = f.rule.error_norm;
    p.knows_amax = f.rule.statistic == statistic::amax;
    p.lowest = f.scale.min_positive_code();
    p.highest = f.scale.max_code();
    p.scale_step = format::power_of_two(-f.scale.mantissa_bits);
    p.scale_smallest = f.scale.min_positive();
    p.min_scale = f.edges.min_scale;
    p.max_scale = f.edges.max_scale;
    p.reach =
        f.elements.empty() ? std::max(f.element.max(), -f.element.lowest()) : f.elements.max();
    p.smallest = f.elements.empty() ? f.element.min_positive() : 0;
    p.post_gain = f.rule.post_gain;
    return p;
}

/// The best of the candidates so far, of up to Most blocks. measure(scales, errors): errors of the
/// blocks. Codes: how the scale format encodes and decodes, as a converter does.
template <class T, class Measure, class Codes, std::size_t Most = block_chunk>
class scale_search {
public:
    using list = std::array<T, Most>;

    /// ideals, statistics and outer scales of the blocks.
    constexpr scale_search(const search_plan& p, const list& ideals, const list& statistics,
                           const list& outer, std::size_t blocks, const Measure& measure,
                           const Codes& codes)
        : plan_(p),
          first_(ideals),
          best_(ideals),
          candidates_(ideals),
          blocks_(blocks),
          measure_(measure),
          codes_(codes) {
        constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
        for (std::size_t b = 0; b < blocks; ++b) {
            amax_[b] = p.knows_amax ? static_cast<double>(statistics[b]) : unknown;
            unit_[b] = static_cast<double>(outer[b]) * p.post_gain;
        }
        measure_(candidates_.data(), least_.data());
    }

    /// The ideal scales of least error among those of the plan's kind.
    [[nodiscard]] constexpr const list& best() {
        if (plan_.kind == search::four_six) try_factor(1.5);
        else if (plan_.kind == search::all) try_all_codes();
        else try_shrinking();
        return best_;
    }

private:
    /// The ideal scale times a factor.
    constexpr void try_factor(double factor) {
        const auto most = static_cast<T>(plan_.max_scale);
        const auto least = static_cast<T>(plan_.min_scale);
        for (std::size_t b = 0; b < blocks_; ++b) {
            const T wanted = first_[b] * static_cast<T>(factor);
            candidates_[b] = wanted < least ? least : wanted > most ? most : wanted;  // NaN stays
        }
        measure_(candidates_.data(), errors_.data());
        for (std::size_t b = 0; b < blocks_; ++b)
            if (errors_[b] < least_[b]) take(b);
    }

    /// Factors 0.992, 0.984, ... 0.208, as long as one of them can win.
    constexpr void try_shrinking() {
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
    constexpr void try_all_codes() {
        for (std::size_t b = 0; b < blocks_; ++b) {
            const bool has_code = is_number(first_[b]) && first_[b] != 0;
            const code_type code = has_code ? codes_.encode(first_[b]) : plan_.lowest;
            ideal_[b] = code < plan_.lowest    ? plan_.lowest
                        : code > plan_.highest ? plan_.highest
                                               : code;
        }
        for (code_type d = 1; open_downward(d); ++d) take_better(direction::down);
        for (code_type d = 0; open_upward(d); ++d) take_better(direction::up);
    }

    static constexpr bool is_number(T x) { return x == x; }

    constexpr void take(std::size_t b) {
        least_[b] = errors_[b];
        best_[b] = candidates_[b];
    }

    // Candidates d codes below the ideal ones: errors of clipping only grow that way. Whether any block
    // has one that can win.
    [[nodiscard]] constexpr bool open_downward(code_type d) {
        bool any = false;
        for (std::size_t b = 0; b < blocks_; ++b) {
            bool is_left = ideal_[b] >= plan_.lowest + d;
            candidates_[b] = is_left ? codes_.decode(ideal_[b] - d) : first_[b];
            is_left = is_left && is_within_limits(b);
            is_open_[b] = is_left && is_wanted(b) && !loses(b, static_cast<double>(candidates_[b]));
            any = any || is_open_[b];
        }
        return any;
    }

    // Candidates d codes above: from some scale on, all is zero.
    [[nodiscard]] constexpr bool open_upward(code_type d) {
        bool any = false;
        for (std::size_t b = 0; b < blocks_; ++b) {
            bool is_left = ideal_[b] + d <= plan_.highest;
            candidates_[b] = is_left ? codes_.decode(ideal_[b] + d) : first_[b];
            is_left = is_left && is_within_limits(b);
            const bool was_zero = d > 1 && is_all_zero(b, candidates_[b] / 2);
            is_open_[b] = is_left && is_wanted(b) && !was_zero;
            any = any || is_open_[b];
        }
        return any;
    }

    [[nodiscard]] constexpr bool is_within_limits(std::size_t b) const {
        const auto s = static_cast<double>(candidates_[b]);
        return s >= plan_.min_scale && s <= plan_.max_scale;
    }

    // No rounding into the scale format gives more.
    [[nodiscard]] constexpr double rounded_up(double scale) const {
        return scale * (1 + plan_.scale_step) + plan_.scale_smallest;
    }

    [[nodiscard]] constexpr bool is_wanted(std::size_t b) const {
        return is_number(first_[b]) && least_[b] > 0;
    }

    enum class direction : std::uint8_t { down, up };

    constexpr void take_better(direction d) {
        measure_(candidates_.data(), errors_.data());
        for (std::size_t b = 0; b < blocks_; ++b) {
            const bool is_equal =
                d == direction::down && errors_[b] == least_[b] && best_[b] < first_[b];
            if (is_open_[b] && (errors_[b] < least_[b] || is_equal)) take(b);
        }
    }

    [[nodiscard]] constexpr double power(double e) const {
        switch (plan_.error_norm) {
            case error_norm::absolute: return e;
            case error_norm::squared: return e * e;
            case error_norm::power_2_4: break;
        }
        return power_2_4(e);
    }

    // The largest magnitude alone is cut off by more than the least error. (Never so where it is not
    // known: it is NaN then.)
    [[nodiscard]] constexpr bool loses(std::size_t b, double scale) const {
        constexpr double slack = 1 + 1e-6;  // of the product's rounding
        const double cut = amax_[b] - plan_.reach * scale * unit_[b] * slack;
        return cut > 0 && power(cut) > least_[b] * slack;
    }

    // Half of the smallest element at this scale is above everything in the block.
    [[nodiscard]] constexpr bool is_all_zero(std::size_t b, T scale) const {
        constexpr double slack = 1 - 1e-6;
        return static_cast<double>(scale) * unit_[b] * plan_.smallest * slack > 2 * amax_[b];
    }

    const search_plan& plan_;
    const list first_;
    list best_, candidates_;
    std::array<double, Most> least_, errors_, amax_, unit_;
    std::array<bool, Most> is_open_;
    std::array<code_type, Most> ideal_;
    std::size_t blocks_;
    const Measure& measure_;
    const Codes& codes_;
};

}  // namespace lowp::detail
