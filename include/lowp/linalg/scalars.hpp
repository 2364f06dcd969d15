// What the algorithms of linalg.hpp share: their matrices, how numbers go from one scalar to another,
// and how errors are measured from outside, in float64.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "lowp/eigen_scalar.hpp"

namespace lowp::linalg {

using Eigen::Index;

template <class S>
using matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic>;
template <class S>
using vector = Eigen::Matrix<S, Eigen::Dynamic, 1>;

/// What an algorithm does in scalar S: `enter()` for as long as it works, and the numbers that go in.
/// For real this is where the context is: in<real>{context(bfloat16)}.
template <class S>
struct in {
    struct scope {};
    [[nodiscard]] scope enter() const { return {}; }

    /// x 2^exponent in S, rounded once. A shadow goes along.
    template <class From>
    [[nodiscard]] S operator()(const From& x, int exponent = 0) const {
        if (exponent == 0) return scalar_cast<S>(x);
        return scalar_cast<S>(std::ldexp(static_cast<double>(x), exponent));
    }
    /// Unit roundoff: half of epsilon.
    [[nodiscard]] double unit() const {
        return static_cast<double>(std::numeric_limits<S>::epsilon()) / 2;
    }
    [[nodiscard]] double max() const {
        return static_cast<double>((std::numeric_limits<S>::max)());
    }
};

template <>
struct in<real> {
    lowp::context context = current_context();

    [[nodiscard]] use_format enter() const { return use_format(context); }

    template <class From>
    [[nodiscard]] real operator()(const From& x, int exponent = 0) const {
        return real(std::ldexp(static_cast<double>(x), exponent), context);
    }
    [[nodiscard]] double unit() const { return context.format().epsilon() / 2; }
    [[nodiscard]] double max() const { return context.format().max(); }
};

template <class S>
struct in<shadowed<S>> {
    in<S> inner = {};

    [[nodiscard]] auto enter() const { return inner.enter(); }

