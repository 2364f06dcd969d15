// The walk over an array in blocks: maxima, scales, elements, panel by panel, so that what the passes
// share stays in the cache. A panel is some whole blocks side by side, or a part of one huge block.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "lowp/array.hpp"
#include "lowp/block_format.hpp"
#include "lowp/detail/block_elements.hpp"
#include "lowp/detail/block_panels.hpp"
#include "lowp/detail/block_search.hpp"
#include "lowp/detail/block_statistics.hpp"
#include "lowp/detail/environment.hpp"
#include "lowp/pack.hpp"

namespace lowp::detail {

template <class T, class Isa>
class block_engine {
public:
    using word = typename carrier<T>::word;

    block_engine(const block_format& f, const block_layout& l, const options& o,
                 const loop_table& table, given_scales given = {})
        : format_(f),
          layout_(l),
          options_(o),
          table_(table),
          loops_(table.of<T>().blocks),
          given_(given),
          elements_(format_, format_.element_projection(), table),
          scale_(f.scale, f.scale_projection()),
          plan_(make_block_plan<T>(f, given.ideals.has_value())),
          statistics_(f, loops_,
                      o.nan_code.has_value() || (f.elements.empty() && f.element.has_nan())),
          words_(f.element_projection(), options_, table),
          scale_options_(o) {
        scale_options_.random.reset();
        scale_options_.first_index = 0;  // counts elements; scales are counted from the first block
        scale_options_.source.stream ^= std::uint64_t{1} << 63;
        const bool divides = plan_.before == scaling::divide;
        before_ = plan_.is_sticky ? (divides ? loops_.divide_sticky : loops_.multiply_sticky)
                                  : (divides ? loops_.divide : loops_.multiply);
        elements_.set_nan_code(o.nan_code                                  ? *o.nan_code
                               : f.elements.empty() && f.element.has_nan() ? f.element.nan_code()
                                                                           : 0);
    }

    /// Outer scales of the values that `read` gives (see finite_maximum); empty without a second level.
    template <class Read>
    [[nodiscard]] outer_values<T> outer_scales(const Read& read) const {
        outer_values<T> o;
        if (format_.outer.per == granularity::none) return o;
        const bool a_row = format_.outer.per == granularity::row;
        const std::size_t count = a_row ? layout_.lines() : 1;
        if (given_.outer || format_.outer.fixed > 0) {
            for (std::size_t i = 0; i < count; ++i)
                o.scales.push_back(
                    static_cast<T>(given_.outer ? (*given_.outer)[given_.outer->size() == 1 ? 0 : i]
                                                : format_.outer.fixed));
            for (const T s : o.scales) o.inverses.push_back(T{1} / s);
            return o;
        }
        std::vector<word> maxima(count);
        if (!a_row)
            maxima[0] = statistics_.finite_maximum(read, 0, layout_.size(), options_.threads);
        else if (!layout_.is_upright)
            for (std::size_t i = 0; i < count; ++i)
                maxima[i] =
                    statistics_.finite_maximum(read, i * layout_.columns, layout_.columns, 1);
        else statistics_.column_maxima(read, layout_, maxima);
        for (const word m : maxima) add_outer(m, o);
        return o;
    }

    /// work(panel, scales, threads) for every panel: in parallel over panels or, in huge ones, inside.
    template <class Work>
    void for_panels(const panels& all, const Work& work, const traffic& t = {}) const {
        const auto some = [&](std::size_t begin, std::size_t end, int threads) {
            const default_environment environment;
            const part_stores writes(threads == 1 ? table_.finish_streams : nullptr, t);
            panel_scales<T> scales;
            scales.how = writes.how();
            // From the last stretch to the first: what was written or read last is still in a cache.
            constexpr std::size_t stretch = 512;
            for (std::size_t left = end - begin; left > 0;) {
                const std::size_t first = (left - 1) / stretch * stretch;
                for (std::size_t i = first; i < left; ++i) work(all[begin + i], scales, threads);
                left = first;
            }
        };
        if (all.are_huge()) return some(0, all.size(), options_.threads);
        for_tasks(all.size(), layout_.size(), options_.threads,
                  [&](std::size_t begin, std::size_t end) { some(begin, end, 1); });
    }

