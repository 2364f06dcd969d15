// lowp.add, sub, mul, div, sqrt, fma, remainder, minimum, maximum and the minimum and maximum of
// numbers. Floats and plain float32 and float64 arrays of one shape are worked on here, floats among
// them stand for all; every other input goes to lowp._arithmetic, which brings it into that form.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "lowp/arithmetic_array.hpp"

namespace lowp::python {
namespace {

using lowp::detail::operation;

// clang-format off
constexpr const char* keywords_doc =
    ", format, *, rounding=None, saturation=None, random_bits=None, seed=0, stream=0, "
    "generator='philox4x32_10', random=None, out=None, threads=None)\n--\n\n";
constexpr const char* shared_doc =
    "The exact real result is projected onto the format once: operands may be any numbers, in the\n"
    "format or in any other, and are not rounded before.\n\n"
    "Operands: floats, or arrays of one dtype, float32, float64, float16 or bfloat16, whose shapes\n"
    "broadcast; a float stands for an array of the others' dtype, which must hold it. Result: that\n"
    "dtype and the broadcast shape; a float for floats. format: name or Format. A NaN operand and an\n"
    "invalid operation give the positive NaN, in every format; an infinite result does as the saturation\n"
    "says of infinite inputs, a finite one that is too large as overflow. All else as in quantize.\n\n"
    "Raises TypeError for mixed dtypes, ValueError for shapes that do not broadcast and where the\n"
    "dtype does not hold the format's values.";

struct verb {
    const char* name;
    operation what;
    std::vector<std::string_view> operands;
    const char* doc;
};

const std::array<verb, 11> verbs{{
    {"add", operation::add, {"x", "y"},
     "x + y, correctly rounded. A zero sum of unlike signs is +0, under toward_negative -0.\n\n"},
    {"sub", operation::sub, {"x", "y"}, "x - y, correctly rounded. Zeros as in add.\n\n"},
    {"mul", operation::mul, {"x", "y"}, "x * y, correctly rounded. 0 * inf is NaN.\n\n"},
    {"div", operation::div, {"x", "y"},
     "x / y, correctly rounded. x / 0 is an infinite result, 0 / 0 and inf / inf are NaN.\n\n"},
    {"sqrt", operation::sqrt, {"x"},
     "The square root of x, correctly rounded. sqrt(-0) is -0, of other negative numbers NaN.\n\n"},
    {"fma", operation::fma, {"x", "y", "z"}, "x * y + z, rounded once. Zeros as in add.\n\n"},
    {"remainder", operation::remainder, {"x", "y"},
     "x - n * y with n the integer nearest to x / y, the even one of two; rounded once.\n\n"
     "A zero has the sign of x. y infinite gives x; x infinite or y zero NaN.\n"
     "Source: IEEE 754-2019, 5.3.1.\n\n"},
    {"minimum", operation::minimum, {"x", "y"},
     "The smaller operand, rounded; NaN where one is NaN; -0 is smaller than +0.\n\n"},
    {"maximum", operation::maximum, {"x", "y"},
     "The larger operand, rounded; NaN where one is NaN; +0 is larger than -0.\n\n"},
    {"minimum_number", operation::minimum_number, {"x", "y"},
     "The smaller operand, rounded; a NaN is passed over; -0 is smaller than +0.\n\n"},
    {"maximum_number", operation::maximum_number, {"x", "y"},
     "The larger operand, rounded; a NaN is passed over; +0 is larger than -0.\n\n"},
}};
// clang-format on

using operand_list = std::vector<py::object>;

bool are_floats(const operand_list& x) {
    return std::all_of(x.begin(), x.end(),
                       [](const py::object& o) { return PyFloat_CheckExact(o.ptr()); });
}

py::object of_floats(operation o, const operand_list& x, const arguments& a) {
    const converter<double> c(to_format(a.format), to_projection(a));
    const auto value = [&x](std::size_t i) {
        return PyFloat_AS_DOUBLE(x[std::min(i, x.size() - 1)].ptr());
    };
    return py::float_(lowp::detail::compute(o, value(0), value(1), value(2), c,
                                            scalar_random(a, c.projection())));
}

/// An operand as the loops take it: an array, or one value that stands for all.
template <class T>
struct operand {
    std::optional<plain<T>> array;
    T value = 0;

