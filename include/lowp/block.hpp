// quantize, encode and decode of arrays in block-scaled formats: the verbs of array.hpp, one level up.
// A block's result is that of its elements divided by the block's scale, rounded, and multiplied back.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "lowp/array.hpp"
#include "lowp/block_format.hpp"
#include "lowp/detail/block_engine.hpp"
#include "lowp/pack.hpp"

namespace lowp {

/// How blocks are worked on; `source`, `first_index` and `random` as for arrays, an element's index
/// being that in C order. Stochastic rounding of scales takes block b's word of stream ^ 2^63, b
/// counted from 0 in every call.
struct block_options : options {
    given_scales given = {};
};

namespace detail {

[[nodiscard]] constexpr int code_bytes(int bits) {
    return bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : 8;
}

/// Factors of a format that T cannot work with, where its fields alone are sound.
template <class T>
void check_factors(const std::string& where, const block_format& f) {
    constexpr double most = std::numeric_limits<T>::max();
    const std::string name = carrier_name<T>();
    for (const double factor :
         {f.rule.gain, f.rule.post_gain, f.outer.fixed > 0 ? f.outer.fixed : 1})
        if (!(factor <= most && factor >= std::numeric_limits<T>::min()))
            fail(std::string(where)
                     .append("gain, post_gain and a fixed outer scale must be normal numbers of ")
                     .append(name)
                     .append("; got ")
                     .append(std::to_string(factor)));
    if (f.rule.statistic != statistic::none && f.element_max() / f.rule.gain > most)
        fail(where + "the element's largest value over gain " + std::to_string(f.rule.gain) +
             " is beyond " + name);
    if (f.edges.infinity != infinity_policy::number) return;
    // An infinity takes the largest scale, or the fixed one: its block must stay numbers.
    if (std::min(f.scale.max(), f.edges.max_scale) * f.rule.post_gain > most)
        fail(where + "the largest scale times post_gain is beyond " + name +
             ": with infinity=number set max_scale");
    if (f.rule.statistic == statistic::none &&
        !(quantize(static_cast<T>(f.rule.gain), f.scale, f.scale_projection()) > 0))
        fail(where + "the fixed scale " + std::to_string(f.rule.gain) +
             " is 0 in the scale's format, over which an infinity is no number");
}

template <class T>
void check_blocks(const char* verb, const block_format& f, const block_layout& l,
                  std::size_t elements, const block_options& o) {
    const std::string where = std::string("lowp::") + verb + ": ";
    f.validate();
    check_fits<T>(f.scale);
    if (f.elements.empty()) check_fits<T>(f.element);
    if (f.outer.per != granularity::none) check_fits<T>(f.outer.format);
    check_options(verb, f.element_projection(), o, elements);
    if (l.size() != elements)
        fail(where + "the layout has " + std::to_string(l.size()) + " elements, the array " +
             std::to_string(elements));
    if (l.block_rows == 0 || l.block_columns == 0 || !has_blocks_of(l, f.shape))
        fail(where + "the layout must have the format's blocks; got " +
             std::to_string(l.block_rows) + " by " + std::to_string(l.block_columns) +
             ": make it by layout_of(format.shape, shape)");
    check_factors<T>(where, f);
    if (o.given.ideals && o.given.ideals->size() != l.blocks())
        fail(where + "given.ideals must have an entry a block, " + std::to_string(l.blocks()) +
             "; got " + std::to_string(o.given.ideals->size()));
    const std::size_t lines = f.outer.per == granularity::row ? l.lines() : 1;
    if (o.given.outer && o.given.outer->size() != 1 && o.given.outer->size() != lines)
        fail(where + "outer scales given must have 1 entry" +
             (lines > 1 ? " or " + std::to_string(lines) : std::string()) + "; got " +
             std::to_string(o.given.outer->size()));
    constexpr double most = std::numeric_limits<T>::max();
    for (const double s : o.given.ideals.value_or(std::span<const double>()))
        if (!(s >= 0 && s <= most))
            fail(where + "given.ideals must be finite and not negative; got " + std::to_string(s));
    for (const double s : o.given.outer.value_or(std::span<const double>()))
        if (!(s > 0 && s <= most))
            fail(where + "outer scales given must be finite and positive; got " +
                 std::to_string(s));
}

/// Elements that lie as the loops want them: what encode reads, and what outer scales follow from.
template <class T>
struct plain_elements {
    std::span<const T> x;

