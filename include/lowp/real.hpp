// A number whose format and projection are chosen at run time: what minifloat is to a known format.
// Every operation rounds once; a use_format says which context new numbers get.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>

#include "lowp/arithmetic.hpp"
#include "lowp/format.hpp"
#include "lowp/formats.hpp"
#include "lowp/minifloat.hpp"
#include "lowp/random.hpp"
#include "lowp/rounding.hpp"
#include "lowp/statistics.hpp"

namespace lowp {

/// A format and a projection that numbers share. A small handle: equal ones are the same entry of a
/// table that lasts as long as the program, so copying and comparing cost nothing, and making one
/// costs a look-up under a lock. Default: float64, nearest even.
class context {
public:
    context() : entry_(float64_entry()) {}

    /// Throws std::invalid_argument where f or p is not valid.
    explicit context(const lowp::format& f, const lowp::projection& p = {}) : entry_(find(f, p)) {}

    [[nodiscard]] const lowp::format& format() const { return entry_->to.format(); }
    [[nodiscard]] const lowp::projection& projection() const { return entry_->to.projection(); }
    /// What arithmetic.hpp takes.
    [[nodiscard]] const converter<double>& to() const { return entry_->to; }
    /// "float16 nearest_ties_to_even none".
    [[nodiscard, gnu::cold, gnu::noinline]] std::string name() const {
        const lowp::projection& p = projection();
        return lowp::name(format()) + " " + std::string(lowp::name(p.rounding)) + " " +
               std::string(lowp::name(p.saturation));
    }

    friend bool operator==(context a, context b) { return a.entry_ == b.entry_; }

private:
    friend class real;

    // Every field, in an order of its own; std::map wants one.
    using key = std::array<std::int64_t, 13>;
    static key key_of(const lowp::format& f, const lowp::projection& p) {
        const auto whole = [](auto x) { return static_cast<std::int64_t>(x); };
        return {f.exponent_bits,
                f.mantissa_bits,
                f.bias,
                whole(f.is_signed),
                whole(f.has_inf),
                f.nan_codes,
                whole(f.has_neg_zero),
                whole(f.has_subnormals),
                whole(f.has_zero),
                whole(f.is_twos_complement),
                whole(p.rounding),
                whole(p.saturation),
                p.random_bits};
    }
    static const detail::rounder* find(const lowp::format& f, const lowp::projection& p) {
        // Never destroyed: numbers may outlive every static object.
        static auto& table = *new std::map<key, std::unique_ptr<const detail::rounder>>;
        static auto& lock = *new std::mutex;
        f.validate();
        const std::scoped_lock hold(lock);
        auto& entry = table[key_of(f, p)];
        if (!entry) entry = std::make_unique<const detail::rounder>(f, p);
        return entry.get();
    }
    static const detail::rounder* float64_entry() {
        static const detail::rounder* const entry = find(float64, {});
        return entry;
    }

    const detail::rounder* entry_;
};

namespace detail {

/// What new numbers of this thread get, and where their operations' random bits come from.
struct current_format {
    lowp::context context;
    random_source source;
    std::uint64_t next = 0;  ///< index of the next operation that takes random bits
};

inline current_format& current() {
    static thread_local current_format c;
    return c;
}

}  // namespace detail

/// The context of this thread's innermost use_format; float64, nearest even, where there is none.
[[nodiscard]] inline context current_context() { return detail::current().context; }

/// While it lives, numbers of this thread made without a context get this one. Scopes nest. In
/// stochastic modes the n-th operation since the scope began, conversions among them, takes word n of
/// `source`, so a run can be repeated; an inner scope has its own count, and the outer one goes on
/// where it was.
class use_format {
public:
    [[nodiscard]] explicit use_format(const context& c, const random_source& source = {})
        : outer_(std::exchange(detail::current(), {c, source, 0})) {}
    [[nodiscard]] explicit use_format(const format& f, const projection& p = {},
                                      const random_source& source = {})
        : use_format(context(f, p), source) {}
    ~use_format() { detail::current() = outer_; }
    use_format(const use_format&) = delete;
    use_format(use_format&&) = delete;
    use_format& operator=(const use_format&) = delete;
    use_format& operator=(use_format&&) = delete;

private:
    detail::current_format outer_;
};

/// A value on the grid of a context. Operators and functions give the exact result rounded once by
/// that context. NaN, infinity and overflow as in arithmetic.hpp; a NaN stays one, in formats without
/// NaN too.
///
/// One rule for mixing: both operands have the same context, or std::invalid_argument is thrown.
/// `cast(x, context)` says where a value is to be rounded to another. Comparisons are exact, so they
/// take any two. Numbers made without a context, as the 0 and 1 in Eigen's algorithms, get that of
/// the innermost use_format.
class real {
public:
    /// +0 in the current context (in a format without zero its smallest value). No operation: it is
    /// not counted and takes no random bits, so arrays may be made at will.
    real() : real(current_context(), 0.0) { value_ = context_.to().quantize(0.0); }

