// What the verbs on arrays share: their arguments, which arrays the loops can have as they are, results.
#pragma once

#include <algorithm>
#include <atomic>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common.hpp"
#include "lowp/dispatch.hpp"

namespace lowp::python {

inline std::atomic<int> default_threads{0};

/// Arguments that the verbs share, as they came: they are passed on as they are, too.
struct arguments {
    py::object format, rounding, saturation, random_bits, seed, stream, generator, random, threads;
};

/// An integer of Python or NumPy.
inline std::uint64_t to_word(const py::object& object, const char* what) {
    const auto index = py::reinterpret_steal<py::object>(
        PyBool_Check(object.ptr()) ? nullptr : PyNumber_Index(object.ptr()));
    if (!index) {
        PyErr_Clear();
        throw py::type_error(std::string(what) + " must be an integer; got " +
                             std::string(py::str(py::type::of(object))));
    }
    const auto value = PyLong_AsUnsignedLongLong(index.ptr());
    if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        throw py::value_error(std::string(what) + " must be between 0 and 2**64 - 1; got " +
                              std::string(py::str(object)));
    }
    return value;
}

inline int to_small(const py::object& object, const char* what, int low, int high) {
    const std::uint64_t value = to_word(object, what);
    if (value < static_cast<std::uint64_t>(low) || value > static_cast<std::uint64_t>(high))
        throw py::value_error(std::string(what) + " must be between " + std::to_string(low) +
                              " and " + std::to_string(high) + "; got " + std::to_string(value));
    return static_cast<int>(value);
}

inline int to_threads(const py::object& threads) {
    return threads.is_none() ? default_threads.load() : to_small(threads, "threads", 0, 1024);
}

inline projection to_projection(const arguments& a) {
    projection p;
    if (!a.rounding.is_none())
        p.rounding = from_name<rounding>(a.rounding, rounding_names, "rounding");
    if (!a.saturation.is_none())
        p.saturation = from_name<saturation>(a.saturation, saturation_names, "saturation");
    if (!a.random_bits.is_none()) p.random_bits = to_small(a.random_bits, "random_bits", 1, 32);
    return p;
}

inline random_source to_source(const arguments& a) {
    return {to_word(a.seed, "seed"), to_word(a.stream, "stream"),
            from_name<generator>(a.generator, generator_names, "generator")};
}

/// 32 random bits for a scalar: element 0 of the source, or R itself.
inline std::uint32_t scalar_random(const arguments& a, const projection& p) {
    const random_source source = to_source(a);
    to_threads(a.threads);  // of no use here, but checked all the same
    if (!is_stochastic(p.rounding)) return 0;
    if (a.random.is_none()) return source(0);
    const std::uint64_t last = (std::uint64_t{1} << p.random_bits) - 1;
    const std::uint64_t r = to_word(a.random, "random");
    if (r > last)
        throw py::value_error("random must be below 2**random_bits = " + std::to_string(last + 1) +
                              "; got " + std::to_string(r));
    return static_cast<std::uint32_t>(r) << (32 - p.random_bits);
}

template <class T>
using plain = py::array_t<T, py::array::c_style>;

/// Whether the loops can have x as it is. Subclasses of ndarray may mean more than their numbers.
template <class T>
bool is_plain(const py::object& x) {
    constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    return Py_TYPE(x.ptr()) == py::detail::npy_api::get().PyArray_Type_ &&
           py::isinstance<plain<T>>(x) && (py::detail::array_proxy(x.ptr())->flags & aligned) != 0;
}

template <class To, class From>
bool same_shape(const plain<To>& a, const plain<From>& b) {
    return a.ndim() == b.ndim() && std::equal(b.shape(), b.shape() + b.ndim(), a.shape());
}

/// Options of a call on x; nothing where lowp._arrays must look at the random integers.
template <class T>
std::optional<options> to_options(const arguments& a, const plain<T>& x) {
    options o = dispatch::options();
    o.source = to_source(a);
    o.threads = to_threads(a.threads);
    if (a.random.is_none()) return o;
    if (!is_plain<std::uint32_t>(a.random)) return std::nullopt;
    const auto random = py::reinterpret_borrow<plain<std::uint32_t>>(a.random);
    if (!same_shape(random, x)) return std::nullopt;
    o.random = std::span(random.data(), static_cast<std::size_t>(random.size()));
    return o;
}

template <class T>
py::array::ShapeContainer shape_of(const plain<T>& x) {
    return {x.shape(), x.shape() + x.ndim()};
}

inline bool overlap(const void* memory, py::ssize_t bytes, const py::array& array) {
    const auto* const a = static_cast<const char*>(memory);
    const auto* const b = static_cast<const char*>(array.data());
    return a < b + array.nbytes() && b < a + bytes;
}

using random_span = decltype(options::random);

/// `out` if it can be written as it is; a new array if it is None; nothing where lowp._arrays must
/// look at it.
template <class To, class From>
std::optional<plain<To>> output(const py::object& out, const plain<From>& x,
                                const random_span& random = {}) {
    if (out.is_none()) return plain<To>(shape_of(x));
    if (!is_plain<To>(out)) return std::nullopt;
    auto array = py::reinterpret_borrow<plain<To>>(out);
    if (!array.writeable() || !same_shape(array, x)) return std::nullopt;
    const void* const from = x.data();
    const bool in_place = from == array.data() && sizeof(To) == sizeof(From);
    if (overlap(from, x.nbytes(), array) && !in_place) return std::nullopt;
    if (random && overlap(random->data(), static_cast<py::ssize_t>(random->size_bytes()), array))
        return std::nullopt;
    return array;
}

template <class T>
std::span<const T> view(const plain<T>& x) {
    return {x.data(), static_cast<std::size_t>(x.size())};
}
template <class T>
std::span<T> mutable_view(plain<T>& x) {
    return {x.mutable_data(), static_cast<std::size_t>(x.size())};
}

/// Runs without the interpreter lock where that is worth the switch.
template <class Work>
void unlocked(std::size_t n, const Work& work) {
    if (n < 4096) return work();
    const py::gil_scoped_release released;
    work();
}

inline py::object general(const char* verb) {
    return py::module_::import("lowp._arrays").attr(verb);
}
inline py::object blocks(const char* verb) {
    return py::module_::import("lowp._blocks").attr(verb);
}

inline void refuse_scales(const py::object& scales) {
    if (!scales.is_none())
        throw py::value_error(
            "scales are of block formats; divide by a scale of your own yourself");
}

inline py::dict keywords(const arguments& a, const py::object& out) {
    py::dict k;
    k["rounding"] = a.rounding;
    k["saturation"] = a.saturation;
    k["random_bits"] = a.random_bits;
    k["seed"] = a.seed;
    k["stream"] = a.stream;
    k["generator"] = a.generator;
    k["random"] = a.random;
    k["out"] = out;
    k["threads"] = a.threads;
    return k;
}

/// quantize in a block format (bind_block.cpp).
py::object quantize_blocks(const py::object& x, const arguments& a, const py::object& axis,
                           const py::object& scales, const py::object& out);

}  // namespace lowp::python
