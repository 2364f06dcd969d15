// The extension module lowp._cuda: lowp::cuda for whoever has pointers. No array library is needed to
// build it; lowp._device brings the arrays of those that there are into this form.
#include "common.hpp"

namespace lowp::python {
namespace {

void quantize_array(pointer x, const steps& from, pointer out, const steps& to,
                    const lengths& shape, const std::string& dtype, const std::string& f,
                    const std::string& r, const std::string& s, int random_bits, const place& p) {
    const cuda::carrier c = carrier_of(dtype);
    cuda::quantize({at<void>(x), c, cuda::layout::of(shape, from)},
                   {at<void>(out), c, cuda::layout::of(shape, to)}, format_of(f),
                   projection_of(r, s, random_bits), p.options(), p.cuda_stream());
}

void encode_array(pointer x, const steps& from, pointer out, const lengths& shape,
                  const std::string& dtype, int code_bytes, const std::string& f,
                  const std::string& r, const std::string& s, int random_bits,
                  const std::optional<std::uint64_t>& nan, const place& p) {
    cuda::options o = p.options();
    o.nan_code = nan;
    cuda::encode({at<void>(x), carrier_of(dtype), cuda::layout::of(shape, from)},
                 {at<void>(out), code_bytes, cuda::layout::of(shape)}, format_of(f),
                 projection_of(r, s, random_bits), o, p.cuda_stream());
}

void decode_array(pointer codes, const steps& from, int code_bytes, pointer out,
                  const lengths& shape, const std::string& dtype, const std::string& f,
                  const place& p) {
    cuda::decode({at<void>(codes), code_bytes, cuda::layout::of(shape, from)},
                 {at<void>(out), carrier_of(dtype), cuda::layout::of(shape)}, format_of(f),
                 p.options(), p.cuda_stream());
}

// ---- blocks -------------------------------------------------------------------------------------

cuda::block_options block_options_of(const place& p, pointer workspace, std::size_t outer_given) {
    cuda::block_options o;
    static_cast<cuda::options&>(o) = p.options();
    o.workspace = at<void>(workspace);
    o.outer_given = outer_given;
    return o;
}

std::size_t workspace_size(const std::string& dtype, const std::string& f, const lengths& shape,
                           int axis, std::size_t hadamard_size) {
    const block_format& block = block_format_of(f);
    const auto l = layout_of(block.shape, shape, axis);
    const packing how = block.element_bits() <= 8 ? packing::dense : packing::loose;
    return cuda::workspace_size(carrier_of(dtype), block, l, how, hadamard_size);
}

void quantize_blocks(pointer x, pointer out, const lengths& shape, int axis,
                     const std::string& dtype, const std::string& f, pointer workspace,
                     const place& p) {
    const block_format& block = block_format_of(f);
    cuda::quantize(at<void>(x), at<void>(out), carrier_of(dtype), block,
                   layout_of(block.shape, shape, axis), block_options_of(p, workspace, 0),
                   p.cuda_stream());
}

cuda::block_memory memory_of(const block_format& f, pointer codes, pointer scales, pointer outer) {
    return {at<std::uint8_t>(codes), at<std::uint8_t>(scales), at<double>(outer),
            f.element_bits() <= 8 ? packing::dense : packing::loose};
}

void encode_blocks(pointer x, pointer codes, pointer scales, pointer outer, const lengths& shape,
                   int axis, const std::string& dtype, const std::string& f, pointer workspace,
                   const place& p) {
    const block_format& block = block_format_of(f);
    cuda::encode(at<void>(x), carrier_of(dtype), memory_of(block, codes, scales, outer), block,
                 layout_of(block.shape, shape, axis), block_options_of(p, workspace, 0),
                 p.cuda_stream());
}

void decode_blocks(pointer codes, pointer scales, pointer outer, std::size_t outer_given,
                   pointer out, const lengths& shape, int axis, const std::string& dtype,
                   const std::string& f, pointer workspace, const place& p) {
    const block_format& block = block_format_of(f);
    cuda::decode(memory_of(block, codes, scales, outer), at<void>(out), carrier_of(dtype), block,
                 layout_of(block.shape, shape, axis), block_options_of(p, workspace, outer_given),
                 p.cuda_stream());
}

}  // namespace
}  // namespace lowp::python

PYBIND11_MODULE(_cuda, m) {
    namespace python = lowp::python;
    namespace py = pybind11;
    using python::place;
    m.doc() = "lowp::cuda by pointers: what lowp._device calls. Nothing here looks at memory.";
    py::class_<place>(m, "Place", "Random bits of a call, a word for failures and the CUDA stream.")
        .def(py::init<std::uint64_t, std::uint64_t, std::string, python::pointer, python::pointer,
                      python::pointer>(),
             py::arg("seed"), py::arg("stream"), py::arg("generator"), py::arg("stream_offset"),
             py::arg("failures"), py::arg("queue"));
    m.attr("NAN_WITHOUT_CODE") = static_cast<int>(lowp::cuda::nan_without_code);
    m.attr("CODE_TOO_WIDE") = static_cast<int>(lowp::cuda::code_too_wide);
    m.def(
        "has_kernels",
        [](const std::string& f) { return python::block_format_of(f).element_bits() > 0; },
        py::arg("block_format"), "True: every block format is worked on by the device.");
    m.def("quantize", &python::quantize_array);
    m.def("encode", &python::encode_array);
    m.def("decode", &python::decode_array);
    m.def("workspace_size", &python::workspace_size, py::arg("dtype"), py::arg("block_format"),
          py::arg("shape"), py::arg("axis"), py::arg("hadamard_size") = 0);
    m.def("quantize_blocks", &python::quantize_blocks);
    m.def("encode_blocks", &python::encode_blocks);
    m.def("decode_blocks", &python::decode_blocks);
    python::bind_both(m);
    python::bind_plans(m);
    python::bind_products(m);
    python::bind_statistics(m);
}
