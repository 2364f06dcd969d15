// A scalar that carries, beside its value in S, what float64 makes of the same computation.
// The difference is the error that S's roundings have brought about, operation by operation.
#pragma once

#include <cmath>
#include <compare>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <ostream>

#include "lowp/format.hpp"

namespace lowp {

namespace detail {

/// x as it is, and not fused with what follows: a compiler may make an fma of a * b + c, so that bits
/// would depend on its flags.
template <class T>
[[nodiscard]] [[gnu::always_inline]] inline T unfused(T x) {
    volatile T kept = x;
    return kept;
}

}  // namespace detail

/// S: minifloat, real, float or double. Operations are done twice, in S (rounded as S rounds) and in
/// double (rounded to double by the hardware). Comparisons are those of S: the computation takes the
/// way that it would take in S.
template <class S>
class shadowed {
public:
    shadowed() = default;

    /// x in S, and x itself: the shadow has not seen the first rounding either.
    template <class T>
        requires carrier_float<T> || std::integral<T>
    explicit shadowed(T x) : value_(x), shadow_(static_cast<double>(x)) {}
    explicit shadowed(S x) requires(!carrier_float<S>)
        : value_(x), shadow_(static_cast<double>(x)) {}
    shadowed(S x, double shadow) : value_(x), shadow_(shadow) {}
    /// The value converted, the shadow kept.
    template <class Other>
        requires(!std::same_as<Other, S>)
    explicit shadowed(const shadowed<Other>& x)
        : value_(static_cast<S>(static_cast<double>(x.value()))), shadow_(x.shadow()) {}

    [[nodiscard]] const S& value() const { return value_; }
    [[nodiscard]] double shadow() const { return shadow_; }

    /// |value - shadow| / |shadow|. 0 where both are equal (0 and 0, an infinity and itself) or both
    /// are NaN; infinite where the shadow is 0; where one alone is NaN, NaN.
    [[nodiscard]] double error() const {
        const auto x = static_cast<double>(value_);
        if (x == shadow_ || (x != x && shadow_ != shadow_)) return 0;
        const double difference = x > shadow_ ? x - shadow_ : shadow_ - x;
        if (difference == std::numeric_limits<double>::infinity()) return difference;
        return difference / (shadow_ < 0 ? -shadow_ : shadow_);
    }

    /// The value alone.
    template <class T>
        requires carrier_float<T> || std::integral<T>
    explicit operator T() const { return static_cast<T>(value_); }

    friend shadowed operator+(const shadowed& a, const shadowed& b) {
        return {a.value_ + b.value_, a.shadow_ + b.shadow_};
    }
    friend shadowed operator-(const shadowed& a, const shadowed& b) {
        return {a.value_ - b.value_, a.shadow_ - b.shadow_};
    }
    friend shadowed operator*(const shadowed& a, const shadowed& b) {
        return {a.value_ * b.value_, detail::unfused(a.shadow_ * b.shadow_)};
    }
    friend shadowed operator/(const shadowed& a, const shadowed& b) {
        return {a.value_ / b.value_, a.shadow_ / b.shadow_};
    }
    shadowed& operator+=(const shadowed& b) { return *this = *this + b; }
    shadowed& operator-=(const shadowed& b) { return *this = *this - b; }
    shadowed& operator*=(const shadowed& b) { return *this = *this * b; }
    shadowed& operator/=(const shadowed& b) { return *this = *this / b; }
    friend shadowed operator-(const shadowed& x) { return {-x.value_, -x.shadow_}; }
    friend shadowed operator+(const shadowed& x) { return x; }

    friend bool operator==(const shadowed& a, const shadowed& b) { return a.value_ == b.value_; }
    friend std::partial_ordering operator<=>(const shadowed& a, const shadowed& b) {
        return a.value_ <=> b.value_;
    }

    friend shadowed sqrt(const shadowed& x) {
        using std::sqrt;
        return {sqrt(x.value_), __builtin_sqrt(x.shadow_)};
    }
    friend shadowed fma(const shadowed& a, const shadowed& b, const shadowed& c) {
        using std::fma;
        return {fma(a.value_, b.value_, c.value_), fma(a.shadow_, b.shadow_, c.shadow_)};
    }
    friend shadowed abs(const shadowed& x) {
        using std::abs;
        return {abs(x.value_), x.shadow_ < 0 ? -x.shadow_ : x.shadow_};
    }
    friend shadowed fabs(const shadowed& x) { return abs(x); }
    /// The operand that S takes, with its shadow; NaN if one is.
    friend shadowed min(const shadowed& a, const shadowed& b) { return isnan(a) || a < b ? a : b; }
    friend shadowed max(const shadowed& a, const shadowed& b) { return isnan(a) || a > b ? a : b; }
    friend bool isnan(const shadowed& x) { return x.value_ != x.value_; }
    friend bool isinf(const shadowed& x) {
        using std::isinf;
        return isinf(x.value_);
    }
    friend bool isfinite(const shadowed& x) {
        using std::isfinite;
        return isfinite(x.value_);
    }
    friend bool signbit(const shadowed& x) {
        using std::signbit;
        return signbit(x.value_);
    }
    friend std::ostream& operator<<(std::ostream& out, const shadowed& x) {
        return out << x.value_;
    }

private:
    S value_{};
    double shadow_ = 0;
};

}  // namespace lowp

/// Those of S.
template <class S>
class std::numeric_limits<lowp::shadowed<S>> : public std::numeric_limits<S> {
    using base = std::numeric_limits<S>;
    using value = lowp::shadowed<S>;

public:
    static value min() { return value((base::min)()); }
    static value max() { return value((base::max)()); }
    static value lowest() { return value(base::lowest()); }
    static value epsilon() { return value(base::epsilon()); }
    static value round_error() { return value(base::round_error()); }
    static value denorm_min() { return value(base::denorm_min()); }
    static value infinity() { return value(base::infinity()); }
    static value quiet_NaN() { return value(base::quiet_NaN()); }
    static value signaling_NaN() { return value(base::signaling_NaN()); }
};

template <class S>
struct std::hash<lowp::shadowed<S>> {
    [[nodiscard]] std::size_t operator()(const lowp::shadowed<S>& x) const {
        return std::hash<S>{}(x.value());
    }
};
