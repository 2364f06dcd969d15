// What lowp._arrays calls for float16 and bfloat16: their codes as plain uint16 arrays, all arguments
// brought into form there.
#include "halves.hpp"

namespace lowp::python {
namespace {

template <class T>
options checked_options(const arguments& a, const plain<T>& x) {
    const auto o = to_options(a, x);
    if (!o) throw py::value_error("random must be a plain uint32 array of the shape of the codes");
    return *o;
}

template <class A, class B>
void check_shapes(const plain<A>& codes, const plain<B>& out) {
    if (!same_shape(codes, out)) throw py::value_error("codes and out must have one shape");
}

template <class T>
void quantize_halves(const plain<std::uint16_t>& x, plain<std::uint16_t>& out, const py::object& f,
                     const py::object& r, const py::object& sat, const py::object& bits,
                     const py::object& seed, const py::object& stream, const py::object& gen,
                     const py::object& random, const py::object& threads) {
    const arguments a{f, r, sat, bits, seed, stream, gen, random, threads};
    check_shapes(x, out);
    const options o = checked_options(a, x);
    const format to = to_format(f);
    const projection p = to_projection(a);
    const auto y = mutable_elements<T>(out);
    unlocked(y.size(), [&] { lowp::quantize<T>(elements<T>(x), y, to, p, o); });
}

template <class T, class Code>
void encode_halves(const plain<std::uint16_t>& x, plain<Code>& out, const py::object& f,
                   const py::object& r, const py::object& sat,
                   const std::optional<std::uint64_t>& nan, const py::object& bits,
                   const py::object& seed, const py::object& stream, const py::object& gen,
                   const py::object& random, const py::object& threads) {
    const arguments a{f, r, sat, bits, seed, stream, gen, random, threads};
    check_shapes(x, out);
    options o = checked_options(a, x);
    o.nan_code = nan;
    const format to = to_format(f);
    const projection p = to_projection(a);
    const auto y = mutable_view(out);
    unlocked(y.size(), [&] { lowp::encode<T, Code>(elements<T>(x), y, to, p, o); });
}

template <class T, class Code>
void decode_halves(const plain<Code>& codes, plain<std::uint16_t>& out, const py::object& f,
                   const py::object& threads) {
    check_shapes(codes, out);
    options o = dispatch::options();
    o.threads = to_threads(threads);
    const format from = to_format(f);
    const auto y = mutable_elements<T>(out);
    unlocked(y.size(), [&] { lowp::decode<T, Code>(view(codes), y, from, o); });
}

template <class Code>
void bind_codes(py::module_& m) {
    define_of_halves(m, "_encode_halves", &encode_halves<f16, Code>, &encode_halves<bf16, Code>,
                     py::arg("codes").noconvert(), py::arg("out").noconvert(), py::arg("format"),
                     py::arg("rounding"), py::arg("saturation"), py::arg("nan"),
                     py::arg("random_bits"), py::arg("seed"), py::arg("stream"),
                     py::arg("generator"), py::arg("random"), py::arg("threads"));
    define_of_halves(m, "_decode_halves", &decode_halves<f16, Code>, &decode_halves<bf16, Code>,
                     py::arg("codes").noconvert(), py::arg("out").noconvert(), py::arg("format"),
                     py::arg("threads"));
}

}  // namespace

void bind_halves(py::module_& m) {
    py::options brief;
    brief.disable_function_signatures();  // the stubs have them
    define_of_halves(m, "_quantize_halves", &quantize_halves<f16>, &quantize_halves<bf16>,
                     py::arg("codes").noconvert(), py::arg("out").noconvert(), py::arg("format"),
                     py::arg("rounding"), py::arg("saturation"), py::arg("random_bits"),
                     py::arg("seed"), py::arg("stream"), py::arg("generator"), py::arg("random"),
                     py::arg("threads"));
    bind_codes<std::uint8_t>(m);
    bind_codes<std::uint16_t>(m);
    bind_codes<std::uint32_t>(m);
    bind_codes<std::uint64_t>(m);
}

}  // namespace lowp::python
