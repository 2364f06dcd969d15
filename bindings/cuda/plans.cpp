// Calls with what does not change from call to call worked out before: a training step makes thousands.
#include "common.hpp"
#include "lowp/cuda_delayed.hpp"

namespace lowp::python {
namespace {

/// The random bits of a call, the word for failures and the stream, as one tuple of integers: seed,
/// stream, generator (0: of 10 rounds, 1: of 7), addresses of the stream's offset and of the word, the
/// queue, address of random bits given instead.
using source = std::tuple<std::uint64_t, std::uint64_t, int, pointer, pointer, pointer, pointer>;

cuda::options options_of(const source& s) {
    cuda::options o;
    o.random = at<const std::uint32_t>(std::get<6>(s));
    o.source = {std::get<0>(s), std::get<1>(s), static_cast<generator>(std::get<2>(s))};
    o.stream_offset = at<const std::uint64_t>(std::get<3>(s));
    o.failures = at<std::uint32_t>(std::get<4>(s));
    return o;
}
cuda::stream queue_of(const source& s) { return at<CUstream_st>(std::get<5>(s)); }

/// Element by element: a format, a projection and the dtype of the values.
class conversion {
public:
    conversion(const std::string& f, const std::string& dtype, const std::string& r,
               const std::string& s, int random_bits)
        : format_(parse_format(f)),
          carrier_(carrier_of(dtype)),
          projection_(projection_of(r, s, random_bits)) {}

    void quantize(pointer x, pointer out, std::size_t n, const source& s) const {
        const auto all = cuda::layout::of({n});
        cuda::quantize({at<void>(x), carrier_, all}, {at<void>(out), carrier_, all}, format_,
                       projection_, options_of(s), queue_of(s));
    }
    void quantize_strided(pointer x, const steps& from, pointer out, const steps& to,
                          const lengths& shape, const source& s) const {
        cuda::quantize({at<void>(x), carrier_, cuda::layout::of(shape, from)},
                       {at<void>(out), carrier_, cuda::layout::of(shape, to)}, format_, projection_,
                       options_of(s), queue_of(s));
    }
    void encode(pointer x, const steps& from, pointer out, const steps& to, int code_bytes,
                const lengths& shape, const std::optional<std::uint64_t>& nan,
                const source& s) const {
        cuda::options o = options_of(s);
        o.nan_code = nan;
        cuda::encode({at<void>(x), carrier_, cuda::layout::of(shape, from)},
                     {at<void>(out), code_bytes, cuda::layout::of(shape, to)}, format_, projection_,
                     o, queue_of(s));
    }
    void decode(pointer codes, const steps& from, int code_bytes, pointer out, const steps& to,
                const lengths& shape, const source& s) const {
        cuda::decode({at<void>(codes), code_bytes, cuda::layout::of(shape, from)},
                     {at<void>(out), carrier_, cuda::layout::of(shape, to)}, format_, options_of(s),
                     queue_of(s));
    }

private:
    format format_;
    cuda::carrier carrier_;
    projection projection_;
};

/// In blocks: a block format, the dtype of the values, and the array's shape.
class block_conversion {
public:
    block_conversion(const std::string& f, const std::string& dtype, const lengths& shape, int axis)
        : format_(parse_block_format(f)),
          carrier_(carrier_of(dtype)),
          layout_(layout_of(format_.shape, shape, axis)) {}

    [[nodiscard]] std::size_t workspace(bool packed) const {  // NOLINT: Python's word
        return cuda::workspace_size(carrier_, format_, layout_, packing_of(packed));
    }
    void quantize(pointer x, pointer out, pointer workspace, pointer ideals,
                  const source& s) const {
        cuda::block_options o = block_options_of(s, workspace);
        o.ideals = at<const double>(ideals);
        cuda::quantize(at<void>(x), at<void>(out), carrier_, format_, layout_, o, queue_of(s));
    }
    void encode(pointer x, pointer codes, pointer scales, pointer outer, bool packed,
                const std::optional<std::uint64_t>& nan, pointer workspace, pointer ideals,
                const source& s) const {
        cuda::block_options o = block_options_of(s, workspace);
        o.nan_code = nan;
        o.ideals = at<const double>(ideals);
        cuda::encode(at<void>(x), carrier_, memory_of(codes, scales, outer, packed), format_,
                     layout_, o, queue_of(s));
    }
    void decode(pointer codes, pointer scales, pointer outer, std::size_t outer_given, bool packed,
                pointer out, pointer workspace, const source& s) const {
        cuda::block_options o = block_options_of(s, workspace);
        o.outer_given = outer_given;
        cuda::decode(memory_of(codes, scales, outer, packed), at<void>(out), carrier_, format_,
                     layout_, o, queue_of(s));
    }

private:
    static packing packing_of(bool packed) { return packed ? packing::dense : packing::loose; }
    static cuda::block_options block_options_of(const source& s, pointer workspace) {
        cuda::block_options o;
        static_cast<cuda::options&>(o) = options_of(s);
        o.workspace = at<void>(workspace);
        return o;
    }
    static cuda::block_memory memory_of(pointer codes, pointer scales, pointer outer, bool packed) {
        return {at<std::uint8_t>(codes), at<std::uint8_t>(scales), at<double>(outer),
                packing_of(packed)};
    }

