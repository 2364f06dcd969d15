// How often the operations of a piece of code rounded, overflowed, underflowed or made a NaN: counted
// for minifloat and real, on the thread and for as long as a count_operations lives.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include "lowp/arithmetic.hpp"
#include "lowp/format.hpp"
#include "lowp/rounding.hpp"

namespace lowp {

/// What is counted apart. `convert`: from floats, integers and other formats.
enum class operation_kind : std::uint8_t { add, sub, mul, div, sqrt, fma, remainder, convert };

inline constexpr std::array<std::string_view, 8> operation_kind_names{
    "add", "sub", "mul", "div", "sqrt", "fma", "remainder", "convert"};

[[nodiscard]] constexpr std::string_view name(operation_kind o) {
    return operation_kind_names.at(static_cast<std::size_t>(o));
}

/// Events of one kind of operation. Each compares the exact result with the format's grid, which is
/// thought to go on above the largest value; sources: IEEE 754-2019, 7.2 to 7.6.
struct operation_count {
    std::uint64_t total = 0;
    std::uint64_t inexact = 0;         ///< the exact result is finite and no value of the format
    std::uint64_t overflow = 0;        ///< it rounds beyond the largest or the lowest value
    std::uint64_t underflow = 0;       ///< inexact, and below the smallest normal number
    std::uint64_t divide_by_zero = 0;  ///< a finite number but zero, by zero
    std::uint64_t nan_created = 0;     ///< NaN from operands that are none

    constexpr operation_count& operator+=(const operation_count& other) {
        total += other.total;
        inexact += other.inexact;
        overflow += other.overflow;
        underflow += other.underflow;
        divide_by_zero += other.divide_by_zero;
        nan_created += other.nan_created;
        return *this;
    }
    friend constexpr bool operator==(const operation_count&, const operation_count&) = default;
};

/// Counts of every kind of operation.
struct operation_counts {
    std::array<operation_count, operation_kind_names.size()> of{};

    [[nodiscard]] constexpr operation_count& operator[](operation_kind o) {
        return of.at(static_cast<std::size_t>(o));
    }
    [[nodiscard]] constexpr const operation_count& operator[](operation_kind o) const {
        return of.at(static_cast<std::size_t>(o));
    }
    [[nodiscard]] constexpr operation_count sum() const {
        operation_count all;
        for (const operation_count& one : of) all += one;
        return all;
    }
    friend constexpr bool operator==(const operation_counts&, const operation_counts&) = default;
};

class count_operations;

namespace detail {

inline thread_local constinit count_operations* counting = nullptr;

}  // namespace detail

/// While it lives, operations of this thread add to `counts`, which must live longer; what was there
/// stays. Scopes nest: an operation is counted by every scope around it. What is done in constant
/// expressions is not counted, neither are exact things: comparison, negation, min, max, abs.
class count_operations {
public:
    [[nodiscard]] explicit count_operations(operation_counts& counts)
        : counts_(counts), outer_(detail::counting) {
        detail::counting = this;
    }
    ~count_operations() { detail::counting = outer_; }
    count_operations(const count_operations&) = delete;
    count_operations(count_operations&&) = delete;
    count_operations& operator=(const count_operations&) = delete;
    count_operations& operator=(count_operations&&) = delete;

    /// Adds to the counts of this scope and of those around it.
    void record(operation_kind o, const operation_count& events) {
        for (count_operations* scope = this; scope != nullptr; scope = scope->outer_)
            scope->counts_[o] += events;
    }

private:
    operation_counts& counts_;
    count_operations* outer_;
};

namespace detail {

[[nodiscard]] constexpr bool is_counting() {
    return !std::is_constant_evaluated() && counting != nullptr;
}

/// The grid of f with zero and both signs, continued as far up as float64 goes (where the format lies
/// lower than float64's exponents: as eleven bits of exponent go, the last code an infinity).
[[nodiscard]] constexpr format continued(const format& f) {
    format wide = f;
    wide.is_signed = wide.has_neg_zero = wide.has_zero = wide.has_inf = true;
    wide.is_twos_complement = false;
    if (f.exponent_bits == 0) {
        // 52 bits of the same quantum, 2^(1 - bias - mantissa_bits), or what float64 has of them.
        const int quantum = f.min_quantum_exponent();
        wide.mantissa_bits = std::min(52, 1023 - quantum);
        wide.bias = 1 - quantum - wide.mantissa_bits;
        wide.has_inf = wide.mantissa_bits > 1;
        wide.nan_codes = 0;
        return wide;
    }
    wide.exponent_bits = 11;
    if (!f.has_zero && f.bias < 1023) ++wide.bias;  // field 0 is zero's now; emin stays
    else wide.has_zero = f.has_zero;
    const auto field = static_cast<code_type>(std::min(2047, 1023 + wide.bias));
    const code_type infinity = std::min((field + 1) << f.mantissa_bits, wide.magnitude_mask());
    wide.nan_codes = static_cast<std::int64_t>(wide.magnitude_mask() - infinity);
    return wide;
}

/// A format and projection ready for operations, and for judging them.
struct rounder {
    converter<double> to;
    converter<double> same, down,
        up;  ///< on the continued grid: as `to`, toward and away from zero
    double lowest = 0, max = 0, min_normal = 0;

