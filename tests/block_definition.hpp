// The definition of block formats: block by block, element by element, from spec.hpp, frexp and the
// tables of block_format.hpp and scale.hpp. The engine is compared with it and shares no code.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "codebook_definition.hpp"
#include "lowp/block.hpp"
#include "lowp/spec.hpp"
#include "support.hpp"

namespace lowp::test {

/// An array's sizes and the axis of its blocks, and from that alone: who shares a scale.
struct block_map {
    std::vector<std::size_t> sizes;
    int axis = -1;
    std::vector<std::vector<std::size_t>> blocks;  ///< indices of elements, blocks in C order
    std::vector<std::size_t> lines;                ///< the outer scale of each block, if one a row
    std::size_t line_count = 0;

    block_map(const block_shape& block, std::vector<std::size_t> with_sizes, int with_axis = -1)
        : sizes(std::move(with_sizes)), axis(with_axis) {
        std::size_t size = 1;
        for (const std::size_t n : sizes) size *= n;
        const std::size_t dims = sizes.size();
        const auto at = static_cast<std::size_t>(axis < 0 ? static_cast<int>(dims) + axis : axis);
        // How many elements of each axis share a scale.
        std::vector<std::size_t> extent(dims, 1);
        if (block.rows == 0 && block.columns == 0) extent = sizes;
        else {
            extent[at] = block.columns == 0 ? sizes[at] : block.columns;
            if (block.rows != 1) extent[at - 1] = block.rows == 0 ? sizes[at - 1] : block.rows;
        }
        std::vector<std::size_t> grid(dims);
        std::size_t count = 1;
        for (std::size_t i = 0; i < dims; ++i) {
            grid[i] = extent[i] == 0 ? 0 : (sizes[i] + extent[i] - 1) / extent[i];
            count *= grid[i];
        }
        blocks.resize(count);
        lines.resize(count);
        line_count = sizes[at] > 0 ? size / sizes[at] : 0;
        for (std::size_t i = 0; i < size; ++i) {
            std::size_t id = 0;
            std::size_t line = 0;
            std::size_t rest = i;
            std::size_t below = size;
            for (std::size_t a = 0; a < dims; ++a) {
                below /= sizes[a];
                const std::size_t index = rest / below;
                rest %= below;
                id = id * grid[a] + index / extent[a];
                if (a != at) line = line * sizes[a] + index;
            }
            blocks[id].push_back(i);
            lines[id] = line;
        }
    }

    [[nodiscard]] std::size_t size() const {
        std::size_t n = 1;
        for (const std::size_t s : sizes) n *= s;
        return n;
    }
};

template <class T>
struct defined_blocks {
    std::vector<T> values;
    std::vector<code_type> codes, scales;
    std::vector<T> outer;
    bool lost_nan = false;           ///< encode has to refuse
    std::vector<bool> is_uncertain;  ///< elements of blocks that hang on a sum's last bit
};

template <class T>
class block_definition {
public:
    block_definition(const block_format& f, const block_map& map, const block_options& o)
        : f_(f), map_(map), o_(o) {}

    [[nodiscard]] defined_blocks<T> operator()(std::span<const T> x) {
        x_ = x;
        r_ = {};
        r_.values.resize(x.size());
        r_.codes.resize(x.size());
        r_.is_uncertain.resize(x.size());
        find_outer();
        for (std::size_t b = 0; b < map_.blocks.size(); ++b) define(b);
        return r_;
    }

private:
    using limits = std::numeric_limits<T>;
    static constexpr T infinity = limits::infinity();
    static constexpr T nan = limits::quiet_NaN();

    /// One candidate of a block: its rounded scale and what follows.
    struct candidate {
        T scale = 0;
        code_type code = 0;
        T total = 0;
        std::vector<T> values;
        std::vector<code_type> codes;
        bool is_certain = true;
    };

    // ---- outer scales ---------------------------------------------------------------------------

