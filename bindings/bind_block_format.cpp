// BlockFormat: from names, keyword arguments and lists of values; DelayedScaling.
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common.hpp"
#include "lowp/block_formats.hpp"

namespace lowp::python {

block_format to_block_format(const py::object& object) {
    if (py::isinstance<block_format>(object)) return object.cast<const block_format&>();
    if (!py::isinstance<py::str>(object))
        throw py::type_error("format must be a block format's name or a BlockFormat; got " +
                             std::string(py::str(py::type::of(object))));
    return parse_block_format(object.cast<std::string>());
}

bool is_block_format(const py::object& object) {
    if (py::isinstance<block_format>(object)) return true;
    if (!py::isinstance<py::str>(object)) return false;
    const auto text = object.cast<std::string>();
    if (text.find('/') != std::string::npos || text.starts_with("bfp_m") || text.starts_with("{"))
        return true;
    for (const named_block_format& p : block_presets)
        if (p.name == text) return true;
    return false;
}

namespace {

// clang-format off
constexpr const char* block_format_doc =
    "BlockFormat(element='float4_e2m1fn', scale='float8_e8m0fnu', shape=32, rule=None, **fields)\n--\n\n"
    "A block-scaled format: elements, the scale that a block of them shares, and the rule that finds it.\n\n"
    "element: format, its name, or a sorted list of values (a codebook). scale: format of the scales.\n"
    "shape: k (a block along one axis), (r, c) (tiles of the last two), or \"row\", \"column\", \"tensor\".\n"
    "rule: one of lowp.SCALE_RULES, or a positive number, the fixed scale; None: floor for scales that\n"
    "are powers of two, else amax. Fields, with the words of\n"
    "docs/blocks.md: rounding, scale_rounding, random_bits, outer (\"tensor\", \"row\"), outer_format,\n"
    "outer_fixed, outer_scale_max, nan, infinity, arithmetic, exponents, zero_sign, scale_saturation,\n"
    "zero_scale, min_scale, max_scale, lowest_divisor, statistic, power_of_two, search, error_norm,\n"
    "gain, post_gain; compat (one of lowp.COMPATS) sets those in which libraries differ.\n"
    "Raises ValueError for contradictions. Source: OCP MX 1.0; shared definitions in docs/blocks.md.";
// clang-format on

bool is_number(const py::handle& value) {
    const bool is_int = py::isinstance<py::int_>(value) && !PyBool_Check(value.ptr());
    return is_int || py::isinstance<py::float_>(value);
}

double to_double(const py::handle& value) {
    const double x = PyFloat_AsDouble(value.ptr());
    if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        throw py::value_error("a block format's field must be a float64 number; got " +
                              std::string(py::repr(value)).substr(0, 40));
    }
    return x;
}

std::string text_of(const py::handle& value) {
    if (py::isinstance<py::str>(value)) return value.cast<std::string>();
    if (is_number(value)) return detail::shortest(to_double(value));
    if (py::isinstance<format>(value)) return name(value.cast<const format&>());
    throw py::type_error("a block format's field must be a string or a number; got " +
                         std::string(py::str(py::type::of(value))));
}

void set_element(block_format& f, const py::object& given) {
    const py::object element = named(given);
    if (py::isinstance<format>(element) || py::isinstance<py::str>(element)) {
        const auto text = text_of(element);
        if (text != "nf4" && !text.starts_with("{")) {
            try {
                f.element = parse_format(text);
            } catch (const std::invalid_argument& error) {
                if (is_block_format(element))
                    throw py::value_error("element: \"" + text + "\" is a block format; " +
                                          "lowp.block_format(name) makes it, .replace() others");
                throw py::value_error(std::string("element: ") + error.what());
            }
            f.elements = {};
            return;
        }
        f.elements = detail::parse_head(text).elements;
        f.element = block_format{}.element;
        return;
    }
    const auto values =
        py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(element);
    if (!values || values.ndim() != 1) {
        PyErr_Clear();
        throw py::type_error("element must be a format, its name or a list of values; got " +
                             std::string(py::str(py::type::of(element))));
    }
    f.elements = codebook(std::span(values.data(), static_cast<std::size_t>(values.size())));
    f.element = block_format{}.element;
}

void set_shape(block_format& f, const py::object& shape) {
    if (py::isinstance<py::str>(shape)) {
        const auto found = detail::parse_shape(shape.cast<std::string>());
        if (!found)
            throw py::value_error(
                "shape must be k, (r, c), \"row\", \"column\" or \"tensor\"; got " +
                std::string(py::repr(shape)));
        f.shape = *found;
        return;
    }
    const auto size = [&shape](const py::handle& n) {
        const auto index = py::reinterpret_steal<py::object>(
            PyBool_Check(n.ptr()) ? nullptr : PyNumber_Index(n.ptr()));
        if (!index) {
            PyErr_Clear();
            throw py::type_error(
                "shape must be k, (r, c), \"row\", \"column\" or \"tensor\"; got " +
                std::string(py::repr(shape)));
        }
        int overflow = 0;
        const long long value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
        if (overflow > 0)
            throw py::value_error("a block's size must be below 2**63; got shape " +
                                  std::string(py::repr(shape)));
        if (value < 1)
            throw py::value_error("a block needs at least one element along each axis; got shape " +
                                  std::string(py::repr(shape)));
        return static_cast<std::size_t>(value);
    };
    if (!py::isinstance<py::tuple>(shape) && !py::isinstance<py::list>(shape)) {
        f.shape = {1, size(shape)};
        return;
    }
    const py::sequence pair(shape);
    if (pair.size() != 2)
        throw py::value_error("shape must have one or two numbers; got " +
                              std::string(py::repr(shape)));
    f.shape = {size(pair[0]), size(pair[1])};
}

void set_rule(block_format& f, const py::object& rule) {
    if (py::isinstance<py::str>(rule)) f.rule = find_rule(rule.cast<std::string>());
    else if (is_number(rule)) f.rule = {.statistic = statistic::none, .gain = to_double(rule)};
    else
        throw py::type_error("rule must be a name or a fixed scale; got " +
                             std::string(py::str(py::type::of(rule))) +
                             ": for an own rule pass scales= to quantize");
}

void set_any(block_format& f, const std::string& key, const py::object& value) {
    if (key == "element") set_element(f, value);
    else if (key == "scale") f.scale = to_format(value);
    else if (key == "shape") set_shape(f, value);
    else if (key == "rule") set_rule(f, value);
    else if (!detail::set_field(f, key, text_of(named(value))))
        throw py::type_error("BlockFormat has no field \"" + key +
                             "\"; see help(lowp.BlockFormat)");
}

block_format with_fields(block_format f, const py::kwargs& fields) {
    // The rule first: it sets fields that others then change; the compatible behaviour last.
    const auto pass = [&](const auto& wanted) {
        for (const auto& [key, value] : fields) {
            const auto word = key.template cast<std::string>();
            if (wanted(word)) set_any(f, word, py::reinterpret_borrow<py::object>(value));
        }
    };
    const auto first = [](const std::string& k) {
        return k == "element" || k == "scale" || k == "shape" || k == "rule";
    };
    pass(first);
    pass([&](const std::string& k) { return k == "compat"; });
    pass([&](const std::string& k) { return !first(k) && k != "compat"; });
    f.validate();
    return f;
}

block_format make_block_format(const py::object& element, const py::object& scale,
                               const py::object& shape, const py::object& rule,
                               const py::kwargs& fields) {
    block_format f;
    set_element(f, element);
    f.scale = to_format(scale);
    set_shape(f, shape);
    if (rule.is_none()) f.rule = detail::default_rule(f.scale);
    else set_rule(f, rule);
    return with_fields(f, fields);
}

py::object shape_of(const block_format& f) {
    const auto number = [](std::size_t n) { return py::int_(n); };
    if (f.shape.rows == 0 || f.shape.columns == 0) return py::str(detail::shape_name(f.shape));
    if (f.shape.rows == 1) return number(f.shape.columns);
    return py::make_tuple(number(f.shape.rows), number(f.shape.columns));
}

py::object element_of(const block_format& f) {
    if (f.elements.empty()) return py::cast(f.element);
    const auto values = f.elements.values();
    return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
}

std::string rule_name(const block_format& f) {
    for (const named_rule& r : scale_rules)
        if (r.rule == f.rule) return std::string(r.name);
    return f.rule.statistic == statistic::none ? "fixed" : "custom";
}

/// Every field by its word, for fields that are enumerations or numbers.
py::dict fields_of(const block_format& f) {
    py::dict all;
    detail::visit_fields(f, [&](std::string_view key, const auto& field, const auto& names) {
        using type = std::remove_cvref_t<decltype(field)>;
        if constexpr (std::is_enum_v<type>)
            all[py::str(std::string(key))] = detail::field_text(field, names);
        else all[py::str(std::string(key))] = field;
    });
    all["outer_format"] = f.outer.format;
    return all;
}

void bind_class(py::module_& m) {
    py::class_<block_format> c(m, "BlockFormat", py::is_final(), block_format_doc);
    c.def(py::init(&make_block_format), py::arg("element") = "float4_e2m1fn",
          py::arg("scale") = "float8_e8m0fnu", py::arg("shape") = 32, py::arg("rule") = py::none())
        .def_property_readonly(
            "name", [](const block_format& f) { return name(f); },
            "Canonical name; lowp.block_format(f.name) == f.")
        .def_property_readonly("element", &element_of, "Format of the elements, or their values.")
        .def_property_readonly(
            "scale", [](const block_format& f) { return f.scale; }, "Format of the scales.")
        .def_property_readonly("shape", &shape_of, "k, (r, c), \"row\", \"column\" or \"tensor\".")
        .def_property_readonly("rule", &rule_name,
                               "Name of the scale rule; \"fixed\" or \"custom\" where it has none.")
        .def_property_readonly("fields", &fields_of, "All other fields by name.")
        .def_property_readonly("element_bits", &block_format::element_bits, "Bits of a code.")
        .def_property_readonly("element_max", &block_format::element_max,
                               "Largest value of an element.")
        .def(
            "replace", [](const block_format& f, const py::kwargs& k) { return with_fields(f, k); },
            "replace(**fields): the same with other fields.")
        .def(
            "__eq__",
            [](const block_format& a, const py::object& b) {
        return py::isinstance<block_format>(b) && a == b.cast<const block_format&>();
            })
        .def("__hash__", [](const block_format& f) { return py::hash(py::str(name(f))); })
        .def("__repr__",
             [](const block_format& f) { return "lowp.block_format(\"" + name(f) + "\")"; })
        .def("__str__", [](const block_format& f) { return name(f); })
        .def("__reduce__", [](const block_format& f) {
            return py::make_tuple(py::module_::import("lowp._core").attr("block_format"),
                                  py::make_tuple(name(f)));
        });
}

void bind_delayed(py::module_& m) {
    py::class_<delayed_scaling> c(
        m, "DelayedScaling", py::is_final(),
        "DelayedScaling(max, history=1024, margin=0, take='max')\n--\n\n"
        "Per-tensor scales from the amax of past steps.\n\n"
        "max: largest element value. scale: what x is divided by now, 1 before the first amax;\n"
        "observe(amax) records a step. take: \"max\" of the history or the \"most_recent\" amax; "
        "the\n"
        "scale is amax / max * 2**margin. An amax of 0, infinity or NaN leaves the scale as it "
        "is.\n"
        "Source: NVIDIA Transformer Engine, DelayedScaling.");
    c.def(py::init([](double max, std::size_t history, int margin, const py::object& take) {
              constexpr std::array<std::string_view, 2> names{"max", "most_recent"};
              return delayed_scaling(max, history, margin,
                                     from_name<delayed_scaling::take>(take, names, "take"));
          }),
          py::arg("max"), py::arg("history") = 1024, py::arg("margin") = 0, py::arg("take") = "max")
        .def_property_readonly("scale", &delayed_scaling::scale)
        .def_property_readonly(
            "history",
            [](const delayed_scaling& d) {
        const auto& h = d.history();
        return py::array_t<float>(static_cast<py::ssize_t>(h.size()), h.data());
            })
        .def("observe", &delayed_scaling::observe, py::arg("amax"))
        .def(
            "restore",
            [](delayed_scaling& d, const std::vector<float>& history, float scale) {
        d.restore(history, scale);
            },
            py::arg("history"), py::arg("scale"));
}

}  // namespace

