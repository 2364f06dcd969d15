// Conjugate gradients and GMRES with every operation in one scalar.
// Stopping is decided from outside, by the backward error in float64.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lowp/linalg/factors.hpp"
#include "lowp/linalg/products.hpp"

namespace lowp::linalg {

/// x with A x = b for a symmetric positive definite A, by conjugate gradients from x = 0:
///     q = A p, alpha = (r . r) / (p . q), x = x + alpha p, r = r - alpha q,
///     beta = (new r . r) / (r . r), p = r + beta p
/// with gemv, dot and axpy in their sequential orders. `breakdown`: p . q is not positive, or r . r is
/// 0 (it vanished: the errors tell whether x is the solution) or not finite.
/// Throws std::invalid_argument for shapes that do not meet and options out of range.
/// Source: Golub and Van Loan, Matrix Computations, 2013, 11.3.
template <class S>
[[nodiscard]] solution<S> conjugate_gradients(const matrix<S>& a, const vector<S>& b,
                                              const iteration_options& o = {}) {
    detail::check_square("conjugate_gradients", a);
    detail::check_rows("conjugate_gradients", a, b);
    detail::check_options("conjugate_gradients", o, a.cols());
    const double tolerance = o.tolerance.value_or(detail::like(b).unit());
    solution<S> s;
    s.x = vector<S>::Constant(b.size(), S(0));
    s.measure(a, b, o);
    vector<S> r = b;
    vector<S> p = b;
    S rho = dot(r, r);
    while (s.outcome == outcome::iteration_limit) {
        if (s.backward_errors.back() <= tolerance) s.outcome = outcome::converged;
        if (s.outcome == outcome::converged || s.iterations == o.max_iterations) break;
        const vector<S> q = gemv(a, p);
        const S curvature = dot(p, q);
        if (!(static_cast<double>(curvature) > 0) || !detail::is_finite_number(curvature) ||
            !(static_cast<double>(rho) > 0)) {
            s.outcome = outcome::breakdown;
            break;
        }
        const S alpha = rho / curvature;
        s.x = axpy(alpha, p, s.x);
        r = axpy(S(-alpha), q, r);
        const S next = dot(r, r);
        p = axpy(S(next / rho), p, r);
        rho = next;
        ++s.iterations;
        s.measure(a, b, o);
    }
    return s;
}

// ---- GMRES ---------------------------------------------------------------------------------------

struct gmres_options : iteration_options {
    int restart = 30;               ///< steps a cycle; max_iterations counts cycles
    double cycle_tolerance = 1e-4;  ///< a cycle ends where its residual has fallen by this factor
};

namespace detail {

// One cycle of GMRES for M y = r: the basis, the triangle and the rotated right-hand side.
template <class S>
class gmres_cycle {
public:
    explicit gmres_cycle(int steps) : h_(matrix<S>::Constant(steps + 1, steps, S(0))) {}

    /// y, or nothing where r has no finite, positive norm. `apply`: M times a vector.
    template <class Apply>
    [[nodiscard]] std::optional<vector<S>> run(const vector<S>& r, double tolerance,
                                               const Apply& apply) {
        const S beta = nrm2(r);
        if (!(static_cast<double>(beta) > 0) || !is_finite_number(beta)) return std::nullopt;
        basis_.push_back(divided(r, beta));
        g_.push_back(beta);
        const double enough = tolerance * static_cast<double>(beta);
        while (steps() < h_.cols()) {
            if (!extend(apply(basis_.back()))) break;
            if (std::abs(static_cast<double>(g_.back())) <= enough) break;
        }
        if (steps() == 0) return std::nullopt;
        return combination();
    }

    [[nodiscard]] Index steps() const { return static_cast<Index>(rotations_.size()); }

private:
    struct givens {
        S c, s;
    };

    static vector<S> divided(const vector<S>& x, const S& by) {
        vector<S> result(x.size());
        for (Index i = 0; i < x.size(); ++i) result(i) = x(i) / by;
        return result;
    }