    /// Scales of a panel, from its elements. outer: what outer_scales gave.
    void find_scales(const T* x, const panel& p, const outer_values<T>& outer, panel_scales<T>& s,
                     int threads) const {
        s.pad(p.blocks());
        put_outer(p, outer.scales, s);
        if (given_.ideals) {
            for (std::size_t b = 0; b < p.blocks(); ++b)
                s.ideals[b] = static_cast<T>((*given_.ideals)[p.first_block + b]) / s.outer[b];
            statistics_.scan(x, p, s, threads);
            for (std::size_t b = 0; b < p.blocks(); ++b) {
                if (std::isnan(s.statistics[b])) s.ideals[b] = s.statistics[b];
                // An infinity over a scale of 0 is NaN.
                const bool is_undefined = std::isinf(s.statistics[b]) && s.ideals[b] == 0;
                if (is_undefined && !statistics_.has_nan_code()) statistics_.lose_nan();
            }
        } else {
            statistics_.scan(x, p, s, threads);
            const bool is_te = plan_.rule.arithmetic == arithmetic::transformer_engine;
            if (is_te) put_outer(p, outer.inverses, s);
            loops_.ideals(plan_.rule, s.statistics.data(), s.outer.data(), s.ideals.data(),
                          p.blocks());
            if (is_te) put_outer(p, outer.scales, s);
            if (format_.rule.search != search::none) search_scales(x, p, s, threads);
        }
        round_scales(p, s.ideals.data(), s);
    }

    /// Codes of the ideal scales: those of the scales that find_scales took.
    void encode_scales(const panel& p, const panel_scales<T>& s, void* codes,
                       int code_bytes) const {
        std::array<std::uint32_t, block_chunk> buffer;
        table_.of<T>().encode(scale_.plan(), s.ideals.data(), codes, code_bytes,
                              scale_random(p, buffer.data()), p.blocks());
    }
    void decode_scales(const panel& p, const std::vector<T>& outer, const void* codes,
                       int code_bytes, panel_scales<T>& s) const {
        s.pad(p.blocks());
        put_outer(p, outer, s);
        table_.of<T>().decode(scale_.plan(), codes, code_bytes, s.scales.data(), p.blocks());
        finish_scales(p, s);
    }

    void quantize(const T* x, T* y, const panel& p, const panel_scales<T>& s, int threads) const {
        for_runs<Isa>(p, threads, [&](std::size_t k) {
            const panel::run r = p.at(k);
            std::array<std::uint32_t, block_chunk> buffer;
            quantize_run(x + r.begin, y + r.begin, r, s, s.how, random(r, buffer.data()),
                         elements_);
        });
        if (s.has_nan) fill_nan(y, p, s);
    }

    /// Codes, one an element, in integers of code_bytes; packed: the run's codes as dense bytes.
    void encode(const T* x, unsigned char* codes, int code_bytes, packing how, const panel& p,
                const panel_scales<T>& s, int threads) const {
        const auto bits = static_cast<std::size_t>(format_.element_bits());
        for_runs<Isa>(p, threads, [&](std::size_t k) {
            const panel::run r = p.at(k);
            std::array<std::uint32_t, block_chunk> buffer;
            const std::uint32_t* const bits_of_run = random(r, buffer.data());
            if (how == packing::loose || bits == 8)
                return encode_run(x + r.begin,
                                  codes + r.index * static_cast<std::size_t>(code_bytes),
                                  code_bytes, r, s, bits_of_run);
            std::array<std::uint8_t, block_chunk> bytes;
            encode_run(x + r.begin, bytes.data(), 1, r, s, bits_of_run);
            std::uint8_t* const to = codes + r.index * bits / 8;
            if (bits == 4 && r.n % 2 == 0) return table_.pack_nibbles(bytes.data(), to, r.n);
            pack(std::span(bytes).first(r.n), static_cast<int>(bits),
                 {to, packed_size(r.n, static_cast<int>(bits))});
        });
    }