void bind_block_format(py::module_& m) {
    py::options brief;
    brief.disable_function_signatures();  // the stubs have them
    bind_class(m);
    bind_delayed(m);
    m.def(
        "block_format",
        [](const py::object& f, const py::object& c) {
        const block_format found = to_block_format(f);
        if (c.is_none()) return found;
        return with_compat(found, from_name<compat>(c, compat_names, "compat"));
        },
        py::arg("name"), py::pos_only(), py::kw_only(), py::arg("compat") = py::none(),
        "block_format(name, /, *, compat=None)\n--\n\n"
        "The block format of a name, or a BlockFormat itself; compat: with another library's edge\n"
        "behaviour. ValueError with what is known otherwise.");
    m.def(
        "block_formats",
        [] {
        py::dict all;
        for (const named_block_format& p : block_presets)
            all[py::str(std::string(p.name))] = p.format;
        return all;
        },
        "Presets and their formats; other names are understood too (docs/blocks.md).");
    m.def(
        "block_format_sources",
        [] {
        py::dict all;
        for (const named_block_format& p : block_presets)
            all[py::str(std::string(p.name))] = py::str(std::string(p.source));
        return all;
        },
        "Where each preset is defined.");
    m.def("is_block_format", &is_block_format, py::arg("format"), py::pos_only(),
          "Whether a BlockFormat, or a string that can only be the name of one.");
}

}  // namespace lowp::python
