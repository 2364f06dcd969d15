// A block-scaled format is data, too: what an element is, what a scale is, which elements share one,
// and by which rule. Everything that MX, NVFP4, BFP, group and tensor quantization differ in is here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include "lowp/codebook.hpp"
#include "lowp/format.hpp"
#include "lowp/formats.hpp"
#include "lowp/rounding.hpp"
#include "lowp/scale.hpp"

namespace lowp {

/// The elements that share a scale: `rows` by `columns` of the last two axes; 0 means all of an axis.
/// {1, k} can lie along any axis.
struct block_shape {
    std::size_t rows = 1;
    std::size_t columns = 32;

    friend constexpr bool operator==(const block_shape&, const block_shape&) = default;
};

/// What shares a second scale, over those of the blocks.
enum class granularity : std::uint8_t { none, row, tensor };

/// A second level: elements are x / (block scale * outer scale). Scale: `fixed`, or amax / (element
/// max * scale_max) in `format`; 1 where amax is 0. NaN and infinities are left out of amax.
struct outer_scale {
    granularity per = granularity::none;
    lowp::format format = float32;
    double fixed = 0;      ///< 0: from amax
    double scale_max = 0;  ///< largest block scale aimed at; 0: the scale format's largest, or 1

    friend constexpr bool operator==(const outer_scale&, const outer_scale&) = default;
};

/// What a NaN does: it makes its whole block NaN, or stays alone and does not count.
enum class nan_policy : std::uint8_t { block, element };
/// What an infinity does: as a NaN, or it counts as a number beyond all others: the scale is the
/// largest that the rule gives, the element saturates.
enum class infinity_policy : std::uint8_t { nan, number };
/// How the quotients of rule and element associate, with S the outer scale (1 without), s the block's:
///                       ideal scale            element
///     division           (t / M) / S            x / (s S)
///     torchao            (t / M) / S            x ((1 / S) / s)
///     transformer_engine t (S' (1 / M))         x min(1 / (s (1 / S')), largest float)   S' = 1 / S
///     model_optimizer    t / (M S)              x / (s S)
enum class arithmetic : std::uint8_t { division, torchao, transformer_engine, model_optimizer };
/// How a power-of-two rule finds an exponent: from the bits, or from log2 in the carrier, which is one
/// off next to most powers of two.
enum class exponents : std::uint8_t { bits, logarithm };
/// The sign of x / s where that is zero: the input's, or always the same. What is not zero keeps its
/// sign, also where it rounds to zero.
enum class zero_sign : std::uint8_t { kept, positive, negative };

/// Behaviour where libraries differ. The defaults are exact and lose nothing.
struct block_edges {
    nan_policy nan = nan_policy::block;
    infinity_policy infinity = infinity_policy::nan;
    lowp::arithmetic arithmetic = arithmetic::division;
    lowp::exponents exponents = exponents::bits;
    lowp::zero_sign zero_sign = zero_sign::kept;
    saturation scale_saturation = saturation::finite;  ///< of scales beyond the format's largest
    double zero_scale = -1;  ///< ideal scale of a block of zeros; below 0: what the rule gives
    double min_scale = 0;    ///< limits of the ideal scale
    double max_scale = std::numeric_limits<double>::infinity();
    double lowest_divisor = 0;  ///< divides instead of the format's smallest scale; 0: that itself

    friend constexpr bool operator==(const block_edges&, const block_edges&) = default;
};

/// A block-scaled format. Every field has a word of its name in block format names and in Python.
struct block_format {
    format element = float4_e2m1fn;
    codebook elements = {};  ///< values instead of `element`, where there are any
    format scale = float8_e8m0fnu;
    block_shape shape = {};
    scale_rule rule = scale_rules[0].rule;
    lowp::rounding rounding = rounding::nearest_ties_to_even;        ///< of the elements
    lowp::rounding scale_rounding = rounding::nearest_ties_to_even;  ///< of the ideal scale
    int random_bits = 32;                                            ///< of both
    outer_scale outer = {};
    block_edges edges = {};

    friend constexpr bool operator==(const block_format&, const block_format&) = default;

