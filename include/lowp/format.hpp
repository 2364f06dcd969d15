// A number format is data: ten integers and flags that say what every code means.
// Everything else (limits, special codes, values) is derived here and nowhere else.
#pragma once

#if __cplusplus < 202002L
#error "lowp needs C++20: compile with -std=c++20 or later"
#endif

#include <bit>
#include <concepts>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    (defined(__FLT_EVAL_METHOD__) && (__FLT_EVAL_METHOD__ == 1 || __FLT_EVAL_METHOD__ == 2))
#error "lowp needs IEEE arithmetic: no -ffast-math, -funsafe-math-optimizations, -ffinite-math-only"
#endif

namespace lowp {

/// The floats that arrays and values come in.
template <class T>
concept carrier_float = std::same_as<T, float> || std::same_as<T, double>;

/// The unsigned integer that holds a code, right-aligned.
using code_type = std::uint64_t;

/// A minifloat, fixed-point or integer format.
///
///     code = S EEEE MMM      S: is_signed, E: exponent_bits, M: mantissa_bits
///
///     field E == 0:  M * 2^(1 - bias - mantissa_bits)                  zero and subnormals
///     otherwise:     (2^mantissa_bits + M) * 2^(E - bias - mantissa_bits)
///
/// Special values are counted down from the largest magnitude code: first `nan_codes` NaNs, then
/// the infinity, then `max`. One descriptor so covers IEEE 754, OCP, fnuz, E8M0 and IEEE P3109.
/// With exponent_bits == 0 all values lie on one grid: fixed point and integers.
struct format {
    int exponent_bits = 0;       ///< 0..11
    int mantissa_bits = 0;       ///< 0..52, without the hidden bit
    int bias = 0;                ///< exponent = field - bias
    bool is_signed = true;       ///< a sign bit above the exponent
    bool has_inf = false;        ///< one infinity a sign, below the NaN codes
    std::int64_t nan_codes = 0;  ///< NaN codes at the top of the magnitudes, for each sign
    bool has_neg_zero = true;    ///< false: the code of -0 is NaN (fnuz, P3109)
    bool has_subnormals = true;  ///< false: field 0 holds zero only; other codes decode to zero
    bool has_zero = true;        ///< false: field 0 holds normal numbers (E8M0)
    bool is_twos_complement = false;  ///< integers and Qm.f; needs exponent_bits == 0

    friend constexpr bool operator==(const format&, const format&) = default;

    // ---- widths and special codes -------------------------------------------------------------

    [[nodiscard]] constexpr int magnitude_bits() const { return exponent_bits + mantissa_bits; }
    [[nodiscard]] constexpr int bits() const { return magnitude_bits() + (is_signed ? 1 : 0); }

    /// Significant bits of a normal number, the hidden bit counted (fixed point: of any number).
    [[nodiscard]] constexpr int precision() const {
        return mantissa_bits + (exponent_bits > 0 ? 1 : 0);
    }

    [[nodiscard]] constexpr code_type sign_mask() const {
        return is_signed ? code_type{1} << magnitude_bits() : 0;
    }
    [[nodiscard]] constexpr code_type magnitude_mask() const {
        return (code_type{1} << magnitude_bits()) - 1;
    }
    [[nodiscard]] constexpr code_type code_mask() const { return sign_mask() | magnitude_mask(); }

    /// Code of the largest finite value.
    [[nodiscard]] constexpr code_type max_code() const {
        return magnitude_mask() - static_cast<code_type>(nan_codes) - (has_inf ? 1 : 0);
    }
    /// Code of the lowest value: -max, 0, the smallest value of a format without zero, or -2^m.
    [[nodiscard]] constexpr code_type lowest_code() const {
        if (!is_signed) return 0;
        return is_twos_complement ? sign_mask() : sign_mask() | max_code();
    }
    /// Code of +infinity; meaningful if `has_inf`.
    [[nodiscard]] constexpr code_type inf_code() const { return max_code() + 1; }

    /// Whether the code of -0 is a NaN.
    [[nodiscard]] constexpr bool nan_at_neg_zero() const {
        return is_signed && !has_neg_zero && !is_twos_complement;
    }
    [[nodiscard]] constexpr bool has_nan() const { return nan_codes > 0 || nan_at_neg_zero(); }

    /// Code of the NaN that conversions give: the code of -0, else IEEE's quiet NaN (top mantissa
    /// bit set), else the only one. Meaningful if `has_nan()`.
    [[nodiscard]] constexpr code_type nan_code() const {
        if (nan_at_neg_zero()) return sign_mask();
        const code_type lowest_nan = magnitude_mask() - static_cast<code_type>(nan_codes) + 1;
        if (nan_codes == 1) return lowest_nan;
        const code_type quiet =
            magnitude_mask() ^ ((code_type{1} << (mantissa_bits > 0 ? mantissa_bits - 1 : 0)) - 1);
        return quiet < lowest_nan ? lowest_nan : quiet;
    }

