// Names for formats: one line each, and a grammar that names every other descriptor.
// `parse_format` and `name` are inverse to each other.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowp/format.hpp"

namespace lowp {

struct named_format {
    std::string_view name;
    lowp::format format;
    std::string_view source;
};

// clang-format off
inline constexpr std::array registry{
    named_format{"float64",             format::ieee(11, 52),          "IEEE 754 binary64"},
    named_format{"float32",             format::ieee(8, 23),           "IEEE 754 binary32"},
    named_format{"tensorfloat32",       format::ieee(8, 10),           "NVIDIA A100, 19 bits"},
    named_format{"bfloat16",            format::ieee(8, 7),            "Google Brain; Intel BF16 1.0"},
    named_format{"float16",             format::ieee(5, 10),           "IEEE 754 binary16"},
    named_format{"float8_e3m4",         format::ieee(3, 4),            "ml_dtypes, IEEE layout"},
    named_format{"float8_e4m3",         format::ieee(4, 3),            "ml_dtypes, IEEE layout"},
    named_format{"float8_e5m2",         format::ieee(5, 2),            "OCP FP8 1.0"},
    named_format{"float8_e4m3fn",       format::fn(4, 3),              "OCP FP8 1.0"},
    named_format{"float8_e4m3fnuz",     format::fnuz(4, 3),            "arXiv 2206.02915"},
    named_format{"float8_e5m2fnuz",     format::fnuz(5, 2),            "arXiv 2206.02915"},
    named_format{"float8_e4m3b11fnuz",  {4, 3, 11, true, false, 0, false}, "ml_dtypes"},
    named_format{"float8_e8m0fnu",      format::exponent_only(8),      "OCP MX 1.0, scale"},
    named_format{"float6_e2m3fn",       format::fn(2, 3),              "OCP MX 1.0"},
    named_format{"float6_e3m2fn",       format::fn(3, 2),              "OCP MX 1.0"},
    named_format{"float4_e2m1fn",       format::fn(2, 1),              "OCP MX 1.0"},
    named_format{"p3109_k8p3se",        format::p3109(8, 3),           "IEEE P3109 interim report"},
    named_format{"p3109_k8p4se",        format::p3109(8, 4),           "IEEE P3109 interim report"},
    named_format{"int16",               format::fixed_point(15, 0),    "two's complement"},
    named_format{"int8",                format::fixed_point(7, 0),     "two's complement"},
    named_format{"int4",                format::fixed_point(3, 0),     "two's complement"},
    named_format{"int2",                format::fixed_point(1, 0),     "two's complement"},
    named_format{"uint8",               format::unsigned_fixed_point(8, 0), "unsigned integer"},
    named_format{"uint4",               format::unsigned_fixed_point(4, 0), "unsigned integer"},
};
// clang-format on

/// Short names that are understood, but not printed.
inline constexpr std::array<std::array<std::string_view, 2>, 11> aliases{{
    {"fp64", "float64"},
    {"fp32", "float32"},
    {"tf32", "tensorfloat32"},
    {"bf16", "bfloat16"},
    {"fp16", "float16"},
    {"half", "float16"},
    {"fp8_e4m3", "float8_e4m3fn"},
    {"fp8_e5m2", "float8_e5m2"},
    {"fp6_e2m3", "float6_e2m3fn"},
    {"fp6_e3m2", "float6_e3m2fn"},
    {"fp4_e2m1", "float4_e2m1fn"},
}};

namespace detail {

// The format of a name in a list, for the constants below; a misspelt name does not compile.
consteval auto registered(const auto& list, std::string_view name) {
    for (const auto& entry : list)
        if (entry.name == name) return entry.format;
    throw std::invalid_argument("no such name");
}

}  // namespace detail

inline constexpr format float64 = detail::registered(registry, "float64");
inline constexpr format float32 = detail::registered(registry, "float32");
inline constexpr format tensorfloat32 = detail::registered(registry, "tensorfloat32");
inline constexpr format bfloat16 = detail::registered(registry, "bfloat16");
inline constexpr format float16 = detail::registered(registry, "float16");
inline constexpr format float8_e3m4 = detail::registered(registry, "float8_e3m4");
inline constexpr format float8_e4m3 = detail::registered(registry, "float8_e4m3");
inline constexpr format float8_e5m2 = detail::registered(registry, "float8_e5m2");
inline constexpr format float8_e4m3fn = detail::registered(registry, "float8_e4m3fn");
inline constexpr format float8_e4m3fnuz = detail::registered(registry, "float8_e4m3fnuz");
inline constexpr format float8_e5m2fnuz = detail::registered(registry, "float8_e5m2fnuz");
inline constexpr format float8_e4m3b11fnuz = detail::registered(registry, "float8_e4m3b11fnuz");
inline constexpr format float8_e8m0fnu = detail::registered(registry, "float8_e8m0fnu");
inline constexpr format float6_e2m3fn = detail::registered(registry, "float6_e2m3fn");
inline constexpr format float6_e3m2fn = detail::registered(registry, "float6_e3m2fn");
inline constexpr format float4_e2m1fn = detail::registered(registry, "float4_e2m1fn");
inline constexpr format int8 = detail::registered(registry, "int8");
inline constexpr format int4 = detail::registered(registry, "int4");

namespace detail {

// The kinds of the general names `[u]e{E}m{M}[b{bias}]{kind}[modifiers]`.
inline constexpr std::array<std::string_view, 4> kinds{"", "fn", "fnuz", "f"};

constexpr format of_kind(std::string_view kind, bool is_signed, int exponent_bits,
                         int mantissa_bits) {
    if (!is_signed) {
        if (kind.empty()) return format::unsigned_scale(exponent_bits, mantissa_bits);
        format f = format::finite(exponent_bits, mantissa_bits);
        f.is_signed = f.has_neg_zero = false;
        return f;
    }
    if (exponent_bits == 0) return format::finite(exponent_bits, mantissa_bits);
    if (kind == "fn") return format::fn(exponent_bits, mantissa_bits);
    if (kind == "fnuz") return format::fnuz(exponent_bits, mantissa_bits);
    if (kind == "f") return format::finite(exponent_bits, mantissa_bits);
    return format::ieee(exponent_bits, mantissa_bits);
}

constexpr bool kind_exists(std::string_view kind, bool is_signed, int exponent_bits) {
    if (exponent_bits == 0) return kind.empty();
    return is_signed || kind.empty() || kind == "f";
}

// A flag that differs from the kind's own, spelt `_inf` or `_noinf` and so on.
struct modifier {
    std::string_view word;
    bool format::*field;
};
inline constexpr std::array modifiers{
    modifier{"inf", &format::has_inf},
    modifier{"nz", &format::has_neg_zero},
    modifier{"sub", &format::has_subnormals},
    modifier{"zero", &format::has_zero},
    modifier{"twos", &format::is_twos_complement},
};

// Reads a name from the left; every take_* leaves the text alone where it does not match.
class name_reader {
public:
    explicit constexpr name_reader(std::string_view text) : text_(text) {}

