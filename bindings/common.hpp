// What the bindings share: names to enumerators, objects to formats.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

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

/// The name of a dtype of NumPy or PyTorch, or of the class of its scalars (np.float16,
/// ml_dtypes.float8_e4m3fn), which is that of the format; every other object as it is.
py::object named(const py::object& object);

/// A Format, or the one of a name or dtype.
format to_format(const py::object& object);

/// A BlockFormat, or the one of a name.
block_format to_block_format(const py::object& object);

/// Whether a BlockFormat, or a string that can only be the name of one.
bool is_block_format(const py::object& object);

/// What a call takes, for messages.
struct call_signature {
    std::string function;
    std::vector<std::string_view> positional, keywords;
    std::string_view takes;  // in words; empty: the positional ones, then arguments by name
};

/// Throws TypeError with what is wrong with arguments that no overload takes.
[[noreturn]] void refuse_arguments(const call_signature& s, const py::args& args,
                                   const py::kwargs& given);

/// A last overload that takes any arguments and says what is wrong with them: pybind11 would print
/// every signature and every value.
void refuse_other_arguments(py::module_& m, const call_signature& s);

/// The same of a constructor.
template <class T>
void refuse_other_arguments(py::class_<T>& c, const call_signature& s) {
    c.def(py::init([s](const py::args& args, const py::kwargs& given) -> T {
        refuse_arguments(s, args, given);
    }));
}

inline constexpr std::array<std::string_view, 2> generator_names{"philox4x32_10", "philox4x32_7"};

void bind_format(py::module_& m);
void bind_halves(py::module_& m);
void bind_arithmetic(py::module_& m);
void bind_array(py::module_& m);
void bind_block(py::module_& m);
void bind_block_format(py::module_& m);
void bind_elementary(py::module_& m);
void bind_pack(py::module_& m);
void bind_product(py::module_& m);
void bind_spec(py::module_& m);

}  // namespace lowp::python
