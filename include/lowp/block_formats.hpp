// Block-scaled formats by name: the presets, a grammar for all others, and the edge behaviour of
// other libraries. A new preset is one line.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "lowp/block_format.hpp"
#include "lowp/formats.hpp"

namespace lowp {

struct named_block_format {
    std::string_view name;
    block_format format;
    std::string_view source;
};

namespace detail {

constexpr block_format mx(const format& element) { return {.element = element}; }

constexpr block_format nvfp4(block_shape shape, std::string_view rule, double scale_max) {
    block_format f{.element = float4_e2m1fn, .scale = float8_e4m3fn, .shape = shape};
    for (const named_rule& r : scale_rules)
        if (r.name == rule) f.rule = r.rule;
    f.outer = {.per = granularity::tensor, .scale_max = scale_max};
    return f;
}

/// Shared exponents: sign and magnitude without hidden bit, blocks of k.
constexpr block_format bfp(int magnitude_bits, std::size_t k) {
    return {.element = format::finite(0, magnitude_bits), .shape = {1, k}};
}

/// amax / M in a float scale.
constexpr block_format scaled_by_amax(const format& element, const format& scale, block_shape shape,
                                      double min_scale = 0) {
    block_format f{.element = element, .scale = scale, .shape = shape, .rule = {}};
    f.edges.min_scale = min_scale;
    return f;
}

constexpr block_format of_codebook(const codebook& book, const format& scale, block_shape shape) {
    block_format f{.elements = book, .scale = scale, .shape = shape, .rule = {}};
    return f;
}

inline constexpr format ue5m3 = format::unsigned_scale(5, 3);
inline constexpr double deepseek_floor = 1e-4F / 448.0F;  // max(amax, 1e-4) / 448, in float32

}  // namespace detail

// clang-format off
/// The presets. Rows of `shape` {1, 0} are whole lines along an axis, {0, 0} the tensor.
inline constexpr std::array block_presets{
    named_block_format{"mxfp8_e4m3",       detail::mx(float8_e4m3fn),                "OCP MX 1.0"},
    named_block_format{"mxfp8_e5m2",       detail::mx(float8_e5m2),                  "OCP MX 1.0"},
    named_block_format{"mxfp6_e3m2",       detail::mx(float6_e3m2fn),                "OCP MX 1.0"},
    named_block_format{"mxfp6_e2m3",       detail::mx(float6_e2m3fn),                "OCP MX 1.0"},
    named_block_format{"mxfp4",            detail::mx(float4_e2m1fn),                "OCP MX 1.0"},
    named_block_format{"mxint8",           detail::mx(format::fixed_point(1, 6)),    "OCP MX 1.0"},
    named_block_format{"nvfp4",            detail::nvfp4({1, 16}, "amax", 0),        "NVIDIA; two levels"},
    named_block_format{"nvfp4_16x16",      detail::nvfp4({16, 16}, "amax", 0),       "NVIDIA, weights"},
    named_block_format{"nvfp4_four_six",   detail::nvfp4({1, 16}, "four_six", 256),  "adaptive block scaling, 4/6"},
    named_block_format{"fp4_ue5m3_16",     detail::scaled_by_amax(float4_e2m1fn, detail::ue5m3, {1, 16}), "arXiv 2509.17791"},
    named_block_format{"fp4_ue5m3_32",     detail::scaled_by_amax(float4_e2m1fn, detail::ue5m3, {1, 32}), "arXiv 2509.17791"},
    named_block_format{"deepseek_1x128",   detail::scaled_by_amax(float8_e4m3fn, float32, {1, 128}, detail::deepseek_floor),   "DeepSeek-V3, activations"},
    named_block_format{"deepseek_128x128", detail::scaled_by_amax(float8_e4m3fn, float32, {128, 128}, detail::deepseek_floor), "DeepSeek-V3, weights"},
    named_block_format{"fp8_tensor",       detail::scaled_by_amax(float8_e4m3fn, float32, {0, 0}), "per-tensor scaling"},
    named_block_format{"fp8_row",          detail::scaled_by_amax(float8_e4m3fn, float32, {1, 0}), "per-row scaling"},
    named_block_format{"int8_row",         detail::scaled_by_amax(int8, float32, {1, 0}),          "per-channel scaling"},
    named_block_format{"int4_128",         detail::scaled_by_amax(int4, bfloat16, {1, 128}),       "group scaling"},
    named_block_format{"nf4",              detail::of_codebook(nf4, float32, {1, 64}),             "QLoRA"},
    named_block_format{"msfp12",           detail::bfp(3, 16),                       "Microsoft floating point"},
    named_block_format{"msfp16",           detail::bfp(7, 16),                       "Microsoft floating point"},
};
// clang-format on

/// Whose edge behaviour: what each does with NaN, infinity, zero and the ends of the range, and in
/// which order it rounds. Source: the libraries themselves (tests/data/blocks).
enum class compat : std::uint8_t { ocp, microxcaling, torchao, te, model_optimizer };
inline constexpr std::array<std::string_view, 5> compat_names{"ocp", "microxcaling", "torchao",
                                                              "te", "model_optimizer"};

/// f with another library's edge behaviour, as far as it has f at all: the rule and rounding too,
/// where it has but one.
[[nodiscard]] constexpr block_format with_compat(block_format f, compat c) {
    const bool is_mx = f.scale.mantissa_bits == 0;
    block_edges& e = f.edges;
    e = {};
    switch (c) {
        case compat::ocp:
            if (is_mx) f.rule = {.power_of_two = power_of_two::floor};
            break;
        case compat::microxcaling:
            if (!is_mx || f.outer.per != granularity::none)
                throw std::invalid_argument(
                    "lowp::with_compat: microxcaling has power-of-two scales without an outer "
                    "scale "
                    "only; use ocp or torchao");
            f.rule = {.power_of_two = power_of_two::floor};
            f.rounding = rounding::nearest_ties_to_away;
            e.exponents = exponents::logarithm;
            e.zero_sign = zero_sign::positive;
            e.scale_saturation = saturation::none;  // a scale beyond 2^127 is NaN
            e.min_scale = f.scale.min_positive();
            // Its INT8 leaves -2 out.
            if (f.element.is_twos_complement) {
                f.element.is_twos_complement = false;
                f.element.has_neg_zero = true;
            }
            break;
        case compat::torchao:
            e.infinity = infinity_policy::number;
            e.arithmetic = arithmetic::torchao;
            if (is_mx && f.rule.power_of_two == power_of_two::rceil) {
                e.exponents = exponents::logarithm;
                e.lowest_divisor = 1;
            } else if (is_mx) {
                e.lowest_divisor = 0x1p-126;
            } else {
                e.min_scale = f.scale.min_normal();
            }
            break;
        case compat::te:
            e.infinity = infinity_policy::number;
            e.arithmetic = arithmetic::transformer_engine;
            if (!is_mx) break;
            f.rule = {.power_of_two = power_of_two::rceil};
            e.nan = nan_policy::element;
            e.lowest_divisor = 1;
            break;
        case compat::model_optimizer:
            e.infinity = infinity_policy::number;
            e.arithmetic = arithmetic::model_optimizer;
            if (is_mx) {
                f.rule = {.power_of_two = power_of_two::rceil};
                e.exponents = exponents::logarithm;
                if (f.element_bits() > 4) break;
                f.rounding = rounding::nearest_ties_to_zero;
                e.zero_sign = zero_sign::negative;
            } else {
                e.zero_scale = 1;
                e.min_scale = f.scale.min_positive();
                e.zero_sign = zero_sign::positive;
            }
            break;
    }
    return f;
}

namespace detail {

inline constexpr std::array<std::string_view, 4> statistic_names{"amax", "mean_abs", "rms", "none"};
inline constexpr std::array<std::string_view, 5> power_names{"none", "floor", "ceil", "even",
                                                             "rceil"};
inline constexpr std::array<std::string_view, 4> search_names{"none", "four_six", "shrink", "all"};
inline constexpr std::array<std::string_view, 3> norm_names{"absolute", "squared", "power_2_4"};
inline constexpr std::array<std::string_view, 3> granularity_names{"none", "row", "tensor"};
inline constexpr std::array<std::string_view, 2> nan_names{"block", "element"};
inline constexpr std::array<std::string_view, 2> infinity_names{"nan", "number"};
inline constexpr std::array<std::string_view, 4> arithmetic_names{
    "division", "torchao", "transformer_engine", "model_optimizer"};
inline constexpr std::array<std::string_view, 2> exponent_names{"bits", "logarithm"};
inline constexpr std::array<std::string_view, 3> zero_names{"kept", "positive", "negative"};

inline std::string shortest(double x) {
    std::array<char, 40> text;
    const char* const begin = text.data();
    const char* const end = std::to_chars(text.data(), text.data() + text.size(), x).ptr;
    return {begin, end};
}

inline double to_number(std::string_view key, std::string_view text) {
    double x = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
    if (error != std::errc{} || end != text.data() + text.size())
        throw std::invalid_argument("lowp::block_format: " + std::string(key) +
                                    " must be a number; got \"" + shown(text) + "\"");
    return x;
}

template <class Enum, class Names>
Enum to_enum(std::string_view key, const Names& names, std::string_view text) {
    std::string message = std::string(key) + " must be one of";
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i] == text) return static_cast<Enum>(i);
        message.append(" ").append(names[i]);
    }
    throw std::invalid_argument("lowp::block_format: " + message + "; got \"" + shown(text) + "\"");
}