    [[nodiscard]] const T* operator()(std::size_t begin, std::size_t /*n*/, T* /*buffer*/) const {
        return x.data() + begin;
    }
    /// work(elements, panel): the panel's elements, and where they lie.
    template <class Work>
    void visit(const panel& p, const Work& work) const {
        work(x.data(), p);
    }
};

/// The same for what decode writes.
template <class T>
struct plain_result {
    std::span<T> y;

    template <class Work>
    void visit(const panel& p, const Work& work) const {
        work(y.data(), p);
    }
};

}  // namespace detail

/// x on the grid of its blocks, element by element x' = project(x / s) * s with the block's s. x and
/// out: `l.size()` values in C order, either apart or the same memory. Elements saturate. NaN and
/// infinity as `edges` says: by default each makes its block NaN. -0 stays -0 where the element has
/// one; blocks of zeros stay zeros; a short last block is a block of fewer elements.
/// Throws std::invalid_argument for an invalid format, or where T does not hold element or scale.
/// Source: OCP MX 1.0, 6.3; shared definitions of scale rules in scale.hpp.
template <carrier_float T, class Isa = detail::native_isa>
void quantize(std::span<const T> x, std::span<T> out, const block_format& f, const block_layout& l,
              const block_options& o = {}) {
    detail::check_sizes("quantize", x.size(), out.size());
    detail::check_blocks<T>("quantize", f, l, x.size(), o);
    const detail::block_engine<T, Isa> engine(f, l, o, detail::loops_of<Isa>(o), o.given);
    const auto outer = engine.outer_scales(detail::plain_elements<T>{x});
    engine.for_panels(
        detail::panels(l),
        [&](const auto& p, auto& scales, int threads) {
        engine.find_scales(x.data(), p, outer, scales, threads);
        engine.quantize(x.data(), out.data(), p, scales, threads);
        },
        detail::traffic::of(x, out));
}

/// The same for one row of blocks.
template <carrier_float T, class Isa = detail::native_isa>
void quantize(std::span<const T> x, std::span<T> out, const block_format& f,
              const block_options& o = {}) {
    const std::size_t shape[] = {x.size()};
    quantize<T, Isa>(x, out, f, layout_of(f.shape, shape), o);
}

/// An array in a block-scaled format. Codes are little-endian unsigned integers of the fewest bytes
/// in C order; packed, each line of `columns` codes is closed up to whole bytes (pack.hpp). Scales
/// are codes of the scale format, one a block, in C order.
struct block_tensor {
    block_format format = {};
    block_layout layout = {};
    lowp::packing packing = packing::loose;
    std::vector<std::uint8_t> codes = {};
    std::vector<std::uint8_t> scales = {};
    std::vector<double> outer = {};  ///< second-level scales: none, one, or one a line

