// The walk over a matrix product: operands brought into their formats and packed, tiles of sums, chunks and
// their promotion, results rounded and written.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lowp/accumulator.hpp"
#include "lowp/arithmetic.hpp"
#include "lowp/array.hpp"
#include "lowp/detail/kulisch_sum.hpp"
#include "lowp/detail/operands.hpp"
#include "lowp/detail/product_choice.hpp"
#include "lowp/detail/product_loops.hpp"
#include "lowp/detail/product_rows.hpp"

namespace lowp {
template <carrier_float T>
struct product_options;
}

namespace lowp::detail {

template <class Isa>
inline constexpr product_loops native_products = make_product_loops<native_lanes>();

template <class Isa>
[[nodiscard]] const product_loops& products_of(const options& o) {
    return o.loops != nullptr && o.loops->products != nullptr ? *o.loops->products
                                                              : native_products<Isa>;
}

struct factor_names {
    const char* a = "a";
    const char* b = "b";
};

/// One product. T: what the matrices hold; sums are worked out in it or in float64.
template <carrier_float T, class Isa>
class product_engine {
public:
    /// names: of a and b in messages; they may have changed places.
    product_engine(matrix_view<const T> a, matrix_view<const T> b, matrix_view<T> out,
                   const accumulator& how, const product_options<T>& o, factor_names names)
        : a_(a),
          b_(b.transposed()),
          out_(out),
          how_(how),
          options_(o),
          names_(names),
          loops_(products_of<Isa>(o)) {
        check_formats();
        round_factor(a_, o.a_format, a_rounded_);
        round_factor(b_, o.b_format, b_rounded_);
    }

    void run() {
        if (out_.rows == 0 || out_.columns == 0) return;
        if (a_.columns == 0) return only_c();
        if (how_.order == summation::aligned) return aligned();
        if (how_.order == summation::exact) return exact();
        if (how_.order == summation::sequential) {
            if (is_plain<T>(how_)) return plain<T>();
            const accumulator narrow = narrowed_to_ranges();
            if (is_chain_of<float>(narrow)) return chain<float>(narrow);
            if (is_chain_of<double>(how_)) return chain<double>(how_);
        }
        by_rows();
    }

private:
    /// m on the grid of f, in memory of its own where it was not.
    void round_factor(matrix_view<const T>& m, const std::optional<format>& f,
                      std::vector<T>& memory) const {
        if (!f) return;
        memory.resize(m.rows * m.columns);
        for (std::size_t i = 0; i < m.rows; ++i)
            for (std::size_t j = 0; j < m.columns; ++j) memory[i * m.columns + j] = m(i, j);
        quantize<T, std::dynamic_extent, Isa>(std::span<T>(memory), *f, {}, options_);
        m = in_c_order(static_cast<const T*>(memory.data()), m.rows, m.columns);
    }

    [[nodiscard]] number_range range_of_factor(const matrix_view<const T>& m,
                                               const std::optional<format>& f) const {
        return f ? range_of(*f) : range_of(m);
    }

    /// T must hold every format that sums are rounded to on their way.
    void check_formats() {
        if (options_.out) {
            check_fits<T>(options_.out->format);
            out_converter_.emplace(options_.out->format, options_.out->projection);
        }
        if (how_.order != summation::aligned) check_fits<T>(how_.addition.format);
        if (how_.products == products::rounded) check_fits<T>(how_.product.format);
        if (how_.chunk > 0) check_fits<T>(how_.promotion.format);
        const bool has_scales = options_.a_scales || options_.b_scales;
        if (has_scales && how_.unit.factors == factors::plain)
            fail(
                "lowp::matmul: scales of blocks are for units of block-scaled factors; multiply "
                "them into the factors");
    }

    void only_c() {
        for (std::size_t i = 0; i < out_.rows; ++i)
            for (std::size_t j = 0; j < out_.columns; ++j) {
                const T c = c_at(i, j);
                write(i, j, 1, 1, &c);
            }
    }

    template <class S>
    [[nodiscard]] bool is_chain_of(const accumulator& how) const {
        if (sizeof(S) > sizeof(T) && !how.addition.format.template fits<T>()) return false;
        return is_exact_in<S>(how, factor_range(a_range_, a_, options_.a_format),
                              factor_range(b_range_, b_, options_.b_format), range_of_c());
    }
    [[nodiscard]] number_range range_of_c() const {
        return options_.c ? range_of(*options_.c) : number_range{};
    }
    /// What a format may hold says little; what the factors do hold, more.
    [[nodiscard]] accumulator narrowed_to_ranges() const {
        if (is_exact_in<float>(how_, {}, {}, {})) return how_;
        return narrowed(how_, range_of(a_), range_of(b_), range_of_c());
    }
    const number_range& factor_range(std::optional<number_range>& known,
                                     const matrix_view<const T>& m,
                                     const std::optional<format>& f) const {
        if (!known) known = range_of_factor(m, f);
        return *known;
    }