    void find_outer() {
        inverses_.clear();
        if (f_.outer.per == granularity::none) return;
        const bool a_row = f_.outer.per == granularity::row;
        std::vector<T> amax(a_row ? map_.line_count : 1, T{0});
        for (std::size_t b = 0; b < map_.blocks.size(); ++b)
            for (const std::size_t i : map_.blocks[b])
                if (std::isfinite(x_[i])) {
                    T& most = amax[a_row ? map_.lines[b] : 0];
                    most = std::max(most, std::fabs(x_[i]));
                }
        const T reach = static_cast<T>(f_.element_max() * f_.scale_max());
        for (std::size_t i = 0; i < amax.size(); ++i) {
            T scale = 1;
            T inverse = 1;
            if (o_.given.outer)
                scale = static_cast<T>((*o_.given.outer)[o_.given.outer->size() == 1 ? 0 : i]);
            else if (f_.outer.fixed > 0) scale = static_cast<T>(f_.outer.fixed);
            else if (amax[i] > 0 && f_.edges.arithmetic == arithmetic::transformer_engine) {
                inverse = std::min(reach / amax[i], limits::max());
                r_.outer.push_back(T{1} / inverse);
                inverses_.push_back(inverse);
                continue;
            } else if (amax[i] > 0) {
                const double rounded =
                    spec::quantize(static_cast<double>(amax[i] / reach), f_.outer.format,
                                   {.saturation = saturation::finite});
                scale = static_cast<T>(std::max(rounded, f_.outer.format.min_positive()));
            }
            r_.outer.push_back(scale);
            inverses_.push_back(T{1} / scale);
        }
    }

    // ---- ideal scales ---------------------------------------------------------------------------

    struct content {
        bool has_nan = false, has_inf = false;
        T statistic = 0;
    };

    [[nodiscard]] content look_at(std::size_t b) const {
        content c;
        T most = 0;
        double sum = 0;
        std::size_t finite = 0;
        for (const std::size_t i : map_.blocks[b]) {
            const T a = std::fabs(x_[i]);
            c.has_nan = c.has_nan || std::isnan(a);
            c.has_inf = c.has_inf || std::isinf(a);
            if (!std::isfinite(a)) continue;
            most = std::max(most, a);
            const auto wide = static_cast<double>(a);
            sum += f_.rule.statistic == statistic::rms ? wide * wide : wide;
            ++finite;
        }
        const double mean = finite > 0 ? sum / static_cast<double>(finite) : 0;
        switch (f_.rule.statistic) {
            case statistic::amax: c.statistic = most; break;
            case statistic::mean_abs: c.statistic = static_cast<T>(mean); break;
            case statistic::rms: c.statistic = static_cast<T>(std::sqrt(mean)); break;
            case statistic::none: c.statistic = static_cast<T>(f_.rule.gain); return c;
        }
        if (c.has_inf) c.statistic = infinity;
        return c;
    }

    /// floor(log2 t), and ceil(log2 t); infinity counts as the power of two after the largest.
    [[nodiscard]] static int floor_log2(T t) {
        int e = 0;
        if (std::isinf(t)) return limits::max_exponent;
        (void)std::frexp(t, &e);
        return e - 1;
    }
    [[nodiscard]] static int ceil_log2(T t) {
        int e = 0;
        if (std::isinf(t)) return limits::max_exponent;
        return std::frexp(t, &e) == T{0.5} ? e - 1 : e;
    }

    [[nodiscard]] int emax() const {
        return static_cast<int>(std::floor(std::log2(static_cast<long double>(f_.element_max()))));
    }

    /// The exponent that a rule of powers of two gives t > 0.
    [[nodiscard]] int exponent(T t) const {
        const auto max = static_cast<long double>(f_.element_max());
        if (f_.rule.power_of_two == power_of_two::floor) return floor_log2(t) - emax();
        if (f_.rule.power_of_two == power_of_two::ceil) return ceil_log2(t) - emax();
        if (f_.rule.power_of_two == power_of_two::even) {
            // The element's significant bits in the binade of its largest value.
            const int bits =
                f_.elements.empty()
                    ? (f_.element.exponent_bits > 0 ? f_.element.mantissa_bits
                                                    : emax() - f_.element.min_quantum_exponent())
                    : 0;
            const int e = floor_log2(t);
            if (bits >= limits::digits - 1 || std::isinf(t)) return e - emax();
            const long double quanta = std::ldexp(static_cast<long double>(t), bits - e);
            return std::floor(quanta + 0.5L) >= std::ldexp(2.0L, bits) ? e + 1 - emax()
                                                                       : e - emax();
        }
        // rceil: the smallest e with M 2^e >= t.
        const long double wide =
            std::isinf(t) ? std::ldexp(1.0L, limits::max_exponent) : static_cast<long double>(t);
        int e = ceil_log2(t) - emax() - 2;
        while (std::ldexp(max, e) < wide) ++e;
        return e;
    }

