// The extension module lowp._core.
#include "common.hpp"
#include "lowp/block_formats.hpp"
#include "lowp/dispatch.hpp"

#ifndef LOWP_VERSION
#error "LOWP_VERSION must be defined by the build"
#endif

namespace lowp::python {
namespace {

py::tuple names_of(const auto& names) {
    py::tuple result(names.size());
    for (std::size_t i = 0; i < names.size(); ++i) result[i] = py::str(std::string(names[i]));
    return result;
}

py::tuple rule_names() {
    std::vector<std::string_view> names;
    for (const named_rule& r : scale_rules) names.push_back(r.name);
    return names_of(names);
}

}  // namespace
}  // namespace lowp::python

PYBIND11_MODULE(_core, m) {
    namespace python = lowp::python;
    m.attr("__version__") = LOWP_VERSION;
    m.attr("ROUNDINGS") = python::names_of(lowp::rounding_names);
    m.attr("SATURATIONS") = python::names_of(lowp::saturation_names);
    m.attr("GENERATORS") = python::names_of(python::generator_names);
    m.attr("SCALE_RULES") = python::rule_names();
    m.attr("COMPATS") = python::names_of(lowp::compat_names);
    m.def(
        "isa", [] { return lowp::dispatch::loops().isa; },
        "Name of the instruction set in use: the best one, or what LOWP_ISA names.");
    m.def(
        "isas", [] { return python::names_of(lowp::dispatch::available()); },
        "Instruction sets that are built in and that this machine has, best last.");
    python::bind_format(m);
    python::bind_array(m);
    python::bind_arithmetic(m);
    python::bind_block_format(m);
    python::bind_block(m);
    python::bind_elementary(m);
    python::bind_halves(m);
    python::bind_pack(m);
    python::bind_product(m);
    python::bind_spec(m);
}
