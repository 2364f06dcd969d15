// Linear systems factored in a narrow format and refined in wider ones, and the scaling that makes a
// matrix fit the narrow format.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lowp/linalg/factors.hpp"
#include "lowp/linalg/krylov.hpp"
#include "lowp/linalg/products.hpp"

namespace lowp::linalg {

// ---- scaling -------------------------------------------------------------------------------------

/// Powers of two: the scaled matrix is 2^(both + rows_i + columns_j) a_ij.
struct scaling {
    std::vector<int> rows, columns;
    int both = 0;

    [[nodiscard]] int exponent(Index i, Index j) const {
        return both + rows[static_cast<std::size_t>(i)] + columns[static_cast<std::size_t>(j)];
    }
};

/// Scaling that does nothing.
[[nodiscard]] inline scaling no_scaling(Index rows, Index columns) {
    return {std::vector<int>(static_cast<std::size_t>(rows)),
            std::vector<int>(static_cast<std::size_t>(columns)), 0};
}

/// Brings the largest element of each row, then of each column, to (1/2, 1], then all by one factor as
/// far up as theta max allows. max: the largest value of the format to factor in; theta: what growth in
/// the factorisation is left room for. Powers of two, so that the scaling itself rounds nothing.
/// Throws std::invalid_argument for a row or column of zeros or with infinity or NaN, and theta outside
/// (0, 1].
/// Source: Higham, Pranesh and Zounon, Squeezing a matrix into half precision, with an application to
/// solving linear systems, SISC 41 (2019), algorithms 2.3 and 3.1.
template <class Derived>
[[nodiscard]] scaling two_sided_scaling(const Eigen::MatrixBase<Derived>& a, double max,
                                        double theta = 0.1) {
    if (!(theta > 0 && theta <= 1))
        detail::fail("two_sided_scaling",
                     "theta must be above 0 and at most 1; got " + detail::text(theta));
    scaling s = no_scaling(a.rows(), a.cols());
    // The e that brings 2^e x to (1/2, 1].
    const auto to_one = [](const char* what, Index i, double x) {
        if (!(x > 0) || !detail::is_finite(x))
            detail::fail("two_sided_scaling", std::string(what) + " " + std::to_string(i) +
                                                  " must have finite elements, not all 0; its "
                                                  "largest is " +
                                                  detail::text(x));
        int e = 0;
        return std::frexp(x, &e) == 0.5 ? 1 - e : -e;
    };
    for (Index i = 0; i < a.rows(); ++i)
        s.rows[static_cast<std::size_t>(i)] = to_one("row", i, max_norm(a.row(i)));
    for (Index j = 0; j < a.cols(); ++j) {
        double largest = 0;
        for (Index i = 0; i < a.rows(); ++i)
            largest = std::max(largest, std::abs(std::ldexp(static_cast<double>(a(i, j)),
                                                            s.rows[static_cast<std::size_t>(i)])));
        s.columns[static_cast<std::size_t>(j)] = to_one("column", j, largest);
    }
    int e = 0;
    std::frexp(theta * max, &e);
    s.both = e - 1;  // 2^both <= theta max
    return s;
}

/// 2^exponent(i, j) a_ij in scalar S, rounded once.
template <class S, class Derived>
[[nodiscard]] matrix<S> scaled(const Eigen::MatrixBase<Derived>& a, const scaling& s,
                               const in<S>& to) {
    matrix<S> result(a.rows(), a.cols());
    for (Index j = 0; j < a.cols(); ++j)
        for (Index i = 0; i < a.rows(); ++i) result(i, j) = to(a(i, j), s.exponent(i, j));
    return result;
}

// ---- iterative refinement ------------------------------------------------------------------------

/// How a correction is found. `triangular`: with the factors, in the factor scalar. `gmres`: GMRES on
/// U^-1 L^-1 A d = U^-1 L^-1 r with everything in the working scalar (GMRES-IR).
enum class correction : std::uint8_t { triangular, gmres };
enum class scaling_rule : std::uint8_t { none, two_sided };

struct refinement_options : iteration_options {
    linalg::correction correction = correction::triangular;
    linalg::scaling_rule scaling = scaling_rule::none;
    double theta = 0.1;             ///< of two_sided_scaling
    int restart = 30;               ///< most steps of a GMRES correction
    double cycle_tolerance = 1e-4;  ///< where a GMRES correction stops
};

namespace detail {

/// A system in its working scalar with its factorisation in another.
template <class Factor, class Working>
class factored_system {
public:
    factored_system(const matrix<Working>& a, const in<Factor>& factor, const in<Working>& working,
                    const refinement_options& o)
        : a_(a), factor_(factor), working_(working), options_(o) {
        scaling_ = o.scaling == scaling_rule::two_sided
                       ? two_sided_scaling(a, factor.max(), o.theta)
                       : no_scaling(a.rows(), a.cols());
        [[maybe_unused]] const auto scope = factor.enter();
        lu_ = linalg::lu(scaled(a, scaling_, factor));
        if (o.correction == correction::gmres) {
            [[maybe_unused]] const auto working_scope = working.enter();
            preconditioner_ = {converted(lu_.lu, working), lu_.rows};
        }
    }

