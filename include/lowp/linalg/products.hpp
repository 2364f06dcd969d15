// axpy, dot, nrm2, gemv and gemm in any scalar, every operation rounded in a stated order.
// How products are summed is an argument: an accumulator.
#pragma once

#include <cmath>

#include "lowp/linalg/scalars.hpp"

namespace lowp::linalg {

// ---- accumulators --------------------------------------------------------------------------------
//
// An accumulator is called with a count n and two functions that give the factors l(k) and r(k), and
// returns the sum of their products, a scalar. n = 0 gives 0. Any functor of this form will do.

/// ((l0 r0 + l1 r1) + l2 r2) + ..., each product and each sum rounded. The default.
struct sequential {
    template <class S, class Left, class Right>
    [[nodiscard]] S sum(Index n, Left l, Right r) const {
        if (n == 0) return S(0);
        S total = detail::product<S>(l(0), r(0));
        for (Index k = 1; k < n; ++k) total = total + detail::product<S>(l(k), r(k));
        return total;
    }
};

/// The same with fma: one rounding for a product and its addition.
struct fused {
    template <class S, class Left, class Right>
    [[nodiscard]] S sum(Index n, Left l, Right r) const {
        using std::fma;
        if (n == 0) return S(0);
        S total = detail::product<S>(l(0), r(0));
        for (Index k = 1; k < n; ++k) total = fma(S(l(k)), S(r(k)), total);
        return total;
    }
};

/// The sum of the first ceil(n / 2) products plus that of the others, by the same rule.
struct pairwise {
    template <class S, class Left, class Right>
    [[nodiscard]] S sum(Index n, Left l, Right r) const {
        return n == 0 ? S(0) : range<S>(0, n, l, r);
    }

private:
    template <class S, class Left, class Right>
    static S range(Index first, Index n, const Left& l, const Right& r) {
        if (n == 1) return detail::product<S>(l(first), r(first));
        const Index half = (n + 1) / 2;
        const S left = range<S>(first, half, l, r);
        return left + range<S>(first + half, n - half, l, r);
    }
};

/// Products and sums in scalar Wide by another accumulator, the result rounded to S once.
template <class Wide, class Inner = sequential>
struct summed_in {
    in<Wide> wide = {};
    Inner inner = {};

    template <class S, class Left, class Right>
    [[nodiscard]] S sum(Index n, Left l, Right r) const {
        const auto total = [&] {
            [[maybe_unused]] const auto scope = wide.enter();
            return inner.template sum<Wide>(
                n, [&](Index k) { return wide(l(k)); }, [&](Index k) { return wide(r(k)); });
        }();
        return in<S>{}(total);
    }
};

// ---- vectors -------------------------------------------------------------------------------------

/// y + alpha x: a product and a sum for each element. Throws std::invalid_argument for unlike lengths.
template <class S>
[[nodiscard]] vector<S> axpy(const S& alpha, const vector<S>& x, const vector<S>& y) {
    if (x.size() != y.size())
        detail::fail("axpy", "x and y must have one length; got " + std::to_string(x.size()) +
                                 " and " + std::to_string(y.size()));
    vector<S> result(y.size());
    for (Index i = 0; i < y.size(); ++i) result(i) = y(i) + detail::product(alpha, x(i));
    return result;
}

/// The sum of x_i y_i. Empty: 0. Throws std::invalid_argument for unlike lengths.
template <class S, class Accumulator = sequential>
[[nodiscard]] S dot(const vector<S>& x, const vector<S>& y, const Accumulator& how = {}) {
    if (x.size() != y.size())
        detail::fail("dot", "x and y must have one length; got " + std::to_string(x.size()) +
                                " and " + std::to_string(y.size()));
    return how.template sum<S>(
        x.size(), [&](Index k) { return x(k); }, [&](Index k) { return y(k); });
}

namespace detail {

/// The e for which 2^(e - 1) <= |x| < 2^e; 0 for 0 and what is not finite.
template <class S>
[[nodiscard]] int exponent_of(const S& x) {
    const auto value = static_cast<double>(x);
    int e = 0;
    if (is_finite(value)) std::frexp(value, &e);
    return e;
}

}  // namespace detail

/// sqrt(x . x), of x scaled by the power of two that brings its largest element to [1/2, 1), as
/// squares of a narrow format soon overflow or vanish. Empty: 0; NaN or infinity in x: as in the sum.
template <class S, class Accumulator = sequential>
[[nodiscard]] S nrm2(const vector<S>& x, const Accumulator& how = {}) {
    using std::sqrt;
    const int e = detail::exponent_of(max_norm(x));
    const in<S> same = detail::like(x);
    vector<S> scaled(x.size());
    for (Index i = 0; i < x.size(); ++i) scaled(i) = same(x(i), -e);
    return same(S(sqrt(dot(scaled, scaled, how))), e);
}

// ---- matrices ------------------------------------------------------------------------------------

/// A x: element i is the accumulator's sum over row i. Throws std::invalid_argument for shapes that do
/// not meet.
template <class S, class Accumulator = sequential>
[[nodiscard]] vector<S> gemv(const matrix<S>& a, const vector<S>& x, const Accumulator& how = {}) {
    if (a.cols() != x.size())
        detail::fail("gemv", "x must have a number for each column; got " + detail::size_of(a) +
                                 " and " + std::to_string(x.size()));
    vector<S> y(a.rows());
    for (Index i = 0; i < a.rows(); ++i)
        y(i) = how.template sum<S>(
            a.cols(), [&](Index k) { return a(i, k); }, [&](Index k) { return x(k); });
    return y;
}

/// A B: element (i, j) is the accumulator's sum over row i and column j. Throws std::invalid_argument
/// for shapes that do not meet.
template <class S, class Accumulator = sequential>
[[nodiscard]] matrix<S> gemm(const matrix<S>& a, const matrix<S>& b, const Accumulator& how = {}) {
    if (a.cols() != b.rows())
        detail::fail("gemm", "the inner sizes must agree; got " + detail::size_of(a) + " and " +
                                 detail::size_of(b));
    matrix<S> c(a.rows(), b.cols());
    for (Index j = 0; j < b.cols(); ++j)
        for (Index i = 0; i < a.rows(); ++i)
            c(i, j) = how.template sum<S>(
                a.cols(), [&](Index k) { return a(i, k); }, [&](Index k) { return b(k, j); });
    return c;
}

}  // namespace lowp::linalg