    /// x rounded once, by the current context or by `c`.
    template <carrier_float T>
    explicit real(T x, context c = current_context())
        : real(c, rounded<operation_kind::convert>(c, static_cast<double>(x))) {}
    template <std::integral T>
    explicit real(T x, context c = current_context()) : real(c, of_halves(c, detail::halves(x))) {}
    template <format F>
    explicit real(minifloat<F> x, context c = current_context())
        : real(static_cast<double>(x), c) {}

    [[nodiscard]] double value() const { return value_; }
    [[nodiscard]] lowp::context context() const { return context_; }

    explicit operator double() const { return value_; }
    /// Rounded once to nearest even.
    explicit operator float() const {
        return static_cast<float>(detail::to_float32.quantize(value_));
    }
    template <format F>
    explicit operator minifloat<F>() const {
        return minifloat<F>(value_);
    }
    /// As minifloat's.
    template <std::integral T>
    explicit operator T() const {
        return detail::to_integer<T>(value_);
    }

    /// x rounded once by another context.
    friend real cast(real x, lowp::context c) { return real(x.value_, c); }

    friend real operator+(real a, real b) { return a.apply<operation_kind::add>("+", b); }
    friend real operator-(real a, real b) { return a.apply<operation_kind::sub>("-", b); }
    friend real operator*(real a, real b) { return a.apply<operation_kind::mul>("*", b); }
    friend real operator/(real a, real b) { return a.apply<operation_kind::div>("/", b); }
    real& operator+=(real b) { return *this = *this + b; }
    real& operator-=(real b) { return *this = *this - b; }
    real& operator*=(real b) { return *this = *this * b; }
    real& operator/=(real b) { return *this = *this / b; }

    /// As minifloat's: the value of the format next to -x.
    friend real operator-(real x) { return x.nearest(-x.value_); }
    friend real operator+(real x) { return x; }

    friend bool operator==(real a, real b) { return a.value_ == b.value_; }
    friend std::partial_ordering operator<=>(real a, real b) { return a.value_ <=> b.value_; }

    friend real sqrt(real x) { return x.apply<operation_kind::sqrt>("sqrt"); }
    friend real fma(real a, real b, real c) { return a.apply<operation_kind::fma>("fma", b, c); }
    friend real remainder(real a, real b) {
        return a.apply<operation_kind::remainder>("remainder", b);
    }
    friend real min(real a, real b) {
        a.check("min", b);
        return {a.context_, lowp::minimum(a.value_, b.value_, a.context_.to())};
    }
    friend real max(real a, real b) {
        a.check("max", b);
        return {a.context_, lowp::maximum(a.value_, b.value_, a.context_.to())};
    }
    friend real abs(real x) { return signbit(x) ? -x : x; }
    friend real fabs(real x) { return abs(x); }
    friend real floor(real x) {
        return x.nearest(detail::to_whole<rounding::toward_negative>(x.value_));
    }
    friend real ceil(real x) {
        return x.nearest(detail::to_whole<rounding::toward_positive>(x.value_));
    }
    friend real trunc(real x) {
        return x.nearest(detail::to_whole<rounding::toward_zero>(x.value_));
    }
    friend real round(real x) {
        return x.nearest(detail::to_whole<rounding::nearest_ties_to_away>(x.value_));
    }
    friend bool isnan(real x) { return !detail::is_number(x.value_); }
    friend bool isfinite(real x) { return detail::is_finite(x.value_); }
    friend bool isinf(real x) { return !isnan(x) && !isfinite(x); }
    friend bool signbit(real x) { return (std::bit_cast<std::uint64_t>(x.value_) >> 63) != 0; }

