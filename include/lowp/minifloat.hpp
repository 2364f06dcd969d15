// A number of one format, stored as its code: arithmetic rounds every operation once, to nearest even.
// Nothing converts by itself; std::numeric_limits, std::hash and streams know the type.
#pragma once

#include <algorithm>
#include <bit>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <ostream>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "lowp/arithmetic.hpp"
#include "lowp/codec.hpp"
#include "lowp/format.hpp"
#include "lowp/statistics.hpp"

namespace lowp {

/// The smallest unsigned integer that holds a code of `bits` bits.
template <int Bits>
using code_storage = std::conditional_t<
    (Bits <= 8), std::uint8_t,
    std::conditional_t<(Bits <= 16), std::uint16_t,
                       std::conditional_t<(Bits <= 32), std::uint32_t, std::uint64_t>>>;

namespace detail {

inline constexpr converter<double> to_float32(format::ieee(8, 23));

/// Whole numbers of up to 52 bits: the grid of floor, ceil, round and trunc.
inline constexpr format whole_numbers{.mantissa_bits = 52, .bias = -51};

/// x to a whole number. Floats from 2^52 on are whole; NaN, infinity and -0 stay.
template <rounding R>
[[nodiscard]] constexpr double to_whole(double x) {
    constexpr converter<double> grid(whole_numbers, {.rounding = R});
    const bool is_small = x > -0x1p52 && x < 0x1p52;
    return is_small ? grid.quantize(x) : x;
}

/// An integer as the sum of two float64, its halves: exact for every integer type.
struct halves {
    double high = 0;
    double low = 0;

    template <std::integral T>
    explicit constexpr halves(T x) {
        bool negative = false;
        if constexpr (std::signed_integral<T>) negative = x < 0;
        const auto bits = static_cast<std::uint64_t>(x);
        const std::uint64_t size = negative ? std::uint64_t{0} - bits : bits;
        const double sign = negative ? -1 : 1;
        high = sign * static_cast<double>(size >> 32) * 0x1p32;
        low = sign * static_cast<double>(size & 0xFFFFFFFFU);
    }
};

/// x without its fraction, as T. Throws std::invalid_argument where T does not hold it.
template <std::integral T>
[[nodiscard]] constexpr T to_integer(double x) {
    using limits = std::numeric_limits<T>;
    if constexpr (std::same_as<T, bool>) {
        return x != 0;
    } else {
        const double whole = to_whole<rounding::toward_zero>(x);
        // max + 1 is a power of two, which float64 holds; max itself may not be.
        const double end = 2.0 * static_cast<double>(limits::max() / 2 + 1);
        if (!(whole >= static_cast<double>(limits::min()) && whole < end))
            throw std::invalid_argument("lowp: an integer of " + std::to_string(8 * sizeof(T)) +
                                        " bits does not hold the value; got " + std::to_string(x) +
                                        "; convert to double or to a wider integer");
        return static_cast<T>(whole);
    }
}

}  // namespace detail

/// A code of F with the meaning of its value. Trivially copyable, as large as its code. Default: +0
/// (code 0, in a format without zero its smallest value).
///
/// Operators and functions give the exact result, rounded once to nearest even with
/// saturation::none: too large becomes infinity, or NaN where F has none, or the largest value where
/// it has neither. x / 0 is infinite, so the same; 0 / 0 and what else has no value is NaN. NaN
/// operands give NaN. Where F has no NaN but the result is one, std::invalid_argument is thrown (in
/// a constant expression: does not compile). Other roundings: arithmetic.hpp, real.hpp.
template <format F>
class minifloat {
public:
    using storage = code_storage<F.bits()>;
    static constexpr lowp::format format = F;

    constexpr minifloat() = default;

    /// x rounded once by `p`; NaN gives F's NaN, std::invalid_argument where F has none. `random`: 32
    /// random bits for stochastic modes.
    template <carrier_float T>
    constexpr explicit minifloat(T x, const projection& p, std::uint32_t random = 0)
        : minifloat(projected(p, random, static_cast<double>(x))) {}

    /// x rounded once to nearest even. NaN as above.
    template <carrier_float T>
    constexpr explicit minifloat(T x) : minifloat(rounded(rounder_, 0, static_cast<double>(x))) {}

    /// x rounded once to nearest even, also where float64 does not hold it.
    template <std::integral T>
    constexpr explicit minifloat(T x) : minifloat(of_halves(detail::halves(x))) {}

    /// The value in another format, rounded once to nearest even.
    template <lowp::format G>
        requires(!(G == F))
    constexpr explicit minifloat(minifloat<G> x) : minifloat(static_cast<double>(x)) {}