    // ---- tiles --------------------------------------------------------------------------------

    /// work(row group, column group) over all tiles, threads taking groups of rows.
    template <class Work>
    void for_tiles(std::size_t rows, std::size_t columns, const Work& work) const {
        const std::size_t across = (out_.columns + columns - 1) / columns;
        const std::size_t down = (out_.rows + rows - 1) / rows;
        const std::size_t effort = out_.rows * out_.columns * std::max<std::size_t>(a_.columns, 1);
        for_tasks(down, effort, options_.threads, [&](std::size_t begin, std::size_t end) {
            const default_environment environment;
            for (std::size_t j = 0; j < across; ++j)
                for (std::size_t i = begin; i < end; ++i) work(i, j);
        });
    }

    [[nodiscard]] T c_at(std::size_t i, std::size_t j) const {
        return options_.c ? (*options_.c)(i, j) : T{0};
    }

    /// body(row, column, place in the tile) for what of tile (i, j) is inside the matrix.
    template <class Body>
    void each_of_tile(std::size_t i, std::size_t j, std::size_t rows, std::size_t columns,
                      const Body& body) const {
        for (std::size_t r = 0; r < rows && i * rows + r < out_.rows; ++r)
            for (std::size_t s = 0; s < columns && j * columns + s < out_.columns; ++s)
                body(i * rows + r, j * columns + s, r * columns + s);
    }

    /// What of tile (i, j) is inside the matrix, finished: rounded as `out` says, NaN made the model's.
    template <class S>
    void write(std::size_t i, std::size_t j, std::size_t rows, std::size_t columns,
               const S* tile) const {
        const T nan = model_nan();
        if (!out_converter_ && options_.scale == 1 && out_.column_stride == 1) {
            const std::size_t count = std::min(columns, out_.columns - j * columns);
            for (std::size_t r = 0; r < rows && i * rows + r < out_.rows; ++r) {
                T* const to = &out_(i * rows + r, j * columns);
                const S* const from = tile + r * columns;
                for (std::size_t s = 0; s < count; ++s)
                    to[s] = from[s] == from[s] ? static_cast<T>(from[s]) : nan;
            }
            return;
        }
        each_of_tile(i, j, rows, columns, [&](std::size_t row, std::size_t column, std::size_t at) {
            auto value = static_cast<T>(tile[at]) * options_.scale;
            if (out_converter_)
                value = out_converter_->quantize(value, out_random(row * out_.columns + column));
            out_(row, column) = value == value ? value : nan;
        });
    }
    [[nodiscard]] T model_nan() const {
        const bool is_nvidia = how_.order == summation::aligned &&
                               how_.unit.alignment == alignment::together && sizeof(T) == 4;
        if (is_nvidia) return static_cast<T>(std::bit_cast<float>(std::uint32_t{0x7FFFFFFF}));
        return std::numeric_limits<T>::quiet_NaN();
    }
    [[nodiscard]] std::uint32_t out_random(std::uint64_t index) const {
        if (!options_.out || !is_stochastic(options_.out->projection.rounding)) return 0;
        random_source source = options_.source;
        source.stream += std::uint64_t{3} << 62;
        return source(options_.first_index + index);
    }

    /// Chains of `k` terms a chunk: sum(k from, k to, tile of sums) works one out from what the tile has.
    template <class S, class Sum>
    void sum_chunks(std::size_t i, std::size_t j, std::size_t rows, std::size_t columns, S* tile,
                    const Sum& sum) const {
        const std::size_t k = terms_;
        std::fill_n(tile, rows * columns, S{0});
        if (how_.chunk == 0) {
            if (options_.c)
                each_of_tile(i, j, rows, columns,
                             [&](std::size_t row, std::size_t column, std::size_t at) {
                    tile[at] = static_cast<S>(c_at(row, column));
                });
            sum(0, k, tile);
            return;
        }
        S total[tile_rows * 16] = {};
        std::vector<S> long_total(rows * columns > std::size(total) ? rows * columns : 0);
        S* const sums = long_total.empty() ? total : long_total.data();
        each_of_tile(i, j, rows, columns, [&](std::size_t row, std::size_t column, std::size_t at) {
            sums[at] = static_cast<S>(c_at(row, column));
        });
        for (std::size_t t = 0; t < k; t += how_.chunk) {
            std::fill_n(tile, rows * columns, S{0});
            sum(t, std::min(k, t + how_.chunk), tile);
            promote(i, j, rows, columns, t / how_.chunk, tile, sums);
        }
        std::copy_n(sums, rows * columns, tile);
    }
    /// sums += tile, rounded by the promotion; `turn`: which it is.
    template <class S>
    void promote(std::size_t i, std::size_t j, std::size_t rows, std::size_t columns,
                 std::size_t turn, const S* tile, S* sums) const {
        const auto in_lanes = make_plan<double>(how_.promotion.format, how_.promotion.projection);
        if constexpr (sizeof(S) == sizeof(double) && sizeof(T) == sizeof(float))
            if (has_chain(in_lanes) && how_.promotion.format.precision() + 2 <= 53)
                return loops_.of_double.add(in_lanes, tile, sums, rows * columns);
        const converter<double> to(how_.promotion.format, how_.promotion.projection);
        const bool is_random = is_stochastic(how_.promotion.projection.rounding);
        random_source source = options_.source;
        source.stream += std::uint64_t{1} << 62;
        each_of_tile(i, j, rows, columns, [&](std::size_t row, std::size_t column, std::size_t at) {
            const std::uint64_t index = (turn * out_.rows + row) * out_.columns + column;
            const std::uint32_t random = is_random ? source(options_.first_index + index) : 0;
            sums[at] = static_cast<S>(lowp::add(static_cast<double>(sums[at]),
                                                static_cast<double>(tile[at]), to, random));
        });
    }

