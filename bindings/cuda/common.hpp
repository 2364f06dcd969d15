// What the files of lowp._cuda share: pointers as integers, names parsed once.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lowp/block_formats.hpp"
#include "lowp/cuda.hpp"
#include "lowp/cuda_block.hpp"
#include "lowp/formats.hpp"

namespace lowp::python {

namespace py = pybind11;
using pointer = std::uintptr_t;
using lengths = std::vector<std::size_t>;
using steps = std::vector<std::ptrdiff_t>;

/// What name gives, remembered: names are parsed once. Calls hold the interpreter's lock.
template <class Value, class Parse>
const Value& remembered(const std::string& name, const Parse& parse) {
    static std::unordered_map<std::string, Value> known;
    constexpr std::size_t most = 4096;
    if (const auto at = known.find(name); at != known.end()) return at->second;
    if (known.size() >= most) known.clear();
    return known.emplace(name, parse(name)).first->second;
}
inline const format& format_of(const std::string& name) {
    return remembered<format>(name, [](const std::string& n) { return parse_format(n); });
}
inline const block_format& block_format_of(const std::string& name) {
    return remembered<block_format>(name,
                                    [](const std::string& n) { return parse_block_format(n); });
}

template <class Enum, class Names>
Enum enumerator(const std::string& name, const Names& names, const char* what) {
    for (std::size_t i = 0; i < names.size(); ++i)
        if (names[i] == name) return static_cast<Enum>(i);
    throw py::value_error(std::string(what) + " " + name + " is not known");
}

inline cuda::carrier carrier_of(const std::string& dtype) {
    constexpr std::array<std::string_view, 4> names{"float32", "float64", "float16", "bfloat16"};
    return enumerator<cuda::carrier>(dtype, names, "dtype");
}

template <class T>
T* at(pointer p) {
    return reinterpret_cast<T*>(p);  // NOLINT: pointers come as integers here
}

inline projection projection_of(const std::string& r, const std::string& s, int random_bits) {
    return {enumerator<rounding>(r, rounding_names, "rounding"),
            enumerator<saturation>(s, saturation_names, "saturation"), random_bits};
}

/// The functions of both.cpp, plans.cpp, products.cpp and statistics.cpp.
void bind_both(py::module_& m);
void bind_plans(py::module_& m);
void bind_products(py::module_& m);
void bind_statistics(py::module_& m);

}  // namespace lowp::python
