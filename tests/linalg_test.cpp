#include "lowp/linalg.hpp"

#include <doctest/doctest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "linalg_matrices.hpp"
#include "lowp/formats.hpp"
#include "lowp/statistics.hpp"

namespace {

using lowp::minifloat;
using lowp::real;
using lowp::shadowed;
using lowp::use_format;
using namespace lowp::linalg;
using namespace lowp::test;

// ---- products ------------------------------------------------------------------------------------

TEST_CASE(
    "a sum of 3000 ones in half stalls at 2048 in sequence and is 3000 in pairs or in float32") {
    const vector<half> x = in_scalar<half>(ones(3000));
    CHECK(dot(x, x) == half(2048));
    CHECK(dot(x, x, fused{}) == half(2048));
    CHECK(dot(x, x, pairwise{}) == half(3000));
    CHECK(dot(x, x, summed_in<single>{}) == half(3000));
    CHECK(dot(x, x, summed_in<float>{}) == half(3000));
    CHECK(dot(x, x, summed_in<real>{{lowp::context(lowp::bfloat16)}}) == half(256));
}

TEST_CASE("dot is the stated chain of arithmetic.hpp's operations") {
    const vector<half> x = in_scalar<half>(vector<double>(random_matrix(37, 1, 1)));
    const vector<half> y = in_scalar<half>(vector<double>(random_matrix(37, 1, 2)));
    const lowp::converter<double> to(lowp::float16);
    const auto value = [](half v) { return static_cast<double>(v); };
    double separate = lowp::mul(value(x(0)), value(y(0)), to), together = separate;
    for (Index k = 1; k < 37; ++k) {
        separate = lowp::add(separate, lowp::mul(value(x(k)), value(y(k)), to), to);
        together = lowp::fma(value(x(k)), value(y(k)), together, to);
    }
    CHECK(value(dot(x, y)) == separate);
    CHECK(value(dot(x, y, fused{})) == together);
    CHECK(separate != together);
}

TEST_CASE("gemm and gemv are dots of rows and columns, whatever the accumulator") {
    const matrix<half> a = in_scalar<half>(random_matrix(9, 21, 3));
    const matrix<half> b = in_scalar<half>(random_matrix(21, 6, 4));
    const auto check = [&](auto how) {
        const matrix<half> c = gemm(a, b, how);
        const vector<half> y = gemv<half>(a, b.col(2), how);
        for (Index i = 0; i < 9; ++i) {
            CHECK(y(i) == c(i, 2));
            for (Index j = 0; j < 6; ++j)
                CHECK(c(i, j) == dot<half>(a.row(i).transpose(), b.col(j), how));
        }
    };
    check(sequential{});
    check(fused{});
    check(pairwise{});
    check(summed_in<float, fused>{});
}

TEST_CASE("a product by Eigen in its small, lazy form is gemm, bit for bit") {
    const matrix<half> a = in_scalar<half>(random_matrix(7, 12, 5));
    const matrix<half> b = in_scalar<half>(random_matrix(12, 5, 6));
    CHECK(identical(matrix<half>(a.lazyProduct(b)), gemm(a, b)));
}

TEST_CASE("gemm obeys the bound of k roundings, and pairs that of log2 k") {
    const Index k = 128;
    const matrix<half> a = in_scalar<half>(random_matrix(8, k, 7));
    const matrix<half> b = in_scalar<half>(random_matrix(k, 8, 8));
    const matrix<double> exact = values(a) * values(b);
    const matrix<double> sizes = values(a).cwiseAbs() * values(b).cwiseAbs();
    // gamma_n |A| |B| with n = k and log2(k) + 1 roundings, and half a quantum a product.
    // Source: Higham, Accuracy and Stability, (3.5), (4.4).
    const auto holds = [&](const matrix<half>& c, double n) {
        const double nu = n * unit_of(lowp::float16);
        return ((values(c) - exact).array().abs() <=
                sizes.array() * (nu / (1 - nu)) + static_cast<double>(k) * 0x1p-25)
            .all();
    };
    CHECK(holds(gemm(a, b), static_cast<double>(k)));
    CHECK(holds(gemm(a, b, pairwise{}), 8));
    CHECK(holds(gemm(a, b, summed_in<float>{}), 1.1));
}

TEST_CASE("axpy rounds the product and the sum") {
    const vector<half> x = in_scalar<half>(vector<double>(random_matrix(20, 1, 9)));
    const vector<half> y = in_scalar<half>(vector<double>(random_matrix(20, 1, 10)));
    const vector<half> z = axpy(half(1.0 / 3), x, y);
    for (Index i = 0; i < 20; ++i) CHECK(z(i) == y(i) + half(1.0 / 3) * x(i));
}

TEST_CASE("nrm2 is near the norm where squares overflow or vanish") {
    vector<half> x(3);
    x << half(30000), half(40000), half(0);
    CHECK(nrm2(x) == half(50000));
    x << half(0x1.8p-20), half(0), half(0x1p-19);
    CHECK(nrm2(x) == half(0x1.4p-19));
    CHECK(nrm2(vector<half>()) == half(0));
    x(1) = half(1) / half(0);
    CHECK(isinf(nrm2(x)));
    x(2) = x(1) - x(1);
    CHECK(isnan(nrm2(x)));
    const use_format scope(lowp::float8_e4m3fn);
    vector<real> y(2);
    y << real(48), real(64);
    CHECK(nrm2(y).value() == 80);
}

TEST_CASE("empty products are zero, and shapes that do not meet are refused with both sizes") {
    CHECK(dot(vector<half>(), vector<half>()) == half(0));
    CHECK(gemm(matrix<half>(2, 0), matrix<half>(0, 3))(1, 2) == half(0));
    std::string message;
    try {
        static_cast<void>(gemm(matrix<half>(2, 3), matrix<half>(4, 5)));
    } catch (const std::invalid_argument& e) {
        message = e.what();
    }
    CHECK(message == "lowp::linalg::gemm: the inner sizes must agree; got 2 by 3 and 4 by 5");
    CHECK_THROWS_AS(static_cast<void>(gemv(matrix<half>(2, 3), vector<half>(2))),
                    std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(dot(vector<half>(2), vector<half>(3))),
                    std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(axpy(half(1), vector<half>(2), vector<half>(3))),
                    std::invalid_argument);
}

// ---- factorisations ------------------------------------------------------------------------------

// Backward errors of LU and Cholesky are at most n u |L||U| and (n + 1) u |L||L^T|, for any n and u.
// Source: Rump and Jeannerod, Improved backward error bounds for LU and Cholesky factorizations,
// SIMAX 35 (2014).

template <class S>
void check_lu(const matrix<double>& wide, double unit, double tiny) {
    const matrix<S> a = in_scalar<S>(wide);
    const Index n = a.rows();
    const lu_factor<S> f = lu<S>(a);
    const matrix<double> l = values(f.l()), u = values(f.u());
    matrix<double> permuted(n, n);
    for (Index i = 0; i < n; ++i)
        permuted.row(i) = values(a).row(f.rows[static_cast<std::size_t>(i)]);
    // tiny: half a quantum for each product that underflows, and four for a division by a pivot.
    CHECK(((l * u - permuted).array().abs() <=
           (l.cwiseAbs() * u.cwiseAbs()).array() * (static_cast<double>(n) * unit) +
               4 * static_cast<double>(n) * tiny)
              .all());
    CHECK(l.cwiseAbs().maxCoeff() == 1);
    const vector<S> b = in_scalar<S>(ones(n));
    CHECK(backward_error(a, f.solve(b), b) <= 3 * static_cast<double>(n) * unit);
}

TEST_CASE("LU obeys |LU - PA| <= n u |L||U| for random, Poisson and Hilbert matrices") {
    for (const matrix<double>& a :
         {random_matrix(30, 30, 11), poisson(5), hilbert(8), random_spd(20, 12)}) {
        check_lu<half>(a, 0x1p-11, 0x1p-25);
        check_lu<bfloat>(a, 0x1p-8, 0);
        check_lu<single>(a, 0x1p-24, 0);
        check_lu<double>(a, 0x1p-53, 0);
    }
    const use_format scope(lowp::float8_e5m2);
    check_lu<real>(poisson(3), 0x1p-3, 0x1p-17);
}

TEST_CASE("LU in emulated float32 and float64 is LU in float and double, bit for bit") {
    const matrix<double> a = random_matrix(25, 25, 13);
    CHECK(identical(lu(in_scalar<single>(a)).lu, lu(in_scalar<float>(a)).lu));
    CHECK(identical(lu(in_scalar<minifloat<lowp::float64>>(a)).lu, lu(a).lu));
    CHECK(identical(cholesky(in_scalar<single>(random_spd(20, 1))).l,
                    cholesky(in_scalar<float>(random_spd(20, 1))).l));
    CHECK(
        identical(householder_qr(in_scalar<single>(a)).qr, householder_qr(in_scalar<float>(a)).qr));
    const vector<double> b = random_matrix(25, 1, 14);
    CHECK(
        identical(conjugate_gradients(in_scalar<single>(random_spd(25, 2)), in_scalar<single>(b)).x,
                  conjugate_gradients(in_scalar<float>(random_spd(25, 2)), in_scalar<float>(b)).x));
}

TEST_CASE("minifloat, real and shadowed give the same factors, and the shadow is LU in double") {
    const matrix<double> a = random_spd(15, 15);
    const matrix<half> want = lu(in_scalar<half>(a)).lu;
    const auto with_shadow = lu(in_scalar<shadowed<half>>(a)).lu;
    CHECK(identical(with_shadow, want));
    // No rows are swapped here, so the shadows are what lu makes of the doubles.
    const matrix<double> plain = lu(a).lu;
    for (Index i = 0; i < plain.size(); ++i)
        CHECK(with_shadow.data()[i].shadow() == plain.data()[i]);
    const use_format scope(lowp::float16);
    CHECK(identical(lu(in_scalar<real>(a)).lu, want));
}

TEST_CASE("LU counts (n^3 - n) / 3 products, as many subtractions, and n (n - 1) / 2 divisions") {
    const matrix<half> a = in_scalar<half>(random_matrix(10, 10, 16));
    lowp::operation_counts counts;
    {
        const lowp::count_operations scope(counts);
        static_cast<void>(lu(a));
    }
    CHECK(counts[lowp::operation_kind::mul].total == 285);
    CHECK(counts[lowp::operation_kind::sub].total == 285);
    CHECK(counts[lowp::operation_kind::div].total == 45);
    CHECK(counts.sum().total == 615);
    CHECK(counts.sum().inexact > 300);
    CHECK(counts.sum().nan_created == 0);
}

template <class S>
void check_cholesky(const matrix<double>& wide, double unit) {
    const matrix<S> a = in_scalar<S>(wide);
    const Index n = a.rows();
    const cholesky_factor<S> f = cholesky<S>(a);
    const matrix<double> l = values(f.l);
    CHECK(((l * l.transpose() - values(a)).array().abs() <=
           (l.cwiseAbs() * l.transpose().cwiseAbs()).array() * (static_cast<double>(n + 1) * unit) +
               static_cast<double>(n) * 0x1p-24)
              .all());
    const vector<S> b = in_scalar<S>(ones(n));
    CHECK(backward_error(a, f.solve(b), b) <= 4 * static_cast<double>(n) * unit);
}

TEST_CASE("Cholesky obeys |L L^T - A| <= (n + 1) u |L||L^T|") {
    for (const matrix<double>& a : {poisson(5), random_spd(25, 17)}) {
        check_cholesky<half>(a, 0x1p-11);
        check_cholesky<bfloat>(a, 0x1p-8);
        check_cholesky<float>(a, 0x1p-24);
    }
    check_cholesky<half>(hilbert(3), 0x1p-11);
    const use_format scope(lowp::bfloat16, {lowp::rounding::toward_zero});
    check_cholesky<real>(poisson(4), 0x1p-7);
}

TEST_CASE(
    "a matrix that is not definite in this arithmetic is refused: Hilbert's of order 8 in half") {
    CHECK_NOTHROW(static_cast<void>(cholesky(in_scalar<double>(hilbert(8)))));
    CHECK_THROWS_WITH_AS(static_cast<void>(cholesky(in_scalar<half>(hilbert(8)))),
                         doctest::Contains("not positive definite in this arithmetic: pivot"),
                         std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(cholesky(matrix<double>(-poisson(2)))),
                    std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(cholesky(matrix<double>(2, 3))), std::invalid_argument);
}

TEST_CASE("singular, overflowing and oblong matrices are refused by LU with what to do") {
    CHECK_THROWS_WITH_AS(static_cast<void>(lu(in_scalar<half>(matrix<double>::Ones(3, 3)))),
                         doctest::Contains("singular in this arithmetic: pivot 1 is 0"),
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(static_cast<void>(lu(in_scalar<half>(poisson(2) * 1e5))),
                         doctest::Contains("two_sided_scaling"), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(lu(matrix<half>(2, 3))), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(lu(in_scalar<half>(poisson(2))).solve(vector<half>(3))),
                    std::invalid_argument);
    CHECK_THROWS_WITH_AS(static_cast<void>(trsv(matrix<half>(matrix<half>::Constant(2, 2, half(0))),
                                                vector<half>(2), triangle::upper)),
                         doctest::Contains("diagonal element 1 is 0"), std::invalid_argument);
    CHECK(lu(matrix<half>(0, 0)).lu.size() == 0);
}

TEST_CASE("trsm solves every column as trsv does, on either triangle and a unit diagonal") {
    const matrix<half> a = in_scalar<half>(random_spd(10, 18));
    const matrix<half> b = in_scalar<half>(random_matrix(10, 4, 19));
    for (const triangle t : {triangle::lower, triangle::upper})
        for (const diagonal d : {diagonal::stored, diagonal::unit}) {
            const matrix<half> x = trsm(a, b, t, d);
            for (Index j = 0; j < 4; ++j) CHECK(identical(x.col(j), trsv<half>(a, b.col(j), t, d)));
            matrix<half> used = matrix<half>::Constant(10, 10, half(0));
            for (Index i = 0; i < 10; ++i)
                for (Index j = 0; j < 10; ++j)
                    if (i == j) used(i, j) = d == diagonal::unit ? half(1) : a(i, j);
                    else if ((i > j) == (t == triangle::lower)) used(i, j) = a(i, j);
            for (Index j = 0; j < 4; ++j)
                CHECK(backward_error(used, x.col(j), b.col(j)) <= 10 * 0x1p-11);
        }
}

template <class S>
void check_qr(const matrix<double>& wide, double unit) {
    const matrix<S> a = in_scalar<S>(wide);
    const qr_factor<S> f = householder_qr<S>(a);
    const matrix<double> q = values(f.q()), r = values(f.r());
    const auto n = static_cast<double>(a.rows() * a.cols());
    // Higham's theorem 19.4 has gamma~_{mn} a column; its constant is taken as 1.
    for (Index j = 0; j < a.cols(); ++j)
        CHECK((q * r - values(a)).col(j).norm() <= n * unit * values(a).col(j).norm());
    CHECK((q.transpose() * q - matrix<double>::Identity(q.cols(), q.cols())).norm() <= n * unit);
}

TEST_CASE("Householder QR has QR near A and Q near orthogonal within m n units") {
    for (const matrix<double>& a : {random_matrix(12, 12, 20), random_matrix(15, 6, 21),
                                    random_matrix(6, 9, 22), poisson(4), hilbert(6)}) {
        check_qr<half>(a, 0x1p-11);
        check_qr<bfloat>(a, 0x1p-8);
        check_qr<float>(a, 0x1p-24);
        check_qr<double>(a, 0x1p-53);
    }
}

TEST_CASE("QR solves square systems and least squares") {
    const matrix<half> a = in_scalar<half>(random_spd(20, 23));
    const vector<half> b = in_scalar<half>(ones(20));
    CHECK(backward_error(a, householder_qr(a).solve(b), b) <= 20 * 0x1p-11);
    const matrix<half> tall = in_scalar<half>(random_matrix(30, 4, 24));
    const vector<half> c = in_scalar<half>(ones(30));
    const vector<double> x = values(householder_qr(tall).solve(c));
    const vector<double> best = values(tall).colPivHouseholderQr().solve(values(c));
    CHECK((x - best).norm() <= 30 * 4 * 0x1p-11);
    CHECK_THROWS_AS(static_cast<void>(householder_qr(in_scalar<half>(random_matrix(2, 3, 1)))
                                          .solve(in_scalar<half>(ones(2)))),
                    std::invalid_argument);
    const matrix<half> zero = in_scalar<half>(matrix<double>::Zero(3, 2));
    CHECK(identical(householder_qr(zero).r(), matrix<double>::Zero(2, 2)));
}

// ---- eigenvalues ---------------------------------------------------------------------------------

template <class S>
void check_eigenvalues(const matrix<double>& wide, double unit) {
    const matrix<S> a = in_scalar<S>(wide);
    const eigen_result<S> e = jacobi_eigen<S>(a);
    CHECK(e.outcome == outcome::converged);
    CHECK(e.off_diagonal.back() <= e.off_diagonal.front());
    const vector<double> want =
        Eigen::SelfAdjointEigenSolver<matrix<double>>(values(a)).eigenvalues();
    const auto n = static_cast<double>(a.rows());
    const double bound = n * static_cast<double>(e.sweeps) * unit * values(a).norm();
    CHECK((values(e.values) - want).cwiseAbs().maxCoeff() <= bound);
    const matrix<double> v = values(e.vectors);
    CHECK((values(a) * v - v * values(e.values).asDiagonal()).norm() <= 2 * n * bound);
}

TEST_CASE("Jacobi's eigenvalues are within n units of the norm a sweep, and it converges") {
    for (const matrix<double>& a : {random_spd(12, 25), poisson(3), hilbert(6)}) {
        check_eigenvalues<half>(a, 0x1p-11);
        check_eigenvalues<bfloat>(a, 0x1p-8);
        check_eigenvalues<single>(a, 0x1p-24);
        check_eigenvalues<double>(a, 0x1p-53);
    }
    CHECK(jacobi_eigen(matrix<half>(0, 0)).outcome == outcome::converged);
    const matrix<half> broken = in_scalar<half>(random_spd(3, 1) * 1e5);
    CHECK(jacobi_eigen(broken).outcome == outcome::breakdown);
    CHECK_THROWS_AS(static_cast<void>(jacobi_eigen(matrix<half>(2, 3))), std::invalid_argument);
}

}  // namespace
