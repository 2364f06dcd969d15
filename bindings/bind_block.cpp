// What lowp._blocks calls: plain arrays only, everything else is brought into that form there. A plain
// quantize comes here at once.
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halves.hpp"
#include "lowp/block.hpp"
#include "lowp/hadamard.hpp"

namespace lowp::python {
namespace {

using optional_doubles = std::optional<plain<double>>;

std::optional<std::span<const double>> span_of(const optional_doubles& a) {
    if (!a) return std::nullopt;
    return std::span(a->data(), static_cast<std::size_t>(a->size()));
}

struct call {
    block_layout layout;
    block_options options;
};

std::vector<std::size_t> shape_list(const py::array& x) {
    return {x.shape(), x.shape() + x.ndim()};
}

call make_call(const block_format& f, const std::vector<std::size_t>& shape, int axis,
               const random_source& source, int threads) {
    call c;
    c.layout = layout_of(f.shape, shape, axis);
    static_cast<options&>(c.options) = dispatch::options();
    c.options.source = source;
    c.options.threads = threads;
    return c;
}

random_source source_of(std::uint64_t seed, std::uint64_t stream,
                        const py::object& generator_name) {
    return {seed, stream, from_name<generator>(generator_name, generator_names, "generator")};
}

template <class T>
void quantize_blocks(const plain<stored<T>>& x, plain<stored<T>>& out, const block_format& f,
                     int axis, std::uint64_t seed, std::uint64_t stream, const py::object& gen,
                     const std::optional<plain<std::uint32_t>>& random,
                     const optional_doubles& scales, int threads) {
    call c = make_call(f, shape_list(x), axis, source_of(seed, stream, gen), threads);
    const auto size = static_cast<std::size_t>(x.size());
    if (random) c.options.random = std::span(random->data(), size);
    c.options.given.ideals = span_of(scales);
    const std::span<const T> from = elements<T>(x);
    const std::span<T> to = mutable_elements<T>(out);
    const py::gil_scoped_release released;
    lowp::quantize<T>(from, to, f, c.layout, c.options);
}

template <class T>
py::tuple encode_blocks(const plain<stored<T>>& x, const block_format& f, int axis, bool packed,
                        std::uint64_t seed, std::uint64_t stream, const py::object& gen,
                        const std::optional<plain<std::uint32_t>>& random,
                        const optional_doubles& scales, const std::optional<std::uint64_t>& nan,
                        int threads) {
    call c = make_call(f, shape_list(x), axis, source_of(seed, stream, gen), threads);
    const auto size = static_cast<std::size_t>(x.size());
    if (random) c.options.random = std::span(random->data(), size);
    c.options.given.ideals = span_of(scales);
    c.options.nan_code = nan;
    const packing how = packed ? packing::dense : packing::loose;
    plain<std::uint8_t> codes(static_cast<py::ssize_t>(code_size(f, c.layout, how)));
    plain<std::uint8_t> scale_codes(static_cast<py::ssize_t>(scale_size(f, c.layout)));
    const block_memory to{codes.mutable_data(), scale_codes.mutable_data(), how};
    const std::span<const T> from = elements<T>(x);
    std::vector<double> outer;
    {
        const py::gil_scoped_release released;
        outer = lowp::encode<T>(from, to, f, c.layout, c.options);
    }
    return py::make_tuple(
        codes, scale_codes,
        py::array_t<double>(static_cast<py::ssize_t>(outer.size()), outer.data()));
}

template <class T>
void decode_blocks(const plain<std::uint8_t>& codes, const plain<std::uint8_t>& scales,
                   const plain<double>& outer, plain<stored<T>>& out, const block_format& f,
                   int axis, bool packed, int threads) {
    const call c = make_call(f, shape_list(out), axis, {}, threads);
    const packing how = packed ? packing::dense : packing::loose;
    if (static_cast<std::size_t>(codes.size()) != code_size(f, c.layout, how) ||
        static_cast<std::size_t>(scales.size()) != scale_size(f, c.layout))
        throw py::value_error(
            "codes and scales must have " + std::to_string(code_size(f, c.layout, how)) + " and " +
            std::to_string(scale_size(f, c.layout)) + " bytes; got " +
            std::to_string(codes.size()) + " and " + std::to_string(scales.size()));
    // decode only reads through these.
    const block_memory from{const_cast<std::uint8_t*>(codes.data()),
                            const_cast<std::uint8_t*>(scales.data()), how};
    const std::span<const double> levels(outer.data(), static_cast<std::size_t>(outer.size()));
    const std::span<T> to = mutable_elements<T>(out);
    const py::gil_scoped_release released;
    lowp::decode<T>(from, levels, to, f, c.layout, c.options);
}

template <class T>
void hadamard_runs(const plain<T>& x, plain<T>& out, std::size_t size,
                   const std::optional<plain<std::int8_t>>& signs,
                   const std::optional<std::uint64_t>& seed, std::uint64_t stream, bool inverse,
                   std::size_t columns, int threads) {
    hadamard_options o;
    if (signs) o.signs = std::span(signs->data(), static_cast<std::size_t>(signs->size()));
    if (seed) o.source = random_source{*seed, stream};
    o.is_inverse = inverse;
    o.columns = columns;
    o.threads = threads;
    o.loops = &dispatch::loops();
    const std::span<const T> from(x.data(), static_cast<std::size_t>(x.size()));
    const std::span<T> to(out.mutable_data(), static_cast<std::size_t>(out.size()));
    const py::gil_scoped_release released;
    lowp::hadamard<T>(from, to, size, o);
}

int to_axis(const py::object& axis) {
    int overflow = 0;
    const long value = PyLong_AsLongAndOverflow(axis.ptr(), &overflow);
    if (overflow != 0 || value > 1024 || value < -1024)
        throw py::value_error("axis must be one of the array's; got " + std::string(py::str(axis)));
    return static_cast<int>(value);
}

/// A plain array in a block format, with the format's own rounding; nothing where lowp._blocks must
/// look at it.
template <class T>
std::optional<py::object> quantize_plain_blocks(const py::object& x, const arguments& a,
                                                const py::object& axis, const py::object& scales,
                                                const py::object& out) {
    if (!is_plain<T>(x) || !PyLong_CheckExact(axis.ptr()) || !scales.is_none() ||
        !a.random.is_none() || !a.rounding.is_none() || !a.saturation.is_none() ||
        !a.random_bits.is_none())
        return std::nullopt;
    const auto array = py::reinterpret_borrow<plain<T>>(x);
    auto result = output<T>(out, array);
    if (!result) return std::nullopt;
    const block_format f = to_block_format(a.format);
    const std::vector<std::size_t> shape(array.shape(), array.shape() + array.ndim());
    const block_layout layout = layout_of(f.shape, shape, to_axis(axis));
    block_options o;
    static_cast<options&>(o) = *to_options(a, array);
    const auto to = mutable_view(*result);
    unlocked(to.size(), [&] { lowp::quantize<T>(view(array), to, f, layout, o); });
    return std::move(*result);
}

template <class T>
void bind_verbs(py::module_& m) {
    m.def("_block_quantize", &quantize_blocks<T>, py::arg("x").noconvert(),
          py::arg("out").noconvert(), py::arg("format"), py::arg("axis"), py::arg("seed"),
          py::arg("stream"), py::arg("generator"), py::arg("random"), py::arg("scales"),
          py::arg("threads"));
    m.def("_block_encode", &encode_blocks<T>, py::arg("x").noconvert(), py::arg("format"),
          py::arg("axis"), py::arg("packed"), py::arg("seed"), py::arg("stream"),
          py::arg("generator"), py::arg("random"), py::arg("scales"), py::arg("nan"),
          py::arg("threads"));
    m.def("_block_decode", &decode_blocks<T>, py::arg("codes"), py::arg("scales"), py::arg("outer"),
          py::arg("out").noconvert(), py::arg("format"), py::arg("axis"), py::arg("packed"),
          py::arg("threads"));
    m.def("_hadamard", &hadamard_runs<T>, py::arg("x").noconvert(), py::arg("out").noconvert(),
          py::arg("size"), py::arg("signs"), py::arg("seed"), py::arg("stream"), py::arg("inverse"),
          py::arg("columns"), py::arg("threads"));
}

void bind_halves_of_blocks(py::module_& m) {
    define_of_halves(m, "_block_quantize_halves", &quantize_blocks<f16>, &quantize_blocks<bf16>,
                     py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("format"),
                     py::arg("axis"), py::arg("seed"), py::arg("stream"), py::arg("generator"),
                     py::arg("random"), py::arg("scales"), py::arg("threads"));
    define_of_halves(m, "_block_encode_halves", &encode_blocks<f16>, &encode_blocks<bf16>,
                     py::arg("x").noconvert(), py::arg("format"), py::arg("axis"),
                     py::arg("packed"), py::arg("seed"), py::arg("stream"), py::arg("generator"),
                     py::arg("random"), py::arg("scales"), py::arg("nan"), py::arg("threads"));
    define_of_halves(m, "_block_decode_halves", &decode_blocks<f16>, &decode_blocks<bf16>,
                     py::arg("codes"), py::arg("scales"), py::arg("outer"),
                     py::arg("out").noconvert(), py::arg("format"), py::arg("axis"),
                     py::arg("packed"), py::arg("threads"));
}

}  // namespace

py::object quantize_blocks(const py::object& x, const arguments& a, const py::object& axis,
                           const py::object& scales, const py::object& out) {
    if (auto y = quantize_plain_blocks<float>(x, a, axis, scales, out)) return *y;
    if (auto y = quantize_plain_blocks<double>(x, a, axis, scales, out)) return *y;
    return blocks("quantize")(x, a.format, py::arg("axis") = axis, py::arg("scales") = scales,
                              **keywords(a, out));
}

void bind_block(py::module_& m) {
    py::options brief;
    brief.disable_function_signatures();  // the stubs have them
    m.def(
        "_block_grid",
        [](const block_format& f, const std::vector<std::size_t>& shape, int axis) {
        const block_layout l = layout_of(f.shape, shape, axis);
        return py::make_tuple(l.count, l.rows, l.columns, l.block_rows, l.block_columns,
                              l.is_upright);
        },
        py::arg("format"), py::arg("shape"), py::arg("axis"));
    bind_verbs<float>(m);
    bind_verbs<double>(m);
    bind_halves_of_blocks(m);
}

}  // namespace lowp::python