    constexpr bool take(std::string_view word) {
        if (!text_.starts_with(word)) return false;
        text_.remove_prefix(word.size());
        return true;
    }
    constexpr std::optional<std::int64_t> take_number() {
        std::size_t length = 0;
        const std::size_t sign = text_.starts_with('-') ? 1 : 0;
        while (sign + length < text_.size() && text_[sign + length] >= '0' &&
               text_[sign + length] <= '9')
            ++length;
        const bool leading_zero = length > 1 && text_[sign] == '0';
        if (length == 0 || leading_zero) return std::nullopt;
        std::int64_t value = 0;
        for (std::size_t i = 0; i < length; ++i) {
            const int digit = text_[sign + i] - '0';
            if (value > (std::numeric_limits<std::int64_t>::max() - digit) / 10)
                return std::nullopt;
            value = value * 10 + digit;
        }
        if (sign != 0 && value == 0) return std::nullopt;
        text_.remove_prefix(sign + length);
        return sign != 0 ? -value : value;
    }
    constexpr std::optional<int> take_small() {
        const auto n = take_number();
        if (!n || *n < -9999 || *n > 9999) return std::nullopt;
        return static_cast<int>(*n);
    }
    [[nodiscard]] constexpr bool done() const { return text_.empty(); }

private:
    std::string_view text_;
};

constexpr bool is_width(int got, int low, int high) { return got >= low && got <= high; }

constexpr std::optional<format> parse_modifiers(name_reader& in, format f) {
    while (in.take("_")) {
        if (in.take("nan")) {
            const auto n = in.take_number();
            if (!n) return std::nullopt;
            f.nan_codes = *n;
            continue;
        }
        const bool value = !in.take("no");
        const auto* const found = std::find_if(modifiers.begin(), modifiers.end(),
                                               [&](const modifier& m) { return in.take(m.word); });
        if (found == modifiers.end()) return std::nullopt;
        f.*found->field = value;
    }
    return in.done() ? std::optional(f) : std::nullopt;
}

// [u]e{E}m{M}[b{bias}]{kind}[_modifier...]
constexpr std::optional<format> parse_general(std::string_view text) {
    name_reader in(text);
    const bool is_signed = !in.take("u");
    if (!in.take("e")) return std::nullopt;
    const auto exponent_bits = in.take_small();
    if (!exponent_bits || !in.take("m")) return std::nullopt;
    const auto mantissa_bits = in.take_small();
    if (!mantissa_bits || !is_width(*exponent_bits, 0, 11) || !is_width(*mantissa_bits, 0, 52))
        return std::nullopt;
    std::optional<int> bias;
    if (in.take("b") && !(bias = in.take_small())) return std::nullopt;
    const std::string_view kind = in.take("fnuz") ? "fnuz"
                                  : in.take("fn") ? "fn"
                                  : in.take("f")  ? "f"
                                                  : "";
    if (!kind_exists(kind, is_signed, *exponent_bits)) return std::nullopt;
    format f = of_kind(kind, is_signed, *exponent_bits, *mantissa_bits);
    if (bias) f.bias = *bias;
    return parse_modifiers(in, f);
}

// p3109_k{K}p{P}{s|u}{e|f}
constexpr std::optional<format> parse_p3109(std::string_view text) {
    name_reader in(text);
    if (!in.take("p3109_k")) return std::nullopt;
    const auto width = in.take_small();
    if (!width || !in.take("p")) return std::nullopt;
    const auto precision = in.take_small();
    if (!precision || !is_width(*width, 2, 64)) return std::nullopt;
    const bool is_signed = in.take("s");
    if (!is_signed && !in.take("u")) return std::nullopt;
    const bool extended = in.take("e");
    if ((!extended && !in.take("f")) || !in.done()) return std::nullopt;
    const int exponent_bits = *width - *precision + (is_signed ? 0 : 1);
    if (!is_width(*precision, 1, 53) || !is_width(exponent_bits, 1, 11)) return std::nullopt;
    return format::p3109(
        *width, *precision,
        is_signed ? format::signedness::signed_values : format::signedness::unsigned_values,
        extended ? format::domain::extended : format::domain::finite);
}

// q{m}.{f}, uq{m}.{f}, int{n}, uint{n}
constexpr std::optional<format> parse_fixed_point(std::string_view text) {
    name_reader in(text);
    const bool is_unsigned = in.take("u");
    std::optional<int> whole;
    int fraction = 0;
    if (in.take("int")) {
        whole = in.take_small();
        if (whole && !is_unsigned) --*whole;
    } else if (in.take("q")) {
        whole = in.take_small();
        const auto digits = whole && in.take(".") ? in.take_small() : std::nullopt;
        if (!digits) return std::nullopt;
        fraction = *digits;
    }
    if (!whole || !in.done() || *whole < (fraction == 0 && is_unsigned ? 1 : 0) || fraction < 0 ||
        *whole + fraction > 52)
        return std::nullopt;
    return is_unsigned ? format::unsigned_fixed_point(*whole, fraction)
                       : format::fixed_point(*whole, fraction);
}

inline std::string p3109_name(const format& f) {
    const int width = f.bits();
    return "p3109_k" + std::to_string(width) + "p" + std::to_string(f.mantissa_bits + 1) +
           (f.is_signed ? "s" : "u") + (f.has_inf ? "e" : "f");
}

inline std::string fixed_point_name(const format& f) {
    const int fraction_bits = f.mantissa_bits + f.bias - 1;
    const std::string prefix = f.is_signed ? "" : "u";
    if (fraction_bits == 0) return prefix + "int" + std::to_string(f.bits());
    return prefix + "q" + std::to_string(f.mantissa_bits - fraction_bits) + "." +
           std::to_string(fraction_bits);
}

// The general name of `f` from one kind, and how many parts of it depart from the kind.
struct candidate {
    std::string name;
    int departures = 0;
};

inline candidate general_name(const format& f, std::string_view kind) {
    const format base = of_kind(kind, f.is_signed, f.exponent_bits, f.mantissa_bits);
    candidate c;
    c.name.append(f.is_signed ? "e" : "ue").append(std::to_string(f.exponent_bits));
    c.name.append("m").append(std::to_string(f.mantissa_bits));
    if (f.bias != base.bias) c.name.append("b").append(std::to_string(f.bias));
    c.name.append(kind);
    if (f.nan_codes != base.nan_codes) {
        c.name.append("_nan").append(std::to_string(f.nan_codes));
        ++c.departures;
    }
    for (const modifier& m : modifiers)
        if (f.*m.field != base.*m.field) {
            c.name.append(f.*m.field ? "_" : "_no").append(m.word);
            ++c.departures;
        }
    return c;
}

// The beginning of a text, for a message; never half of a UTF-8 character.
inline std::string shown(std::string_view text, std::size_t length = 64) {
    if (text.size() <= length) return std::string(text);
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0U) == 0x80U) --length;
    return std::string(text.substr(0, length)) + "...";
}