/// Calls visit(key, reference, names) for each enumeration and visit(key, number) for each number of
/// a block format that has a key of its own.
template <class Format, class Visit>
void visit_fields(Format& f, const Visit& visit) {
    visit("rounding", f.rounding, rounding_names);
    visit("scale_rounding", f.scale_rounding, rounding_names);
    visit("random_bits", f.random_bits, 0);
    visit("statistic", f.rule.statistic, statistic_names);
    visit("power_of_two", f.rule.power_of_two, power_names);
    visit("search", f.rule.search, search_names);
    visit("error_norm", f.rule.error_norm, norm_names);
    visit("gain", f.rule.gain, 0);
    visit("post_gain", f.rule.post_gain, 0);
    visit("outer", f.outer.per, granularity_names);
    visit("outer_fixed", f.outer.fixed, 0);
    visit("outer_scale_max", f.outer.scale_max, 0);
    visit("nan", f.edges.nan, nan_names);
    visit("infinity", f.edges.infinity, infinity_names);
    visit("arithmetic", f.edges.arithmetic, arithmetic_names);
    visit("exponents", f.edges.exponents, exponent_names);
    visit("zero_sign", f.edges.zero_sign, zero_names);
    visit("scale_saturation", f.edges.scale_saturation, saturation_names);
    visit("zero_scale", f.edges.zero_scale, 0);
    visit("min_scale", f.edges.min_scale, 0);
    visit("max_scale", f.edges.max_scale, 0);
    visit("lowest_divisor", f.edges.lowest_divisor, 0);
}