    /// The value, as the stream prints a double.
    friend std::ostream& operator<<(std::ostream& out, real x) { return out << x.value_; }

private:
    real(lowp::context c, double on_grid) : value_(on_grid), context_(c) {}

    // The next word of the thread's source, if the context's rounding takes one.
    static std::uint32_t random_of(lowp::context c) {
        if (!is_stochastic(c.projection().rounding)) return 0;
        detail::current_format& now = detail::current();
        return now.source(now.next++);
    }
    template <operation_kind K, std::same_as<double>... T>
    static double rounded(lowp::context c, T... x) {
        return detail::operate<K>(*c.entry_, random_of(c), x...);
    }
    static double of_halves(lowp::context c, detail::halves x) {
        return x.high == 0 ? rounded<operation_kind::convert>(c, x.low)
                           : rounded<operation_kind::convert>(c, x.high, x.low);
    }
    // Exact but where the format has no such value; takes no random bits, counts nothing.
    [[nodiscard]] real nearest(double x) const { return {context_, context_.to().quantize(x)}; }
    void check(const char* what, real other) const {
        if (context_ != other.context_) refuse(what, other);
    }
    [[noreturn]] void refuse(const char* what, real other) const {
        throw std::invalid_argument(
            std::string("lowp::real: operands of ") + what + " must have one context; got " +
            context_.name() + " and " + other.context_.name() +
            "; cast(x, context) one of them, or make both in one use_format");
    }
    template <operation_kind K, std::same_as<real>... T>
    [[nodiscard]] real apply([[maybe_unused]] const char* what, T... others) const {
        (check(what, others), ...);
        return {context_, rounded<K>(context_, value_, others.value_...)};
    }

    double value_;
    lowp::context context_;
};

}  // namespace lowp

/// Limits of the current context, at run time; digits and exponents, which are constants, are 0, as
/// the format is none.
template <>
class std::numeric_limits<lowp::real> {
    static const lowp::format& f() { return lowp::current_context().format(); }

public:
    static constexpr bool is_specialized = true;
    static constexpr bool is_signed = true;
    static constexpr bool is_integer = false;
    static constexpr bool is_exact = false;
    static constexpr bool has_infinity = true;
    static constexpr bool has_quiet_NaN = true;
    static constexpr bool has_signaling_NaN = false;
    static constexpr float_denorm_style has_denorm = denorm_indeterminate;
    static constexpr bool has_denorm_loss = false;
    static constexpr float_round_style round_style = round_indeterminate;
    static constexpr bool is_iec559 = false;
    static constexpr bool is_bounded = true;
    static constexpr bool is_modulo = false;
    static constexpr bool traps = false;
    static constexpr bool tinyness_before = true;
    static constexpr int radix = 2;
    static constexpr int digits = 0, digits10 = 0, max_digits10 = 0;
    static constexpr int min_exponent = 0, max_exponent = 0;
    static constexpr int min_exponent10 = 0, max_exponent10 = 0;

    static lowp::real min() { return lowp::real(std::min(f().min_normal(), f().max())); }
    static lowp::real max() { return lowp::real(f().max()); }
    static lowp::real lowest() { return lowp::real(f().lowest()); }
    static lowp::real epsilon() { return lowp::real(f().epsilon()); }
    static lowp::real round_error() { return lowp::real(0.5); }
    static lowp::real denorm_min() { return lowp::real(f().min_positive()); }
    /// What the context makes of infinity; where it has none, its largest value or NaN.
    static lowp::real infinity() { return lowp::real(std::numeric_limits<double>::infinity()); }
    static lowp::real quiet_NaN() { return lowp::real(std::numeric_limits<double>::quiet_NaN()); }
    static lowp::real signaling_NaN() { return quiet_NaN(); }
};

/// Equal values have equal hashes, whatever their contexts.
template <>
struct std::hash<lowp::real> {
    [[nodiscard]] std::size_t operator()(lowp::real x) const noexcept {
        return std::hash<double>{}(x.value() == 0 ? 0.0 : x.value());
    }
};

#if __has_include(<format>)
#include <format>
#if defined(__cpp_lib_format)
/// As a double is formatted.
template <>
struct std::formatter<lowp::real> : std::formatter<double> {
    auto format(lowp::real x, auto& context) const {
        return std::formatter<double>::format(x.value(), context);
    }
};
#endif
#endif