// Levenshtein distance, for the nearest names of an unknown one.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

/// A name as the registry writes it: in lower case, fp8 as float8.
inline std::string usual_name(std::string_view text) {
    std::string name;
    for (const char c : text) name.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
    const bool is_short = name.size() > 2 && name.starts_with("fp") && name[2] <= '9';
    return is_short ? "float" + name.substr(2) : name;
}

}  // namespace detail

/// The shortest name of `f`: its registered one, else a P3109, fixed-point or general name.
/// `parse_format(name(f)) == f` for every valid descriptor.
[[nodiscard]] inline std::string name(const format& f) {
    for (const named_format& entry : registry)
        if (entry.format == f) return std::string(entry.name);
    if (f.is_twos_complement || (f.exponent_bits == 0 && !f.is_signed)) {
        const std::string fixed = detail::fixed_point_name(f);
        if (detail::parse_fixed_point(fixed) == f) return fixed;
    }
    detail::candidate best;
    for (const std::string_view kind : detail::kinds) {
        if (!detail::kind_exists(kind, f.is_signed, f.exponent_bits)) continue;
        const detail::candidate c = detail::general_name(f, kind);
        if (best.name.empty() || c.departures < best.departures) best = c;
    }
    if (best.departures > 0) {
        const std::string p3109 = detail::p3109_name(f);
        if (detail::parse_p3109(p3109) == f) return p3109;
    }
    return best.name;
}

