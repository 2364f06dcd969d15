// lowp.quantize, encode and decode. Scalars and C-contiguous native float32 and float64 arrays are
// converted here; every other input goes to lowp._arrays, which brings it into that form.
#include <algorithm>
#include <optional>
#include <string>

#include "arrays.hpp"

namespace lowp::python {
namespace {

// clang-format off
constexpr const char* quantize_doc =
    "quantize(x, format, *, rounding=None, saturation=None, random_bits=None, seed=0, stream=0, "
    "generator='philox4x32_10', random=None, axis=-1, scales=None, out=None, threads=None)\n--\n\n"
    "x on the grid of a format: same shape, same dtype.\n\n"
    "x: float, or an array of float32, float64, float16 or bfloat16 of any shape and strides, or what\n"
    "has the array interface or DLPack on the CPU; never changed unless it is `out`. format: name, dtype,\n"
    "Format or BlockFormat. rounding: one of lowp.ROUNDINGS, None is nearest_ties_to_even, or a block\n"
    "format's own. saturation: None or \"none\" (overflow gives infinity, or NaN\n"
    "where there is none, or the largest value where there is neither), \"propagate\" (the largest\n"
    "value; infinity stays) or \"finite\" (the largest value). NaN stays NaN, in every format; -0 stays\n"
    "-0 where the format has one. out: array of the same shape and dtype, x itself for in place.\n"
    "threads: None or 0 for all cores on large arrays; the result does not depend on it.\n\n"
    "Block formats: axis is where blocks of one row lie (tiles: the last two axes); elements saturate;\n"
    "NaN and infinity make their block NaN unless the format says otherwise. scales: ideal scales\n"
    "instead of the rule's, one a block, or a function of the blocks (a 2-d array, one a row, short\n"
    "ones filled with zeros) that returns them; both are rounded to the scale format.\n\n"
    "Stochastic modes use random_bits (1..32, None is 32) bits an element: element i, in C order, has word i % 4\n"
    "of Philox with counter (i // 4, stream) and key seed, upper bits first; generator chooses 10 or 7\n"
    "rounds. random: integers below 2**random_bits instead, uint32 in the shape of x. The same seed\n"
    "and stream give the same bits: every call needs its own stream, single floats above all.\n\n"
    "Raises TypeError for other dtypes, ValueError where the dtype does not hold the format's values.\n"
    "Source: IEEE P3109, Project.";
constexpr const char* encode_doc =
    "encode(x, format, *, rounding=None, saturation=None, nan=None, random_bits=None, seed=0, "
    "stream=0, generator='philox4x32_10', random=None, axis=-1, scales=None, packed=None, out=None, "
    "threads=None)\n--\n\n"
    "Codes of x in a format: unsigned integers in the shape of x, right-aligned.\n\n"
    "Result: uint8, uint16, uint32 or uint64, the smallest that holds the format's bits, or the dtype\n"
    "of `out`; int for a float. `nan` says which code (an int) or value (a float) a\n"
    "NaN input becomes; None is the format's NaN, or ValueError where it has none. All else as in\n"
    "quantize. A BlockFormat gives a BlockTensor, its codes packed where packed is None and they have up\n"
    "to eight bits; it takes no `out`.\n"
    "Source: IEEE P3109, Encode.";
constexpr const char* decode_doc =
    "decode(codes, format=None, *, dtype=None, out=None, threads=None)\n--\n\n"
    "Values of codes of a format, in the shape of codes.\n\n"
    "codes: unsigned integers of any width and strides; an int gives a float; a BlockTensor knows its\n"
    "format. dtype: float32 (the\n"
    "default), float64, float16 or bfloat16; ValueError where it does not hold the format's values. A\n"
    "NaN code gives a quiet NaN. Raises ValueError for codes with bits above the format's, TypeError\n"
    "for codes that are not unsigned.";
constexpr const char* random_bits_doc =
    "random_bits(count, *, seed=0, stream=0, first_index=0, generator='philox4x32_10')\n--\n\n"
    "The 32-bit random words of elements first_index .. first_index + count - 1: uint32, one dimension.\n\n"
    "What stochastic rounding uses for (seed, stream); with N random bits, R is word >> (32 - N).\n"
    "Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (Philox4x32).";
// clang-format on

// ---- quantize ---------------------------------------------------------------------------------

template <class T>
std::optional<py::object> quantize_array(const py::object& x, const arguments& a,
                                         const py::object& out) {
    if (!is_plain<T>(x)) return std::nullopt;
    const auto array = py::reinterpret_borrow<plain<T>>(x);
    const converter<T> c(to_format(a.format), to_projection(a));
    const auto o = to_options(a, array);
    if (!o) return std::nullopt;
    auto result = output<T>(out, array, o->random);
    if (!result) return std::nullopt;
    const auto to = mutable_view(*result);
    unlocked(to.size(), [&] { lowp::quantize(view(array), to, c, *o); });
    return std::move(*result);
}

py::object quantize_object(const py::object& x, const py::object& f, const py::object& r,
                           const py::object& sat, const py::object& bits, const py::object& seed,
                           const py::object& stream, const py::object& gen,
                           const py::object& random, const py::object& axis,
                           const py::object& scales, const py::object& out,
                           const py::object& threads) {
    const arguments a{f, r, sat, bits, seed, stream, gen, random, threads};
    if (is_block_format(f)) return quantize_blocks(x, a, axis, scales, out);
    refuse_scales(scales);
    if (PyFloat_CheckExact(x.ptr()) && out.is_none()) {
        const converter<double> c(to_format(f), to_projection(a));
        return py::float_(c.quantize(PyFloat_AS_DOUBLE(x.ptr()), scalar_random(a, c.projection())));
    }
    if (auto y = quantize_array<float>(x, a, out)) return *y;
    if (auto y = quantize_array<double>(x, a, out)) return *y;
    return general("quantize")(x, f, **keywords(a, out));
}

// ---- encode -----------------------------------------------------------------------------------

/// The code that a NaN becomes: None leaves it to the format, an int is a code, a float a value.
std::optional<code_type> to_nan_code(const py::object& nan, const format& f) {
    if (nan.is_none()) return std::nullopt;
    if (PyFloat_Check(nan.ptr())) {
        const double value = PyFloat_AS_DOUBLE(nan.ptr());
        if (value != quantize(value, f, {.saturation = saturation::propagate}))
            throw py::value_error("nan must be a value of " + name(f) + " or a code; got " +
                                  std::string(py::repr(nan)));
        return encode(value, f, {.saturation = saturation::propagate});
    }
    const code_type code = to_word(nan, "nan");
    if ((code & ~f.code_mask()) != 0)
        throw py::value_error("nan must be a code of " + std::to_string(f.bits()) + " bits; got " +
                              std::to_string(code));
    return code;
}

template <class T, class Code>
std::optional<py::object> encode_to(const plain<T>& x, const arguments& a, const py::object& nan,
                                    const py::object& out) {
    const converter<T> c(to_format(a.format), to_projection(a));
    auto o = to_options(a, x);
    if (!o) return std::nullopt;
    auto result = output<Code>(out, x, o->random);
    if (!result) return std::nullopt;
    o->nan_code = to_nan_code(nan, c.format());
    const auto to = mutable_view(*result);
    unlocked(to.size(), [&] { lowp::encode(view(x), to, c, *o); });
    return std::move(*result);
}

template <class T>
std::optional<py::object> encode_array(const py::object& x, const arguments& a,
                                       const py::object& nan, const py::object& out) {
    if (!is_plain<T>(x)) return std::nullopt;
    const auto array = py::reinterpret_borrow<plain<T>>(x);
    int bits = to_format(a.format).bits();
    if (py::isinstance<py::array>(out))  // a wider integer than needed is welcome
        bits =
            std::max(bits, static_cast<int>(py::reinterpret_borrow<py::array>(out).itemsize()) * 8);
    if (bits <= 8) return encode_to<T, std::uint8_t>(array, a, nan, out);
    if (bits <= 16) return encode_to<T, std::uint16_t>(array, a, nan, out);
    if (bits <= 32) return encode_to<T, std::uint32_t>(array, a, nan, out);
    return encode_to<T, std::uint64_t>(array, a, nan, out);
}

py::object encode_object(const py::object& x, const py::object& f, const py::object& r,
                         const py::object& sat, const py::object& nan, const py::object& bits,
                         const py::object& seed, const py::object& stream, const py::object& gen,
                         const py::object& random, const py::object& axis, const py::object& scales,
                         const py::object& packed, const py::object& out,
                         const py::object& threads) {
    const arguments a{f, r, sat, bits, seed, stream, gen, random, threads};
    if (is_block_format(f))
        return blocks("encode")(x, f, py::arg("axis") = axis, py::arg("scales") = scales,
                                py::arg("packed") = packed, py::arg("nan") = nan,
                                **keywords(a, out));
    refuse_scales(scales);
    if (!packed.is_none())
        throw py::value_error("packed is of block formats; use lowp.pack on the codes");
    if (PyFloat_CheckExact(x.ptr()) && out.is_none()) {
        const format to = to_format(f);
        const converter<double> c(to, to_projection(a));
        const double value = PyFloat_AS_DOUBLE(x.ptr());
        const auto nan_code = to_nan_code(nan, to);
        if (value != value && nan_code) return py::int_(*nan_code);
        return py::int_(c.encode(value, scalar_random(a, c.projection())));
    }
    if (auto y = encode_array<float>(x, a, nan, out)) return *y;
    if (auto y = encode_array<double>(x, a, nan, out)) return *y;
    return general("encode")(x, f, py::arg("nan") = nan, **keywords(a, out));
}

// ---- decode -----------------------------------------------------------------------------------

template <class Code, class T>
std::optional<py::object> decode_to(const plain<Code>& codes, const format& f,
                                    const py::object& out, int threads) {
    options o = dispatch::options();
    o.threads = threads;
    auto result = output<T>(out, codes);
    if (!result) return std::nullopt;
    const auto to = mutable_view(*result);
    const converter<T> c(f);
    unlocked(to.size(), [&] { lowp::decode(view(codes), to, c, o); });
    return std::move(*result);
}

template <class Code>
std::optional<py::object> decode_array(const py::object& codes, const format& f,
                                       const py::dtype& dtype, const py::object& out, int threads) {
    if (!is_plain<Code>(codes)) return std::nullopt;
    const auto array = py::reinterpret_borrow<plain<Code>>(codes);
    if (dtype.num() == py::dtype::num_of<float>())
        return decode_to<Code, float>(array, f, out, threads);
    if (dtype.num() == py::dtype::num_of<double>())
        return decode_to<Code, double>(array, f, out, threads);
    return std::nullopt;
}

py::object decode_object(const py::object& codes, const py::object& f, const py::object& dtype,
                         const py::object& out, const py::object& threads) {
    if (f.is_none() || is_block_format(f))
        return blocks("decode")(codes, f, py::arg("dtype") = dtype, py::arg("out") = out,
                                py::arg("threads") = threads);
    const format from = to_format(f);
    if (PyLong_CheckExact(codes.ptr()) && out.is_none()) {
        const code_type code = to_word(codes, "codes");
        if ((code & ~from.code_mask()) != 0)
            throw py::value_error("code " + std::to_string(code) + " has bits above the format's " +
                                  std::to_string(from.bits()));
        return py::float_(converter<double>(from).decode(code));
    }
    const py::dtype to = dtype.is_none() ? py::dtype::of<float>() : py::dtype::from_args(dtype);
    const int count = to_threads(threads);
    if (to.byteorder() != '>') {
        if (auto y = decode_array<std::uint8_t>(codes, from, to, out, count)) return *y;
        if (auto y = decode_array<std::uint16_t>(codes, from, to, out, count)) return *y;
        if (auto y = decode_array<std::uint32_t>(codes, from, to, out, count)) return *y;
        if (auto y = decode_array<std::uint64_t>(codes, from, to, out, count)) return *y;
    }
    return general("decode")(codes, f, py::arg("dtype") = to, py::arg("out") = out,
                             py::arg("threads") = threads);
}

py::array_t<std::uint32_t> random_bits(py::ssize_t count, const py::object& seed,
                                       const py::object& stream, const py::object& first_index,
                                       const py::object& gen) {
    if (count < 0)
        throw py::value_error("count must not be negative; got " + std::to_string(count));
    const random_source source{to_word(seed, "seed"), to_word(stream, "stream"),
                               from_name<generator>(gen, generator_names, "generator")};
    py::array_t<std::uint32_t> words(count);
    dispatch::loops().random(source, to_word(first_index, "first_index"), words.mutable_data(),
                             static_cast<std::size_t>(count));
    return words;
}

}  // namespace

namespace {

/// The argument that was meant by `word`, "" for none; `word` itself if it is one.
std::string_view nearest_argument(const call_signature& s, std::string_view word) {
    std::string_view nearest;
    std::size_t distance = 4;
    for (const auto* const list : {&s.positional, &s.keywords})
        for (const std::string_view known : *list) {
            if (known == word) return known;
            const std::size_t d = detail::edit_distance(word, known);
            if (d < distance) {
                distance = d;
                nearest = known;
            }
        }
    return nearest;
}

/// A number or string as it was written, else its type.
std::string shown(const py::handle& value) {
    const bool is_short = value.is_none() || PyLong_Check(value.ptr()) ||
                          PyFloat_CheckExact(value.ptr()) || PyUnicode_Check(value.ptr());
    if (!is_short) return py::str(py::type::of(value).attr("__name__"));
    return std::string(py::repr(value)).substr(0, 40);
}

}  // namespace

void refuse_arguments(const call_signature& s, const py::args& args, const py::kwargs& given) {
    std::string got;
    for (const py::handle value : args) got.append(got.empty() ? "" : ", ").append(shown(value));
    for (const auto& [key, value] : given) {
        const auto word = key.cast<std::string>();
        const std::string_view nearest = nearest_argument(s, word);
        got.append(got.empty() ? "" : ", ").append(word).append("=").append(shown(value));
        if (nearest == word) continue;
        std::string message = s.function + "() has no argument '" + word + "'";
        if (word == "compat") message += ": it belongs to the format, as 'nvfp4/compat=torchao'";
        else if (!nearest.empty()) message.append("; did you mean '").append(nearest).append("'?");
        throw py::type_error(message);
    }
    std::string takes(s.takes);
    if (takes.empty()) {
        for (const std::string_view name : s.positional)
            takes.append(takes.empty() ? "" : " and ").append(name);
        takes += ", then arguments by name";
    }
    throw py::type_error(s.function + "() takes " + takes + "; got " + s.function + "(" + got +
                         ")");
}

void refuse_other_arguments(py::module_& m, const call_signature& s) {
    m.def(s.function.c_str(),
          [s](const py::args& args, const py::kwargs& given) { refuse_arguments(s, args, given); });
}

void bind_array(py::module_& m) {
    py::options brief;
    brief.disable_function_signatures();  // the stubs have them
    const auto number = [](int n) { return py::object(py::int_(n)); };
    const py::object none = py::none();
    const py::object philox = py::str("philox4x32_10");
    const auto last = number(-1);
    m.def("quantize", &quantize_object, py::arg("x"), py::arg("format"), py::kw_only(),
          py::arg("rounding") = none, py::arg("saturation") = none, py::arg("random_bits") = none,
          py::arg("seed") = number(0), py::arg("stream") = number(0), py::arg("generator") = philox,
          py::arg("random") = none, py::arg("axis") = last, py::arg("scales") = none,
          py::arg("out") = none, py::arg("threads") = none, quantize_doc);
    m.def("encode", &encode_object, py::arg("x"), py::arg("format"), py::kw_only(),
          py::arg("rounding") = none, py::arg("saturation") = none, py::arg("nan") = none,
          py::arg("random_bits") = none, py::arg("seed") = number(0), py::arg("stream") = number(0),
          py::arg("generator") = philox, py::arg("random") = none, py::arg("axis") = last,
          py::arg("scales") = none, py::arg("packed") = none, py::arg("out") = none,
          py::arg("threads") = none, encode_doc);
    m.def("decode", &decode_object, py::arg("codes"), py::arg("format") = none, py::kw_only(),
          py::arg("dtype") = none, py::arg("out") = none, py::arg("threads") = none, decode_doc);
    m.def("random_bits", &random_bits, py::arg("count"), py::kw_only(), py::arg("seed") = number(0),
          py::arg("stream") = number(0), py::arg("first_index") = number(0),
          py::arg("generator") = philox, random_bits_doc);
    const std::vector<std::string_view> shared{"rounding", "saturation", "random_bits", "seed",
                                               "stream",   "generator",  "random",      "axis",
                                               "scales",   "out",        "threads"};
    auto of_encode = shared;
    of_encode.insert(of_encode.end(), {"nan", "packed"});
    refuse_other_arguments(m, {"quantize", {"x", "format"}, shared, {}});
    refuse_other_arguments(m, {"encode", {"x", "format"}, of_encode, {}});
    refuse_other_arguments(m, {"decode", {"codes"}, {"format", "dtype", "out", "threads"}, {}});
    m.def(
        "set_threads",
        [](const py::object& n) { default_threads = to_small(n, "threads", 0, 1024); },
        py::arg("threads"), "Threads of calls that do not say: 0 is all cores for large arrays.");
    m.def(
        "get_threads", [] { return default_threads.load(); }, "What set_threads set.");
}

}  // namespace lowp::python