    /// The value of a code; bits above F's are dropped.
    [[nodiscard]] static constexpr minifloat from_code(storage code) {
        minifloat result;
        result.code_ = static_cast<storage>(code & F.code_mask());
        return result;
    }

    [[nodiscard]] constexpr storage code() const { return code_; }

    /// Exact to double; to float rounded once to nearest even where F does not fit.
    template <carrier_float T>
    explicit constexpr operator T() const {
        const double x = rounder_.to.decode(code_);
        if constexpr (F.fits<T>()) return static_cast<T>(x);
        else return static_cast<T>(detail::to_float32.quantize(x));
    }

    /// The value without its fraction, as static_cast<int>(float) does; bool: whether it is not 0.
    /// NaN, infinity and what T does not hold throw std::invalid_argument (NaN is true as a bool).
    template <std::integral T>
    explicit constexpr operator T() const {
        return detail::to_integer<T>(static_cast<double>(*this));
    }

    // ---- operators ----------------------------------------------------------------------------

    friend constexpr minifloat operator+(minifloat a, minifloat b) {
        return a.template apply<operation_kind::add>(b);
    }
    friend constexpr minifloat operator-(minifloat a, minifloat b) {
        return a.template apply<operation_kind::sub>(b);
    }
    friend constexpr minifloat operator*(minifloat a, minifloat b) {
        return a.template apply<operation_kind::mul>(b);
    }
    friend constexpr minifloat operator/(minifloat a, minifloat b) {
        return a.template apply<operation_kind::div>(b);
    }
    constexpr minifloat& operator+=(minifloat b) { return *this = *this + b; }
    constexpr minifloat& operator-=(minifloat b) { return *this = *this - b; }
    constexpr minifloat& operator*=(minifloat b) { return *this = *this * b; }
    constexpr minifloat& operator/=(minifloat b) { return *this = *this / b; }

    /// 0 - x but for the sign of zero; not exact where F has no -x: the nearest value (unsigned: 0
    /// or NaN, two's complement: the largest).
    friend constexpr minifloat operator-(minifloat x) { return nearest(-static_cast<double>(x)); }
    friend constexpr minifloat operator+(minifloat x) { return x; }

    /// By value: NaN is unordered and equal to nothing, -0 equals +0.
    friend constexpr bool operator==(minifloat a, minifloat b) {
        return static_cast<double>(a) == static_cast<double>(b);
    }
    friend constexpr std::partial_ordering operator<=>(minifloat a, minifloat b) {
        return static_cast<double>(a) <=> static_cast<double>(b);
    }

    // ---- functions, found by argument-dependent lookup ------------------------------------------

    /// NaN for x < 0; -0 stays -0.
    friend constexpr minifloat sqrt(minifloat x) {
        return x.template apply<operation_kind::sqrt>();
    }
    /// a * b + c, rounded once.
    friend constexpr minifloat fma(minifloat a, minifloat b, minifloat c) {
        return a.template apply<operation_kind::fma>(b, c);
    }
    /// IEEE 754 remainder: a - n b with the n nearest to a / b, even on ties. Exact; b = 0: NaN.
    friend constexpr minifloat remainder(minifloat a, minifloat b) {
        return a.template apply<operation_kind::remainder>(b);
    }
    /// IEEE 754 minimum and maximum: NaN if one is, -0 below +0.
    friend constexpr minifloat min(minifloat a, minifloat b) {
        return nearest(lowp::minimum(static_cast<double>(a), static_cast<double>(b), rounder_.to));
    }
    friend constexpr minifloat max(minifloat a, minifloat b) {
        return nearest(lowp::maximum(static_cast<double>(a), static_cast<double>(b), rounder_.to));
    }
    friend constexpr minifloat abs(minifloat x) { return signbit(x) ? -x : x; }
    friend constexpr minifloat fabs(minifloat x) { return abs(x); }

    /// The next whole number in a direction; `round`: the nearest, ties away from zero. Exact where
    /// F has that number, else rounded to nearest even.
    friend constexpr minifloat floor(minifloat x) {
        return nearest(detail::to_whole<rounding::toward_negative>(static_cast<double>(x)));
    }
    friend constexpr minifloat ceil(minifloat x) {
        return nearest(detail::to_whole<rounding::toward_positive>(static_cast<double>(x)));
    }
    friend constexpr minifloat trunc(minifloat x) {
        return nearest(detail::to_whole<rounding::toward_zero>(static_cast<double>(x)));
    }
    friend constexpr minifloat round(minifloat x) {
        return nearest(detail::to_whole<rounding::nearest_ties_to_away>(static_cast<double>(x)));
    }

