// What scales follow from: the maxima or means of blocks, NaN and infinities as the policies say.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

#include "lowp/block_format.hpp"
#include "lowp/detail/block_loops.hpp"
#include "lowp/detail/block_panels.hpp"

namespace lowp::detail {

template <class T, class Isa>
class block_statistics {
public:
    using word = typename carrier<T>::word;

    /// has_nan_code: whether an element that is NaN has a code.
    block_statistics(const block_format& f, const block_loops<T>& loops, bool has_nan_code)
        : format_(f), loops_(loops), has_nan_code_(has_nan_code) {}

    /// Statistics of a panel's blocks; NaN where the block is to become NaN.
    void scan(const T* x, const panel& p, panel_scales<T>& s, int threads) const {
        std::array<word, block_chunk> maxima;
        accumulate<Isa>(
            p, threads, maxima.data(),
            [&](const panel::run& r, word* m) { loops_.maxima(x + r.begin, r.n, r.c, m); },
            [](word a, word b) { return std::max(a, b); });
        const std::size_t blocks = p.blocks();
        s.has_nan = false;
        std::memcpy(s.statistics.data(), maxima.data(), blocks * sizeof(T));
        const bool follows_sum = format_.rule.statistic == statistic::mean_abs ||
                                 format_.rule.statistic == statistic::rms;
        if (follows_sum) take_means(x, p, s, threads);
        if (format_.rule.statistic == statistic::none)
            std::fill_n(s.statistics.begin(), blocks, static_cast<T>(format_.rule.gain));
        if (!loops_.any_special(maxima.data(), blocks)) return;
        for (std::size_t b = 0; b < blocks; ++b)
            if (is_special(maxima[b])) s.statistics[b] = without_specials(x, p, b, s.statistics[b]);
    }

    /// The largest magnitude of the finite ones among n from `first` on. read(begin, n, buffer):
    /// where n <= block_chunk elements from `begin` on lie, the buffer or elsewhere.
    template <class Read>
    [[nodiscard]] word finite_maximum(const Read& read, std::size_t first, std::size_t n,
                                      int threads) const {
        std::vector<word> parts((n + block_chunk - 1) / block_chunk);
        for_tasks(parts.size(), n, threads, [&](std::size_t begin, std::size_t end) {
            const default_environment environment;
            T buffer[block_chunk];
            for (std::size_t k = begin; k < end; ++k) {
                const std::size_t size = std::min(block_chunk, n - k * block_chunk);
                const T* const from = read(first + k * block_chunk, size, buffer);
                loops_.maxima(from, size, size, &parts[k]);
                if (!is_special(parts[k])) continue;
                parts[k] = 0;
                for (std::size_t i = 0; i < size; ++i)
                    if (!is_special(magnitude(from[i])))
                        parts[k] = std::max(parts[k], magnitude(from[i]));
            }
        });
        return parts.empty() ? 0 : *std::max_element(parts.begin(), parts.end());
    }

    /// The same of every column of every matrix of a layout.
    template <class Read>
    static void column_maxima(const Read& read, const block_layout& l, std::vector<word>& maxima) {
        const default_environment environment;
        T buffer[block_chunk];
        for (std::size_t line = 0; line < l.count * l.rows; ++line)
            for (std::size_t j = 0; j < l.columns; j += block_chunk) {
                const std::size_t n = std::min(block_chunk, l.columns - j);
                const T* const x = read(line * l.columns + j, n, buffer);
                word* const largest = maxima.data() + line / l.rows * l.columns + j;
                for (std::size_t i = 0; i < n; ++i)
                    if (!is_special(magnitude(x[i])))
                        largest[i] = std::max(largest[i], magnitude(x[i]));
            }
    }

    /// Whether a NaN was met that no code can stand for.
    [[nodiscard]] bool lost_nan() const { return lost_nan_; }
    void lose_nan() const { lost_nan_ = true; }
    [[nodiscard]] bool has_nan_code() const { return has_nan_code_; }

private:
    static bool is_special(word magnitude) {
        return magnitude >= float_bits<T>(std::numeric_limits<double>::infinity());
    }
    static word magnitude(T x) { return __builtin_bit_cast(word, x) & (~word{0} >> 1); }

    void take_means(const T* x, const panel& p, panel_scales<T>& s, int threads) const {
        const bool squares = format_.rule.statistic == statistic::rms;
        std::array<double, block_chunk> sums;
        accumulate<Isa>(
            p, threads, sums.data(),
            [&](const panel::run& r, double* t) {
            loops_.sums(x + r.begin, r.n, r.c, format_.rule.statistic, t);
            },
            [](double a, double b) { return a + b; });
        for (std::size_t b = 0; b < p.blocks(); ++b) {
            const std::size_t columns = std::min(p.c, p.width - b * p.c);
            const double mean = sums[b] / static_cast<double>(columns * p.rows);
            s.statistics[b] = static_cast<T>(squares ? std::sqrt(mean) : mean);
        }
    }

    /// The statistic of a block that has NaN or infinity, by the policies.
    T without_specials(const T* x, const panel& p, std::size_t b, T statistic) const {
        block_content<T> content;
        double sum = 0;
        std::size_t finite = 0;
        for (std::size_t r = 0; r < p.rows; ++r)
            for (std::size_t j = b * p.c; j < std::min(p.width, (b + 1) * p.c); ++j) {
                const T value = x[p.first + r * p.stride + j];
                content.add(magnitude(value));
                if (is_special(magnitude(value))) continue;
                const auto a = std::fabs(static_cast<double>(value));
                sum += format_.rule.statistic == statistic::rms ? a * a : a;
                ++finite;
            }
        const bool nan_wins = content.becomes_nan(format_.edges.nan, format_.edges.infinity);
        if (nan_wins ? !format_.scale.has_nan() : content.has_nan && !has_nan_code_) lose_nan();
        if (nan_wins) return std::numeric_limits<T>::quiet_NaN();
        if (format_.rule.statistic == statistic::none) return statistic;
        if (content.has_inf) return std::numeric_limits<T>::infinity();
        const double mean = finite > 0 ? sum / static_cast<double>(finite) : 0;
        if (format_.rule.statistic == statistic::mean_abs) return static_cast<T>(mean);
        if (format_.rule.statistic == statistic::rms) return static_cast<T>(std::sqrt(mean));
        return __builtin_bit_cast(T, content.largest);
    }

    const block_format& format_;
    const block_loops<T>& loops_;
    bool has_nan_code_;
    mutable std::atomic<bool> lost_nan_{false};
};

}  // namespace lowp::detail
