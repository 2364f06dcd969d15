// lowp.Accumulator and the product of two matrices; lowp._products makes batches and operands of it.
#include <array>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "lowp/accumulator_names.hpp"
#include "lowp/gemm.hpp"

namespace lowp::python {
namespace {

accumulator to_accumulator(const py::object& object) {
    if (py::isinstance<accumulator>(object)) return object.cast<accumulator>();
    if (!py::isinstance<py::str>(object))
        throw py::type_error("accumulator must be a name or an Accumulator; got " +
                             std::string(py::str(py::type::of(object))));
    return parse_accumulator(object.cast<std::string>());
}

/// The name with the fields that are given in place of its own.
accumulator make_accumulator(const std::string& text, const py::kwargs& fields) {
    std::string all = text;
    for (const auto& [key, value] : fields) {
        const bool is_format = py::isinstance<format>(value);
        all.append("/")
            .append(key.cast<std::string>())
            .append("=")
            .append(is_format
                        ? name(value.cast<format>())
                        : std::string(py::str(named(py::reinterpret_borrow<py::object>(value)))));
    }
    return parse_accumulator(all);
}

py::dict fields_of(const accumulator& a) {
    py::dict fields;
    for (const detail::accumulator_key& key : detail::accumulator_keys())
        fields[py::str(key.name)] = key.write(a);
    return fields;
}

template <class T>
matrix_view<T> view_of(const py::array& m, const char* what) {
    const auto stride = [&](int axis) {
        const py::ssize_t bytes = m.strides(axis);
        if (bytes % static_cast<py::ssize_t>(sizeof(T)) != 0)
            throw py::value_error(std::string(what) + " must be aligned; pass a copy");
        return bytes / static_cast<py::ssize_t>(sizeof(T));
    };
    return {static_cast<T*>(const_cast<void*>(m.data())), static_cast<std::size_t>(m.shape(0)),
            static_cast<std::size_t>(m.shape(1)), stride(0), stride(1)};
}

struct product_call {
    accumulator how;
    py::object a_format, b_format, a_scales, b_scales, out_format;
    std::size_t block = 0;
    double scale = 1;
    int scale_emin = 0;
    projection of_out;
    options base;
};

std::optional<factor_scales> scales_of(const py::object& scales, const product_call& c) {
    if (scales.is_none()) return std::nullopt;
    const auto array = scales.cast<plain<double>>();
    return factor_scales{view(array), c.block, c.scale_emin};
}

template <class T>
void multiply(const py::array& a, const py::array& b, const py::object& c, const py::array& out,
              const product_call& call) {
    product_options<T> o;
    static_cast<options&>(o) = call.base;
    if (!c.is_none()) o.c = view_of<const T>(c.cast<py::array>(), "c");
    if (!call.a_format.is_none()) o.a_format = to_format(call.a_format);
    if (!call.b_format.is_none()) o.b_format = to_format(call.b_format);
    if (!call.out_format.is_none()) o.out = rounding_step{to_format(call.out_format), call.of_out};
    o.scale = static_cast<T>(call.scale);
    o.a_scales = scales_of(call.a_scales, call);
    o.b_scales = scales_of(call.b_scales, call);
    const auto x = view_of<const T>(a, "a");
    const auto y = view_of<const T>(b, "b");
    const auto z = view_of<T>(out, "out");
    const py::gil_scoped_release released;
    matmul<T>(x, y, z, call.how, o);
}

/// One product of 2-d arrays of one dtype, into out.
void matmul_2d(const py::array& a, const py::array& b, const py::object& c, const py::array& out,
               const accumulator& how, const py::object& a_format, const py::object& b_format,
               const py::tuple& scales, double scale, const py::object& out_format,
               const py::object& out_rounding, const py::object& out_saturation,
               const py::object& out_random_bits, const py::object& seed, const py::object& stream,
               const py::object& gen, const py::object& first_index, const py::object& threads) {
    product_call call;
    call.how = how;
    call.scale = scale;
    call.a_format = a_format;
    call.b_format = b_format;
    call.out_format = out_format;
    if (!scales.empty()) {
        call.a_scales = scales[0];
        call.b_scales = scales[1];
        call.block = scales[2].cast<std::size_t>();
        call.scale_emin = scales[3].cast<int>();
    } else {
        call.a_scales = call.b_scales = py::none();
    }
    const arguments s{out_format, out_rounding, out_saturation, out_random_bits, seed,
                      stream,     gen,          py::none(),     threads};
    call.of_out = to_projection(s);
    call.base = dispatch::options();
    call.base.source = to_source(s);
    call.base.threads = to_threads(threads);
    call.base.first_index = to_word(first_index, "first_index");
    if (py::isinstance<py::array_t<float>>(out)) return multiply<float>(a, b, c, out, call);
    multiply<double>(a, b, c, out, call);
}

}  // namespace

void bind_product(py::module_& m) {
    py::class_<accumulator> c(
        m, "Accumulator", py::is_final(),
        "How the terms of a dot product are added up.\n\n"
        "Accumulator('float16', order='pairwise', chunk=128): a name of "
        "lowp.accumulators() or of a format, and fields in its place; the same as\n"
        "'float16/order=pairwise/chunk=128'. docs/products.md says what each means.");
    std::vector<std::string_view> fields;
    for (const detail::accumulator_key& key : detail::accumulator_keys())
        fields.push_back(key.name);
    c.def(py::init(&make_accumulator), py::arg("name"));
    refuse_other_arguments(
        c, {"Accumulator", {"name"}, fields, "a name, as 'float16', then fields by name"});
    c.def_property_readonly("name", [](const accumulator& a) { return name(a); })
        .def_property_readonly("fields", &fields_of)
        .def_property_readonly("group", [](const accumulator& a) { return a.unit.group; })
        .def_property_readonly("chunk", [](const accumulator& a) { return a.chunk; })
        .def_property_readonly(
            "order",
            [](const accumulator& a) {
        return std::string(summation_names.at(static_cast<std::size_t>(a.order)));
            })
        .def("__str__", [](const accumulator& a) { return name(a); })
        .def("__repr__", [](const accumulator& a) { return "Accumulator('" + name(a) + "')"; })
        .def(
            "__eq__",
            [](const accumulator& a, const py::object& b) {
        return py::isinstance<accumulator>(b) && a == b.cast<accumulator>();
            })
        .def("__hash__", [](const accumulator& a) { return py::hash(py::str(name(a))); })
        .def("__reduce__", [](const py::object& self) {
            return py::make_tuple(py::type::of(self),
                                  py::make_tuple(name(self.cast<const accumulator&>())));
        });
    m.def("accumulator", &to_accumulator, py::arg("name"),
          "accumulator(name)\n--\n\nThe Accumulator that a name means; an Accumulator is returned "
          "as it is.");
    m.def(
        "accumulators",
        [] {
        py::dict all;
        for (const named_accumulator& entry : accumulators)
            all[py::str(std::string(entry.name))] = py::make_tuple(
                py::cast(entry.accumulator), std::string(entry.inputs), std::string(entry.source));
        return all;
        },
        "Name: (Accumulator, formats that the hardware multiplies so, source) of every matrix "
        "unit.");
    m.def("_matmul_2d", &matmul_2d);
}

}  // namespace lowp::python