    friend constexpr bool isnan(minifloat x) { return !detail::is_number(static_cast<double>(x)); }
    friend constexpr bool isfinite(minifloat x) {
        return detail::is_finite(static_cast<double>(x));
    }
    friend constexpr bool isinf(minifloat x) { return !isnan(x) && !isfinite(x); }
    /// Whether the sign of the value is negative, -0 included; of a NaN that of its code.
    friend constexpr bool signbit(minifloat x) {
        if (isnan(x)) return !F.nan_at_neg_zero() && (x.code_ & F.sign_mask()) != 0;
        return (std::bit_cast<std::uint64_t>(static_cast<double>(x)) >> 63) != 0;
    }

    /// The value, as the stream prints a double.
    friend std::ostream& operator<<(std::ostream& out, minifloat x) {
        return out << static_cast<double>(x);
    }

private:
    static constexpr detail::rounder rounder_{F};  // also refuses, at compile time, an F not valid

    // The value of F next to x; not counted, as min, floor and their like are exact.
    static constexpr minifloat nearest(double x) {
        return from_code(static_cast<storage>(rounder_.to.encode(x)));
    }
    template <std::same_as<double>... T>
    static constexpr minifloat rounded(const detail::rounder& r, std::uint32_t random, T... x) {
        return nearest(detail::operate<operation_kind::convert>(r, random, x...));
    }
    static constexpr minifloat projected(const projection& p, std::uint32_t random, double x) {
        if (detail::is_counting()) return rounded(detail::rounder(F, p), random, x);
        return nearest(converter<double>(F, p).quantize(x, random));
    }
    static constexpr minifloat of_halves(detail::halves x) {
        return x.high == 0 ? minifloat(x.low) : rounded(rounder_, 0, x.high, x.low);
    }
    // Whether float64 holds every exact result, so that its own operation and one encoding do. All
    // values are multiples of 2^low, smaller than 2^high.
    static constexpr bool is_exact_in_double(operation_kind o) {
        const int low = F.min_quantum_exponent();
        const int high = std::max(F.emin(), F.emax()) + 1;
        const bool products_fit = 2 * low >= -1022 && 2 * high <= 1022;
        if (o == operation_kind::add || o == operation_kind::sub)
            return low >= -1022 && high + 1 - low <= 53;
        if (o == operation_kind::mul) return products_fit && 2 * F.precision() <= 53;
        return o == operation_kind::fma && products_fit &&
               std::max(2 * high, high) + 1 - std::min(2 * low, low) <= 53;
    }
    template <operation_kind K, std::same_as<double>... T>
    static double in_double(T... x) {
        if constexpr (K == operation_kind::fma)
            return [](double a, double b, double c) {
                return a * b + c;  // both steps are exact, so it is the same fused or not
            }(x...);
        else if constexpr (K == operation_kind::mul) return (x * ...);
        else if constexpr (K == operation_kind::sub) return (x - ...);
        else return (x + ...);
    }
    template <operation_kind K, std::same_as<minifloat>... T>
    constexpr minifloat apply(T... others) const {
        if constexpr (is_exact_in_double(K))
            if (!std::is_constant_evaluated() && !detail::is_counting()) {
                const double exact =
                    in_double<K>(static_cast<double>(*this), static_cast<double>(others)...);
                // The sign of zero depends on the thread's rounding direction.
                if (exact != 0) return nearest(exact);
            }
        return nearest(detail::operate<K>(rounder_, 0, static_cast<double>(*this),
                                          static_cast<double>(others)...));
    }

    storage code_ = 0;
};

namespace detail {

/// floor(n log10(2)) and ceil(n log10(2)), exact for |n| below 10^4.
[[nodiscard]] constexpr int floor_log10_of_power(int n) {
    const int scaled = n * 30103;
    return scaled / 100000 - (scaled % 100000 < 0 ? 1 : 0);
}
[[nodiscard]] constexpr int ceil_log10_of_power(int n) { return -floor_log10_of_power(-n); }

/// floor(log10(x)) for a positive x.
[[nodiscard]] constexpr int floor_log10(double x) {
    // Powers of ten are exact up to 10^22; beyond, no format's limit is as near to one as a rounding.
    int n = 0;
    double power = 1;
    while (x / 10 >= power) power *= 10, ++n;
    while (x < power) x *= 10, --n;
    return n;
}

}  // namespace detail
}  // namespace lowp