template <class Field, class Names>
std::string field_text(const Field& field, const Names& names) {
    if constexpr (std::is_enum_v<Field>)
        return std::string(names.at(static_cast<std::size_t>(field)));
    else return shortest(static_cast<double>(field));
}

/// Sets a field from its key and text; false for a key that is none.
inline bool set_field(block_format& f, std::string_view key, std::string_view text) {
    bool found = false;
    visit_fields(f, [&](std::string_view name, auto& field, const auto& names) {
        if (name != key) return;
        found = true;
        using field_type = std::remove_reference_t<decltype(field)>;
        if constexpr (std::is_enum_v<field_type>) field = to_enum<field_type>(key, names, text);
        else if constexpr (std::is_integral_v<field_type>) {
            const double x = to_number(key, text);
            if (!(x >= 1 && x <= 32 && x == std::floor(x)))
                throw std::invalid_argument("lowp::block_format: " + std::string(key) +
                                            " must be between 1 and 32; got " + std::string(text));
            field = static_cast<field_type>(x);
        } else field = to_number(key, text);
    });
    if (key == "outer_format") f.outer.format = parse_format(text);
    else if (key == "fixed") f.rule = {.statistic = statistic::none, .gain = to_number(key, text)};
    else if (key == "compat") f = with_compat(f, to_enum<compat>(key, compat_names, text));
    else return found;
    return true;
}

inline std::optional<std::size_t> parse_count(std::string_view text) {
    std::size_t n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return n;
}

/// 32, 16x16, row, column, tensor.
inline std::optional<block_shape> parse_shape(std::string_view text) {
    if (text == "row") return block_shape{1, 0};
    if (text == "column") return block_shape{0, 1};
    if (text == "tensor") return block_shape{0, 0};
    const std::size_t cross = text.find('x');
    const auto last = parse_count(cross == std::string_view::npos ? text : text.substr(cross + 1));
    const auto first = cross == std::string_view::npos ? std::optional<std::size_t>(1)
                                                       : parse_count(text.substr(0, cross));
    if (!first || !last) return std::nullopt;
    if (*first == 0 || *last == 0)
        throw std::invalid_argument(
            "lowp::block_format: a block needs at least one element; got \"" + shown(text) +
            "\" (whole axes are called row, column and tensor)");
    return block_shape{*first, *last};
}

