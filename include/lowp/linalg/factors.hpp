// Triangular systems, Cholesky and LU with partial pivoting: plain loops, each operation rounded.
// The order of operations is stated, as results depend on it.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lowp/linalg/scalars.hpp"

namespace lowp::linalg {

enum class triangle : std::uint8_t { lower, upper };
enum class diagonal : std::uint8_t { stored, unit };

/// x with T x = b, by substitution. T: the triangle of `a` that `t` names; the rest is not read. For each
/// row: s = b_i, then s = s - (a_ij x_j) for the known x_j in ascending j, then x_i = s / a_ii.
/// Throws std::invalid_argument for shapes that do not meet and a zero on the diagonal.
template <class S>
[[nodiscard]] vector<S> trsv(const matrix<S>& a, const vector<S>& b, triangle t,
                             diagonal d = diagonal::stored) {
    detail::check_square("trsv", a);
    detail::check_rows("trsv", a, b);
    const Index n = a.rows();
    const bool is_lower = t == triangle::lower;
    vector<S> x(n);
    for (Index step = 0; step < n; ++step) {
        const Index i = is_lower ? step : n - 1 - step;
        const Index first = is_lower ? 0 : i + 1;
        const Index end = is_lower ? i : n;
        S s = b(i);
        for (Index j = first; j < end; ++j) s = s - detail::product(a(i, j), x(j));
        if (d == diagonal::stored) {
            if (static_cast<double>(a(i, i)) == 0)
                detail::fail("trsv", "the matrix is singular: diagonal element " +
                                         std::to_string(i) + " is 0");
            s = s / a(i, i);
        }
        x(i) = s;
    }
    return x;
}

/// X with T X = B: trsv of every column.
template <class S>
[[nodiscard]] matrix<S> trsm(const matrix<S>& a, const matrix<S>& b, triangle t,
                             diagonal d = diagonal::stored) {
    detail::check_rows("trsm", a, b);
    matrix<S> x(b.rows(), b.cols());
    for (Index j = 0; j < b.cols(); ++j) x.col(j) = trsv<S>(a, b.col(j), t, d);
    return x;
}

// ---- Cholesky ------------------------------------------------------------------------------------

template <class S>
struct cholesky_factor {
    matrix<S> l;  ///< lower; above the diagonal +0

    /// L^T y = z, L z = b, by trsv.
    [[nodiscard]] vector<S> solve(const vector<S>& b) const {
        const vector<S> z = trsv(l, b, triangle::lower);
        return trsv<S>(l.transpose(), z, triangle::upper);
    }
};

/// L with L L^T = A, column by column: s = a_ij, then s = s - (l_ik l_jk) for k = 0 .. j - 1, then
/// l_jj = sqrt(s) and l_ij = s / l_jj. Only A's lower triangle is read.
/// Throws std::invalid_argument where A is not square, or s for a diagonal element is not a positive
/// number: A is not positive definite, or not in this arithmetic.
template <class S>
[[nodiscard]] cholesky_factor<S> cholesky(const matrix<S>& a) {
    using std::sqrt;
    detail::check_square("cholesky", a);
    const Index n = a.rows();
    matrix<S> l = matrix<S>::Constant(n, n, S(0));
    for (Index j = 0; j < n; ++j)
        for (Index i = j; i < n; ++i) {
            S s = a(i, j);
            for (Index k = 0; k < j; ++k) s = s - detail::product(l(i, k), l(j, k));
            if (i > j) {
                l(i, j) = s / l(j, j);
                continue;
            }
            if (!(static_cast<double>(s) > 0) || !detail::is_finite_number(s))
                detail::fail("cholesky",
                             "the matrix is not positive definite in this arithmetic: "
                             "pivot " +
                                 std::to_string(j) + " is " + detail::text(static_cast<double>(s)) +
                                 "; use a wider format, or scale it");
            l(j, j) = sqrt(s);
        }
    return {std::move(l)};
}

// ---- LU ------------------------------------------------------------------------------------------

template <class S>
struct lu_factor {
    matrix<S> lu;             ///< U in the upper triangle, L below it without its diagonal of ones
    std::vector<Index> rows;  ///< row i of L U is row rows[i] of A

    [[nodiscard]] matrix<S> l() const {
        matrix<S> result = matrix<S>::Constant(lu.rows(), lu.cols(), S(0));
        for (Index j = 0; j < lu.cols(); ++j) {
            result(j, j) = S(1);
            for (Index i = j + 1; i < lu.rows(); ++i) result(i, j) = lu(i, j);
        }
        return result;
    }
    [[nodiscard]] matrix<S> u() const {
        matrix<S> result = matrix<S>::Constant(lu.rows(), lu.cols(), S(0));
        for (Index j = 0; j < lu.cols(); ++j)
            for (Index i = 0; i <= j; ++i) result(i, j) = lu(i, j);
        return result;
    }
    /// U x = z, L z = P b, by trsv.
    [[nodiscard]] vector<S> solve(const vector<S>& b) const {
        detail::check_rows("lu_factor::solve", lu, b);
        vector<S> permuted(b.size());
        for (Index i = 0; i < b.size(); ++i) permuted(i) = b(rows[static_cast<std::size_t>(i)]);
        return trsv(lu, trsv(lu, permuted, triangle::lower, diagonal::unit), triangle::upper);
    }
};

namespace detail {

// The first of the largest elements of column k from row k on.
template <class S>
[[nodiscard]] Index pivot_row(const matrix<S>& a, Index k) {
    Index best = k;
    double largest = -1;
    for (Index i = k; i < a.rows(); ++i) {
        const double size = std::abs(static_cast<double>(a(i, k)));
        if (!is_finite(size))
            fail("lu", "column " + std::to_string(k) +
                           " has infinity or NaN: overflow in this format? scale the matrix, see "
                           "two_sided_scaling");
        if (size > largest) best = i, largest = size;
    }
    if (!(largest > 0))
        fail("lu", "the matrix is singular in this arithmetic: pivot " + std::to_string(k) +
                       " is 0; use a wider format, or scale the matrix, see two_sided_scaling");
    return best;
}

}  // namespace detail

/// P A = L U by Gaussian elimination: for each k the row with the largest |a_ik| (of equals the first)
/// is swapped up, then l_ik = a_ik / a_kk and a_ij = a_ij - (l_ik a_kj) for the rest.
/// Throws std::invalid_argument where A is not square, a pivot is 0, infinite or NaN.
template <class S>
[[nodiscard]] lu_factor<S> lu(matrix<S> a) {
    detail::check_square("lu", a);
    const Index n = a.rows();
    std::vector<Index> rows(static_cast<std::size_t>(n));
    for (Index i = 0; i < n; ++i) rows[static_cast<std::size_t>(i)] = i;
    for (Index k = 0; k < n; ++k) {
        const Index p = detail::pivot_row(a, k);
        if (p != k) {
            a.row(k).swap(a.row(p));
            std::swap(rows[static_cast<std::size_t>(k)], rows[static_cast<std::size_t>(p)]);
        }
        for (Index i = k + 1; i < n; ++i) a(i, k) = a(i, k) / a(k, k);
        for (Index j = k + 1; j < n; ++j)
            for (Index i = k + 1; i < n; ++i) a(i, j) = a(i, j) - detail::product(a(i, k), a(k, j));
    }
    return {std::move(a), std::move(rows)};
}

}  // namespace lowp::linalg