    [[nodiscard]] std::size_t bytes() const {
        return codes.size() + scales.size() + outer.size() * sizeof(float);
    }
};

/// Where encode writes and decode reads: memory of the caller.
struct block_memory {
    std::uint8_t* codes = nullptr;
    std::uint8_t* scales = nullptr;
    lowp::packing packing = packing::loose;
};

/// Bytes of the codes of a layout.
[[nodiscard]] inline std::size_t code_size(const block_format& f, const block_layout& l,
                                           packing how) {
    const int bits = f.element_bits();
    if (how == packing::dense) return l.count * l.rows * packed_size(l.columns, bits);
    return l.size() * static_cast<std::size_t>(detail::code_bytes(bits));
}
[[nodiscard]] inline std::size_t scale_size(const block_format& f, const block_layout& l) {
    return l.blocks() * static_cast<std::size_t>(detail::code_bytes(f.scale.bits()));
}

namespace detail {

/// encode in blocks; the layout, element and options are checked. Elements: see plain_elements.
template <class T, class Isa, class Elements>
std::vector<double> encode_blocks(const Elements& x, const block_memory& to, const block_format& f,
                                  const block_layout& l, const block_options& o) {
    const int bits = f.element_bits();
    if (to.packing == packing::dense && bits > 8)
        fail("lowp::encode: packed codes have up to 8 bits; got " + std::to_string(bits));
    if (o.nan_code && *o.nan_code >> bits != 0)
        fail("lowp::encode: nan_code must be a code of " + std::to_string(bits) + " bits; got " +
             std::to_string(*o.nan_code));
    const block_engine<T, Isa> engine(f, l, o, loops_of<Isa>(o), o.given);
    const auto outer = engine.outer_scales(x);
    const int scale_bytes = code_bytes(f.scale.bits());
    // Runs of packed codes start at whole bytes where lines and panels do; else they are closed up after.
    const panels all(l);
    const bool packs_runs =
        to.packing == packing::dense && l.columns % 8 == 0 && all.begin_at_bytes();
    std::vector<std::uint8_t> loose(to.packing == packing::dense && !packs_runs ? l.size() : 0);
    std::uint8_t* const codes = loose.empty() ? to.codes : loose.data();
    engine.for_panels(all, [&](const panel& whole, auto& scales, int threads) {
        x.visit(whole, [&](const T* from, const panel& p) {
            engine.find_scales(from, p, outer, scales, threads);
            engine.encode_scales(p, scales,
                                 to.scales + p.first_block * static_cast<std::size_t>(scale_bytes),
                                 scale_bytes);
            engine.encode(from, codes, code_bytes(bits),
                          packs_runs ? packing::dense : packing::loose, p, scales, threads);
        });
    });
    for (std::size_t row = 0; !loose.empty() && row < l.count * l.rows; ++row) {
        const std::size_t size = packed_size(l.columns, bits);
        pack(std::span(loose).subspan(row * l.columns, l.columns), bits,
             {to.codes + row * size, size});
    }
    if (engine.lost_nan())
        fail(
            "lowp::encode: the input has NaN or infinity and neither the scale nor the element has "
            "a NaN code; choose another scale format, infinity=number, or remove them");
    return {outer.scales.begin(), outer.scales.end()};
}

/// decode of blocks; result: see plain_result. The layout and element are checked.
template <class T, class Isa, class Result>
void decode_blocks(const block_memory& from, const Result& y, const block_format& f,
                   const block_layout& l, const block_options& o) {
    const int bits = f.element_bits();
    const int scale_bytes = code_bytes(f.scale.bits());
    const loop_table& table = loops_of<Isa>(o);
    const code_type last =
        f.elements.empty() ? f.element.code_mask() : (code_type{1} << f.elements.bits()) - 1;
    const bool is_wide = from.packing == packing::loose &&
                         table.any_above(from.codes, code_bytes(bits), last, l.size());
    if (is_wide || table.any_above(from.scales, scale_bytes, f.scale.code_mask(), l.blocks()))
        fail("lowp::decode: a " + std::string(is_wide ? "code" : "scale") +
             " has bits above its format's; was it encoded in this format?");
    const panels all(l);
    const bool unpacks_runs =
        from.packing == packing::dense && l.columns % 8 == 0 && all.begin_at_bytes();
    std::vector<std::uint8_t> loose(from.packing == packing::dense && !unpacks_runs ? l.size() : 0);
    for (std::size_t row = 0; !loose.empty() && row < l.count * l.rows; ++row) {
        const std::size_t size = packed_size(l.columns, bits);
        unpack({from.codes + row * size, size}, bits,
               std::span(loose).subspan(row * l.columns, l.columns));
    }
    const std::uint8_t* const codes = loose.empty() ? from.codes : loose.data();
    const block_engine<T, Isa> engine(f, l, o, table, o.given);
    const auto outer = engine.outer_scales(plain_elements<T>{}).scales;  // given, so none is read
    engine.for_panels(all, [&](const panel& whole, auto& scales, int threads) {
        y.visit(whole, [&](T* to, const panel& p) {
            engine.decode_scales(
                p, outer, from.scales + p.first_block * static_cast<std::size_t>(scale_bytes),
                scale_bytes, scales);
            engine.decode(codes, code_bytes(bits), unpacks_runs ? packing::dense : packing::loose,
                          to, p, scales, threads);
        });
    });
}

/// The options of decode: outer scales are those of the tensor.
[[nodiscard]] inline block_options with_outer(const block_options& o, const block_format& f,
                                              std::span<const double> outer) {
    block_options with = o;
    if (f.outer.per != granularity::none) with.given.outer = outer;
    return with;
}

}  // namespace detail

/// Codes and scales of x into memory of code_size and scale_size bytes; returns the outer scales. As
/// quantize; a block that becomes NaN has the scale's NaN code. Throws std::invalid_argument for a
/// NaN where neither scale nor element has one (the memory is then partly written), and for packed
/// codes of more than eight bits.
template <carrier_float T, class Isa = detail::native_isa>
std::vector<double> encode(std::span<const T> x, const block_memory& to, const block_format& f,
                           const block_layout& l, const block_options& o = {}) {
    detail::check_blocks<T>("encode", f, l, x.size(), o);
    return detail::encode_blocks<T, Isa>(detail::plain_elements<T>{x}, to, f, l, o);
}

/// The same as a block_tensor. Codes of up to eight bits are packed.
template <carrier_float T, class Isa = detail::native_isa>
[[nodiscard]] block_tensor encode(std::span<const T> x, const block_format& f,
                                  const block_layout& l, const block_options& o = {}) {
    block_tensor t{f, l, f.element_bits() <= 8 ? packing::dense : packing::loose};
    t.codes.resize(code_size(f, l, t.packing));
    t.scales.resize(scale_size(f, l));
    t.outer = encode<T, Isa>(x, {t.codes.data(), t.scales.data(), t.packing}, f, l, o);
    return t;
}

/// Values of codes and scales: element value * (scale * outer scale), each product rounded in T. A
/// NaN scale makes its block NaN. from: code_size and scale_size bytes. Throws std::invalid_argument
/// for a code or scale with bits above its format's (`out` is then partly written).
template <carrier_float T, class Isa = detail::native_isa>
void decode(const block_memory& from, std::span<const double> outer, std::span<T> out,
            const block_format& f, const block_layout& l, const block_options& o = {}) {
    const block_options with = detail::with_outer(o, f, outer);
    detail::check_blocks<T>("decode", f, l, out.size(), with);
    detail::decode_blocks<T, Isa>(from, detail::plain_result<T>{out}, f, l, with);
}

template <carrier_float T, class Isa = detail::native_isa>
void decode(const block_tensor& t, std::span<T> out, const block_options& o = {}) {
    // decode only reads through the pointers.
    auto* const codes = const_cast<std::uint8_t*>(t.codes.data());
    auto* const scales = const_cast<std::uint8_t*>(t.scales.data());
    if (t.codes.size() != code_size(t.format, t.layout, t.packing) ||
        t.scales.size() != scale_size(t.format, t.layout))
        detail::fail("lowp::decode: codes and scales must have " +
                     std::to_string(code_size(t.format, t.layout, t.packing)) + " and " +
                     std::to_string(scale_size(t.format, t.layout)) + " bytes; got " +
                     std::to_string(t.codes.size()) + " and " + std::to_string(t.scales.size()));
    decode<T, Isa>({codes, scales, t.packing}, t.outer, out, t.format, t.layout, o);
}

/// rule(block) for every block of x, its elements in C order: the ideal scales of an own rule, to be
/// passed in block_options::given.ideals.
template <carrier_float T, class Rule>
[[nodiscard]] std::vector<double> scales_by(std::span<const T> x, const block_layout& l,
                                            const Rule& rule) {
    std::vector<double> scales;
    scales.reserve(l.blocks());
    std::vector<T> block;
    for (std::size_t m = 0; m < l.count; ++m)
        for (std::size_t down = 0; down < l.blocks_down(); ++down)
            for (std::size_t across = 0; across < l.blocks_across(); ++across) {
                block.clear();
                for (std::size_t i = down * l.block_rows;
                     i < std::min(l.rows, (down + 1) * l.block_rows); ++i)
                    for (std::size_t j = across * l.block_columns;
                         j < std::min(l.columns, (across + 1) * l.block_columns); ++j)
                        block.push_back(x[(m * l.rows + i) * l.columns + j]);
                scales.push_back(static_cast<double>(rule(std::span<const T>(block))));
            }
    return scales;
}

}  // namespace lowp
