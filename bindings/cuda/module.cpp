// The extension module lowp._cuda: lowp::cuda for whoever has pointers. No array library is needed to
// build it; lowp._device brings the arrays of those that there are into this form.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lowp/block_formats.hpp"
#include "lowp/cuda.hpp"
#include "lowp/cuda_block.hpp"
#include "lowp/formats.hpp"

namespace lowp::python {
namespace {

namespace py = pybind11;
using pointer = std::uintptr_t;
using lengths = std::vector<std::size_t>;
using steps = std::vector<std::ptrdiff_t>;

/// What name gives, remembered: names are parsed once. Calls hold the interpreter's lock.
template <class Value, class Parse>
const Value& remembered(const std::string& name, const Parse& parse) {
    static std::unordered_map<std::string, Value> known;
    constexpr std::size_t most = 4096;
    if (const auto at = known.find(name); at != known.end()) return at->second;
    if (known.size() >= most) known.clear();
    return known.emplace(name, parse(name)).first->second;
}
const format& format_of(const std::string& name) {
    return remembered<format>(name, [](const std::string& n) { return parse_format(n); });
}
const block_format& block_format_of(const std::string& name) {
    return remembered<block_format>(name,
                                    [](const std::string& n) { return parse_block_format(n); });
}

template <class Enum, class Names>
Enum enumerator(const std::string& name, const Names& names, const char* what) {
    for (std::size_t i = 0; i < names.size(); ++i)
        if (names[i] == name) return static_cast<Enum>(i);
    throw py::value_error(std::string(what) + " " + name + " is not known");
}

cuda::carrier carrier_of(const std::string& dtype) {
    constexpr std::array<std::string_view, 4> names{"float32", "float64", "float16", "bfloat16"};
    return enumerator<cuda::carrier>(dtype, names, "dtype");
}

template <class T>
T* at(pointer p) {
    return reinterpret_cast<T*>(p);  // NOLINT: pointers come as integers here
}

/// The random bits of a call and where it runs.
struct place {
    std::uint64_t seed = 0, stream = 0;
    std::string generator = "philox4x32_10";
    pointer stream_offset = 0, failures = 0, queue = 0;

    [[nodiscard]] cuda::options options() const {
        constexpr std::array<std::string_view, 2> names{"philox4x32_10", "philox4x32_7"};
        cuda::options o;
        o.source = {seed, stream, enumerator<lowp::generator>(generator, names, "generator")};
        o.stream_offset = at<const std::uint64_t>(stream_offset);
        o.failures = at<std::uint32_t>(failures);
        return o;
    }
    [[nodiscard]] cuda::stream cuda_stream() const { return at<CUstream_st>(queue); }
};

projection projection_of(const std::string& r, const std::string& s, int random_bits) {
    return {enumerator<rounding>(r, rounding_names, "rounding"),
            enumerator<saturation>(s, saturation_names, "saturation"), random_bits};
}

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
                           int axis) {
    const block_format& block = block_format_of(f);
    const auto l = layout_of(block.shape, shape, axis);
    const packing how = block.element_bits() <= 8 ? packing::dense : packing::loose;
    return cuda::workspace_size(carrier_of(dtype), block, l, how);
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
        [](const std::string& f) { return lowp::cuda::has_kernels(python::block_format_of(f)); },
        py::arg("block_format"), "Whether a block format is worked on by the device.");
    m.def("quantize", &python::quantize_array);
    m.def("encode", &python::encode_array);
    m.def("decode", &python::decode_array);
    m.def("workspace_size", &python::workspace_size);
    m.def("quantize_blocks", &python::quantize_blocks);
    m.def("encode_blocks", &python::encode_blocks);
    m.def("decode_blocks", &python::decode_blocks);
}