/// What <limits> says of every format. As for the built-in types: min() of integers is lowest(), of
/// others the smallest positive normal number (where there is none, the smallest positive one);
/// epsilon() and denorm_min() of integers are 0, as are infinity() and quiet_NaN() where F has none.
/// is_iec559: the layout of IEEE 754, whatever the widths.
template <lowp::format F>
class std::numeric_limits<lowp::minifloat<F>> {
    using value = lowp::minifloat<F>;
    static constexpr bool has_normal = F.exponent_bits > 0 && F.min_normal() <= F.max();
    static constexpr double smallest = has_normal ? F.min_normal() : F.min_positive();
    // Constants, so that asking for them is no operation.
    static constexpr value largest_value{F.max()};
    static constexpr value lowest_value{F.lowest()};
    static constexpr value smallest_value{smallest};
    static constexpr value smallest_positive{F.min_positive()};
    static constexpr value step_at_one{F.epsilon()};
    static constexpr value one_half{0.5};
    // std::ilogb at compile time.
    static constexpr int smallest_exponent =
        has_normal ? F.emin()
                   : F.min_quantum_exponent() +
                         static_cast<int>(std::bit_width(F.min_positive_code())) - 1;

public:
    static constexpr bool is_specialized = true;
    static constexpr bool is_signed = F.is_signed;
    static constexpr bool is_integer = F.exponent_bits == 0 && F.min_quantum_exponent() == 0;
    static constexpr bool is_exact = is_integer;
    static constexpr bool has_infinity = F.has_inf;
    static constexpr bool has_quiet_NaN = F.has_nan();
    static constexpr bool has_signaling_NaN = false;
    static constexpr float_denorm_style has_denorm =
        F.has_subnormals && F.mantissa_bits > 0 && !is_integer ? denorm_present : denorm_absent;
    static constexpr bool has_denorm_loss = false;
    static constexpr float_round_style round_style =
        is_integer ? round_toward_zero : round_to_nearest;
    static constexpr bool is_iec559 = F.mantissa_bits > 0 && F.exponent_bits > 1 &&
                                      F == lowp::format::ieee(F.exponent_bits, F.mantissa_bits);
    static constexpr bool is_bounded = true, is_modulo = false, traps = false;
    static constexpr bool tinyness_before = !is_integer;
    static constexpr int radix = 2;
    static constexpr int digits = F.precision();
    static constexpr int digits10 =
        lowp::detail::floor_log10_of_power(is_integer ? digits : digits - 1);
    static constexpr int max_digits10 =
        is_integer ? 0 : 1 + lowp::detail::ceil_log10_of_power(digits);
    static constexpr int min_exponent = is_integer ? 0 : smallest_exponent + 1;
    static constexpr int max_exponent = is_integer ? 0 : F.emax() + 1;
    static constexpr int min_exponent10 =
        is_integer ? 0 : lowp::detail::ceil_log10_of_power(smallest_exponent);
    static constexpr int max_exponent10 = is_integer ? 0 : lowp::detail::floor_log10(F.max());

    static constexpr value min() noexcept { return is_integer ? lowest() : smallest_value; }
    static constexpr value max() noexcept { return largest_value; }
    static constexpr value lowest() noexcept { return lowest_value; }
    /// 2^(1 - digits), the distance from 1 to the next number; where F does not have that, rounded.
    static constexpr value epsilon() noexcept { return is_integer ? value() : step_at_one; }
    static constexpr value round_error() noexcept { return is_integer ? value() : one_half; }
    static constexpr value denorm_min() noexcept {
        return is_integer ? value() : smallest_positive;
    }
    static constexpr value infinity() noexcept {
        if constexpr (has_infinity)
            return value::from_code(static_cast<typename value::storage>(F.inf_code()));
        else return value();
    }
    static constexpr value quiet_NaN() noexcept {
        if constexpr (has_quiet_NaN)
            return value::from_code(static_cast<typename value::storage>(F.nan_code()));
        else return value();
    }
    static constexpr value signaling_NaN() noexcept { return quiet_NaN(); }
};

/// Equal values have equal hashes: -0 that of +0.
template <lowp::format F>
struct std::hash<lowp::minifloat<F>> {
    [[nodiscard]] std::size_t operator()(lowp::minifloat<F> x) const noexcept {
        using code = typename lowp::minifloat<F>::storage;
        return std::hash<code>{}(static_cast<double>(x) == 0 ? code{0} : x.code());
    }
};

#if __has_include(<format>)
#include <format>
#if defined(__cpp_lib_format)
/// As a double is formatted.
template <lowp::format F>
struct std::formatter<lowp::minifloat<F>> : std::formatter<double> {
    auto format(lowp::minifloat<F> x, auto& context) const {
        return std::formatter<double>::format(static_cast<double>(x), context);
    }
};
#endif
#endif
