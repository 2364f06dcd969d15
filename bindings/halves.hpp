// Arrays of uint16 that hold the codes of float16 or bfloat16, of which NumPy has but one.
#pragma once

#include <type_traits>
#include <utility>

#include "arrays.hpp"
#include "lowp/halves.hpp"

namespace lowp::python {

using f16 = minifloat<float16>;
using bf16 = minifloat<bfloat16>;

/// What the array of a carrier is made of.
template <class T>
using stored = std::conditional_t<half_float<T>, std::uint16_t, T>;

template <class T>
std::span<const T> elements(const plain<stored<T>>& x) {
    return {reinterpret_cast<const T*>(x.data()), static_cast<std::size_t>(x.size())};
}
template <class T>
std::span<T> mutable_elements(plain<stored<T>>& x) {
    return {reinterpret_cast<T*>(x.mutable_data()), static_cast<std::size_t>(x.size())};
}

/// A function of both halves; its first argument says by a Format which one the codes are of.
template <class Result, class... A, class... Extra>
void define_of_halves(py::module_& m, const char* function, Result (*of_float16)(A...),
                      Result (*of_bfloat16)(A...), const Extra&... extra) {
    const auto call = [=](const format& half, A... a) -> Result {
        if (half == float16) return of_float16(std::forward<A>(a)...);
        if (half == bfloat16) return of_bfloat16(std::forward<A>(a)...);
        throw py::value_error("half must be float16 or bfloat16; got " + name(half));
    };
    m.def(function, call, py::arg("half"), extra...);
}

}  // namespace lowp::python