    /// Largest magnitude of an element that a positive value can have.
    [[nodiscard]] constexpr double element_max() const {
        return elements.empty() ? element.max() : elements.max();
    }
    [[nodiscard]] constexpr int element_bits() const {
        return elements.empty() ? element.bits() : elements.bits();
    }
    /// Elements saturate: a block's scale says how large they may be.
    [[nodiscard]] constexpr projection element_projection() const {
        return {rounding, saturation::finite, random_bits};
    }
    [[nodiscard]] constexpr projection scale_projection() const {
        return {scale_rounding, edges.scale_saturation, random_bits};
    }
    /// Block scales aimed at reach up to here, where there is a second level: to 1 where the format's
    /// largest one leaves no room for it.
    [[nodiscard]] constexpr double scale_max() const {
        if (outer.scale_max > 0) return outer.scale_max;
        const bool has_room = scale.max() <= outer.format.max() / 0x1p32;
        return has_room ? scale.max() : 1;
    }

    /// Throws std::invalid_argument where fields contradict each other, naming the field.
    constexpr void validate() const {
        element.validate();
        scale.validate();
        outer.format.validate();
        rule.validate();
        element_projection().validate();
        const auto fail = [](const std::string& message) {
            throw std::invalid_argument("lowp::block_format: " + message);
        };
        if (scale.is_twos_complement || scale.exponent_bits == 0)
            fail("scale must be a floating-point format; got one with exponent_bits 0");
        if (edges.exponents == exponents::logarithm &&
            ((rule.power_of_two != power_of_two::floor &&
              rule.power_of_two != power_of_two::rceil) ||
             rule.gain != 1 || outer.per != granularity::none))
            fail(
                "edges.exponents = logarithm is of the rules floor and rceil without gain and "
                "outer "
                "scale; use bits");
        const bool names_axes =
            shape == block_shape{1, 0} || shape == block_shape{0, 1} || shape == block_shape{0, 0};
        if (!names_axes && (shape.rows == 0 || shape.columns == 0))
            fail("shape: only rows {1, 0}, columns {0, 1} and the tensor {0, 0} span axes");
        constexpr double largest = std::numeric_limits<double>::max();
        if (!(edges.zero_scale <= largest))
            fail("edges.zero_scale must be finite; got " + std::to_string(edges.zero_scale));
        if (!(edges.lowest_divisor >= 0 && edges.lowest_divisor <= largest))
            fail("edges.lowest_divisor must be 0 or positive and finite; got " +
                 std::to_string(edges.lowest_divisor));
        if (edges.min_scale < 0 || !(edges.max_scale > edges.min_scale))
            fail("edges.min_scale must be 0 or more and below max_scale");
        if (outer.per == granularity::row && shape.rows != 1)
            fail("an outer scale a row needs blocks within a row: shape.rows 1; got " +
                 std::to_string(shape.rows));
        if (!(outer.fixed >= 0 && outer.fixed < std::numeric_limits<double>::infinity()))
            fail("outer.fixed must be positive, or 0 for amax; got " + std::to_string(outer.fixed));
        if (!(outer.scale_max >= 0 && outer.scale_max <= scale.max()))
            fail("outer.scale_max must be between 0 and the scale's largest value; got " +
                 std::to_string(outer.scale_max));
    }
};

/// An array in C order as blocks see it: `count` matrices of rows by columns, in blocks of block_rows
/// by block_columns; the last ones may be short.
struct block_layout {
    std::size_t count = 1, rows = 1, columns = 0;
    std::size_t block_rows = 1, block_columns = 1;
    bool is_upright = false;  ///< blocks stand along an axis before the last

