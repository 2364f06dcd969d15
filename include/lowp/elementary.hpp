// Elementary functions, evaluated exactly enough and rounded once, into any format and mode.
// Needs the headers of Boost.Multiprecision, and so is no part of lowp.hpp: include it by name.
//
//     name        f(x), f(x, y)                name        f(x), f(x, y)
//     exp         e^x                          sinh, cosh, tanh, asinh, acosh, atanh
//     exp2        2^x                          erf         2/sqrt(pi) int_0^x e^-t^2 dt
//     exp10       10^x                         erfc        1 - erf(x)
//     expm1       e^x - 1                      pow         x^y
//     log         natural logarithm            hypot       sqrt(x^2 + y^2)
//     log2        to base 2                    cbrt        x^(1/3), of negative x too
//     log10       to base 10                   rsqrt       1 / sqrt(x)
//     log1p       log(1 + x)                   reciprocal  1 / x
//     sin, cos, tan, asin, acos, atan          sigmoid     1 / (1 + e^-x)
//     atan2       angle of the point (y, x),   softplus    log(1 + e^x)
//                 given in this order: y, x    gelu        x/2 erfc(-x / sqrt(2))
//                                              silu        x / (1 + e^-x)
//
// The result is the projection of the exact real number, as if that had been rounded once. libm gives
// an interval that surely holds it; where both ends round alike, that is it. Else long double does
// the same, and then 512 bits. For formats of up to 16 bits this is checked on every input; beyond,
// it rests on the distances that detail/elementary_precise.hpp states.
//
// NaN gives NaN, and so do arguments outside the domain (log(-1), asin(2), pow(-8, 1/3)); pow(x, 0)
// and pow(1, y) are 1, hypot(inf, y) is inf, whatever the other operand. Poles and infinite
// arguments give exact infinities, which a converter treats as an infinite input; overflow of a
// finite result is overflow of a number (saturation::propagate gives the largest value). Zeros and
// their signs, and limits at infinity, are those of C99, Annex F; rsqrt(-0) = reciprocal(-0) = -inf;
// gelu(-inf) = silu(-inf) = -0, the limits. The sign of a NaN means nothing.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "lowp/array.hpp"
#include "lowp/detail/elementary_asymptote.hpp"
#include "lowp/detail/elementary_functions.hpp"
#include "lowp/detail/elementary_libm.hpp"
#include "lowp/detail/elementary_precise.hpp"
#include "lowp/detail/elementary_wide.hpp"