    [[nodiscard]] bool is_shaped() const { return array && array->ndim() != 0; }
    [[nodiscard]] std::span<const T> values() const {
        return array ? view(*array) : std::span<const T>(&value, 1);
    }
};

/// x as an operand; nothing where lowp._arithmetic must look at it.
template <class T>
std::optional<operand<T>> to_operand(const py::object& x) {
    if (is_plain<T>(x)) return operand<T>{py::reinterpret_borrow<plain<T>>(x)};
    if (!PyFloat_CheckExact(x.ptr())) return std::nullopt;
    const double wide = PyFloat_AS_DOUBLE(x.ptr());
    const auto value = static_cast<T>(wide);
    if (wide == wide && static_cast<double>(value) != wide) return std::nullopt;
    return operand<T>{std::nullopt, value};
}

/// The array whose shape the result has: the first that has dimensions, or the first.
template <class T>
const plain<T>* shape_giver(const std::vector<operand<T>>& x) {
    const plain<T>* found = nullptr;
    for (const operand<T>& o : x) {
        if (o.is_shaped()) return &*o.array;
        if (o.array && found == nullptr) found = &*o.array;
    }
    return found;
}

template <class T>
std::optional<std::vector<operand<T>>> to_operands(const operand_list& x) {
    std::vector<operand<T>> found;
    for (const py::object& object : x) {
        auto o = to_operand<T>(object);
        if (!o) return std::nullopt;
        found.push_back(std::move(*o));
    }
    const plain<T>* const shape = shape_giver(found);
    for (const operand<T>& o : found)
        if (shape == nullptr || (o.is_shaped() && !same_shape(*o.array, *shape)))
            return std::nullopt;
    return found;
}

/// Whether `out` can be written while x is read: apart, or the same elements.
template <class T>
bool may_be_written(const plain<T>& out, const std::vector<operand<T>>& x) {
    return std::all_of(x.begin(), x.end(), [&out](const operand<T>& o) {
        return !o.array || !overlap(o.array->data(), o.array->nbytes(), out) ||
               (o.array->data() == out.data() && o.array->size() == out.size());
    });
}

template <class T>
std::optional<py::object> of_arrays(const verb& v, const operand_list& x, const arguments& a,
                                    const py::object& out) {
    const auto from = to_operands<T>(x);
    if (!from) return std::nullopt;
    const plain<T>& shape = *shape_giver(*from);
    const converter<T> c(to_format(a.format), to_projection(a));
    const auto o = to_options(a, shape);
    if (!o) return std::nullopt;
    auto result = output<T>(out, shape, o->random);
    if (!result || !may_be_written(*result, *from)) return std::nullopt;
    const auto to = mutable_view(*result);
    const auto values = [&from](std::size_t i) {
        return (*from)[std::min(i, from->size() - 1)].values();
    };
    unlocked(to.size(), [&] {
        lowp::detail::run_arithmetic<T, lowp::detail::native_isa>(v.name, v.what, values(0),
                                                                  values(1), values(2), to, c, *o);
    });
    return std::move(*result);
}

py::object apply(const verb& v, const operand_list& x, const arguments& a, const py::object& out) {
    if (are_floats(x) && out.is_none()) return of_floats(v.what, x, a);
    if (auto y = of_arrays<float>(v, x, a, out)) return *y;
    if (auto y = of_arrays<double>(v, x, a, out)) return *y;
    py::tuple operands(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) operands[i] = x[i];
    return py::module_::import("lowp._arithmetic")
        .attr("apply")(v.name, operands, a.format, **keywords(a, out));
}

template <class>
using object_of = py::object;

/// Defines a verb; `names`: one py::arg an operand.
template <class... Arg>
void define(py::module_& m, const verb& v, const Arg&... names) {
    const auto number = [](int n) { return py::object(py::int_(n)); };
    const py::object none = py::none();
    std::string signature = v.name;
    for (const std::string_view x : v.operands) signature.append(x == "x" ? "(" : ", ").append(x);
    const std::string doc = signature + keywords_doc + v.doc + shared_doc;
    m.def(
        v.name,
        [&v](const object_of<Arg>&... x, const py::object& f, const py::object& r,
             const py::object& sat, const py::object& bits, const py::object& seed,
             const py::object& stream, const py::object& gen, const py::object& random,
             const py::object& out, const py::object& threads) {
        const arguments a{f, r, sat, bits, seed, stream, gen, random, threads};
        return apply(v, {x...}, a, out);
        },
        names..., py::arg("format"), py::kw_only(), py::arg("rounding") = none,
        py::arg("saturation") = none, py::arg("random_bits") = none, py::arg("seed") = number(0),
        py::arg("stream") = number(0), py::arg("generator") = py::str("philox4x32_10"),
        py::arg("random") = none, py::arg("out") = none, py::arg("threads") = none, doc.c_str());
}

}  // namespace

void bind_arithmetic(py::module_& m) {
    py::options brief;
    brief.disable_function_signatures();  // the stubs have them
    const py::arg x("x");
    const py::arg y("y");
    const py::arg z("z");
    for (const verb& v : verbs) {
        if (v.operands.size() == 1) define(m, v, x);
        else if (v.operands.size() == 2) define(m, v, x, y);
        else define(m, v, x, y, z);
        auto positional = v.operands;
        positional.emplace_back("format");
        refuse_other_arguments(m, {v.name,
                                   positional,
                                   {"rounding", "saturation", "random_bits", "seed", "stream",
                                    "generator", "random", "out", "threads"},
                                   {}});
    }
}

}  // namespace lowp::python