    void decode(const unsigned char* codes, int code_bytes, packing how, T* y, const panel& p,
                const panel_scales<T>& s, int threads) const {
        const auto bits = static_cast<std::size_t>(format_.element_bits());
        for_runs<Isa>(p, threads, [&](std::size_t k) {
            const panel::run r = p.at(k);
            std::array<std::uint8_t, block_chunk> bytes;
            const unsigned char* from = codes + r.index * static_cast<std::size_t>(code_bytes);
            if (how == packing::dense && bits < 8) {
                const std::uint8_t* const dense = codes + r.index * bits / 8;
                if (bits == 4 && r.n % 2 == 0) table_.unpack_nibbles(dense, bytes.data(), r.n);
                else
                    unpack({dense, packed_size(r.n, static_cast<int>(bits))},
                           static_cast<int>(bits), std::span(bytes).first(r.n));
                from = bytes.data();
            }
            decode_run(from, how == packing::dense ? 1 : code_bytes, y + r.begin, r, s);
        });
        if (s.has_nan) fill_nan(y, p, s);
    }

    /// Whether a NaN was met that no code can stand for.
    [[nodiscard]] bool lost_nan() const { return statistics_.lost_nan(); }

private:
    const std::uint32_t* random(const panel::run& r, std::uint32_t* buffer) const {
        return words_.get(r.index, r.n, buffer);
    }
    const std::uint32_t* scale_random(const panel& p, std::uint32_t* buffer) const {
        return random_words(scale_.projection(), scale_options_, table_)
            .get(p.first_block, p.blocks(), buffer);
    }

    // ---- scales -------------------------------------------------------------------------------

    void put_outer(const panel& p, const std::vector<T>& outer, panel_scales<T>& s) const {
        if (outer.size() <= 1) {
            std::fill_n(s.outer.begin(), p.blocks(), outer.empty() ? T{1} : outer[0]);
            return;
        }
        for (std::size_t b = 0; b < p.blocks(); ++b)
            s.outer[b] = outer[layout_.line_of(p.first_block + b)];
    }

    /// Rounded scales and what follows from them. Entries behind the last block are never used.
    void round_scales(const panel& p, const T* ideals, panel_scales<T>& s) const {
        if (plan_.is_on_grid) {
            std::copy_n(ideals, p.blocks(), s.scales.begin());
        } else {
            std::array<std::uint32_t, block_chunk> buffer;
            table_.of<T>().quantize(scale_.plan(), ideals, s.scales.data(),
                                    scale_random(p, buffer.data()), p.blocks());
        }
        finish_scales(p, s);
    }

    void finish_scales(const panel& p, panel_scales<T>& s) const {
        loops_.totals(plan_.totals, s.scales.data(), s.outer.data(), s.totals.data(),
                      s.factors.data(), p.blocks());
        s.has_nan = table_.of<T>().any_nan(s.totals.data(), p.blocks());
    }

    void add_outer(word maximum, outer_values<T>& o) const {
        const auto pair = with_integer_path(outer_.format.path, [&](auto path) {
            return outer_of<value_lanes<T>, decltype(path)::value>(outer_,
                                                                   __builtin_bit_cast(T, maximum));
        });
        o.scales.push_back(pair.scale);
        o.inverses.push_back(pair.inverse);
    }

    // ---- search -------------------------------------------------------------------------------

    void search_scales(const T* x, const panel& p, panel_scales<T>& s, int threads) const {
        const element_loops<T, Isa> nearest(format_, {.saturation = saturation::finite}, table_);
        const auto measure = [&](const T* candidates, double* errors) {
            round_scales(p, candidates, s);
            add_errors(x, p, s, nearest, threads, errors);
        };
        const search_plan plan = make_search_plan(format_);
        scale_search<T, decltype(measure), converter<T>> candidates(
            plan, s.ideals, s.statistics, s.outer, p.blocks(), measure, scale_);
        s.ideals = candidates.best();
    }