namespace lowp {

namespace detail::elementary {

[[nodiscard]] inline bool same_bits(double a, double b) {
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

/// Calls work with the function as a type: the switch is outside the loop.
template <class Work, std::size_t... I>
void with_function_at(function f, const Work& work, std::index_sequence<I...> /*all*/) {
    const auto index = static_cast<std::size_t>(f);
    (void)((index == I &&
            (work(std::integral_constant<function, static_cast<function>(I)>{}), true)) ||
           ...);
}
template <class Work>
void with_function(function f, const Work& work) {
    with_function_at(f, work, std::make_index_sequence<function_names.size()>{});
}

/// The results that an interval of double leaves open, for one format and projection.
class resolver {
public:
    explicit resolver(const converter<double>& to) : to_(to) {}

    /// f(x, y), none of libm's exact results. `random`: 32 random bits.
    [[nodiscard]] double operator()(function f, double x, double y, std::uint32_t random) const {
        const bool is_infinite = std::isinf(x) || std::isinf(y);  // pi of some kind
        if (!is_infinite && x != 0) {
            if (const auto v = asymptote(f, x, y)) return project(*v, to_, random);
            if (const auto v = exactly(f, x, y, libm(f, x, y))) return project(*v, to_, random);
        }
        if constexpr (has_long_double) {
            const auto ends = bracket_by_long_double(f, x, y);
            const double low = project(ends.first, to_, random);
            if (same_bits(low, project(ends.second, to_, random))) return low;
        }
        return project(precise_wide(f, x, y), to_, random);
    }

private:
    // Wider than double, and neither double-double nor beyond what the radius is computed for.
    static constexpr bool has_long_double = std::numeric_limits<long double>::digits == 64;

    static std::pair<wide, wide> bracket_by_long_double(function f, double x, double y) {
        const auto result = libm<long double>(f, x, y);
        const auto r = radius<long double>(f, x);
        // Beyond every format only the sign counts.
        const double one = std::signbit(result) ? -1 : 1;
        const int beyond = std::fabs(result) > 0x1p1500L    ? 1500
                           : std::fabs(result) < 0x1p-1500L ? -1500
                                                            : 0;
        if (beyond != 0) return {beside(one, side::at, beyond), beside(one, side::at, beyond)};
        return {to_wide_from(result * (1 - r)), to_wide_from(result * (1 + r))};
    }

    const converter<double>& to_;
};

template <class T>
void check_operands(function f, std::size_t x, std::size_t y, std::size_t out) {
    const std::string verb(name(f));
    check_sizes(verb.c_str(), x, out);
    if (arity(f) == 2) check_sizes(verb.c_str(), y, out);
    else if (y != 0)
        fail("lowp::" + verb + ": takes one operand; got " + std::to_string(y) +
             " values of a second");
}

/// out[i] = f(x[i], y[i]) for up to `chunk` elements. y: nullptr for functions of one operand.
template <function F, class T>
void evaluate_chunk(const T* x, const T* y, T* out, std::size_t n, const converter<double>& to,
                    const resolver& resolve, const loop_table& loops, const std::uint32_t* random) {
    double low[chunk] = {};
    double high[chunk] = {};
    const auto operand = [&](const T* p, std::size_t i) {
        return arity(F) == 2 || p == x ? static_cast<double>(p[i]) : 1.0;
    };
    for (std::size_t i = 0; i < n; ++i) {
        const interval ends = bracket(F, operand(x, i), operand(y, i));
        low[i] = ends.low;
        high[i] = ends.high;
    }
    loops.of_double.quantize(to.plan(), low, low, random, n);
    loops.of_double.quantize(to.plan(), high, high, random, n);
    for (std::size_t i = 0; i < n; ++i) {
        if (!same_bits(low[i], high[i])) [[unlikely]]
            low[i] = resolve(F, operand(x, i), operand(y, i), random == nullptr ? 0 : random[i]);
        out[i] = static_cast<T>(low[i]);  // exact: T holds the format's values
    }
}

}  // namespace detail::elementary

/// f(x) or f(x, y) on the grid of a format, y of no meaning to functions of one operand. `random`: 32
/// random bits, of which stochastic modes take the upper N. NaN, infinity, -0 and overflow: above.
[[nodiscard]] inline double evaluate(function f, double x, double y, const converter<double>& to,
                                     std::uint32_t random = 0) {
    const detail::default_environment environment;
    if (arity(f) == 1) y = 1;
    const detail::elementary::interval ends = detail::elementary::bracket(f, x, y);
    const double low = to.quantize(ends.low, random);
    const double high = to.quantize(ends.high, random);
    return detail::elementary::same_bits(low, high)
               ? low
               : detail::elementary::resolver(to)(f, x, y, random);
}

/// The same of every element: out[i] is f(x[i], y[i]), with the random bits of element i. x, y and out
/// have one length, y none for functions of one operand; out is x or y itself or memory that neither
/// has a part in. float operands are taken as they are: nothing is rounded but the result, whose
/// format T must hold. Throws std::invalid_argument for lengths or options that contradict.
template <carrier_float T, class Isa = detail::native_isa>
void evaluate(function f, std::span<const T> x, std::span<const T> y, std::span<T> out,
              const converter<T>& to, const options& o = {}) {
    detail::elementary::check_operands<T>(f, x.size(), y.size(), out.size());
    detail::check_options("evaluate", to.projection(), o, x.size());
    const converter<double> to_double(to.format(), to.projection());
    const detail::elementary::resolver resolve(to_double);
    const detail::loop_table& loops = detail::loops_of<Isa>(o);
    const detail::random_words words(to.projection(), o, loops);
    const std::size_t n = x.size();
    const std::size_t chunks = (n + detail::chunk - 1) / detail::chunk;
    detail::elementary::with_function(f, [&](auto tag) {
        // An element takes as long as some eight that are only converted.
        detail::for_tasks(chunks, 8 * n, o.threads, [&](std::size_t begin, std::size_t end) {
            const detail::default_environment environment;
            std::uint32_t buffer[detail::chunk];
            for (std::size_t i = begin * detail::chunk; i < std::min(n, end * detail::chunk);
                 i += detail::chunk) {
                const std::size_t count = std::min(detail::chunk, n - i);
                detail::elementary::evaluate_chunk<decltype(tag)::value>(
                    x.data() + i, y.empty() ? nullptr : y.data() + i, out.data() + i, count,
                    to_double, resolve, loops, words.get(i, count, buffer));
            }
        });
    });
}

// ---- by name: lowp::exp(x, to) -------------------------------------------------------------------

[[nodiscard]] inline double exp(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::exp, x, 1, to, random);
}
[[nodiscard]] inline double exp2(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::exp2, x, 1, to, random);
}
[[nodiscard]] inline double exp10(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::exp10, x, 1, to, random);
}
[[nodiscard]] inline double expm1(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::expm1, x, 1, to, random);
}
[[nodiscard]] inline double log(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::log, x, 1, to, random);
}
[[nodiscard]] inline double log2(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::log2, x, 1, to, random);
}
[[nodiscard]] inline double log10(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::log10, x, 1, to, random);
}
[[nodiscard]] inline double log1p(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::log1p, x, 1, to, random);
}
[[nodiscard]] inline double sin(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::sin, x, 1, to, random);
}
[[nodiscard]] inline double cos(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::cos, x, 1, to, random);
}
[[nodiscard]] inline double tan(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::tan, x, 1, to, random);
}
[[nodiscard]] inline double asin(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::asin, x, 1, to, random);
}
[[nodiscard]] inline double acos(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::acos, x, 1, to, random);
}
[[nodiscard]] inline double atan(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::atan, x, 1, to, random);
}
[[nodiscard]] inline double atan2(double y, double x, const converter<double>& to,
                                  std::uint32_t random = 0) {
    return evaluate(function::atan2, y, x, to, random);
}
[[nodiscard]] inline double sinh(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::sinh, x, 1, to, random);
}
[[nodiscard]] inline double cosh(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::cosh, x, 1, to, random);
}
[[nodiscard]] inline double tanh(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::tanh, x, 1, to, random);
}
[[nodiscard]] inline double asinh(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::asinh, x, 1, to, random);
}
[[nodiscard]] inline double acosh(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::acosh, x, 1, to, random);
}
[[nodiscard]] inline double atanh(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::atanh, x, 1, to, random);
}
[[nodiscard]] inline double erf(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::erf, x, 1, to, random);
}
[[nodiscard]] inline double erfc(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::erfc, x, 1, to, random);
}
[[nodiscard]] inline double pow(double x, double y, const converter<double>& to,
                                std::uint32_t random = 0) {
    return evaluate(function::pow, x, y, to, random);
}
[[nodiscard]] inline double hypot(double x, double y, const converter<double>& to,
                                  std::uint32_t random = 0) {
    return evaluate(function::hypot, x, y, to, random);
}
[[nodiscard]] inline double cbrt(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::cbrt, x, 1, to, random);
}
[[nodiscard]] inline double rsqrt(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::rsqrt, x, 1, to, random);
}
[[nodiscard]] inline double reciprocal(double x, const converter<double>& to,
                                       std::uint32_t random = 0) {
    return evaluate(function::reciprocal, x, 1, to, random);
}
[[nodiscard]] inline double sigmoid(double x, const converter<double>& to,
                                    std::uint32_t random = 0) {
    return evaluate(function::sigmoid, x, 1, to, random);
}
[[nodiscard]] inline double softplus(double x, const converter<double>& to,
                                     std::uint32_t random = 0) {
    return evaluate(function::softplus, x, 1, to, random);
}
[[nodiscard]] inline double gelu(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::gelu, x, 1, to, random);
}
[[nodiscard]] inline double silu(double x, const converter<double>& to, std::uint32_t random = 0) {
    return evaluate(function::silu, x, 1, to, random);
}

}  // namespace lowp
