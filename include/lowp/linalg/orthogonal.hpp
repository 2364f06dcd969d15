// Householder QR and Jacobi's eigenvalues of a symmetric matrix, each operation rounded.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "lowp/linalg/factors.hpp"
#include "lowp/linalg/products.hpp"

namespace lowp::linalg {

// ---- Householder QR ------------------------------------------------------------------------------

/// A = Q R with Q = H_0 H_1 ..., H_k = I - tau_k v_k v_k^T, v_k = (0, .., 0, 1, below the diagonal).
template <class S>
struct qr_factor {
    matrix<S> qr;   ///< R in the upper triangle, v below it without its one
    vector<S> tau;  ///< 0: H is the identity

    [[nodiscard]] Index rank_bound() const { return tau.size(); }

    [[nodiscard]] matrix<S> r() const {
        matrix<S> result = matrix<S>::Constant(rank_bound(), qr.cols(), S(0));
        for (Index j = 0; j < qr.cols(); ++j)
            for (Index i = 0; i <= std::min(j, rank_bound() - 1); ++i) result(i, j) = qr(i, j);
        return result;
    }
    /// Q^T x: the reflections in ascending order. See reflect().
    [[nodiscard]] vector<S> transposed_times(vector<S> x) const {
        detail::check_rows("qr_factor", qr, x);
        for (Index k = 0; k < tau.size(); ++k) reflect(k, x);
        return x;
    }
    /// Q x: the reflections in descending order.
    [[nodiscard]] vector<S> times(vector<S> x) const {
        detail::check_rows("qr_factor", qr, x);
        for (Index k = tau.size(); k > 0; --k) reflect(k - 1, x);
        return x;
    }
    /// The first columns of Q, as many as R has rows: Q times those of the identity.
    [[nodiscard]] matrix<S> q() const {
        matrix<S> result(qr.rows(), rank_bound());
        for (Index j = 0; j < rank_bound(); ++j) {
            vector<S> unit = vector<S>::Constant(qr.rows(), S(0));
            unit(j) = S(1);
            result.col(j) = times(std::move(unit));
        }
        return result;
    }
    /// The x with the least ||b - A x||: R x = the first rows of Q^T b. Throws std::invalid_argument
    /// where A has fewer rows than columns, or R a zero on its diagonal.
    [[nodiscard]] vector<S> solve(const vector<S>& b) const {
        if (qr.rows() < qr.cols())
            detail::fail(
                "qr_factor::solve",
                "the matrix must not have more columns than rows; got " + detail::size_of(qr));
        const vector<S> c = transposed_times(b);
        return trsv<S>(qr.topRows(qr.cols()), c.head(qr.cols()), triangle::upper);
    }

    /// x = H_k x: w = tau (x_k + v_k+1 x_k+1 + ...), sums in ascending order, then x_i = x_i - w v_i.
    template <class X>
    void reflect(Index k, X&& x) const {
        const Index n = qr.rows();
        S w = x(k);
        for (Index i = k + 1; i < n; ++i) w = w + detail::product(qr(i, k), S(x(i)));
        w = detail::product(tau(k), w);
        x(k) = x(k) - w;
        for (Index i = k + 1; i < n; ++i) x(i) = x(i) - detail::product(w, qr(i, k));
    }
};

/// A = Q R, any shape. For each column k, from the diagonal down: r_kk = -+ nrm2(x) with the sign against
/// x_0's, u = x_0 - r_kk, v_i = x_i / u, tau = -(u / r_kk); then the columns to the right are reflected.
/// A column of zeros: tau = 0. Throws std::invalid_argument for infinity or NaN in a column's norm.
/// Source: Golub and Van Loan, Matrix Computations, 2013, 5.1 and 5.2.
template <class S>
[[nodiscard]] qr_factor<S> householder_qr(matrix<S> a) {
    const Index m = a.rows();
    const Index n = a.cols();
    const Index count = std::min(m, n);
    qr_factor<S> f{std::move(a), vector<S>(count)};
    for (Index k = 0; k < count; ++k) {
        const S norm = nrm2<S>(f.qr.col(k).tail(m - k));
        if (!detail::is_finite_number(norm))
            detail::fail("householder_qr", "column " + std::to_string(k) +
                                               " has an infinite norm or NaN: overflow in this "
                                               "format? scale the matrix, see two_sided_scaling");
        if (static_cast<double>(norm) == 0) {
            f.tau(k) = S(0);
            continue;
        }
        const S first = f.qr(k, k);
        const S r = static_cast<double>(first) > 0 ? S(-norm) : norm;
        const S u = first - r;
        for (Index i = k + 1; i < m; ++i) f.qr(i, k) = f.qr(i, k) / u;
        f.tau(k) = -(u / r);
        f.qr(k, k) = r;
        for (Index j = k + 1; j < n; ++j) f.reflect(k, f.qr.col(j));
    }
    return f;
}

// ---- eigenvalues of a symmetric matrix -----------------------------------------------------------

template <class S>
struct eigen_result {
    vector<S> values;   ///< ascending
    matrix<S> vectors;  ///< column j belongs to values(j); rounded products of rotations
    std::vector<double> off_diagonal;  ///< the largest |a_ij|, i != j, before and after each sweep
    int sweeps = 0;
    linalg::outcome outcome = outcome::iteration_limit;
};

namespace detail {

// The rotation that makes a_pq zero. t solves t^2 + 2 theta t - 1 = 0, the smaller root.
template <class S>
struct rotation {
    S c, s, t;

