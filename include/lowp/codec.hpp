// quantize, encode and decode of one value, at run time or at compile time.
// Arrays (array.hpp) run the same kernel over SIMD registers and give the same bits.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "lowp/detail/environment.hpp"
#include "lowp/detail/kernel.hpp"
#include "lowp/detail/plan.hpp"
#include "lowp/format.hpp"
#include "lowp/rounding.hpp"

namespace lowp {

namespace detail {

/// Calls f with the mode as a type: the one switch between run time and compile time.
template <class F>
[[gnu::always_inline]] constexpr decltype(auto) with_rounding(rounding r, F&& f) {
    const auto call = [&]<rounding R>() -> decltype(auto) {
        return std::forward<F>(f)(std::integral_constant<rounding, R>{});
    };
    switch (r) {
        using enum rounding;
        case nearest_ties_to_away: return call.template operator()<nearest_ties_to_away>();
        case nearest_ties_to_zero: return call.template operator()<nearest_ties_to_zero>();
        case toward_zero: return call.template operator()<toward_zero>();
        case toward_positive: return call.template operator()<toward_positive>();
        case toward_negative: return call.template operator()<toward_negative>();
        case away_from_zero: return call.template operator()<away_from_zero>();
        case to_odd: return call.template operator()<to_odd>();
        case stochastic_a: return call.template operator()<stochastic_a>();
        case stochastic_b: return call.template operator()<stochastic_b>();
        case stochastic_c: return call.template operator()<stochastic_c>();
        case stochastic_equal: return call.template operator()<stochastic_equal>();
        case rounding::nearest_ties_to_even: break;
    }
    return call.template operator()<rounding::nearest_ties_to_even>();
}

/// Calls f with mode and path as types.
template <class F>
[[gnu::always_inline]] constexpr decltype(auto) with_variant(rounding r, path p, F&& f) {
    return with_rounding(r, [&](auto mode) -> decltype(auto) {
        const auto call = [&]<path P>() -> decltype(auto) {
            return f(mode, std::integral_constant<path, P>{});
        };
        switch (p) {
            case path::sum: return call.template operator()<path::sum>();
            case path::plain_sum: return call.template operator()<path::plain_sum>();
            case path::aligned: return call.template operator()<path::aligned>();
            case path::plain_aligned: return call.template operator()<path::plain_aligned>();
            case path::renormalized: return call.template operator()<path::renormalized>();
            case path::shifted: break;
        }
        return call.template operator()<path::shifted>();
    });
}

/// Calls f with the path that takes the place of p where only integers are wanted: for single
/// values, which so are right whatever the thread's rounding direction and flush-to-zero say and
/// usable in constant expressions, and for decoding, which rounds nothing.
template <class F>
[[gnu::always_inline]] constexpr decltype(auto) with_integer_path(path p, F&& f) {
    if (without_plain(p) == path::aligned) return f(std::integral_constant<path, path::aligned>{});
    if (p == path::renormalized) return f(std::integral_constant<path, path::renormalized>{});
    return f(std::integral_constant<path, path::shifted>{});
}

template <class T>
using value_lanes = scalar_lanes<T, native_isa>;

template <class T>
[[nodiscard]] constexpr const char* carrier_name() {
    return sizeof(T) == 4 ? "float32" : "float64";
}

template <class T>
constexpr void check_fits(const format& f) {
    f.validate();
    if (!f.fits<T>())
        throw std::invalid_argument(
            std::string("lowp: ") + carrier_name<T>() +
            " does not hold every value of the format (" + std::to_string(f.precision()) +
            " significant bits, exponents " + std::to_string(f.min_quantum_exponent()) + " to " +
            std::to_string(f.emax()) + "); use float64");
}

}  // namespace detail

/// A format and a projection made ready for values of T: what to keep where single values are
/// converted many times. f: valid and held by T exactly, else std::invalid_argument.
template <carrier_float T>
class converter {
public:
    explicit constexpr converter(const lowp::format& f, const lowp::projection& p = {})
        : format_(f), projection_(p) {
        detail::check_fits<T>(f);
        p.validate();
        plan_ = std::is_constant_evaluated() ? detail::make_plan<T>(f, p) : planned(f, p);
    }

    /// x on the grid. NaN stays NaN; overflow and infinity as the saturation says; -0 stays -0 where
    /// the format has one. `random`: 32 random bits, of which stochastic modes take the upper N.
    [[nodiscard]] constexpr T quantize(T x, std::uint32_t random = 0) const {
        const auto bits = __builtin_bit_cast(word, x);
        return with_mode_and_path([&](auto mode, auto path) {
            return __builtin_bit_cast(
                T, detail::quantize_lanes<lanes, decltype(mode)::value, decltype(path)::value>(
                       plan_, bits, random));
        });
    }

    /// The code of x. Throws std::invalid_argument for NaN where the format has none.
    [[nodiscard]] constexpr code_type encode(T x, std::uint32_t random = 0) const {
        if (x != x && !format_.has_nan())
            throw std::invalid_argument("lowp::encode: the format has no NaN; got NaN");
        const auto bits = __builtin_bit_cast(word, x);
        return with_mode_and_path([&](auto mode, auto path) {
            return static_cast<code_type>(
                detail::encode_lanes<lanes, decltype(mode)::value, decltype(path)::value>(
                    plan_, bits, random));
        });
    }

    /// The value of a code; bits above the format's are ignored. A NaN code gives a quiet NaN.
    [[nodiscard]] constexpr T decode(code_type code) const {
        return detail::with_integer_path(plan_.path, [&](auto path) {
            return __builtin_bit_cast(T, detail::decode_lanes<lanes, decltype(path)::value>(
                                             plan_, static_cast<word>(code)));
        });
    }

    [[nodiscard]] constexpr const lowp::format& format() const { return format_; }
    [[nodiscard]] constexpr const lowp::projection& projection() const { return projection_; }
    [[nodiscard]] constexpr const detail::plan<T>& plan() const { return plan_; }

private:
    using lanes = detail::value_lanes<T>;
    using word = typename detail::carrier<T>::word;

    /// The constants are floats, some of them subnormal: they must not be flushed to zero either.
    [[gnu::noinline]] static detail::plan<T> planned(const lowp::format& f,
                                                     const lowp::projection& p) {
        const detail::default_environment environment;
        return detail::make_plan<T>(f, p);
    }

    template <class F>
    [[nodiscard]] constexpr decltype(auto) with_mode_and_path(F&& f) const {
        return detail::with_rounding(plan_.rounding, [&](auto mode) -> decltype(auto) {
            return detail::with_integer_path(
                plan_.path, [&](auto path) -> decltype(auto) { return f(mode, path); });
        });
    }

    lowp::format format_;
    lowp::projection projection_;
    detail::plan<T> plan_;
};

/// x on the grid of f. See converter::quantize.
template <carrier_float T>
[[nodiscard]] constexpr T quantize(T x, const format& f, const projection& p = {},
                                   std::uint32_t random = 0) {
    return converter<T>(f, p).quantize(x, random);
}

/// The code of x in f. See converter::encode.
template <carrier_float T>
[[nodiscard]] constexpr code_type encode(T x, const format& f, const projection& p = {},
                                         std::uint32_t random = 0) {
    return converter<T>(f, p).encode(x, random);
}

/// The value of a code of f. See converter::decode.
template <carrier_float T = float>
[[nodiscard]] constexpr T decode(code_type code, const format& f) {
    return converter<T>(f).decode(code);
}

}  // namespace lowp