inline std::string shape_name(const block_shape& s) {
    if (s == block_shape{1, 0}) return "row";
    if (s == block_shape{0, 1}) return "column";
    if (s == block_shape{0, 0}) return "tensor";
    return s.rows == 1 ? std::to_string(s.columns)
                       : std::to_string(s.rows) + "x" + std::to_string(s.columns);
}

/// {-1,0,1}: a codebook's values.
inline codebook parse_codebook(std::string_view text) {
    std::array<double, codebook::capacity + 1> values{};
    std::size_t count = 0;
    text = text.substr(1, text.size() - 2);
    if (text.ends_with(',')) to_number("a codebook's last value", "");
    while (!text.empty() && count < values.size()) {
        const std::size_t comma = text.find(',');
        values.at(count++) = to_number("a codebook's value", text.substr(0, comma));
        text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
    }
    return codebook(std::span(values).first(count));
}

inline std::string element_name(const block_format& f) {
    if (f.elements.empty()) return name(f.element);
    std::string text = "{";
    for (const double v : f.elements.values())
        text.append(text.size() > 1 ? "," : "").append(shortest(v));
    return text + "}";
}

/// What a part of a name can be, for messages.
inline std::string known_parts() {
    std::string text = "a shape (32, 16x16, row, column, tensor), a rule (";
    for (const named_rule& r : scale_rules)
        text.append(r.name == scale_rules[0].name ? "" : ", ").append(r.name);
    return text + ", fixed=0.5), a scale format (float8_e8m0fnu, ue5m3, float32) or key=value";
}

inline block_format parse_head(std::string_view head) {
    for (const named_block_format& p : block_presets)
        if (p.name == head) return p.format;
    if (head.starts_with("bfp_m")) {
        const std::size_t k = head.find("_k");
        const auto m = parse_count(head.substr(5, k - 5));
        const auto size =
            k == std::string_view::npos ? std::nullopt : parse_count(head.substr(k + 2));
        if (m && size && *m > 0 && *m < 53 && *size > 0) return bfp(static_cast<int>(*m), *size);
    }
    block_format f;
    if (head.size() > 2 && head.front() == '{' && head.back() == '}')
        f.elements = parse_codebook(head);
    else {
        try {
            f.element = parse_format(head);
        } catch (const std::invalid_argument&) {
            std::string message = "unknown block format \"" + shown(head) + "\"; known:";
            for (const named_block_format& p : block_presets) message.append(" ").append(p.name);
            throw std::invalid_argument(message +
                                        "; others start with an element's format, as "
                                        "float4_e2m1fn/16/ue5m3/amax");
        }
    }
    return f;
}

inline void parse_part(block_format& f, std::string_view part) {
    const std::size_t equals = part.find('=');
    if (equals != std::string_view::npos) {
        if (set_field(f, part.substr(0, equals), part.substr(equals + 1))) return;
        std::string message = "unknown key \"" + shown(part.substr(0, equals)) +
                              "\" of a block format; known: fixed compat outer_format";
        visit_fields(f, [&](std::string_view key, const auto&, const auto&) {
            message.append(" ").append(key);
        });
        throw std::invalid_argument(message);
    }
    if (const auto shape = parse_shape(part)) {
        f.shape = *shape;
        return;
    }
    for (const named_rule& r : scale_rules)
        if (r.name == part) {
            f.rule = r.rule;
            return;
        }
    try {
        f.scale = parse_format(part);
    } catch (const std::invalid_argument&) {
        throw std::invalid_argument("\"" + shown(part) +
                                    "\" is no part of a block format's name: " + known_parts());
    }
}

/// The rule where none is named: OCP's for powers of two, else amax / M.
[[nodiscard]] constexpr scale_rule default_rule(const format& scale) {
    if (scale.mantissa_bits > 0) return {};
    return {.power_of_two = power_of_two::floor};
}

/// When a part of a name is read.
enum class stage : std::uint8_t { parts, compat, fields };

[[nodiscard]] inline bool is_rule(std::string_view part) {
    if (part.starts_with("fixed=")) return true;
    return std::any_of(scale_rules.begin(), scale_rules.end(),
                       [part](const named_rule& r) { return r.name == part; });
}

