// The elements of a block format, and its scale rule, as the loops need them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "lowp/block_format.hpp"
#include "lowp/detail/block_kernel.hpp"
#include "lowp/detail/loops.hpp"

namespace lowp::detail {

/// Element conversions of a block format: the kernel's, or those of a codebook.
template <class T, class Isa>
class element_loops {
public:
    element_loops(const block_format& f, const projection& p, const loop_table& table)
        : converter_(f.elements.empty() ? f.element : float8_e4m3fn, p),
          book_(f.elements),
          loops_(table.of<T>()),
          plan_(converter_.plan()) {
        if (f.element_bits() > 4) return;
        if (!book_.empty() && !is_stochastic(p.rounding)) find_thresholds();
        for (std::size_t c = 0; c < 16; ++c)
            sixteen_[c] = book_.empty()      ? converter_.decode(c)
                          : c < book_.size() ? static_cast<T>(book_.values()[c])
                                             : std::numeric_limits<T>::quiet_NaN();
    }

    [[nodiscard]] const detail::plan<T>& plan() const { return plan_; }
    /// The kernel's path; none of a codebook is fused.
    [[nodiscard]] detail::path path() const {
        return book_.empty() ? plan_.path : path::renormalized;
    }
    [[nodiscard]] detail::path encode_path() const {
        return book_.empty() ? plan_.encode_path : path::renormalized;
    }
    /// Values of codes of up to four bits.
    [[nodiscard]] const std::array<T, 16>& sixteen() const { return sixteen_; }

    void set_nan_code(code_type code) {
        plan_.nan_code = static_cast<typename carrier<T>::word>(code);
    }

    void quantize(T* x, const std::uint32_t* random, std::size_t n) const {
        if (book_.empty()) return loops_.quantize(plan_, x, x, random, n);
        if (has_thresholds_ && n <= block_chunk) {
            std::array<std::uint8_t, block_chunk> codes;
            loops_.blocks.code_by_thresholds(thresholds_.data(), x, codes.data(), n);
            for (std::size_t i = 0; i < n; ++i)
                if (!std::isnan(x[i])) x[i] = sixteen_[codes[i] & 15U];
            return;
        }
        for (std::size_t i = 0; i < n; ++i)
            if (!std::isnan(x[i])) x[i] = static_cast<T>(book_.values()[code(x, random, i)]);
    }
    void encode(const T* x, void* codes, int code_bytes, const std::uint32_t* random,
                std::size_t n) const {
        if (book_.empty()) return loops_.encode(plan_, x, codes, code_bytes, random, n);
        auto* const to = static_cast<unsigned char*>(codes);
        if (has_thresholds_) {
            loops_.blocks.code_by_thresholds(thresholds_.data(), x, to, n);
            for (std::size_t i = 0; i < n; ++i)
                if (std::isnan(x[i])) to[i] = static_cast<unsigned char>(plan_.nan_code);
            return;
        }
        for (std::size_t i = 0; i < n; ++i)
            to[i] =
                static_cast<unsigned char>(std::isnan(x[i]) ? plan_.nan_code : code(x, random, i));
    }
    void decode(const void* codes, int code_bytes, T* y, std::size_t n) const {
        if (book_.empty()) return loops_.decode(plan_, codes, code_bytes, y, n);
        const auto* const from = static_cast<const unsigned char*>(codes);
        for (std::size_t i = 0; i < n; ++i)
            y[i] = from[i] < book_.size() ? static_cast<T>(book_.values()[from[i]])
                                          : std::numeric_limits<T>::quiet_NaN();
    }

private:
    [[nodiscard]] std::size_t code(const T* x, const std::uint32_t* random, std::size_t i) const {
        return book_.nearest(static_cast<double>(x[i]), converter_.projection(),
                             random == nullptr ? 0 : random[i]);
    }

    using word = typename carrier<T>::word;
    using signed_word = typename carrier<T>::signed_word;

    // Floats in order as signed integers: negative ones with their magnitudes flipped.
    static signed_word to_line(T x) {
        const auto bits = __builtin_bit_cast(signed_word, x);
        return bits < 0 ? bits ^ std::numeric_limits<signed_word>::max() : bits;
    }
    static T from_line(signed_word line) {
        const auto bits = line < 0 ? line ^ std::numeric_limits<signed_word>::max() : line;
        return __builtin_bit_cast(T, bits);
    }

    /// Where each code begins, found by bisection with the definition, whatever the rounding.
    void find_thresholds() {
        thresholds_.fill(static_cast<word>(std::numeric_limits<signed_word>::max()));
        for (std::size_t c = 0; c + 1 < book_.size(); ++c) {
            signed_word below = to_line(static_cast<T>(book_.values()[c]));
            signed_word at = to_line(static_cast<T>(book_.values()[c + 1]));
            // The distance may need the sign's bit.
            while (static_cast<word>(at) - static_cast<word>(below) > 1) {
                const word half = (static_cast<word>(at) - static_cast<word>(below)) / 2;
                const auto middle = static_cast<signed_word>(static_cast<word>(below) + half);
                const T x = from_line(middle);
                (book_.nearest(static_cast<double>(x), converter_.projection()) > c ? at : below) =
                    middle;
            }
            thresholds_[c] = static_cast<word>(at - 1);
        }
        has_thresholds_ = true;
    }