    rotation(const S& app, const S& aqq, const S& apq) : c(1), s(0), t(0) {
        using std::abs, std::sqrt;
        const S one(1);
        const S theta = (aqq - app) / (apq + apq);
        // theta^2 may overflow where 1 / (2 theta) is still a number.
        const S square = product(theta, theta);
        const S root = is_finite_number(square) ? S(sqrt(square + one)) : S(abs(theta));
        t = one / (abs(theta) + root);
        if (static_cast<double>(theta) < 0) t = -t;
        c = one / sqrt(product(t, t) + one);
        s = product(t, c);
    }
    // (x, y) = (c x - s y, s x + c y)
    void apply(S& x, S& y) const {
        const S old = x;
        x = product(c, old) - product(s, y);
        y = product(s, old) + product(c, y);
    }
};

// Whether apq is too small to change either diagonal element when it is added to it.
template <class S>
[[nodiscard]] bool is_negligible(const S& app, const S& aqq, const S& apq) {
    using std::abs;
    const S size = abs(apq);
    return S(abs(app) + size) == S(abs(app)) && S(abs(aqq) + size) == S(abs(aqq));
}

template <class S>
void rotate(matrix<S>& a, matrix<S>& v, Index p, Index q) {
    const rotation<S> r(a(p, p), a(q, q), a(p, q));
    const S shift = product(r.t, a(p, q));
    a(p, p) = a(p, p) - shift;
    a(q, q) = a(q, q) + shift;
    a(p, q) = a(q, p) = S(0);
    for (Index i = 0; i < a.rows(); ++i) {
        if (i != p && i != q) {
            r.apply(a(i, p), a(i, q));
            a(p, i) = a(i, p);
            a(q, i) = a(i, q);
        }
        r.apply(v(i, p), v(i, q));
    }
}

template <class S>
[[nodiscard]] double largest_off_diagonal(const matrix<S>& a) {
    double largest = 0;
    for (Index j = 0; j < a.cols(); ++j)
        for (Index i = 0; i < j; ++i) {
            const double size = std::abs(static_cast<double>(a(i, j)));
            if (!(size <= largest)) largest = size;
        }
    return largest;
}

template <class S>
void sort_ascending(eigen_result<S>& e) {
    std::vector<Index> order(static_cast<std::size_t>(e.values.size()));
    std::iota(order.begin(), order.end(), Index{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](Index i, Index j) { return e.values(i) < e.values(j); });
    const vector<S> values = e.values;
    const matrix<S> vectors = e.vectors;
    for (Index j = 0; j < values.size(); ++j) {
        e.values(j) = values(order[static_cast<std::size_t>(j)]);
        e.vectors.col(j) = vectors.col(order[static_cast<std::size_t>(j)]);
    }
}

}  // namespace detail

/// Eigenvalues and vectors of the symmetric matrix whose upper triangle is A's, by Jacobi's rotations,
/// cyclic by rows. An element is left where it is too small to change a diagonal element of its row or
/// column by addition; converged: a sweep that rotates nothing. `breakdown`: infinity or NaN came up.
/// Throws std::invalid_argument where A is not square or max_sweeps negative.
/// Source: Golub and Van Loan, Matrix Computations, 2013, 8.5.
template <class S>
[[nodiscard]] eigen_result<S> jacobi_eigen(matrix<S> a, int max_sweeps = 30) {
    detail::check_square("jacobi_eigen", a);
    if (max_sweeps < 0)
        detail::fail("jacobi_eigen",
                     "max_sweeps must not be negative; got " + std::to_string(max_sweeps));
    const Index n = a.rows();
    eigen_result<S> e;
    e.vectors = matrix<S>::Constant(n, n, S(0));
    for (Index j = 0; j < n; ++j) {
        e.vectors(j, j) = S(1);
        for (Index i = 0; i < j; ++i) a(j, i) = a(i, j);
    }
    e.off_diagonal.push_back(detail::largest_off_diagonal(a));
    while (e.outcome == outcome::iteration_limit && e.sweeps < max_sweeps) {
        bool rotated = false;
        for (Index p = 0; p + 1 < n; ++p)
            for (Index q = p + 1; q < n; ++q) {
                if (detail::is_negligible(a(p, p), a(q, q), a(p, q))) continue;
                detail::rotate(a, e.vectors, p, q);
                rotated = true;
            }
        ++e.sweeps;
        e.off_diagonal.push_back(detail::largest_off_diagonal(a));
        if (!detail::is_finite(max_norm(a.reshaped()))) e.outcome = outcome::breakdown;
        else if (!rotated) e.outcome = outcome::converged;
    }
    e.values = a.diagonal();
    detail::sort_ascending(e);
    return e;
}

}  // namespace lowp::linalg
