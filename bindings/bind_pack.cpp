// lowp.pack and lowp.unpack.
#include "common.hpp"
#include "lowp/pack.hpp"

namespace lowp::python {
namespace {

using bytes = py::array_t<std::uint8_t, py::array::c_style>;

bytes pack_codes(const bytes& codes, int bits) {
    const std::span<const std::uint8_t> in(codes.data(), static_cast<std::size_t>(codes.size()));
    if (bits < 1 || bits > 8)
        throw py::value_error("bits must be between 1 and 8; got " + std::to_string(bits));
    bytes out(static_cast<py::ssize_t>(packed_size(in.size(), bits)));
    const std::span<std::uint8_t> to(out.mutable_data(), static_cast<std::size_t>(out.size()));
    const py::gil_scoped_release unlocked;
    pack(in, bits, to);
    return out;
}

bytes unpack_codes(const bytes& buffer, int bits, py::ssize_t count) {
    const std::span<const std::uint8_t> in(buffer.data(), static_cast<std::size_t>(buffer.size()));
    if (count < 0)
        throw py::value_error("count must not be negative; got " + std::to_string(count));
    if (bits < 1 || bits > 8)
        throw py::value_error("bits must be between 1 and 8; got " + std::to_string(bits));
    const std::size_t expected = packed_size(static_cast<std::size_t>(count), bits);
    if (in.size() != expected)  // before anything of that size is allocated
        throw py::value_error(std::to_string(count) + " codes of " + std::to_string(bits) +
                              " bits take " + std::to_string(expected) + " bytes; got " +
                              std::to_string(in.size()));
    bytes out(count);
    const std::span<std::uint8_t> to(out.mutable_data(), static_cast<std::size_t>(count));
    const py::gil_scoped_release unlocked;
    unpack(in, bits, to);
    return out;
}

}  // namespace

void bind_pack(py::module_& m) {
    m.def("_pack", &pack_codes, py::arg("codes").noconvert(), py::arg("bits"));
    m.def("_unpack", &unpack_codes, py::arg("buffer").noconvert(), py::arg("bits"),
          py::arg("count"));
}

}  // namespace lowp::python
