// Names of block-scaled formats: a grammar in which every one has a name, and every name means one.
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
#include "lowp/block_presets.hpp"
#include "lowp/formats.hpp"

namespace lowp {

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

}  // namespace lowp