    template <class S, class Tile>
    void tiles(const Tile& tile_sum) {
        const std::size_t columns = loops_.of<S>().columns;
        const auto a = packed<S>(a_, tile_rows);
        const auto b = packed<S>(b_, columns);
        const std::size_t k = a_.columns;
        for_tiles(tile_rows, columns, [&](std::size_t i, std::size_t j) {
            alignas(64) S tile[tile_rows * 16];
            const S* const rows = a.data() + i * k * tile_rows;
            const S* const across = b.data() + j * k * columns;
            sum_chunks(i, j, tile_rows, columns, tile,
                       [&](std::size_t from, std::size_t to, S* sums) {
                tile_sum(rows + from * tile_rows, across + from * columns, to - from, sums);
            });
            write(i, j, tile_rows, columns, tile);
        });
    }

    template <class S>
    void plain() {
        tiles<S>(loops_.of<S>().plain);
    }

    template <class S>
    void chain(const accumulator& how) {
        const chain_plan<S> p{make_plan<S>(how.addition.format, how.addition.projection),
                              make_plan<S>(how.product.format, how.product.projection),
                              how.products};
        const auto loop = loops_.of<S>().chain;
        tiles<S>([&](const S* a, const S* b, std::size_t k, S* sums) { loop(p, a, b, k, sums); });
    }

    // ---- aligned sums -------------------------------------------------------------------------

    void check_scales(const char* which, const matrix_view<const T>& lines,
                      const std::optional<factor_scales>& s) const {
        const auto group = static_cast<std::size_t>(how_.unit.group);
        if (!s) return;
        const std::size_t blocks = s->block == 0 ? 0 : (lines.columns + s->block - 1) / s->block;
        if (s->values.size() != lines.rows * blocks || s->block == 0 || s->block % group != 0)
            fail(std::string("lowp::matmul: ") + which + "_scales must have one scale a block, " +
                 std::to_string(lines.rows) + " lines of " + std::to_string(blocks) +
                 ", of blocks that are multiples of " + std::to_string(group) + "; got " +
                 std::to_string(s->values.size()) + " of blocks of " + std::to_string(s->block));
    }

    void check_aligned(const number_range& r, const char* which) const {
        if (!r.is_empty() && (r.bits > 24 || r.lowest < -149 || r.top > 127))
            fail(std::string("lowp::matmul: aligned sums take numbers that float32 holds; ") +
                 which + " has others: give its format, or round it first");
    }

    /// Groups are summed exactly in float64, and cut to integers below 2^51.
    void check_groups() const {
        if (how_.unit.group == 1) return;
        const number_range& x = factor_range(a_range_, a_, options_.a_format);
        const number_range& y = factor_range(b_range_, b_, options_.b_format);
        if (x.is_empty() || y.is_empty()) return;
        const auto carries =
            static_cast<int>(std::bit_width(static_cast<unsigned>(how_.unit.group)));
        const int top = x.top + y.top + 2 + carries;
        if (top - x.lowest - y.lowest > 53 || top > 51 - how_.unit.fraction_bits)
            fail(
                "lowp::matmul: units with groups take factors of few bits, as float4_e2m1fn; give "
                "a_format and b_format");
    }

