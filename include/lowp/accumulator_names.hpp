// Names for accumulators: those of `accumulators`, and a grammar for every other one.
// `parse_accumulator` and `name` are inverse to each other.
//
//     head          a name of `accumulators`, or a format's: sequential sums in it, products exact
//     /part         pairwise, kahan, exact: the order; separate: products rounded as sums are
//     /key=value    rounding, saturation, random_bits           of additions
//                   product, product_rounding, ..._saturation   of products; they are rounded then
//                   chunk, promotion, promotion_rounding, ...   sums of chunk terms, added up so
//                   terms, fraction_bits, cut, alignment, lowest_exponent, group, run, result,
//                   result_rounding                             of a matrix unit
//
// float16/separate; bfloat16/pairwise; float8_e4m3fn/rounding=stochastic_a; h100_fp8/chunk=64
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowp/accumulator.hpp"
#include "lowp/formats.hpp"

namespace lowp {

inline constexpr std::array<std::string_view, 5> summation_names{"sequential", "pairwise", "kahan",
                                                                 "exact", "aligned"};
inline constexpr std::array<std::string_view, 3> cut_names{"toward_zero", "toward_negative",
                                                           "nearest_ties_to_even"};
inline constexpr std::array<std::string_view, 3> alignment_names{"together", "apart", "halves"};
inline constexpr std::array<std::string_view, 2> products_names{"exact", "rounded"};
inline constexpr std::array<std::string_view, 2> factors_names{"plain", "block_scaled"};

namespace detail {

template <class Enum, std::size_t N>
Enum word_of(std::string_view key, std::string_view text,
             const std::array<std::string_view, N>& names) {
    std::string all;
    for (std::size_t i = 0; i < N; ++i) {
        if (names[i] == text) return static_cast<Enum>(i);
        all.append(" ").append(names[i]);
    }
    fail_accumulator(std::string(key) + " must be one of" + all + "; got " + shown(text));
}

template <class Integer>
Integer number_of(std::string_view key, std::string_view text) {
    Integer value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
        fail_accumulator(std::string(key) + " must be an integer; got " + shown(text));
    return value;
}

/// One key of the grammar: how its value is read and written.
struct accumulator_key {
    std::string name;
    std::function<void(accumulator&, std::string_view)> read;
    std::function<std::string(const accumulator&)> write;
};

/// The keys of one rounding_step: `format`, `prefix`rounding, `prefix`saturation, `prefix`random_bits.
template <class Step>
void add_step_keys(std::vector<accumulator_key>& keys, const std::string& format_key,
                   const std::string& prefix, const Step& step) {
    const auto of = [step](const accumulator& a) { return step(const_cast<accumulator&>(a)); };
    if (!format_key.empty())
        keys.push_back(
            {format_key,
             [step](accumulator& a, std::string_view t) { step(a)->format = parse_format(t); },
             [of](const accumulator& a) { return name(of(a)->format); }});
    keys.push_back(
        {prefix + "rounding",
         [step, prefix](accumulator& a, std::string_view t) {
        step(a)->projection.rounding = word_of<rounding>(prefix + "rounding", t, rounding_names);
         },
         [of](const accumulator& a) { return std::string(name(of(a)->projection.rounding)); }});
    keys.push_back(
        {prefix + "saturation",
         [step, prefix](accumulator& a, std::string_view t) {
        step(a)->projection.saturation =
            word_of<saturation>(prefix + "saturation", t, saturation_names);
         },
         [of](const accumulator& a) { return std::string(name(of(a)->projection.saturation)); }});
    keys.push_back(
        {prefix + "random_bits",
         [step, prefix](accumulator& a, std::string_view t) {
        step(a)->projection.random_bits = number_of<int>(prefix + "random_bits", t);
         },
         [of](const accumulator& a) { return std::to_string(of(a)->projection.random_bits); }});
}

template <class Enum, std::size_t N, class Member>
accumulator_key word_key(const std::string& key, const std::array<std::string_view, N>& names,
                         const Member& member) {
    return {key,
            [key, names, member](accumulator& a, std::string_view t) {
        *member(a) = word_of<Enum>(key, t, names);
            },
            [names, member](const accumulator& a) {
        return std::string(
            names.at(static_cast<std::size_t>(*member(const_cast<accumulator&>(a)))));
    }};
}

template <class Member>
accumulator_key number_key(const std::string& key, const Member& member) {
    return {key,
            [key, member](accumulator& a, std::string_view t) {
        auto& value = *member(a);
        value = number_of<std::remove_reference_t<decltype(value)>>(key, t);
            },
            [member](const accumulator& a) {
        return std::to_string(*member(const_cast<accumulator&>(a)));
    }};
}

[[nodiscard]] inline const std::vector<accumulator_key>& accumulator_keys() {
    static const std::vector<accumulator_key> all = [] {
        std::vector<accumulator_key> keys;
        keys.push_back(
            word_key<summation>("order", summation_names, [](accumulator& a) { return &a.order; }));
        add_step_keys(keys, "addition", "", [](accumulator& a) { return &a.addition; });
        keys.push_back(word_key<products>("products", products_names,
                                          [](accumulator& a) { return &a.products; }));
        add_step_keys(keys, "product", "product_", [](accumulator& a) { return &a.product; });
        keys.push_back(number_key("chunk", [](accumulator& a) { return &a.chunk; }));
        add_step_keys(keys, "promotion", "promotion_", [](accumulator& a) { return &a.promotion; });
        keys.push_back(number_key("terms", [](accumulator& a) { return &a.unit.terms; }));
        keys.push_back(
            number_key("fraction_bits", [](accumulator& a) { return &a.unit.fraction_bits; }));
        keys.push_back(word_key<cut>("cut", cut_names, [](accumulator& a) { return &a.unit.cut; }));
        keys.push_back(word_key<alignment>("alignment", alignment_names,
                                           [](accumulator& a) { return &a.unit.alignment; }));
        keys.push_back(
            number_key("lowest_exponent", [](accumulator& a) { return &a.unit.lowest_exponent; }));
        keys.push_back(word_key<factors>("factors", factors_names,
                                         [](accumulator& a) { return &a.unit.factors; }));
        keys.push_back(number_key("group", [](accumulator& a) { return &a.unit.group; }));
        keys.push_back(number_key("run", [](accumulator& a) { return &a.unit.run; }));
        add_step_keys(keys, "result", "result_", [](accumulator& a) { return &a.unit.result; });
        return keys;
    }();
    return all;
}

/// What a head means, or nothing where it is no name at all.
[[nodiscard]] inline accumulator head_of_accumulator(std::string_view head) {
    for (const named_accumulator& entry : accumulators)
        if (entry.name == head) return entry.accumulator;
    accumulator a;
    if (head == "exact") {
        a.order = summation::exact;
        return a;
    }
    try {
        a.addition.format = parse_format(head);
        return a;
    } catch (const std::invalid_argument&) {
        std::vector<std::string> near = nearest_names(head.substr(0, 64));
        std::size_t best = 3;  // units only where they are near
        for (const named_accumulator& entry : accumulators)
            best = std::min(best, edit_distance(head.substr(0, 64), entry.name));
        for (const named_accumulator& entry : accumulators)
            if (edit_distance(head.substr(0, 64), entry.name) == best && best < 3)
                near.insert(near.begin(), std::string(entry.name));
        std::string names;
        for (const std::string& n : near) names.append(" ").append(n);
        fail_accumulator("unknown name \"" + shown(head) + "\"; nearest:" + names +
                         "; a name is a unit's or a format's, with parts after it as "
                         "float16/pairwise");
    }
}

inline void read_part(accumulator& a, std::string_view part) {
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
        if (part == "separate") {
            a.products = products::rounded;
            a.product = a.addition;
            return;
        }
        for (std::size_t i = 0; i < summation_names.size(); ++i)
            if (summation_names[i] == part) {
                a.order = static_cast<summation>(i);
                return;
            }
        fail_accumulator("unknown part \"" + shown(part) +
                         "\"; use pairwise, kahan, exact, separate, or key=value");
    }
    const std::string_view key = part.substr(0, equals);
    for (const accumulator_key& known : accumulator_keys())
        if (known.name == key) {
            known.read(a, part.substr(equals + 1));
            // Where a product's rounding is named, products are rounded.
            if (key.substr(0, 7) == "product" && key != "products") a.products = products::rounded;
            return;
        }
    std::string all;
    for (const accumulator_key& known : accumulator_keys()) all.append(" ").append(known.name);
    fail_accumulator("unknown key \"" + shown(key) + "\"; use one of" + all);
}

}  // namespace detail

