// What the bindings share: names to enumerators, objects to formats.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <string_view>

#include "lowp/block_format.hpp"
#include "lowp/formats.hpp"
#include "lowp/random.hpp"
#include "lowp/rounding.hpp"

namespace lowp::python {

namespace py = pybind11;

/// The enumerator that a Python string names. Throws ValueError with all names.
template <class Enum, class Names>
Enum from_name(const py::object& object, const Names& names, const char* what) {
    Py_ssize_t length = 0;
    const char* const text =
        PyUnicode_Check(object.ptr()) ? PyUnicode_AsUTF8AndSize(object.ptr(), &length) : nullptr;
    if (text == nullptr) {
        PyErr_Clear();
        throw py::type_error(std::string(what) + " must be a string; got " +
                             std::string(py::str(py::type::of(object))));
    }
    const std::string_view word(text, static_cast<std::size_t>(length));
    for (std::size_t i = 0; i < names.size(); ++i)
        if (names[i] == word) return static_cast<Enum>(i);
    std::string message = std::string(what) + " must be one of";
    for (const std::string_view name : names) message.append(" ").append(name);
    throw py::value_error(message.append("; got ").append(detail::shown(word)));
}

/// A Format, or the name of one.
format to_format(const py::object& object);

/// A BlockFormat, or the one of a name.
block_format to_block_format(const py::object& object);

/// Whether a BlockFormat, or a string that can only be the name of one.
bool is_block_format(const py::object& object);

inline constexpr std::array<std::string_view, 2> generator_names{"philox4x32_10", "philox4x32_7"};

void bind_format(py::module_& m);
void bind_arithmetic(py::module_& m);
void bind_array(py::module_& m);
void bind_block(py::module_& m);
void bind_block_format(py::module_& m);
void bind_elementary(py::module_& m);
void bind_pack(py::module_& m);
void bind_product(py::module_& m);
void bind_spec(py::module_& m);

}  // namespace lowp::python