    [[nodiscard]] T power(int e) const {  // below the smallest subnormal number 0
        return e < limits::min_exponent - limits::digits ? T{0} : std::ldexp(T{1}, e);
    }

    [[nodiscard]] T ideal(std::size_t b, const content& c) const {
        if ((c.has_nan && f_.edges.nan == nan_policy::block) ||
            (c.has_inf && f_.edges.infinity == infinity_policy::nan))
            return nan;
        if (o_.given.ideals) return static_cast<T>((*o_.given.ideals)[b]) / outer_of(b);
        if (c.statistic == 0 && f_.edges.zero_scale >= 0)
            return static_cast<T>(f_.edges.zero_scale);
        const T found = f_.rule.power_of_two == power_of_two::none ? quotient(b, c.statistic)
                                                                   : stepped(b, c.statistic);
        const T low = static_cast<T>(f_.edges.min_scale);
        const T high = static_cast<T>(f_.edges.max_scale);
        return found < low ? low : found > high ? high : found;
    }

    [[nodiscard]] T quotient(std::size_t b, T t) const {
        const bool is_fixed = f_.rule.statistic == statistic::none;
        const T m = is_fixed ? T{1} : static_cast<T>(f_.element_max() / f_.rule.gain);
        if (f_.edges.arithmetic == arithmetic::transformer_engine) {
            const T inverse = static_cast<T>(1.0 / static_cast<double>(m));
            const T factor = inverse_of(b) * inverse;
            return t * factor;
        }
        if (f_.edges.arithmetic == arithmetic::model_optimizer) {
            const T product = m * outer_of(b);
            return t / product;
        }
        const T first = t / m;
        return first / outer_of(b);
    }

    [[nodiscard]] T stepped(std::size_t b, T t) const {
        if (f_.edges.exponents == exponents::logarithm && t > 0) {
            const bool goes_up = f_.rule.power_of_two == power_of_two::rceil;
            const T of = goes_up ? t / static_cast<T>(f_.element_max() / f_.rule.gain) : t;
            const T log = static_cast<T>(std::log2(static_cast<double>(of)));
            return static_cast<T>(std::exp2(goes_up
                                                ? std::ceil(static_cast<double>(log))
                                                : std::floor(static_cast<double>(log)) - emax()));
        }
        if (f_.edges.arithmetic == arithmetic::transformer_engine &&
            f_.rule.power_of_two == power_of_two::rceil) {
            const T u = quotient(b, t);
            return u == 0 ? T{0} : power(ceil_log2(u));
        }
        const bool is_te = f_.edges.arithmetic == arithmetic::transformer_engine;
        const T apart = is_te ? t * inverse_of(b) : t / outer_of(b);
        const T u = apart * static_cast<T>(f_.rule.gain);
        return u == 0 ? T{0} : power(exponent(u));
    }

    [[nodiscard]] std::size_t outer_index(std::size_t b) const {
        return f_.outer.per == granularity::row ? map_.lines[b] : 0;
    }
    [[nodiscard]] T outer_of(std::size_t b) const {
        return r_.outer.empty() ? T{1} : r_.outer[outer_index(b)];
    }
    [[nodiscard]] T inverse_of(std::size_t b) const {
        return inverses_.empty() ? T{1} : inverses_[outer_index(b)];
    }

    // ---- a block with a scale -------------------------------------------------------------------

    [[nodiscard]] std::uint32_t scale_random(std::size_t b) const {
        random_source source = o_.source;
        source.stream ^= std::uint64_t{1} << 63;
        return source(b) >> (32 - f_.random_bits);
    }
    [[nodiscard]] std::uint32_t element_random(std::size_t i) const {
        return o_.random ? (*o_.random)[i] : o_.source(o_.first_index + i) >> (32 - f_.random_bits);
    }