    // w joins the basis by modified Gram-Schmidt. False where that ends the cycle.
    bool extend(vector<S> w) {
        const Index j = steps();
        for (Index i = 0; i <= j; ++i) {
            h_(i, j) = dot(w, basis_[static_cast<std::size_t>(i)]);
            w = axpy(S(-h_(i, j)), basis_[static_cast<std::size_t>(i)], w);
        }
        const S norm = nrm2(w);
        if (!is_finite_number(norm)) return false;
        h_(j + 1, j) = norm;
        if (!rotate(j)) return false;
        if (static_cast<double>(norm) == 0) return false;
        basis_.push_back(divided(w, norm));
        return true;
    }
    // Givens: column j becomes a column of a triangle.
    bool rotate(Index j) {
        for (Index i = 0; i < j; ++i)
            turn(rotations_[static_cast<std::size_t>(i)], h_(i, j), h_(i + 1, j));
        vector<S> pair(2);
        pair << h_(j, j), h_(j + 1, j);
        const S size = nrm2(pair);
        if (!(static_cast<double>(size) > 0) || !is_finite_number(size)) return false;
        const givens r{pair(0) / size, pair(1) / size};
        h_(j, j) = size;
        rotations_.push_back(r);
        S next(0);
        turn(r, g_.back(), next);
        g_.push_back(next);
        return true;
    }
    // (x, y) = (c x + s y, c y - s x)
    static void turn(const givens& r, S& x, S& y) {
        const S old = x;
        x = product(r.c, old) + product(r.s, y);
        y = product(r.c, y) - product(r.s, old);
    }
    // The basis times the solution of the triangle, vectors in ascending order.
    [[nodiscard]] vector<S> combination() const {
        const Index k = steps();
        vector<S> g(k);
        for (Index i = 0; i < k; ++i) g(i) = g_[static_cast<std::size_t>(i)];
        const vector<S> y = trsv<S>(h_.topLeftCorner(k, k), g, triangle::upper);
        vector<S> x(basis_.front().size());
        for (Index i = 0; i < x.size(); ++i) x(i) = product(y(0), basis_[0](i));
        for (Index j = 1; j < k; ++j) x = axpy(y(j), basis_[static_cast<std::size_t>(j)], x);
        return x;
    }

    matrix<S> h_;
    std::vector<vector<S>> basis_;
    std::vector<givens> rotations_;
    std::vector<S> g_;
};

inline void check_gmres(const char* where, const gmres_options& o, Index n) {
    check_options(where, o, n);
    if (o.restart < 1) fail(where, "restart must be at least 1; got " + std::to_string(o.restart));
    if (!(o.cycle_tolerance >= 0))
        fail(where, "cycle_tolerance must not be negative; got " + text(o.cycle_tolerance));
}

}  // namespace detail

/// x with A x = b, by restarted GMRES from x = 0: Arnoldi by modified Gram-Schmidt, Givens rotations,
/// r = b - A x anew for each cycle. An iteration, and an entry of the history, is a cycle.
/// `breakdown`: a norm was not finite, or nothing could be gained.
/// Throws std::invalid_argument for shapes that do not meet and options out of range.
/// Source: Saad and Schultz, GMRES, SIAM J. Sci. Stat. Comput. 7 (1986).
template <class S>
[[nodiscard]] solution<S> gmres(const matrix<S>& a, const vector<S>& b,
                                const gmres_options& o = {}) {
    detail::check_square("gmres", a);
    detail::check_rows("gmres", a, b);
    detail::check_gmres("gmres", o, a.cols());
    const double tolerance = o.tolerance.value_or(detail::like(b).unit());
    solution<S> s;
    s.x = vector<S>::Constant(b.size(), S(0));
    s.measure(a, b, o);
    while (s.outcome == outcome::iteration_limit) {
        if (s.backward_errors.back() <= tolerance) s.outcome = outcome::converged;
        if (s.outcome == outcome::converged || s.iterations == o.max_iterations) break;
        const vector<S> r = axpy(S(-1), gemv(a, s.x), b);
        detail::gmres_cycle<S> cycle(o.restart);
        const auto y =
            cycle.run(r, o.cycle_tolerance, [&](const vector<S>& v) { return gemv(a, v); });
        if (!y) {
            s.outcome = outcome::breakdown;
            break;
        }
        s.x = axpy(S(1), *y, s.x);
        ++s.iterations;
        s.measure(a, b, o);
    }
    return s;
}

}  // namespace lowp::linalg
