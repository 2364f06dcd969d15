// Matrix products: what lowp._device_products calls.
#include "common.hpp"
#include "lowp/accumulator_names.hpp"
#include "lowp/cuda_product.hpp"

namespace lowp::python {
namespace {

/// Address, dtype, shape and strides of an array; steps in elements.
using array = std::tuple<pointer, std::string, lengths, steps>;
/// Seed, stream, generator, address of the stream's offset, of the word for failures, the queue, address
/// of random bits: as plans.cpp has them.
using source = std::tuple<std::uint64_t, std::uint64_t, int, pointer, pointer, pointer, pointer>;
/// Address of the scales of a factor, elements of a block, exponent of subnormal scales, address of the
/// outer scale.
using scales = std::tuple<pointer, std::size_t, int, pointer>;
/// Format, rounding, saturation and random bits of finished sums.
using last_step = std::tuple<std::string, std::string, std::string, int>;

const accumulator& accumulator_of(const std::string& name) {
    return remembered<accumulator>(name, [](const std::string& n) { return parse_accumulator(n); });
}

cuda::values values_of(const array& x) {
    return {at<void>(std::get<0>(x)), carrier_of(std::get<1>(x)),
            cuda::layout::of(std::get<2>(x), std::get<3>(x))};
}

void give_scales(const std::optional<scales>& given, std::optional<cuda::factor_scales>& to,
                 const double*& outer) {
    if (!given) return;
    const auto& [values, block, emin, of_all] = *given;
    to = cuda::factor_scales{at<const double>(values), block, emin};
    outer = at<const double>(of_all);
}

void matmul(const array& a, const array& b, const std::optional<array>& c, const array& out,
            const std::string& how, const std::optional<std::string>& a_format,
            const std::optional<std::string>& b_format, const std::optional<scales>& a_scales,
            const std::optional<scales>& b_scales, const std::optional<last_step>& last,
            std::uint64_t first_index, const source& s) {
    cuda::product_options o;
    o.first_index = first_index;
    o.source = {std::get<0>(s), std::get<1>(s), static_cast<generator>(std::get<2>(s))};
    o.stream_offset = at<const std::uint64_t>(std::get<3>(s));
    if (c) o.c = values_of(*c);
    if (a_format) o.a_format = format_of(*a_format);
    if (b_format) o.b_format = format_of(*b_format);
    give_scales(a_scales, o.a_scales, o.a_outer);
    give_scales(b_scales, o.b_scales, o.b_outer);
    if (last) {
        const auto& [f, r, saturation_, bits] = *last;
        o.out = rounding_step{format_of(f), projection_of(r, saturation_, bits)};
    }
    cuda::matmul(values_of(a), values_of(b), values_of(out), accumulator_of(how), o,
                 at<CUstream_st>(std::get<5>(s)));
}

}  // namespace

void bind_products(py::module_& m) {
    m.def(
        "has_product_kernels",
        [](const std::string& how, const std::string& dtype) {
        return cuda::has_kernels(accumulator_of(how), carrier_of(dtype));
        },
        py::arg("accumulator"), py::arg("dtype"),
        "Whether products of an accumulator are worked on by the device.");
    m.def("matmul", &matmul);
}

}  // namespace lowp::python
