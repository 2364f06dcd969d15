// The operations of arithmetic.hpp over contiguous arrays: the same bits as there, element by element,
// for any instruction set and number of threads.
//
// Operands: spans of the length of `out`, or of one value, which then stands for all. They may be
// `out` itself, but not overlap it otherwise. Any length, 0 included. Random bits are a function of
// the element's index, as in array.hpp. Throws std::invalid_argument for lengths or options that
// contradict.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "lowp/arithmetic.hpp"
#include "lowp/array.hpp"
#include "lowp/detail/arithmetic_loops.hpp"

namespace lowp {

namespace detail {

template <class Isa>
inline constexpr arithmetic_loops native_arithmetic = make_arithmetic_loops<native_lanes>();

template <class Isa>
[[nodiscard]] const arithmetic_loops& arithmetic_of(const loop_table& table) {
    return table.arithmetic != nullptr ? *table.arithmetic : native_arithmetic<Isa>;
}

/// The operation on single values.
template <class T>
[[nodiscard]] constexpr T compute(operation o, T a, T b, T c, const converter<T>& to,
                                  std::uint32_t random) {
    switch (o) {
        case operation::add: return lowp::add(a, b, to, random);
        case operation::sub: return lowp::sub(a, b, to, random);
        case operation::mul: return lowp::mul(a, b, to, random);
        case operation::div: return lowp::div(a, b, to, random);
        case operation::sqrt: return lowp::sqrt(a, to, random);
        case operation::fma: return lowp::fma(a, b, c, to, random);
        case operation::remainder: return lowp::remainder(a, b, to, random);
        case operation::minimum: return lowp::minimum(a, b, to, random);
        case operation::maximum: return lowp::maximum(a, b, to, random);
        case operation::minimum_number: return lowp::minimum_number(a, b, to, random);
        case operation::maximum_number: break;
    }
    return lowp::maximum_number(a, b, to, random);
}

/// How the results of a call are found; the first that is exact.
enum class route : std::uint8_t {
    choice,    ///< minimum and its kin: an operand, quantized
    native,    ///< the machine's operation is the format's
    in_place,  ///< to odd and projected in lanes of float32
    nearest,   ///< to odd and projected in one pass
    odd,       ///< to odd, then projected as any array is
    single,    ///< value by value
};

/// Whether a result to odd in float64, projected, is the exact one projected. Stochastic modes look
/// at random_bits + 2 bits below the last that is kept.
[[nodiscard]] constexpr bool is_exact_by_odd(const format& f, const projection& p) {
    const int looked_at = weighs_tail(p.rounding) ? p.random_bits + 2 : 2;
    return f.precision() + looked_at <= std::numeric_limits<double>::digits;
}

/// Whether float32 is wide enough for sums and products of its values to odd, under nearest even. A
/// sum or product beyond float32 becomes an infinity, which must do as overflow does. A product below
/// 2^-102 loses its rest, and is below half the smallest value all the same.
[[nodiscard]] constexpr bool is_exact_in_place(operation o, const format& f, const plan<float>& c) {
    const bool is_product = o == operation::mul;
    const bool is_sum = o == operation::add || o == operation::sub;
    const bool is_plain = c.path == path::plain_sum || c.path == path::plain_aligned;
    const bool overflows_alike = c.values.over_positive == c.values.inf_positive &&
                                 c.values.over_negative == c.values.inf_negative;
    return (is_sum || is_product) && is_plain && overflows_alike &&
           c.rounding == rounding::nearest_ties_to_even &&
           f.precision() + 2 <= std::numeric_limits<float>::digits &&
           (is_sum || f.min_quantum_exponent() >= -100);
}

template <class T>
[[nodiscard]] constexpr route choose_route(operation o, const converter<T>& to,
                                           const plan<double>& of_double) {
    constexpr bool is_float = sizeof(T) == sizeof(float);
    if (o >= operation::minimum) return route::choice;
    if (o == operation::remainder) return route::single;
    const plan<T>& c = to.plan();
    const bool is_nearest = c.rounding == rounding::nearest_ties_to_even;
    // The carrier's own format, infinities and all: see path::plain_aligned.
    if (is_nearest && c.path == path::plain_aligned && c.shift == 0) return route::native;
    if constexpr (is_float)
        if (is_exact_in_place(o, to.format(), c)) return route::in_place;
    // Products of float32 are exact in float64: nothing is rounded before the projection.
    const bool is_exact = is_float && o == operation::mul;
    if (!is_exact && !is_exact_by_odd(to.format(), to.projection())) return route::single;
    return is_nearest && of_double.path == path::plain_sum ? route::nearest : route::odd;
}

/// An operand: a span of all values, or one value, repeated.
template <class T>
class operand_source {
public:
    explicit operand_source(std::span<const T> x, std::size_t n) : data_(x.data()) {
        if (x.size() == n) return;
        filled_.emplace();
        filled_->fill(x[0]);
    }
    /// `chunk` values at most, from i on.
    [[nodiscard]] const T* at(std::size_t i) const { return filled_ ? filled_->data() : data_ + i; }

private:
    const T* data_;
    std::optional<std::array<T, chunk>> filled_;
};

/// One call on arrays.
template <class T, class Isa>
class arithmetic_call {
public:
    arithmetic_call(operation o, const converter<T>& to, const options& opts)
        : operation_(o),
          to_(to),
          wide_(make_plan<double>(to.format(), to.projection())),
          route_(choose_route(o, to, wide_)),
          zero_(to.projection().rounding == rounding::toward_negative ? zero_sum::negative
                                                                      : zero_sum::positive),
          table_(loops_of<Isa>(opts)),
          loops_(arithmetic_of<Isa>(table_)) {}