    void add_errors(const T* x, const panel& p, const panel_scales<T>& s,
                    const element_loops<T, Isa>& nearest, int threads, double* errors) const {
        accumulate<Isa>(
            p, threads, errors,
            [&](const panel::run& r, double* e) {
            std::array<T, block_chunk> y;
            quantize_run(x + r.begin, y.data(), r, s, stores::cached, nullptr, nearest);
            loops_.errors(x + r.begin, y.data(), r.n, r.c, format_.rule.error_norm, e);
            },
            [](double a, double b) { return a + b; });
    }

    // ---- elements -----------------------------------------------------------------------------

    void quantize_run(const T* x, T* y, const panel::run& r, const panel_scales<T>& s, stores how,
                      const std::uint32_t* random_bits,
                      const element_loops<T, Isa>& elements) const {
        if (elements.path() == path::plain_sum && keeps_zeros())
            return loops_.quantize(elements.plan(), plan_.before, how, x, y, r.n, r.c,
                                   s.factors.data(), s.totals.data(), random_bits);
        before_(x, y, r.n, r.c, s.factors.data());
        sign_zeros(y, r.n);
        elements.quantize(y, random_bits, r.n);
        loops_.multiply(y, y, r.n, r.c, s.totals.data());
    }

    void encode_run(const T* x, std::uint8_t* codes, int code_bytes, const panel::run& r,
                    const panel_scales<T>& s, const std::uint32_t* random_bits) const {
        if (code_bytes == 1 && elements_.encode_path() == path::plain_sum && keeps_zeros())
            return loops_.encode(elements_.plan(), plan_.before, x, codes, r.n, r.c,
                                 s.factors.data(), random_bits);
        std::array<T, block_chunk> y;
        before_(x, y.data(), r.n, r.c, s.factors.data());
        sign_zeros(y.data(), r.n);
        elements_.encode(y.data(), codes, code_bytes, random_bits, r.n);
    }

    void decode_run(const std::uint8_t* codes, int code_bytes, T* y, const panel::run& r,
                    const panel_scales<T>& s) const {
        const bool fuses = code_bytes == 1;
        if (fuses && format_.element_bits() <= 4)
            return loops_.look_up(elements_.sixteen().data(), codes, y, r.n, r.c, s.totals.data());
        if (fuses && format_.elements.empty())
            return loops_.decode(elements_.plan(), codes, y, r.n, r.c, s.totals.data());
        elements_.decode(codes, code_bytes, y, r.n);
        loops_.multiply(y, y, r.n, r.c, s.totals.data());
    }

    [[nodiscard]] bool keeps_zeros() const { return format_.edges.zero_sign == zero_sign::kept; }
    void sign_zeros(T* y, std::size_t n) const {
        if (keeps_zeros()) return;
        const T zero = format_.edges.zero_sign == zero_sign::negative ? -T{0} : T{0};
        for (std::size_t i = 0; i < n; ++i) y[i] = y[i] == 0 ? zero : y[i];
    }

    /// A block with a NaN scale is one NaN throughout: payloads would depend on the instruction set.
    void fill_nan(T* y, const panel& p, const panel_scales<T>& s) const {
        for (std::size_t b = 0; b < p.blocks(); ++b) {
            if (!std::isnan(s.totals[b])) continue;
            for (std::size_t r = 0; r < p.rows; ++r) {
                T* const row = y + p.first + r * p.stride;
                std::fill(row + b * p.c, row + std::min(p.width, (b + 1) * p.c),
                          std::numeric_limits<T>::quiet_NaN());
            }
        }
    }

    const default_environment environment_;  ///< of all work on the calling thread
    const block_format& format_;             // the caller's: engines live as long as a call
    block_layout layout_;
    options options_;
    const loop_table& table_;
    const block_loops<T>& loops_;
    given_scales given_;
    element_loops<T, Isa> elements_;
    converter<T> scale_;
    block_plan<T> plan_;
    outer_plan<T> outer_ = make_outer_plan<T>(format_);
    block_statistics<T, Isa> statistics_;
    random_words words_;
    options scale_options_;
    typename block_loops<T>::scaling_loop before_ = nullptr;
};

}  // namespace lowp::detail