    template <class From>
    [[nodiscard]] shadowed<S> operator()(const From& x, int exponent = 0) const {
        return {inner(x, exponent), std::ldexp(static_cast<double>(x), exponent)};
    }
    template <class T>
    [[nodiscard]] shadowed<S> operator()(const shadowed<T>& x, int exponent = 0) const {
        return {inner(x.value(), exponent), std::ldexp(x.shadow(), exponent)};
    }
    [[nodiscard]] double unit() const { return inner.unit(); }
    [[nodiscard]] double max() const { return inner.max(); }
};

/// Every element of a in another scalar, rounded once.
template <class S, class Derived>
[[nodiscard]] auto converted(const Eigen::MatrixBase<Derived>& a, const in<S>& to) {
    Eigen::Matrix<S, Derived::RowsAtCompileTime, Derived::ColsAtCompileTime> result(a.rows(),
                                                                                    a.cols());
    for (Index j = 0; j < a.cols(); ++j)
        for (Index i = 0; i < a.rows(); ++i) result(i, j) = to(a(i, j));
    return result;
}

/// The values as float64, exact for every scalar here.
template <class Derived>
[[nodiscard]] auto values(const Eigen::MatrixBase<Derived>& a) {
    return converted(a, in<double>{});
}

namespace detail {

using lowp::detail::is_finite;

[[noreturn]] inline void fail(const char* where, const std::string& what) {
    throw std::invalid_argument(std::string("lowp::linalg::") + where + ": " + what);
}
[[nodiscard]] inline std::string text(double x) {
    std::string digits(32, '\0');
    digits.resize(static_cast<std::size_t>(std::snprintf(digits.data(), digits.size(), "%.6g", x)));
    return digits;
}
template <class M>
[[nodiscard]] std::string size_of(const M& a) {
    return std::to_string(a.rows()) + " by " + std::to_string(a.cols());
}
template <class A>
void check_square(const char* where, const A& a) {
    if (a.rows() != a.cols()) fail(where, "the matrix must be square; got " + size_of(a));
}
template <class A, class B>
void check_rows(const char* where, const A& a, const B& b) {
    if (a.rows() != b.rows())
        fail(where, "the right-hand side must have a row for each of the matrix; got " +
                        size_of(a) + " and " + size_of(b));
}

template <class S>
[[nodiscard]] bool is_finite_number(const S& x) {
    return is_finite(static_cast<double>(x));
}

/// The scalar of x's numbers: for real the context of the first.
template <class S>
[[nodiscard]] in<S> like([[maybe_unused]] const vector<S>& x) {
    if constexpr (std::same_as<S, real>) return x.size() == 0 ? in<S>{} : in<S>{x(0).context()};
    else return {};
}

/// a b, never fused with an addition that follows. A compiler may do so with float and double.
template <class S>
[[nodiscard]] S product(const S& a, const S& b) {
    if constexpr (std::floating_point<S>) return lowp::detail::unfused(a * b);
    else return a * b;
}

}  // namespace detail

// ---- errors, measured in float64 -----------------------------------------------------------------

/// b - A x of the values as float64, with products and sums in twice its precision.
/// Source: Ogita, Rump and Oishi, Accurate sum and dot product, SISC 26 (2005), Dot2.
template <class A, class X, class B>
[[nodiscard]] vector<double> exact_residual(const A& a, const X& x, const B& b) {
    vector<double> r(a.rows());
    for (Index i = 0; i < a.rows(); ++i) {
        auto high = static_cast<double>(b(i));
        double low = 0;
        for (Index j = 0; j < a.cols(); ++j) {
            const double u = -static_cast<double>(a(i, j));
            const auto v = static_cast<double>(x(j));
            const double p = lowp::detail::unfused(u * v);
            const double sum = high + p;
            const double part = sum - high;
            low += (high - (sum - part)) + (p - part) + std::fma(u, v, -p);
            high = sum;
        }
        r(i) = high + low;
    }
    return r;
}

/// The largest |x_i| of the values as float64; NaN if one is; empty: 0.
template <class X>
[[nodiscard]] double max_norm(const X& x) {
    double largest = 0;
    for (Index i = 0; i < x.size(); ++i) {
        const double size = std::abs(static_cast<double>(x(i)));
        if (!(size <= largest)) largest = size;
        if (size != size) return size;
    }
    return largest;
}

/// The largest sum of |a_ij| over a row, as float64.
template <class A>
[[nodiscard]] double row_sum_norm(const A& a) {
    double largest = 0;
    for (Index i = 0; i < a.rows(); ++i) {
        double sum = 0;
        for (Index j = 0; j < a.cols(); ++j) sum += std::abs(static_cast<double>(a(i, j)));
        if (!(sum <= largest)) largest = sum;
    }
    return largest;
}

/// ||b - A x|| / (||A|| ||x|| + ||b||) in the infinity norm: how little A and b must change for x to
/// be exact. 0 / 0 is 0; NaN or infinity in x gives NaN.
/// Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, theorem 7.1.
template <class A, class X, class B>
[[nodiscard]] double backward_error(const A& a, const X& x, const B& b) {
    const double residual = max_norm(exact_residual(a, x, b));
    const double size = row_sum_norm(a) * max_norm(x) + max_norm(b);
    return size == 0 ? 0 : residual / size;
}

/// ||x - truth|| / ||truth|| in the infinity norm.
template <class X>
[[nodiscard]] double forward_error(const X& x, const vector<double>& truth) {
    const double difference = max_norm(vector<double>(values(x) - truth));
    return difference == 0 ? 0 : difference / max_norm(truth);
}

// ---- what iterations say -------------------------------------------------------------------------

/// Why an iteration ended. `breakdown`: a divisor was zero or something not finite.
enum class outcome : std::uint8_t { converged, iteration_limit, breakdown };

struct iteration_options {
    int max_iterations = 100;
    /// Backward error to stop at; nothing: the unit roundoff of the (working) scalar.
    std::optional<double> tolerance = {};
    /// The solution, where known: history then has forward errors.
    std::optional<vector<double>> truth = {};
};

/// x and what was seen on the way, measured in float64 and no part of the computation: the errors of
/// the first x, then of x after each iteration.
template <class S>
struct solution {
    vector<S> x;
    std::vector<double> backward_errors;
    std::vector<double> forward_errors;  ///< if `truth` was given
    int iterations = 0;
    linalg::outcome outcome = outcome::iteration_limit;

    template <class A, class B>
    void measure(const A& a, const B& b, const iteration_options& o) {
        backward_errors.push_back(backward_error(a, x, b));
        if (o.truth) forward_errors.push_back(forward_error(x, *o.truth));
    }
};

namespace detail {

inline void check_options(const char* where, const iteration_options& o, Index n) {
    if (o.max_iterations < 0)
        fail(where, "max_iterations must not be negative; got " + std::to_string(o.max_iterations));
    if (o.tolerance && !(*o.tolerance >= 0))
        fail(where, "tolerance must not be negative; got " + text(*o.tolerance));
    if (o.truth && o.truth->size() != n)
        fail(where, "truth must have a number for each unknown, " + std::to_string(n) + "; got " +
                        std::to_string(o.truth->size()));
}

}  // namespace detail
}  // namespace lowp::linalg