    /// n <= chunk values.
    void run(const arithmetic_operands<T>& x, T* out, const std::uint32_t* random,
             std::size_t n) const {
        constexpr bool is_float = sizeof(T) == sizeof(float);
        if (route_ == route::choice) {
            T taken[chunk];
            if constexpr (is_float) loops_.chosen_of_float(operation_, x, taken, n);
            else loops_.chosen_of_double(operation_, x, taken, n);
            return table_.template of<T>().quantize(to_.plan(), taken, out, random, n);
        }
        if (route_ == route::single) return singly(x, out, random, n);
        if constexpr (is_float) {
            if (route_ == route::native) return loops_.native_of_float(operation_, x, out, n);
            if (route_ == route::in_place)
                return loops_.in_place_of_float(operation_, to_.plan(), x, out, n);
            if (route_ == route::nearest)
                return loops_.nearest_of_float(operation_, wide_, x, out, n);
            double odd[chunk];
            loops_.odd_of_float(operation_, zero_, x, odd, n);
            table_.of_double.quantize(wide_, odd, odd, random, n);
            loops_.narrow(odd, out, n);
        } else {
            if (route_ == route::native) return loops_.native_of_double(operation_, x, out, n);
            if (!is_within(x, n)) return singly(x, out, random, n);
            if (route_ == route::nearest)
                return loops_.nearest_of_double(operation_, wide_, x, out, n);
            double odd[chunk];
            loops_.odd_of_double(operation_, zero_, x, odd, n);
            table_.of_double.quantize(wide_, odd, out, random, n);
        }
    }

    [[nodiscard]] const loop_table& table() const { return table_; }

private:
    void singly(const arithmetic_operands<T>& x, T* out, const std::uint32_t* random,
                std::size_t n) const {
        for (std::size_t i = 0; i < n; ++i)
            out[i] =
                compute(operation_, x.a[i], x.b[i], x.c[i], to_, random == nullptr ? 0 : random[i]);
    }

    /// Whether results to odd and all on the way to them lie within float64: sums below 2^1023, of
    /// products and quotients the rests above 2^-1022.
    [[nodiscard]] bool is_within(const arithmetic_operands<double>& x, std::size_t n) const {
        const bool is_sum = operation_ == operation::add || operation_ == operation::sub;
        const std::uint64_t low = is_sum ? 1 : float_bits<double>(0x1p-400);
        const std::uint64_t high = float_bits<double>(is_sum ? 0x1p1022 : 0x1p400);
        if (loops_.any_outside(x.a, low, high, n)) return false;
        if (operation_ == operation::sqrt) return true;
        if (loops_.any_outside(x.b, low, high, n)) return false;
        return operation_ != operation::fma || !loops_.any_outside(x.c, low, high, n);
    }