    block_format format_;
    cuda::carrier carrier_;
    block_layout layout_;
};

/// With a scale that past calls left: a block format and the dtype of the values.
class delayed_conversion {
public:
    delayed_conversion(const std::string& f, const std::string& dtype)
        : format_(parse_block_format(f)), carrier_(carrier_of(dtype)) {
        if (cuda::has_delayed(format_)) return;
        PyErr_SetString(PyExc_NotImplementedError, "no kernel has delayed scales of this format");
        throw py::error_already_set();
    }
    [[nodiscard]] std::size_t workspace() const { return cuda::delayed_workspace_size; }  // NOLINT

    void quantize(pointer x, pointer out, std::size_t n, pointer history, std::size_t length,
                  pointer scale, int margin, const std::string& take, const std::string& observes,
                  pointer workspace, const source& s) const {
        constexpr std::array<std::string_view, 2> takes{"max", "most_recent"};
        constexpr std::array<std::string_view, 2> observed{"nothing", "amax"};
        cuda::delayed_options o;
        static_cast<cuda::options&>(o) = options_of(s);
        o.margin = margin;
        o.take = enumerator<delayed_scaling::take>(take, takes, "take");
        o.observes = enumerator<cuda::observing>(observes, observed, "observing");
        o.workspace = at<void>(workspace);
        cuda::quantize_delayed(at<void>(x), at<void>(out), carrier_, format_, n,
                               {at<float>(history), length, at<float>(scale)}, o, queue_of(s));
    }

private:
    block_format format_;
    cuda::carrier carrier_;
};

void pack_lines(pointer codes, std::size_t lines, std::size_t count, int bits, pointer bytes,
                const source& s) {
    cuda::pack_lines(at<std::uint8_t>(codes), lines, count, bits, at<std::uint8_t>(bytes),
                     options_of(s), queue_of(s));
}
void unpack_lines(pointer bytes, std::size_t lines, std::size_t count, int bits, pointer codes,
                  const source& s) {
    cuda::unpack_lines(at<std::uint8_t>(bytes), lines, count, bits, at<std::uint8_t>(codes),
                       queue_of(s));
}
void pack(pointer codes, std::size_t count, int bits, pointer bytes, const source& s) {
    cuda::pack(at<std::uint8_t>(codes), count, bits, at<std::uint8_t>(bytes), options_of(s),
               queue_of(s));
}
void unpack(pointer bytes, int bits, pointer codes, std::size_t count, const source& s) {
    cuda::unpack(at<std::uint8_t>(bytes), bits, at<std::uint8_t>(codes), count, queue_of(s));
}

}  // namespace

void bind_plans(py::module_& m) {
    py::class_<conversion>(m, "Conversion", "A format, a projection and a dtype, worked out once.")
        .def(py::init<std::string, std::string, std::string, std::string, int>(), py::arg("format"),
             py::arg("dtype"), py::arg("rounding"), py::arg("saturation"), py::arg("random_bits"))
        .def("quantize", &conversion::quantize)
        .def("quantize_strided", &conversion::quantize_strided)
        .def("encode", &conversion::encode)
        .def("decode", &conversion::decode);
    py::class_<block_conversion>(m, "BlockConversion",
                                 "A block format, a dtype and a shape, worked out once.")
        .def(py::init<std::string, std::string, lengths, int>(), py::arg("format"),
             py::arg("dtype"), py::arg("shape"), py::arg("axis"))
        .def("workspace", &block_conversion::workspace, py::arg("packed"))
        .def("quantize", &block_conversion::quantize)
        .def("encode", &block_conversion::encode)
        .def("decode", &block_conversion::decode);
    py::class_<delayed_conversion>(m, "DelayedConversion",
                                   "A block format and a dtype, worked out once.")
        .def(py::init<std::string, std::string>(), py::arg("format"), py::arg("dtype"))
        .def("workspace", &delayed_conversion::workspace)
        .def("quantize", &delayed_conversion::quantize);
    m.def("pack", &pack);
    m.def("unpack", &unpack);
    m.def("pack_lines", &pack_lines);
    m.def("unpack_lines", &unpack_lines);
}

}  // namespace lowp::python