    // ---- exponents and limits -----------------------------------------------------------------

    /// Exponent of the smallest normal number (fixed point: one above the largest value's).
    [[nodiscard]] constexpr int emin() const { return has_zero ? 1 - bias : -bias; }
    /// Exponent of the distance between the values next to zero.
    [[nodiscard]] constexpr int min_quantum_exponent() const { return emin() - mantissa_bits; }
    /// Exponent of the largest finite value: floor(log2(max)).
    [[nodiscard]] constexpr int emax() const {
        const code_type c = max_code();
        const auto field = static_cast<int>(c >> mantissa_bits);
        if (field > 0 || !has_zero) return field - bias;
        return min_quantum_exponent() + static_cast<int>(std::bit_width(c)) - 1;
    }

    /// 2^e for -1074 <= e <= 1023.
    [[nodiscard]] static constexpr double power_of_two(int e) {
        return e >= -1022 ? std::bit_cast<double>(static_cast<std::uint64_t>(e + 1023) << 52)
                          : std::bit_cast<double>(std::uint64_t{1} << (e + 1074));
    }

    /// Value of a magnitude code as if all were finite. Exact for every code up to `max_code()`.
    [[nodiscard]] constexpr double magnitude_value(code_type c) const {
        const auto hidden = code_type{1} << mantissa_bits;
        const auto field = static_cast<int>(c >> mantissa_bits);
        const code_type fraction = c & (hidden - 1);
        if (field == 0 && has_zero) {
            if (!has_subnormals) return 0.0;
            return scale(static_cast<double>(fraction), min_quantum_exponent());
        }
        return scale(static_cast<double>(hidden + fraction), field - bias - mantissa_bits);
    }

    /// Value of a code: finite, infinite or NaN; bits above `bits()` must be zero.
    [[nodiscard]] constexpr double value(code_type c) const {
        if (is_twos_complement) {
            const auto low = static_cast<double>(c & magnitude_mask());
            const auto high = (c & sign_mask()) != 0 ? static_cast<double>(sign_mask()) : 0.0;
            return scale(low - high, min_quantum_exponent());
        }
        const code_type magnitude = c & magnitude_mask();
        const bool negative = (c & sign_mask()) != 0;
        if (negative && magnitude == 0 && !has_neg_zero) return nan();
        if (magnitude > max_code()) {
            if (!has_inf || magnitude != inf_code()) return nan();
            return negative ? -infinity() : infinity();
        }
        const double absolute = magnitude_value(magnitude);
        return negative && (absolute > 0 || has_neg_zero) ? -absolute : absolute;
    }

    [[nodiscard]] constexpr double max() const { return value(max_code()); }
    [[nodiscard]] constexpr double lowest() const { return value(lowest_code()); }
    /// Smallest positive normal number (fixed point has none: the smallest positive value).
    [[nodiscard]] constexpr double min_normal() const {
        return exponent_bits == 0 ? min_positive() : power_of_two(emin());
    }
    /// Smallest positive value.
    [[nodiscard]] constexpr double min_positive() const {
        return magnitude_value(min_positive_code());
    }
    /// Smallest positive subnormal number; where there is none, the smallest positive value.
    [[nodiscard]] constexpr double min_subnormal() const { return min_positive(); }
    [[nodiscard]] constexpr code_type min_positive_code() const {
        if (!has_zero) return 0;
        return has_subnormals ? 1 : code_type{1} << mantissa_bits;
    }
    /// Distance from 1 to the next larger value of the same precision: 2^(1 - precision); fixed
    /// point: the distance of any two neighbours.
    [[nodiscard]] constexpr double epsilon() const {
        return power_of_two(exponent_bits == 0 ? min_quantum_exponent() : -mantissa_bits);
    }
    /// Distinct finite values; +0 and -0 are one.
    [[nodiscard]] constexpr code_type finite_values() const {
        if (is_twos_complement) return code_type{1} << bits();
        const code_type positive = max_code() - min_positive_code() + 1;
        return (is_signed ? 2 * positive : positive) + (has_zero ? 1 : 0);
    }

    // ---- what can go where --------------------------------------------------------------------

    /// Whether `Carrier` (float or double) carries the format: it holds every finite value exactly,
    /// with room for the codes in an integer of its size.
    template <class Carrier>
    [[nodiscard]] constexpr bool fits() const {
        using limits = std::numeric_limits<Carrier>;
        constexpr int code_bits = 8 * static_cast<int>(sizeof(Carrier));
        return mantissa_bits < limits::digits && emax() < limits::max_exponent &&
               emin() < limits::max_exponent && bits() <= code_bits - (is_signed ? 0 : 1) &&
               min_quantum_exponent() >= limits::min_exponent - limits::digits;
    }