    operation operation_;
    const converter<T>& to_;
    plan<double> wide_;
    route route_;
    zero_sum zero_;
    const loop_table& table_;
    const arithmetic_loops& loops_;
};

template <class T>
void check_operand(const char* verb, const char* which, std::span<const T> x, std::size_t n) {
    if (x.size() != n && x.size() != 1)
        fail(std::string("lowp::") + verb + ": " + which +
             " must have one value or as many as out, " + std::to_string(n) + "; got " +
             std::to_string(x.size()));
}

/// Every verb below; operands that an operation does not have are those before.
template <class T, class Isa>
void run_arithmetic(const char* verb, operation o, std::span<const T> x, std::span<const T> y,
                    std::span<const T> z, std::span<T> out, const converter<T>& to,
                    const options& opts) {
    const std::size_t n = out.size();
    check_operand(verb, "x", x, n);
    check_operand(verb, "y", y, n);
    check_operand(verb, "z", z, n);
    check_options(verb, to.projection(), opts, n);
    if (n == 0) return;
    const arithmetic_call<T, Isa> call(o, to, opts);
    const operand_source<T> a(x, n);
    const operand_source<T> b(y, n);
    const operand_source<T> c(z, n);
    for_chunks(n, to.projection(), opts, call.table(),
               [&](std::size_t begin, std::size_t count, const std::uint32_t* random) {
        for (std::size_t i = 0; i < count; i += chunk) {
            const std::size_t at = begin + i;
            call.run({a.at(at), b.at(at), c.at(at)}, out.data() + at,
                     random == nullptr ? nullptr : random + i, std::min(chunk, count - i));
        }
    });
}

}  // namespace detail

/// x + y, each projected once. See lowp::add of two values.
template <carrier_float T, class Isa = detail::native_isa>
void add(std::span<const T> x, std::span<const T> y, std::span<T> out, const converter<T>& to,
         const options& o = {}) {
    detail::run_arithmetic<T, Isa>("add", detail::operation::add, x, y, y, out, to, o);
}

/// x - y.
template <carrier_float T, class Isa = detail::native_isa>
void sub(std::span<const T> x, std::span<const T> y, std::span<T> out, const converter<T>& to,
         const options& o = {}) {
    detail::run_arithmetic<T, Isa>("sub", detail::operation::sub, x, y, y, out, to, o);
}

/// x * y.
template <carrier_float T, class Isa = detail::native_isa>
void mul(std::span<const T> x, std::span<const T> y, std::span<T> out, const converter<T>& to,
         const options& o = {}) {
    detail::run_arithmetic<T, Isa>("mul", detail::operation::mul, x, y, y, out, to, o);
}

/// x / y. See lowp::div of two values for y of zero.
template <carrier_float T, class Isa = detail::native_isa>
void div(std::span<const T> x, std::span<const T> y, std::span<T> out, const converter<T>& to,
         const options& o = {}) {
    detail::run_arithmetic<T, Isa>("div", detail::operation::div, x, y, y, out, to, o);
}

/// sqrt(x).
template <carrier_float T, class Isa = detail::native_isa>
void sqrt(std::span<const T> x, std::span<T> out, const converter<T>& to, const options& o = {}) {
    detail::run_arithmetic<T, Isa>("sqrt", detail::operation::sqrt, x, x, x, out, to, o);
}

/// x y + z, rounded once.
template <carrier_float T, class Isa = detail::native_isa>
void fma(std::span<const T> x, std::span<const T> y, std::span<const T> z, std::span<T> out,
         const converter<T>& to, const options& o = {}) {
    detail::run_arithmetic<T, Isa>("fma", detail::operation::fma, x, y, z, out, to, o);
}

/// x - n y, where n is the integer nearest to x / y. See lowp::remainder of two values.
template <carrier_float T, class Isa = detail::native_isa>
void remainder(std::span<const T> x, std::span<const T> y, std::span<T> out, const converter<T>& to,
               const options& o = {}) {
    detail::run_arithmetic<T, Isa>("remainder", detail::operation::remainder, x, y, y, out, to, o);
}

/// The smaller operand of each pair, NaN where one is NaN.
template <carrier_float T, class Isa = detail::native_isa>
void minimum(std::span<const T> x, std::span<const T> y, std::span<T> out, const converter<T>& to,
             const options& o = {}) {
    detail::run_arithmetic<T, Isa>("minimum", detail::operation::minimum, x, y, y, out, to, o);
}

/// The larger operand of each pair, NaN where one is NaN.
template <carrier_float T, class Isa = detail::native_isa>
void maximum(std::span<const T> x, std::span<const T> y, std::span<T> out, const converter<T>& to,
             const options& o = {}) {
    detail::run_arithmetic<T, Isa>("maximum", detail::operation::maximum, x, y, y, out, to, o);
}

/// minimum that passes over a NaN.
template <carrier_float T, class Isa = detail::native_isa>
void minimum_number(std::span<const T> x, std::span<const T> y, std::span<T> out,
                    const converter<T>& to, const options& o = {}) {
    detail::run_arithmetic<T, Isa>("minimum_number", detail::operation::minimum_number, x, y, y,
                                   out, to, o);
}

/// maximum that passes over a NaN.
template <carrier_float T, class Isa = detail::native_isa>
void maximum_number(std::span<const T> x, std::span<const T> y, std::span<T> out,
                    const converter<T>& to, const options& o = {}) {
    detail::run_arithmetic<T, Isa>("maximum_number", detail::operation::maximum_number, x, y, y,
                                   out, to, o);
}

}  // namespace lowp