    [[nodiscard]] constexpr std::size_t size() const { return count * rows * columns; }
    [[nodiscard]] constexpr std::size_t blocks_down() const {
        return (rows + block_rows - 1) / block_rows;
    }
    [[nodiscard]] constexpr std::size_t blocks_across() const {
        return (columns + block_columns - 1) / block_columns;
    }
    [[nodiscard]] constexpr std::size_t blocks() const {
        return count * blocks_down() * blocks_across();
    }
    /// Lines of blocks along their axis: granularity::row has an outer scale for each.
    [[nodiscard]] constexpr std::size_t lines() const {
        return is_upright ? count * columns : count * rows;
    }
    /// The line of a block, both counted in C order.
    [[nodiscard]] constexpr std::size_t line_of(std::size_t block) const {
        if (!is_upright) return block / blocks_across();
        return block / (blocks_down() * columns) * columns + block % columns;
    }

    friend constexpr bool operator==(const block_layout&, const block_layout&) = default;
};

/// Whether a layout has the blocks of a shape.
[[nodiscard]] constexpr bool has_blocks_of(const block_layout& l, const block_shape& s) {
    const auto fits = [](std::size_t block, std::size_t wanted, std::size_t whole) {
        return block == (wanted == 0 || wanted > whole ? std::max<std::size_t>(whole, 1) : wanted);
    };
    if (s.rows == 0 && s.columns == 0)
        return l.count * l.rows <= 1 && fits(l.block_columns, 0, l.columns);
    if (l.is_upright) return s.rows == 1 && fits(l.block_rows, s.columns, l.rows);
    return fits(l.block_rows, s.rows, l.rows) && fits(l.block_columns, s.columns, l.columns);
}

/// Codes one an integer, or closed up to dense bytes line by line.
enum class packing : std::uint8_t { loose, dense };

/// Scales given by the caller instead of worked out.
struct given_scales {
    std::optional<std::span<const double>> ideals =
        {};  ///< to be rounded into the scale format: one a block, in C order, outer scale included
    std::optional<std::span<const double>> outer = {};  ///< one, or one a line
};

/// The layout of an array of a shape. axis: that of a {1, k} block, negative from the end; tiles lie
/// on the last two axes, and {0, 0} spans the array. Throws std::invalid_argument for an axis out of
/// range, or tiles on fewer than two axes.
[[nodiscard]] inline block_layout layout_of(const block_shape& block,
                                            std::span<const std::size_t> shape, int axis = -1) {
    const auto fail = [](const std::string& message) {
        throw std::invalid_argument("lowp::layout_of: " + message);
    };
    const auto axes = static_cast<int>(shape.size());
    std::size_t size = 1;
    for (const std::size_t n : shape)
        if (__builtin_mul_overflow(size, n, &size)) fail("the array has 2^64 elements or more");
    if (axes == 0) return {1, 1, 1, 1, 1};
    if (axis < -axes || axis >= axes)
        fail("axis must be between " + std::to_string(-axes) + " and " + std::to_string(axes - 1) +
             "; got " + std::to_string(axis));
    const auto at = static_cast<std::size_t>(axis < 0 ? axis + axes : axis);
    const auto all_of = [](std::size_t n, std::size_t whole) {
        return n == 0 || n > whole ? (whole > 0 ? whole : 1) : n;
    };
    if (block.rows == 0 && block.columns == 0) return {1, 1, size, 1, all_of(0, size)};
    std::size_t before = 1;
    std::size_t after = 1;
    for (std::size_t i = 0; i < at; ++i) before *= shape[i];
    for (std::size_t i = at + 1; i < shape.size(); ++i) after *= shape[i];
    if (block.rows == 1 && after == 1)
        return {1, before, shape[at], 1, all_of(block.columns, shape[at])};
    if (block.rows == 1)
        return {before, shape[at], after, all_of(block.columns, shape[at]), 1, true};
    if (axes < 2 || at + 1 != shape.size())
        fail((block == block_shape{0, 1} ? "column: " : "") + std::string("tiles of ") +
             std::to_string(block.rows) + " by " + std::to_string(block.columns) +
             " lie on the last two axes: the array needs two, and axis must be -1; got " +
             std::to_string(axes) + " axes and axis " + std::to_string(axis));
    return {before / (shape[at - 1] > 0 ? shape[at - 1] : 1), shape[at - 1], shape[at],
            all_of(block.rows, shape[at - 1]), all_of(block.columns, shape[at])};
}

}  // namespace lowp