/// Registered names closest to `text`, best first: those whose first word it is before all others.
[[nodiscard]] inline std::vector<std::string> nearest_names(std::string_view text,
                                                            std::size_t count = 3) {
    const auto distance = [text = detail::usual_name(text)](std::string_view entry) {
        if (text.size() > 2 && entry.starts_with(text + "_")) return std::size_t{0};
        const std::size_t whole = detail::edit_distance(text, entry);
        const std::size_t bar = entry.find('_');
        if (bar == std::string_view::npos) return whole;
        return std::min(whole, detail::edit_distance(text, entry.substr(bar + 1)));
    };
    std::vector<std::pair<std::size_t, std::string_view>> ranked;
    ranked.reserve(registry.size());
    for (const named_format& entry : registry)
        ranked.emplace_back(distance(entry.name), entry.name);
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<std::string> names;
    for (std::size_t i = 0; i < std::min(count, ranked.size()); ++i)
        names.emplace_back(ranked[i].second);
    return names;
}

/// The format that a name means. Grammar, in this order:
///     a name of `registry` or an alias              float8_e4m3fn, bfloat16, int8; bf16
///     p3109_k{K}p{P}{s|u}{e|f}                      p3109_k6p3uf
///     [u]int{n}, [u]q{m}.{f}                        int4, q3.4 (two's complement, 8 bits)
///     [u]e{E}m{M}[b{bias}][fn|fnuz|f][_modifiers]   e5m10, e4m3b11fnuz, ue5m3, e4m3fn_nosub
/// No kind means IEEE layout (signed) or a scale format (unsigned: one NaN at the top, no infinity);
/// `f` means that every code is a number. Modifiers: _nan{count}, _[no]inf, _[no]nz, _[no]sub,
/// _[no]zero, _[no]twos. Throws std::invalid_argument with the nearest names, or with what contradicts.
[[nodiscard]] inline format parse_format(std::string_view text) {
    for (const auto& [alias, meant] : aliases)
        if (alias == text) text = meant;
    for (const named_format& entry : registry)
        if (entry.name == text) return entry.format;
    std::optional<format> f = detail::parse_p3109(text);
    if (!f) f = detail::parse_fixed_point(text);
    if (!f) f = detail::parse_general(text);
    if (f) {
        f->validate();
        return *f;
    }
    std::string message = "unknown format \"" + detail::shown(text) + "\"; nearest:";
    for (const std::string& near : nearest_names(text.substr(0, 64)))
        message.append(" ").append(near);
    throw std::invalid_argument(
        message +
        "; general names look like e5m10, e4m3fn, e4m3b11fnuz, ue5m3, p3109_k6p3uf, q3.4");
}

}  // namespace lowp