    /// What an element's value is divided by or multiplied with, and the result.
    [[nodiscard]] T scaled(T x, T scale, T total, T outer) const {
        const bool is_lowest =
            f_.edges.lowest_divisor > 0 && scale == static_cast<T>(f_.scale.min_positive());
        const T lowest = static_cast<T>(f_.edges.lowest_divisor);
        const T used = is_lowest ? lowest : total;
        T y = 0;
        if (std::isnan(x)) return x;
        if (f_.edges.arithmetic == arithmetic::transformer_engine)
            y = x * std::min(T{1} / used, limits::max());
        else if (f_.edges.arithmetic == arithmetic::torchao) {
            const T first = T{1} / outer;
            const T with_gain = scale * static_cast<T>(f_.rule.post_gain);
            const T factor = is_lowest ? T{1} / lowest : first / with_gain;
            y = x * std::min(factor, limits::max());
        } else if (used == 0) y = std::copysign(T{0}, x);  // nothing is left of the block
        else y = x / used;
        return y;
    }

    [[nodiscard]] bool looks_for_anything() const {
        using enum rounding;
        return f_.rounding == toward_positive || f_.rounding == toward_negative ||
               f_.rounding == away_from_zero || f_.rounding == to_odd ||
               f_.rounding == stochastic_equal;
    }

    [[nodiscard]] candidate with_scale(std::size_t b, T ideal, rounding mode) const {
        candidate c;
        const projection to_scale = f_.scale_projection();
        const double rounded =
            spec::quantize(static_cast<double>(ideal), f_.scale, to_scale, scale_random(b));
        c.scale = static_cast<T>(rounded);
        c.code = std::isnan(rounded) ? (f_.scale.has_nan() ? f_.scale.nan_code() : 0)
                                     : spec::encode(static_cast<double>(ideal), f_.scale, to_scale,
                                                    scale_random(b));
        const T both = c.scale * outer_of(b);
        c.total = both * static_cast<T>(f_.rule.post_gain);
        for (const std::size_t i : map_.blocks[b]) {
            T v = scaled(x_[i], c.scale, c.total, outer_of(b));
            if (v == 0 && x_[i] != 0 && looks_for_anything())
                v = std::copysign(limits::denorm_min(), x_[i]);
            if (v == 0 && f_.edges.zero_sign == zero_sign::positive) v = 0;
            if (v == 0 && f_.edges.zero_sign == zero_sign::negative) v = -T{0};
            add_element(c, v, mode, is_stochastic(mode) ? element_random(i) : 0);
        }
        return c;
    }

    void add_element(candidate& c, T v, rounding mode, std::uint32_t random) const {
        const projection p{mode, saturation::finite, f_.random_bits};
        const auto wide = static_cast<double>(v);
        double value = wide;
        code_type code = 0;
        if (std::isnan(v) || std::isnan(c.total)) {
            value = static_cast<double>(nan);
            code = o_.nan_code                                   ? *o_.nan_code
                   : f_.elements.empty() && f_.element.has_nan() ? f_.element.nan_code()
                                                                 : 0;
        } else if (f_.elements.empty()) {
            value = spec::quantize(wide, f_.element, p, random);
            code = spec::encode(wide, f_.element, p, random);
        } else {
            const codebook_choice choice = define_choice(f_.elements, wide, p, random);
            c.is_certain = c.is_certain && choice.is_certain;
            code = choice.index;
            value = f_.elements.values()[choice.index];
        }
        c.values.push_back(static_cast<T>(value) * c.total);
        c.codes.push_back(code);
    }

    // ---- search ---------------------------------------------------------------------------------

    [[nodiscard]] long double error(std::size_t b, const candidate& c) const {
        long double sum = 0;
        for (std::size_t k = 0; k < map_.blocks[b].size(); ++k) {
            if (!std::isfinite(x_[map_.blocks[b][k]])) continue;
            const auto difference =
                static_cast<double>(x_[map_.blocks[b][k]]) - static_cast<double>(c.values[k]);
            const double a = std::fabs(difference);
            if (f_.rule.error_norm == error_norm::absolute) sum += a;
            else if (f_.rule.error_norm == error_norm::squared) sum += a * a;
            else sum += std::pow(a, 2.4);
        }
        return sum;
    }