    explicit constexpr rounder(const format& f, const projection& p = {})
        : to(f, p),
          same(continued(f), {.rounding = p.rounding, .random_bits = p.random_bits}),
          down(continued(f), {.rounding = rounding::toward_zero}),
          up(continued(f), {.rounding = rounding::away_from_zero}),
          lowest(std::min(0.0, f.lowest())),
          max(f.max()),
          min_normal(f.min_normal()) {}

    [[nodiscard]] constexpr bool is_beyond(double x) const { return x < lowest || x > max; }
};

/// The exact result of an operation, rounded once. `convert` of two values is that of their sum.
template <operation_kind K, std::same_as<double>... T>
[[nodiscard]] constexpr double round_once(const converter<double>& to, std::uint32_t random,
                                          T... x) {
    constexpr bool is_sum = K == operation_kind::add || K == operation_kind::convert;
    if constexpr (is_sum && sizeof...(x) == 2) return add(x..., to, random);
    else if constexpr (K == operation_kind::sub) return sub(x..., to, random);
    else if constexpr (K == operation_kind::mul) return mul(x..., to, random);
    else if constexpr (K == operation_kind::div) return div(x..., to, random);
    else if constexpr (K == operation_kind::sqrt) return sqrt(x..., to, random);
    else if constexpr (K == operation_kind::fma) return fma(x..., to, random);
    else if constexpr (K == operation_kind::remainder) return remainder(x..., to, random);
    else return to.quantize(x..., random);
}

[[nodiscard]] constexpr bool is_number(double x) { return x == x; }
[[nodiscard]] constexpr bool is_finite(double x) {
    return x >= std::numeric_limits<double>::lowest() && x <= std::numeric_limits<double>::max();
}

/// What happened in an operation that gave `result`.
template <operation_kind K, std::same_as<double>... T>
[[nodiscard]] constexpr operation_count judge(const rounder& r, std::uint32_t random, double result,
                                              T... x) {
    operation_count seen{.total = 1};
    const bool finite_operands = (is_finite(x) && ...);
    const double below = round_once<K>(r.down, 0, x...);
    if (!is_number(result) && (is_number(x) && ...)) seen.nan_created = 1;
    if (!finite_operands || !is_number(below)) return seen;
    if constexpr (K == operation_kind::div) {
        const std::array<double, 2> operands{x...};
        if (operands[1] == 0) {
            seen.divide_by_zero = 1;
            return seen;
        }
    }
    const double above = round_once<K>(r.up, 0, x...);
    seen.overflow = r.is_beyond(round_once<K>(r.same, random, x...)) ? 1 : 0;
    seen.inexact = below != above || below != result ? 1 : 0;
    const double size = below < 0 ? -below : below;
    seen.underflow = seen.inexact == 1 && seen.overflow == 0 && size < r.min_normal ? 1 : 0;
    return seen;
}

/// The operation that minifloat and real are made of.
template <operation_kind K, std::same_as<double>... T>
[[nodiscard]] constexpr double operate(const rounder& r, std::uint32_t random, T... x) {
    const double result = round_once<K>(r.to, random, x...);
    if (!std::is_constant_evaluated())
        if (count_operations* const scope = counting; scope != nullptr) [[unlikely]]
            scope->record(K, judge<K>(r, random, result, x...));
    return result;
}

}  // namespace detail
}  // namespace lowp