    /// Whether every finite value of f is one of this format, which has a sign and subnormals: no
    /// larger, no finer and of no more digits.
    [[nodiscard]] constexpr bool holds(const format& f) const {
        const double largest = f.max() > -f.lowest() ? f.max() : -f.lowest();
        return is_signed && has_subnormals && f.precision() <= precision() && largest <= max() &&
               f.min_quantum_exponent() >= min_quantum_exponent();
    }

    /// Throws std::invalid_argument where the fields contradict each other, naming the field.
    constexpr void validate() const {
        within("exponent_bits", exponent_bits, 0, 11);
        within("mantissa_bits", mantissa_bits, 0, 52);
        within("bias", bias, -1200, 1200);
        if (bits() < 1)
            fail("a format needs at least one bit; got exponent_bits 0, mantissa_bits 0");
        if (nan_codes < 0 || static_cast<code_type>(nan_codes) > magnitude_mask())
            fail("nan_codes must be between 0 and the number of magnitude codes less one; got " +
                 std::to_string(nan_codes));
        if (static_cast<code_type>(nan_codes) + (has_inf ? 1 : 0) + (has_zero ? 1 : 0) >
            magnitude_mask())
            fail("no finite value but zero is left: lower nan_codes or drop has_inf");
        if (!is_signed && has_neg_zero)
            fail("an unsigned format has no -0: set has_neg_zero=false");
        if (!has_zero && has_subnormals)
            fail("a format without zero has no subnormals: set has_subnormals=false");
        if (!has_subnormals && exponent_bits == 0)
            fail("fixed point (exponent_bits 0) is made of subnormals: set has_subnormals=true");
        if (min_positive_code() > max_code())
            fail(
                "no finite value but zero is left: lower nan_codes, drop has_inf, or set "
                "has_subnormals=true");
        if (is_twos_complement &&
            (exponent_bits != 0 || !is_signed || has_inf || nan_codes != 0 || has_neg_zero))
            fail("two's complement needs exponent_bits 0, a sign, no infinity, no NaN and no -0");
        if (is_signed && !has_zero && !has_neg_zero)
            fail("the code of -0 can be NaN only where there is a zero: set has_neg_zero=true");
        if (!fits<double>())
            fail("a value of the format does not fit float64 (exponents -1074..1023): emax is " +
                 std::to_string(emax()) + ", the smallest distance 2^" +
                 std::to_string(min_quantum_exponent()) + "; change bias or exponent_bits");
    }

    // ---- families -----------------------------------------------------------------------------

    /// IEEE 754 interchange layout: the top exponent field holds infinity and NaNs.
    [[nodiscard]] static constexpr format ieee(int exponent_bits, int mantissa_bits) {
        return {.exponent_bits = exponent_bits,
                .mantissa_bits = mantissa_bits,
                .bias = ieee_bias(exponent_bits),
                .has_inf = true,
                .nan_codes = (std::int64_t{1} << mantissa_bits) - 1};
    }
    /// No infinity; NaN at the top code of formats of more than six bits, none in smaller ones.
    /// Source: OCP 8-bit floating point 1.0 (E4M3), OCP MX 1.0 (E3M2, E2M3, E2M1); ml_dtypes "fn".
    [[nodiscard]] static constexpr format fn(int exponent_bits, int mantissa_bits) {
        return {.exponent_bits = exponent_bits,
                .mantissa_bits = mantissa_bits,
                .bias = ieee_bias(exponent_bits),
                .nan_codes = exponent_bits + mantissa_bits > 5 ? 1 : 0};
    }
    /// No infinity, no -0; its code is the NaN. Source: Noune et al., arXiv 2206.02915; LLVM "FNUZ".
    [[nodiscard]] static constexpr format fnuz(int exponent_bits, int mantissa_bits) {
        return {.exponent_bits = exponent_bits,
                .mantissa_bits = mantissa_bits,
                .bias = ieee_bias(exponent_bits) + 1,
                .has_neg_zero = false};
    }
    /// Every code is a number.
    [[nodiscard]] static constexpr format finite(int exponent_bits, int mantissa_bits) {
        return {.exponent_bits = exponent_bits,
                .mantissa_bits = mantissa_bits,
                .bias = ieee_bias(exponent_bits)};
    }
    /// Unsigned scale format: NaN at the top code, no infinity; with no mantissa also no zero.
    /// Source: OCP MX 1.0 (E8M0); PTX ISA (ue8m0, ue4m3).
    [[nodiscard]] static constexpr format unsigned_scale(int exponent_bits, int mantissa_bits) {
        return {.exponent_bits = exponent_bits,
                .mantissa_bits = mantissa_bits,
                .bias = ieee_bias(exponent_bits),
                .is_signed = false,
                .nan_codes = exponent_bits > 0 ? 1 : 0,
                .has_neg_zero = false,
                .has_subnormals = mantissa_bits > 0,
                .has_zero = mantissa_bits > 0};
    }
    /// Powers of two without zero; the top code is NaN (E8M0 for 8). Source: OCP MX 1.0, 5.4.1.
    [[nodiscard]] static constexpr format exponent_only(int exponent_bits) {
        return unsigned_scale(exponent_bits, 0);
    }
    enum class domain : std::uint8_t { finite, extended };
    enum class signedness : std::uint8_t { signed_values, unsigned_values };