/// The accumulator that a name means; the grammar stands at the head of this file. `separate` takes the
/// addition as it is after all other parts. Throws std::invalid_argument that says what is wrong.
[[nodiscard]] inline accumulator parse_accumulator(std::string_view text) {
    std::vector<std::string_view> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find('/', begin), text.size());
        parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    accumulator a = detail::head_of_accumulator(parts[0]);
    const auto is_order = [](std::string_view part) {
        return std::find(summation_names.begin(), summation_names.end(), part) !=
               summation_names.end();
    };
    if (std::count_if(parts.begin() + 1, parts.end(), is_order) > 1)
        detail::fail_accumulator("more than one order in \"" + detail::shown(text) + "\"");
    for (std::size_t i = 1; i < parts.size(); ++i)
        if (parts[i] != "separate") detail::read_part(a, parts[i]);
    for (std::size_t i = 1; i < parts.size(); ++i)
        if (parts[i] == "separate") detail::read_part(a, parts[i]);
    if (a.products == products::exact) a.product = {};
    a.validate();
    return a;
}

/// The name of an accumulator: its registered one, else a head and what differs from it.
/// `parse_accumulator(name(a)) == a` for every valid one.
[[nodiscard]] inline std::string name(const accumulator& a) {
    for (const named_accumulator& entry : accumulators)
        if (entry.accumulator == a) return std::string(entry.name);
    accumulator base;
    base.addition.format = a.addition.format;
    std::string text = name(a.addition.format);
    if (a.order == summation::aligned) {
        base.order = summation::aligned;
        text.append("/aligned");
    } else if (a.order != summation::sequential) {
        base.order = a.order;
        text.append("/").append(summation_names.at(static_cast<std::size_t>(a.order)));
    }
    if (a.products == products::rounded && a.product == a.addition) {
        base.products = products::rounded;
        base.product = base.addition;
    }
    std::string parts;
    for (const detail::accumulator_key& key : detail::accumulator_keys()) {
        const std::string value = key.write(a);
        const bool is_product = key.name.substr(0, 7) == "product";
        if (is_product && base.products == products::rounded) continue;
        if (value != key.write(base)) parts.append("/").append(key.name + "=" + value);
    }
    return text + parts + (base.products == products::rounded ? "/separate" : "");
}

}  // namespace lowp