    void aligned() {
        if (sizeof(T) == 8) {
            check_aligned(factor_range(a_range_, a_, options_.a_format), names_.a);
            check_aligned(factor_range(b_range_, b_, options_.b_format), names_.b);
            if (options_.c) check_aligned(range_of(*options_.c), "c");
        }
        check_scales(names_.a, a_, options_.a_scales);
        check_scales(names_.b, b_, options_.b_scales);
        const std::size_t columns = loops_.of_double.columns;
        const auto emin = [](const std::optional<format>& f) { return f ? f->emin() : -126; };
        const auto order = term_order(how_, a_.columns);
        terms_ = order.size();
        check_groups();
        const aligned_plan p = make_aligned_plan(how_.unit);
        const auto a =
            packed_for_alignment(a_, 1, emin(options_.a_format), options_.a_scales, p.group, order);
        const auto b = packed_for_alignment(b_, columns, emin(options_.b_format), options_.b_scales,
                                            p.group, order);
        const std::size_t k = terms_;
        const std::size_t parts = p.group > 1 ? (k + p.group - 1) / p.group : k;
        for_tiles(1, columns, [&](std::size_t i, std::size_t j) {
            double tile[16];
            const auto place = [&](const std::vector<double>& v, std::size_t at) {
                return v.empty() ? v.data() : v.data() + at;
            };
            sum_chunks(i, j, 1, columns, tile, [&](std::size_t from, std::size_t to, double* sums) {
                const std::size_t part = from / p.group;
                const aligned_factors f{place(a.values, i * k + from),
                                        place(a.powers, i * parts + part),
                                        place(a.scales, i * parts + part),
                                        place(b.values, (j * k + from) * columns),
                                        place(b.powers, (j * parts + part) * columns),
                                        place(b.scales, (j * parts + part) * columns)};
                loops_.aligned(p, f, to - from, sums);
            });
            write(i, j, 1, columns, tile);
        });
    }

    // ---- exact sums, and rows of operations ---------------------------------------------------

    void exact() {
        check_wide(how_.addition.format);
        const converter<double> last(how_.addition.format, how_.addition.projection);
        for_tiles(1, 1, [&](std::size_t i, std::size_t j) {
            double tile = 0;
            const auto sum = [&](std::size_t from, std::size_t to, double* total) {
                kulisch_sum digits;
                digits.add(*total);
                for (std::size_t t = from; t < to; ++t)
                    digits.add_product(static_cast<double>(a_(i, t)),
                                       static_cast<double>(b_(j, t)));
                *total =
                    last.quantize(digits.rounded_to_odd(),
                                  chain_random(i, j, from / std::max<std::size_t>(how_.chunk, 1)));
            };
            sum_chunks(i, j, 1, 1, &tile, sum);
            write(i, j, 1, 1, &tile);
        });
    }
    [[nodiscard]] std::uint32_t chain_random(std::size_t i, std::size_t j, std::size_t at) const {
        if (!is_stochastic(how_.addition.projection.rounding)) return 0;
        return options_.source(options_.first_index + (at * out_.rows + i) * out_.columns + j);
    }
    void check_wide(const format& f) const {
        const int extra = weighs_tail(how_.addition.projection.rounding)
                              ? how_.addition.projection.random_bits + 1
                              : 0;
        if (f.precision() + 2 + extra > 53)
            fail("lowp::matmul: an exact sum is rounded to at most " + std::to_string(51 - extra) +
                 " significant bits; got a format of " + std::to_string(f.precision()));
    }

    void by_rows() {
        const std::size_t n = out_.columns;
        const std::size_t k = a_.columns;
        const auto a = packed<T>(a_, 1);
        std::vector<T> b(k * n);
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t t = 0; t < k; ++t) b[t * n + j] = b_(j, t);
        const std::size_t effort = out_.rows * n * std::max<std::size_t>(k, 1);
        for_tasks(out_.rows, effort, options_.threads, [&](std::size_t begin, std::size_t end) {
            const default_environment environment;
            product_row<T, Isa> row(how_, options_, out_.rows, n);
            std::vector<T> sums(n);
            for (std::size_t i = begin; i < end; ++i) {
                const std::span<const T> factors = std::span(a).subspan(i * k, k);
                sum_chunks(i, 0, 1, n, sums.data(), [&](std::size_t from, std::size_t to, T*) {
                    row.sum(factors, b, i, from, to, sums);
                });
                write(i, 0, 1, n, sums.data());
            }
        });
    }

    const default_environment environment_;  ///< of all work on the calling thread
    matrix_view<const T> a_, b_;             ///< b transposed: lines of both run along k
    matrix_view<T> out_;
    const accumulator& how_;
    const product_options<T>& options_;
    const factor_names names_;
    const product_loops& loops_;
    std::size_t terms_ = a_.columns;  ///< with the zeros that fill up a last chunk
    std::vector<T> a_rounded_, b_rounded_;
    mutable std::optional<number_range> a_range_, b_range_;
    std::optional<converter<T>> out_converter_;
};

}  // namespace lowp::detail
