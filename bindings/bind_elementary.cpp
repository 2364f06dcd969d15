// _core.elementary, which the functions of lowp.elementary call. Floats and plain float32 and float64
// arrays of one shape are worked on here; every other input goes to lowp.elementary, which brings it
// into that form.
#include <optional>
#include <string>

#include "arrays.hpp"
#include "lowp/elementary.hpp"

namespace lowp::python {
namespace {

py::object of_floats(function f, double x, double y, const arguments& a) {
    const converter<double> c(to_format(a.format), to_projection(a));
    return py::float_(evaluate(f, x, y, c, scalar_random(a, c.projection())));
}

template <class T>
std::optional<py::object> of_arrays(function f, const py::object& x, const py::object& y,
                                    const arguments& a, const py::object& out) {
    if (!is_plain<T>(x) || (arity(f) == 2 && !is_plain<T>(y))) return std::nullopt;
    const auto first = py::reinterpret_borrow<plain<T>>(x);
    const auto second = py::reinterpret_borrow<plain<T>>(arity(f) == 2 ? y : x);
    if (!same_shape(first, second)) return std::nullopt;
    const converter<T> c(to_format(a.format), to_projection(a));
    const auto o = to_options(a, first);
    if (!o) return std::nullopt;
    auto result = output<T>(out, first, o->random);
    if (!result) return std::nullopt;
    const bool in_place = second.data() == result->data();
    if (overlap(second.data(), second.nbytes(), *result) && !in_place) return std::nullopt;
    const auto to = mutable_view(*result);
    const auto others = arity(f) == 2 ? view(second) : std::span<const T>();
    unlocked(to.size() * 8, [&] { evaluate<T>(f, view(first), others, to, c, *o); });
    return std::move(*result);
}

py::object elementary(const py::object& verb, const py::object& x, const py::object& y,
                      const py::object& f, const py::object& r, const py::object& sat,
                      const py::object& bits, const py::object& seed, const py::object& stream,
                      const py::object& gen, const py::object& random, const py::object& out,
                      const py::object& threads) {
    const arguments a{f, r, sat, bits, seed, stream, gen, random, threads};
    const auto which = from_name<function>(verb, function_names, "function");
    const bool is_pair = arity(which) == 2;
    if (PyFloat_CheckExact(x.ptr()) && out.is_none() && (!is_pair || PyFloat_CheckExact(y.ptr())))
        return of_floats(which, PyFloat_AS_DOUBLE(x.ptr()),
                         is_pair ? PyFloat_AS_DOUBLE(y.ptr()) : 1, a);
    if (auto z = of_arrays<float>(which, x, y, a, out)) return *z;
    if (auto z = of_arrays<double>(which, x, y, a, out)) return *z;
    return py::module_::import("lowp.elementary")
        .attr("_general")(verb, x, y, f, **keywords(a, out));
}

}  // namespace

void bind_elementary(py::module_& m) {
    py::options brief;
    brief.disable_function_signatures();  // the stubs have them
    const auto number = [](int n) { return py::object(py::int_(n)); };
    const py::object none = py::none();
    m.def("elementary", &elementary, py::arg("function"), py::arg("x"), py::arg("y"),
          py::arg("format"), py::kw_only(), py::arg("rounding") = none,
          py::arg("saturation") = none, py::arg("random_bits") = none, py::arg("seed") = number(0),
          py::arg("stream") = number(0), py::arg("generator") = py::str("philox4x32_10"),
          py::arg("random") = none, py::arg("out") = none, py::arg("threads") = none,
          "A function of lowp.elementary by name; y is None for those of one operand.");
    py::tuple functions(function_names.size());
    for (std::size_t i = 0; i < function_names.size(); ++i)
        functions[i] =
            py::make_tuple(std::string(function_names[i]), arity(static_cast<function>(i)));
    m.attr("ELEMENTARY") = functions;
}

}  // namespace lowp::python