    /// binary{K}p{P}: `width` bits, `precision` significant bits. NaN at the code of -0 (signed) or
    /// at the top (unsigned); `extended` has infinities. Source: IEEE P3109 interim report, 4.
    [[nodiscard]] static constexpr format p3109(int width, int precision,
                                                signedness s = signedness::signed_values,
                                                domain d = domain::extended) {
        const bool is_signed = s == signedness::signed_values;
        const int exponent_bits = width - precision + (is_signed ? 0 : 1);
        return {.exponent_bits = exponent_bits,
                .mantissa_bits = precision - 1,
                .bias = exponent_bits > 0 ? 1 << (exponent_bits - 1) : 1,
                .is_signed = is_signed,
                .has_inf = d == domain::extended,
                .nan_codes = is_signed ? 0 : 1,
                .has_neg_zero = false};
    }
    /// Two's complement with `integer_bits` before and `fraction_bits` after the point and a sign
    /// bit beside them: the Q format of integer_bits + fraction_bits + 1 bits.
    [[nodiscard]] static constexpr format fixed_point(int integer_bits, int fraction_bits) {
        format f = unsigned_fixed_point(integer_bits, fraction_bits);
        f.is_signed = true;
        f.is_twos_complement = true;
        return f;
    }
    [[nodiscard]] static constexpr format unsigned_fixed_point(int integer_bits,
                                                               int fraction_bits) {
        const int width = integer_bits + fraction_bits;
        return {.exponent_bits = 0,
                .mantissa_bits = width,
                .bias = 1 - integer_bits,
                .is_signed = false,
                .has_neg_zero = false};
    }

    [[nodiscard]] static constexpr int ieee_bias(int exponent_bits) {
        return exponent_bits > 0 ? (1 << (exponent_bits - 1)) - 1 : 0;
    }

private:
    static constexpr double infinity() { return std::numeric_limits<double>::infinity(); }
    static constexpr double nan() { return std::numeric_limits<double>::quiet_NaN(); }

    // significand * 2^e, exact where the product is a float64; two factors, as 2^e alone may be
    // below float64's smallest number (significand * 2^-1074 - 52 and the like).
    static constexpr double scale(double significand, int e) {
        if (e > 1023)
            return e > 2000 ? infinity() : significand * 0x1p1023 * power_of_two(e - 1023);
        const int first = e < -1022 ? -1022 : e;
        return significand * power_of_two(first) *
               power_of_two(e - first < -1074 ? -1074 : e - first);
    }
    static constexpr void within(const char* field, int got, int low, int high) {
        if (got < low || got > high)
            fail(std::string(field) + " must be between " + std::to_string(low) + " and " +
                 std::to_string(high) + "; got " + std::to_string(got));
    }
    [[noreturn]] static void fail(const std::string& message) {
        throw std::invalid_argument("lowp::format: " + message);
    }
};

/// The finite values of a format in ascending order, zero once. Throws std::invalid_argument for
/// formats of more than 24 bits, whose lists would fill the memory.
[[nodiscard]] inline std::vector<double> values(const format& f) {
    constexpr int most_bits = 24;
    f.validate();
    if (f.bits() > most_bits)
        throw std::invalid_argument("lowp::values: formats of up to " + std::to_string(most_bits) +
                                    " bits are listed; got one of " + std::to_string(f.bits()));
    std::vector<double> all;
    all.reserve(f.finite_values());
    const code_type smallest = f.min_positive_code();
    if (f.is_twos_complement) all.push_back(f.lowest());
    if (f.is_signed)
        for (code_type c = f.max_code() + 1; c-- > smallest;) all.push_back(-f.magnitude_value(c));
    if (f.has_zero) all.push_back(0.0);
    for (code_type c = smallest; c <= f.max_code(); ++c) all.push_back(f.magnitude_value(c));
    return all;
}

}  // namespace lowp
