// lowp.Format and the registry.
#include <cctype>
#include <functional>
#include <unordered_map>

#include "common.hpp"
#include "lowp/block_formats.hpp"

namespace lowp::python {

namespace {

/// Block presets that begin as a name does, whatever the case and bars: for messages.
std::string near_presets(std::string_view name) {
    const auto plain = [](std::string_view text) {
        std::string word;
        for (const char c : text)
            if (c != '_')
                word.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
        return word;
    };
    const std::string wanted = plain(name);
    std::string found;
    for (const named_block_format& p : block_presets)
        if (wanted.size() > 2 && plain(p.name).starts_with(wanted))
            found.append(" ").append(p.name);
    return found.empty() ? "" : "; block formats:" + found;
}

}  // namespace

py::object named(const py::object& object) {
    const auto dtype_name = [&object] { return py::dtype::from_args(object).attr("name"); };
    if (py::isinstance<py::dtype>(object)) return dtype_name();
    const std::string_view type = Py_TYPE(object.ptr())->tp_name;
    if (type == "torch.dtype") {
        const auto name = py::str(object).cast<std::string>();  // torch.bfloat16
        return py::str(name.substr(name.rfind('.') + 1));
    }
    if (!PyType_Check(object.ptr())) return object;
    const py::object scalar = py::module_::import("numpy").attr("generic");
    return PyObject_IsSubclass(object.ptr(), scalar.ptr()) == 1 ? dtype_name() : object;
}

format to_format(const py::object& given) {
    if (py::isinstance<format>(given)) return given.cast<const format&>();
    const py::object object = named(given);
    Py_ssize_t length = 0;
    const char* const text =
        PyUnicode_Check(object.ptr()) ? PyUnicode_AsUTF8AndSize(object.ptr(), &length) : nullptr;
    if (text == nullptr) {
        PyErr_Clear();
        throw py::type_error(
            "format must be a Format, a dtype or a name such as \"float8_e4m3fn\"; got " +
            std::string(py::str(py::type::of(object))));
    }
    static std::unordered_map<std::string, format> known;  // guarded by the GIL
    const std::string name(text, static_cast<std::size_t>(length));
    const auto found = known.find(name);
    if (found != known.end()) return found->second;
    if (known.size() > 4096) known.clear();  // names may come from outside
    try {
        return known.emplace(name, parse_format(name)).first->second;
    } catch (const std::invalid_argument& error) {
        if (is_block_format(object))
            throw py::value_error(
                "\"" + name + "\" is a block format; this takes a scalar one, as float4_e2m1fn");
        throw py::value_error(std::string(error.what()) + near_presets(name));
    }
}

namespace {

// clang-format off
constexpr const char* format_doc =
    "A number format: integers and flags that say what every code means. Immutable, hashable.\n\n"
    "code = S EEEE MMM. Field E == 0: M * 2**(1 - bias - mantissa_bits); else\n"
    "(2**mantissa_bits + M) * 2**(E - bias - mantissa_bits). Special values are counted from the top\n"
    "of the magnitudes: nan_codes NaNs, then the infinity, then max. exponent_bits 0 is fixed point.\n\n"
    "exponent_bits: 0..11. mantissa_bits: 0..52, without the hidden bit. bias: default that of IEEE.\n"
    "is_signed: a sign bit. has_inf: one infinity a sign. nan_codes: NaN codes at the top, a sign.\n"
    "has_neg_zero: False makes the code of -0 the NaN. has_subnormals: False leaves field 0 to zero.\n"
    "has_zero: False makes field 0 hold normal numbers (E8M0). is_twos_complement: integers, Qm.f.\n"
    "Without specials every code is a number: Format(exponent_bits=4, mantissa_bits=5) is \"e4m5f\", and\n"
    "the name \"e4m5\" is IEEE's layout, the same with has_inf=True, nan_codes=31.\n"
    "Raises ValueError where the fields contradict each other.";
// clang-format on

py::object optional_code(bool present, code_type code) {
    return present ? py::object(py::int_(code)) : py::object(py::none());
}

py::array_t<double> values_of(const format& f) {
    const std::vector<double> all = values(f);
    return py::array_t<double>(static_cast<py::ssize_t>(all.size()), all.data());
}

std::size_t hash(const format& f) {
    std::size_t h = 0;
    for (const std::int64_t field :
         {std::int64_t{f.exponent_bits}, std::int64_t{f.mantissa_bits}, std::int64_t{f.bias},
          std::int64_t{f.is_signed}, std::int64_t{f.has_inf}, f.nan_codes,
          std::int64_t{f.has_neg_zero}, std::int64_t{f.has_subnormals}, std::int64_t{f.has_zero},
          std::int64_t{f.is_twos_complement}})
        h = h * 1000003U ^ std::hash<std::int64_t>{}(field);
    return h;
}

format make_format(int exponent_bits, int mantissa_bits, std::optional<int> bias, bool is_signed,
                   bool has_inf, std::int64_t nan_codes, std::optional<bool> has_neg_zero,
                   bool has_subnormals, bool has_zero, bool is_twos_complement) {
    const format f{.exponent_bits = exponent_bits,
                   .mantissa_bits = mantissa_bits,
                   .bias = bias.value_or(exponent_bits >= 0 && exponent_bits <= 11
                                             ? format::ieee_bias(exponent_bits)
                                             : 0),
                   .is_signed = is_signed,
                   .has_inf = has_inf,
                   .nan_codes = nan_codes,
                   .has_neg_zero = has_neg_zero.value_or(is_signed && !is_twos_complement),
                   .has_subnormals = has_subnormals,
                   .has_zero = has_zero,
                   .is_twos_complement = is_twos_complement};
    f.validate();
    return f;
}

void bind_fields(py::class_<format>& c) {
    c.def_readonly("exponent_bits", &format::exponent_bits, "0..11; 0 is fixed point.")
        .def_readonly("mantissa_bits", &format::mantissa_bits, "0..52, without the hidden bit.")
        .def_readonly("bias", &format::bias, "Exponent = field - bias.")
        .def_readonly("is_signed", &format::is_signed,
                      "Whether there is a sign bit, above the exponent.")
        .def_readonly("has_inf", &format::has_inf,
                      "Whether there is an infinity of each sign, below the NaN codes.")
        .def_readonly("nan_codes", &format::nan_codes,
                      "NaN codes at the top of the magnitudes, for each sign.")
        .def_readonly("has_neg_zero", &format::has_neg_zero,
                      "Whether there is a -0; where not, its code is the NaN.")
        .def_readonly("has_subnormals", &format::has_subnormals,
                      "Whether field 0 holds subnormals; where not, zero only.")
        .def_readonly("has_zero", &format::has_zero,
                      "Whether there is a zero; where not, field 0 holds normal numbers.")
        .def_readonly("is_twos_complement", &format::is_twos_complement,
                      "Whether codes are two's complement integers.");
}

void bind_derived(py::class_<format>& c) {
    c.def_property_readonly(
         "name", [](const format& f) { return name(f); },
         "Canonical name; lowp.format(f.name) == f.")
        .def_property_readonly("bits", &format::bits, "Bits of a code.")
        .def_property_readonly("precision", &format::precision,
                               "Significant bits of a normal number.")
        .def_property_readonly("emin", &format::emin, "Exponent of the smallest normal number.")
        .def_property_readonly("emax", &format::emax, "floor(log2(max)).")
        .def_property_readonly("max", &format::max, "Largest finite value.")
        .def_property_readonly("lowest", &format::lowest, "Lowest finite value.")
        .def_property_readonly("min_normal", &format::min_normal,
                               "Smallest positive normal number.")
        .def_property_readonly("min_subnormal", &format::min_subnormal, "Smallest positive value.")
        .def_property_readonly("epsilon", &format::epsilon,
                               "2**(1 - precision); fixed point: the quantum.")
        .def_property_readonly("has_nan", &format::has_nan, "Whether any code is NaN.")
        .def_property_readonly("finite_values", &format::finite_values,
                               "Number of distinct finite values.")
        .def_property_readonly("max_code", &format::max_code, "Code of max.")
        .def_property_readonly("lowest_code", &format::lowest_code, "Code of lowest.")
        .def_property_readonly(
            "inf_code",
            [](const format& f) { return optional_code(f.has_inf, f.has_inf ? f.inf_code() : 0); },
            "Code of +infinity, or None.")
        .def_property_readonly(
            "nan_code",
            [](const format& f) {
        return optional_code(f.has_nan(), f.has_nan() ? f.nan_code() : 0);
            },
            "Code that conversions give NaN, or None.")
        .def_property_readonly(
            "zero_code", [](const format& f) { return optional_code(f.has_zero, 0); },
            "Code of +0, or None.")
        .def("values", &values_of, "All finite values in increasing order, float64, zero once.")
        .def("holds", &format::holds, py::arg("format"),
             "Whether every finite value of a Format is one of this one, which has a sign and\n"
             "subnormals: no larger, no finer and of no more digits.");
}

void bind_identity(py::class_<format>& c) {
    c.def(
         "__eq__",
         [](const format& a, const py::object& b) {
        return py::isinstance<format>(b) && a == b.cast<const format&>();
         })
        .def("__hash__", &hash)
        .def("__repr__", [](const format& f) { return "lowp.format(\"" + name(f) + "\")"; })
        .def("__str__", [](const format& f) { return name(f); })
        // By name: every descriptor has one, and names last.
        .def("__reduce__", [](const format& f) {
            return py::make_tuple(py::module_::import("lowp._core").attr("format"),
                                  py::make_tuple(name(f)));
        });
}

}  // namespace

void bind_format(py::module_& m) {
    py::class_<format> c(m, "Format", py::is_final(), format_doc);
    c.def(py::init(&make_format), py::kw_only(), py::arg("exponent_bits"), py::arg("mantissa_bits"),
          py::arg("bias") = py::none(), py::arg("is_signed") = true, py::arg("has_inf") = false,
          py::arg("nan_codes") = 0, py::arg("has_neg_zero") = py::none(),
          py::arg("has_subnormals") = true, py::arg("has_zero") = true,
          py::arg("is_twos_complement") = false);
    refuse_other_arguments(
        c, {"Format",
            {},
            {"exponent_bits", "mantissa_bits", "bias", "is_signed", "has_inf", "nan_codes",
             "has_neg_zero", "has_subnormals", "has_zero", "is_twos_complement"},
            "exponent_bits and mantissa_bits, integers, and other fields, all by name"});
    bind_fields(c);
    bind_derived(c);
    bind_identity(c);

    m.def(
        "format", [](const py::object& f) { return to_format(f); }, py::arg("name"), py::pos_only(),
        "The format of a name or of a dtype's name (np.float16, ml_dtypes.float8_e4m3fn), or a "
        "Format\n"
        "itself. ValueError with the nearest names otherwise.");
    m.def(
        "formats",
        [] {
        py::dict all;
        for (const named_format& entry : registry)
            all[py::str(std::string(entry.name))] = entry.format;
        return all;
        },
        "Registered names and their formats; other names are understood too (docs/formats.md).");
    m.def(
        "format_sources",
        [] {
        py::dict all;
        for (const named_format& entry : registry)
            all[py::str(std::string(entry.name))] = py::str(std::string(entry.source));
        return all;
        },
        "Where each registered format is defined.");
}

}  // namespace lowp::python