    converter<T> converter_;
    const codebook& book_;
    const carrier_loops<T>& loops_;
    detail::plan<T> plan_;
    std::array<T, 16> sixteen_{};
    std::array<word, 15> thresholds_{};
    bool has_thresholds_ = false;
};

/// Mantissa bits of an element in the binade of its largest value.
[[nodiscard]] inline int top_binade_bits(const block_format& f) {
    if (!f.elements.empty()) return 0;
    return f.element.exponent_bits > 0 ? f.element.mantissa_bits
                                       : f.element.emax() - f.element.min_quantum_exponent();
}

/// The constants of a scale rule.
template <class T>
[[nodiscard]] scale_plan<T> make_scale_plan(const block_format& f) {
    using word = typename carrier<T>::word;
    constexpr int mantissa = carrier<T>::mantissa;
    const double max = f.element_max();
    const word significand = float_bits<T>(max) & ((word{1} << mantissa) - 1);
    const int emax = std::ilogb(max);
    const bool is_fixed = f.rule.statistic == statistic::none;
    scale_plan<T> c;
    c.power_of_two = f.rule.power_of_two;
    c.arithmetic = f.edges.arithmetic;
    c.by_logarithm = f.edges.exponents == exponents::logarithm;
    c.gain = static_cast<T>(f.rule.gain);
    c.divisor = is_fixed ? T{1} : static_cast<T>(max / f.rule.gain);
    c.reciprocal = static_cast<T>(1.0 / static_cast<double>(c.divisor));
    c.smallest = static_cast<T>(f.edges.min_scale);
    c.largest = static_cast<T>(f.edges.max_scale);
    c.of_zero = static_cast<T>(f.edges.zero_scale);
    c.emax = static_cast<word>(emax);
    const word all = (word{1} << mantissa) - 1;
    switch (f.rule.power_of_two) {
        case power_of_two::ceil: c.carry = all; break;
        case power_of_two::even:
            // Half of the last bit of M's binade; nothing where the carrier has no more bits.
            if (const int bits = top_binade_bits(f); bits < mantissa)
                c.carry = word{1} << (mantissa - 1 - bits);
            break;
        case power_of_two::rceil:
            // Above M's significand one more binade is needed. Transformer Engine takes the exponent
            // of the rounded quotient t (1 / M), and rounds that up.
            c.carry = c.arithmetic == arithmetic::transformer_engine ? all : all - significand;
            if (c.arithmetic == arithmetic::transformer_engine) c.emax = 0;
            break;
        default: break;
    }
    return c;
}

/// What scales and scalings of a block format follow from.
template <class T>
struct block_plan {
    scale_plan<T> rule;
    totals_plan<T> totals;
    scaling before = scaling::divide;
    bool is_sticky = false;
    bool is_on_grid = false;  ///< ideal scales are scales already, within the format's limits
};

template <class T>
[[nodiscard]] totals_kind totals_kind_of(const block_format& f) {
    if (f.edges.arithmetic == arithmetic::transformer_engine) return totals_kind::bounded_inverse;
    if (f.edges.arithmetic == arithmetic::torchao) return totals_kind::inverse_by_levels;
    const bool is_power = f.scale.mantissa_bits == 0 && f.outer.per == granularity::none &&
                          f.rule.post_gain == 1 && f.scale.emin() >= -carrier<T>::bias;
    return is_power ? totals_kind::exact_inverse : totals_kind::divisor;
}

/// has_ideals: the caller gives ideal scales.
template <class T>
[[nodiscard]] block_plan<T> make_block_plan(const block_format& f, bool has_ideals) {
    block_plan<T> p;
    p.rule = make_scale_plan<T>(f);
    p.totals.kind = totals_kind_of<T>(f);
    p.totals.post_gain = static_cast<T>(f.rule.post_gain);
    if (f.edges.lowest_divisor > 0) {
        p.totals.lowest_scale = static_cast<T>(f.scale.min_positive());
        p.totals.lowest_divisor = static_cast<T>(f.edges.lowest_divisor);
    }
    p.before = p.totals.kind == totals_kind::divisor ? scaling::divide : scaling::multiply;
    p.is_sticky = looks_for_anything(f.rounding);
    p.is_on_grid = f.rule.power_of_two != power_of_two::none && f.scale.mantissa_bits == 0 &&
                   !f.scale.has_zero && f.rule.search == search::none && !has_ideals &&
                   f.edges.scale_saturation == saturation::finite;
    if (p.is_on_grid) {
        p.rule.smallest = std::max(p.rule.smallest, static_cast<T>(f.scale.min_positive()));
        p.rule.largest = std::min(p.rule.largest, static_cast<T>(f.scale.max()));
    }
    return p;
}

template <class T>
[[nodiscard]] outer_plan<T> make_outer_plan(const block_format& f) {
    outer_plan<T> p;
    if (f.outer.per == granularity::none) return p;  // T may not hold the format
    p.format = converter<T>(f.outer.format, {.saturation = saturation::finite}).plan();
    p.limit = static_cast<T>(f.element_max() * f.scale_max());
    p.smallest = static_cast<T>(f.outer.format.min_positive());
    p.arithmetic = f.edges.arithmetic;
    return p;
}

}  // namespace lowp::detail