    /// The ideal scale that a search takes; false: another one's error is the same but for rounding.
    [[nodiscard]] bool choose(std::size_t b, T& ideal) const {
        std::vector<T> tried{ideal};
        if (f_.rule.search == search::four_six) tried.push_back(ideal * T{1.5});
        else if (f_.rule.search == search::all && f_.scale.bits() <= 8) {
            for (code_type c = f_.scale.min_positive_code(); c <= f_.scale.max_code(); ++c)
                if (const double s = spec::decode(c, f_.scale);
                    s >= f_.edges.min_scale && s <= f_.edges.max_scale)
                    tried.push_back(static_cast<T>(s));
        } else
            for (int i = 1; i < 100; ++i) tried.push_back(ideal * static_cast<T>(1 - 0.008 * i));
        for (T& one : tried)
            one = std::isnan(one) ? one
                                  : std::clamp(one, static_cast<T>(f_.edges.min_scale),
                                               static_cast<T>(f_.edges.max_scale));
        bool is_certain = true;
        candidate best;
        long double least = std::numeric_limits<long double>::infinity();
        for (const T one : tried) {
            const candidate c = with_scale(b, one, rounding::nearest_ties_to_even);
            const long double e = error(b, c);
            if (!(e < std::numeric_limits<long double>::infinity())) continue;
            const bool is_same = c.values == best.values && c.code == best.code;
            if (e < least * (1 - 1e-12L)) {
                is_certain = true;
                best = c;
                least = e;
                ideal = one;
            } else if (e <= least * (1 + 1e-12L) && !is_same && c.values != best.values) {
                is_certain = false;
            }
        }
        return is_certain;
    }

    void define(std::size_t b) {
        const content c = look_at(b);
        T scale = ideal(b, c);
        const bool is_nan_block = std::isnan(scale);
        bool is_certain = true;
        if (f_.rule.search != search::none && !is_nan_block && !o_.given.ideals)
            is_certain = choose(b, scale);
        const candidate found = with_scale(b, scale, f_.rounding);
        is_certain = is_certain && found.is_certain;
        const bool has_code = (f_.elements.empty() && f_.element.has_nan()) || o_.nan_code;
        if (is_nan_block ? !f_.scale.has_nan() : c.has_nan && !has_code) r_.lost_nan = true;
        r_.scales.push_back(found.code);
        for (std::size_t k = 0; k < found.values.size(); ++k) {
            const std::size_t i = map_.blocks[b][k];
            r_.values[i] = std::isnan(found.total) ? nan : found.values[k];
            r_.codes[i] = found.codes[k];
            r_.is_uncertain[i] = !is_certain;
        }
    }

    const block_format& f_;
    const block_map& map_;
    const block_options& o_;
    std::span<const T> x_;
    std::vector<T> inverses_;
    defined_blocks<T> r_;
};

// ---- comparing ------------------------------------------------------------------------------------

/// Code or scale i of little-endian integers of the fewest bytes.
[[nodiscard]] inline code_type code_at(const std::vector<std::uint8_t>& bytes, int bits,
                                       std::size_t i) {
    const std::size_t size = bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : 8;
    code_type c = 0;
    for (std::size_t k = 0; k < size; ++k) c |= code_type{bytes[i * size + k]} << (8 * k);
    return c;
}

/// Code of column j of a line of packed codes, bit by bit.
[[nodiscard]] inline code_type packed_at(const std::vector<std::uint8_t>& bytes, int bits,
                                         std::size_t line, std::size_t columns, std::size_t j) {
    const auto width = static_cast<std::size_t>(bits);
    const std::size_t first = line * ((columns * width + 7) / 8) * 8 + j * width;
    code_type c = 0;
    for (std::size_t k = 0; k < width; ++k)
        c |= (code_type{bytes[(first + k) / 8]} >> (first + k) % 8 & 1U) << k;
    return c;
}

/// The same number: bit for bit, but any NaN is a NaN.
template <class T>
[[nodiscard]] bool is_same(T a, T b) {
    return bits_of(a) == bits_of(b) || (std::isnan(a) && std::isnan(b));
}

}  // namespace lowp::test
