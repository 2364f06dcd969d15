// The definition, for lowp.spec: one value at a time.
#include "common.hpp"
#include "lowp/spec.hpp"

namespace lowp::python {
namespace {

projection to_projection(const py::object& rounding_name, const py::object& saturation_name,
                         int random_bits) {
    const projection p{from_name<rounding>(rounding_name, rounding_names, "rounding"),
                       from_name<saturation>(saturation_name, saturation_names, "saturation"),
                       random_bits};
    p.validate();
    return p;
}

}  // namespace

void bind_spec(py::module_& m) {
    m.def("_spec_quantize", [](double x, const py::object& f, const py::object& r,
                               const py::object& s, int random_bits, std::uint32_t random) {
        return spec::quantize(x, to_format(f), to_projection(r, s, random_bits), random);
    });
    m.def("_spec_encode", [](double x, const py::object& f, const py::object& r,
                             const py::object& s, int random_bits, std::uint32_t random) {
        return spec::encode(x, to_format(f), to_projection(r, s, random_bits), random);
    });
    m.def("_spec_decode", [](code_type code, const py::object& f) {
        const format from = to_format(f);
        if ((code & ~from.code_mask()) != 0)
            throw py::value_error("code " + std::to_string(code) + " has bits above the format's " +
                                  std::to_string(from.bits()));
        return spec::decode(code, from);
    });
}

}  // namespace lowp::python