    /// About A^-1 r, in the working scalar: in the factor scalar.
    template <class R>
    [[nodiscard]] vector<Working> solve(const vector<R>& r) const {
        const int e = exponent_of_scaled(r);
        const vector<Factor> y = [&] {
            [[maybe_unused]] const auto scope = factor_.enter();
            return lu_.solve(row_scaled(r, -e, factor_));
        }();
        return column_scaled(y, scaling_.both + e);
    }
    /// The same by GMRES; nothing where that breaks down.
    template <class R>
    [[nodiscard]] std::optional<vector<Working>> solve_by_gmres(const vector<R>& r) const {
        const int e = exponent_of_scaled(r);
        [[maybe_unused]] const auto scope = working_.enter();
        gmres_cycle<Working> cycle(options_.restart);
        const auto apply = [&](const vector<Working>& y) {
            const vector<Working> ay = gemv(a_, column_scaled(y, 0));
            return preconditioner_.solve(row_scaled(ay, scaling_.both, working_));
        };
        const auto y = cycle.run(preconditioner_.solve(row_scaled(r, -e, working_)),
                                 options_.cycle_tolerance, apply);
        if (!y) return std::nullopt;
        return column_scaled(*y, scaling_.both + e);
    }

private:
    // With 2^-e its right-hand side begins at 1: it may be far outside of Factor's range. The system
    // solved is (2^both R A C) y = 2^-e R r, so x = 2^(both + e) C y.
    template <class R>
    [[nodiscard]] int exponent_of_scaled(const vector<R>& r) const {
        double largest = 0;
        for (Index i = 0; i < r.size(); ++i)
            largest = std::max(largest, std::abs(std::ldexp(static_cast<double>(r(i)), row(i))));
        return exponent_of(largest);
    }
    [[nodiscard]] int row(Index i) const { return scaling_.rows[static_cast<std::size_t>(i)]; }

    // 2^e R r.
    template <class R, class To>
    [[nodiscard]] vector<To> row_scaled(const vector<R>& r, int e, const in<To>& to) const {
        vector<To> result(r.size());
        for (Index i = 0; i < r.size(); ++i) result(i) = to(r(i), e + row(i));
        return result;
    }
    // 2^e C y.
    template <class Y>
    [[nodiscard]] vector<Working> column_scaled(const vector<Y>& y, int e) const {
        [[maybe_unused]] const auto scope = working_.enter();
        vector<Working> result(y.size());
        for (Index j = 0; j < y.size(); ++j)
            result(j) = working_(y(j), e + scaling_.columns[static_cast<std::size_t>(j)]);
        return result;
    }

    const matrix<Working>& a_;
    in<Factor> factor_;
    in<Working> working_;
    refinement_options options_;
    linalg::scaling scaling_;
    lu_factor<Factor> lu_;
    lu_factor<Working> preconditioner_;
};

}  // namespace detail

/// x with A x = b in the working scalar, from an LU factorisation in the factor scalar:
///     x = U^-1 L^-1 P b, then again and again
///     r = b - A x in the residual scalar, d = about A^-1 r, x = x + d in the working scalar
/// A and b are rounded to the working scalar first; that system is the one that errors are measured
/// on. Right-hand sides are scaled by powers of two to begin at 1. For GMRES the factors are converted
/// to the working scalar. `breakdown`: a residual was zero or not finite, or GMRES gained nothing.
/// Throws std::invalid_argument as lu and two_sided_scaling do, and for options out of range.
/// Source: Carson and Higham, Accelerating the solution of linear systems by iterative refinement in
/// three precisions, SISC 40 (2018).
template <class Factor, class Working, class Residual, class A, class B>
[[nodiscard]] solution<Working> refine(const Eigen::MatrixBase<A>& a, const Eigen::MatrixBase<B>& b,
                                       const in<Factor>& factor, const in<Working>& working,
                                       const in<Residual>& residual,
                                       const refinement_options& o = {}) {
    detail::check_square("refine", a);
    detail::check_rows("refine", a, b);
    detail::check_gmres("refine", {{o}, o.restart, o.cycle_tolerance}, a.cols());
    const double tolerance = o.tolerance.value_or(working.unit());
    [[maybe_unused]] const auto scope = working.enter();
    const matrix<Working> aw = converted(a, working);
    const vector<Working> bw = converted(b, working);
    const detail::factored_system<Factor, Working> system(aw, factor, working, o);
    solution<Working> s;
    s.x = system.solve(bw);
    s.measure(aw, bw, o);
    while (s.outcome == outcome::iteration_limit) {
        if (s.backward_errors.back() <= tolerance) s.outcome = outcome::converged;
        if (s.outcome == outcome::converged || s.iterations == o.max_iterations) break;
        const vector<Residual> r = [&] {
            [[maybe_unused]] const auto residual_scope = residual.enter();
            const vector<Residual> ax =
                gemv<Residual>(converted(aw, residual), converted(s.x, residual));
            return axpy(Residual(-1), ax, vector<Residual>(converted(bw, residual)));
        }();
        const double size = max_norm(r);
        std::optional<vector<Working>> d;
        if (size > 0 && detail::is_finite(size))
            d = o.correction == correction::gmres ? system.solve_by_gmres(r) : system.solve(r);
        if (!d) {
            s.outcome = outcome::breakdown;
            break;
        }
        s.x = axpy(Working(1), *d, s.x);
        ++s.iterations;
        s.measure(aw, bw, o);
    }
    return s;
}

}  // namespace lowp::linalg