[[nodiscard]] inline stage stage_of(std::string_view part) {
    if (part.starts_with("compat=")) return stage::compat;
    const bool is_field = part.find('=') != std::string_view::npos && !part.starts_with("fixed=");
    return is_field ? stage::fields : stage::parts;
}

}  // namespace detail

/// The name of f: a preset's, or ELEMENT/SHAPE/SCALE/RULE with key=value for every other field that
/// is not the default. parse_block_format(name(f)) == f.
[[nodiscard]] inline std::string name(const block_format& f) {
    for (const named_block_format& p : block_presets)
        if (p.format == f) return std::string(p.name);
    block_format plain{
        .element = f.element, .elements = f.elements, .scale = f.scale, .shape = f.shape};
    std::string text =
        detail::element_name(f) + "/" + detail::shape_name(f.shape) + "/" + name(f.scale);
    bool has_rule = false;
    for (const named_rule& r : scale_rules)
        if (r.rule == f.rule) {
            text.append("/").append(r.name);
            plain.rule = f.rule;
            has_rule = true;
            break;
        }
    if (!has_rule) {
        text.append("/amax");
        plain.rule = {};
    }
    std::array<std::string, 32> defaults;
    std::size_t i = 0;
    detail::visit_fields(plain, [&](std::string_view, const auto& field, const auto& names) {
        if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(field)>>)
            defaults.at(i++) = detail::field_text(field, names);
        else defaults.at(i++) = detail::shortest(static_cast<double>(field));
    });
    i = 0;
    detail::visit_fields(f, [&](std::string_view key, const auto& field, const auto& names) {
        std::string value;
        if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(field)>>)
            value = detail::field_text(field, names);
        else value = detail::shortest(static_cast<double>(field));
        if (value != defaults.at(i++)) text.append("/").append(key).append("=").append(value);
    });
    if (f.outer.format != float32) text.append("/outer_format=").append(name(f.outer.format));
    return text;
}

/// The block format that a name means: parts between slashes, each changing what stands before it.
///     head    a preset, bfp_m{bits}_k{block}, an element's format name, or {-1,0,1}
///     part    32, 16x16, row, column, tensor; a scale's format name; a rule's name; fixed=0.5;
///             compat=torchao; key=value with the keys of the fields
/// mxfp4/rceil, float4_e2m1fn/16/ue5m3/amax, nvfp4/rounding=stochastic_a. An element alone is an MX
/// block of 32 with E8M0 scales by floor; another scale without a rule goes by amax if it has mantissa
/// bits. The order of parts does not matter. Throws std::invalid_argument that says which part is wrong.
[[nodiscard]] inline block_format parse_block_format(std::string_view text) {
    std::vector<std::string_view> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find('/', begin), text.size());
        parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    block_format f = detail::parse_head(parts.front());
    const format scale = f.scale;
    bool has_rule = false;
    // What a compatible behaviour depends on comes first, single fields last, wherever they stand.
    for (const auto stage : {detail::stage::parts, detail::stage::compat, detail::stage::fields}) {
        for (std::size_t i = 1; i < parts.size(); ++i) {
            if (detail::stage_of(parts[i]) == stage) detail::parse_part(f, parts[i]);
            has_rule = has_rule || detail::is_rule(parts[i]);
        }
        // A scale that can be more than a power of two is not left at one unless asked for.
        if (stage == detail::stage::parts && !has_rule && f.scale != scale)
            f.rule = detail::default_rule(f.scale);
    }
    f.validate();
    return f;
}

namespace detail {

consteval block_format preset(std::string_view name) {
    for (const named_block_format& p : block_presets)
        if (p.name == name) return p.format;
    throw std::invalid_argument("no such preset");
}

}  // namespace detail

inline constexpr block_format mxfp8_e4m3 = detail::preset("mxfp8_e4m3");
inline constexpr block_format mxfp8_e5m2 = detail::preset("mxfp8_e5m2");
inline constexpr block_format mxfp6_e3m2 = detail::preset("mxfp6_e3m2");
inline constexpr block_format mxfp6_e2m3 = detail::preset("mxfp6_e2m3");
inline constexpr block_format mxfp4 = detail::preset("mxfp4");
inline constexpr block_format mxint8 = detail::preset("mxint8");
inline constexpr block_format nvfp4 = detail::preset("nvfp4");

}  // namespace lowp
