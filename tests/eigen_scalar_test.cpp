#include "lowp/eigen_scalar.hpp"

#include <doctest/doctest.h>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <Eigen/QR>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "lowp/formats.hpp"
#include "lowp/linalg/scalars.hpp"
#include "support.hpp"

namespace {

using Eigen::Dynamic;
using Eigen::Index;
using lowp::minifloat;
using lowp::real;
using lowp::shadowed;
using lowp::use_format;
using half = minifloat<lowp::float16>;
using single = minifloat<lowp::float32>;
using bfloat = minifloat<lowp::bfloat16>;

template <class S>
using matrix = Eigen::Matrix<S, Dynamic, Dynamic>;
template <class S>
using vector = Eigen::Matrix<S, Dynamic, 1>;

/// Entries of (-1, 1) with a multiple of the identity added.
matrix<double> random_matrix(Index rows, Index columns, std::uint64_t seed, double diagonal = 0) {
    lowp::test::dice d(seed);
    matrix<double> a(rows, columns);
    for (Index j = 0; j < columns; ++j)
        for (Index i = 0; i < rows; ++i)
            a(i, j) = static_cast<double>(static_cast<std::int64_t>(d() >> 11)) * 0x1p-52 - 1 +
                      (i == j ? diagonal : 0);
    return a;
}

matrix<double> random_spd(Index n, std::uint64_t seed) {
    const matrix<double> b = random_matrix(n, n, seed);
    return b * b.transpose() / static_cast<double>(n) + matrix<double>::Identity(n, n);
}

template <class S>
matrix<double> values(const matrix<S>& a) {
    return a.template cast<double>();
}

/// Bit for bit, so that -0 and +0 differ.
bool identical(const matrix<double>& a, const matrix<double>& b) {
    if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
    return std::equal(a.data(), a.data() + a.size(), b.data(), [](double x, double y) {
        return lowp::test::bits_of(x) == lowp::test::bits_of(y);
    });
}

static_assert(std::is_same_v<Eigen::NumTraits<half>::Real, half>);
static_assert(Eigen::NumTraits<half>::IsComplex == 0 && Eigen::NumTraits<half>::IsInteger == 0);

TEST_CASE("casts of matrices round every element once and back exactly") {
    const matrix<double> a = random_matrix(5, 7, 1);
    const matrix<half> narrow = a.cast<half>();
    const matrix<double> back = narrow.cast<double>();
    for (Index i = 0; i < a.size(); ++i)
        CHECK(back.data()[i] == lowp::quantize(a.data()[i], lowp::float16));
    CHECK(identical(narrow.cast<single>().cast<double>(), back));
    const use_format scope(lowp::float8_e5m2);
    const matrix<real> run = narrow.cast<real>();
    CHECK(run(0, 0).value() == lowp::quantize(back(0, 0), lowp::float8_e5m2));
    const matrix<shadowed<half>> with_shadow = a.cast<shadowed<half>>();
    CHECK(with_shadow(1, 1).shadow() == a(1, 1));
    CHECK(with_shadow.cast<shadowed<bfloat>>()(1, 1).shadow() == a(1, 1));
}

/// The documented order of a lazy product: c = a_0 b_0, then c = c + a_k b_k for k = 1, 2, ...
template <class S>
matrix<S> product_by_hand(const matrix<S>& a, const matrix<S>& b) {
    matrix<S> c(a.rows(), b.cols());
    for (Index i = 0; i < a.rows(); ++i)
        for (Index j = 0; j < b.cols(); ++j) {
            S sum = a(i, 0) * b(0, j);
            for (Index k = 1; k < a.cols(); ++k) sum = sum + a(i, k) * b(k, j);
            c(i, j) = sum;
        }
    return c;
}

TEST_CASE("a lazy product rounds each product and each sum, in the order of the inner index") {
    for (const Index n : {1, 2, 5, 17, 40}) {
        const matrix<half> a = random_matrix(n, n + 3, 2).cast<half>();
        const matrix<half> b = random_matrix(n + 3, n, 3).cast<half>();
        const matrix<half> c = a.lazyProduct(b);
        CHECK(identical(values(c), values(product_by_hand(a, b))));
    }
}

TEST_CASE("a product of any size is within the bound of k roundings, and exact where sums are") {
    const Index n = 70;
    const matrix<half> a = random_matrix(n, n, 4).cast<half>();
    const matrix<half> b = random_matrix(n, n, 5).cast<half>();
    const matrix<double> got = values<half>(a * b);
    const matrix<double> exact = values(a) * values(b);
    const matrix<double> bound = values(a).cwiseAbs() * values(b).cwiseAbs();
    const double unit = 0x1p-11, k = static_cast<double>(n);
    // Higham, Accuracy and Stability, (3.13): gamma_k |A| |B|, and half a subnormal a product.
    CHECK(((got - exact).array().abs() <= bound.array() * (k * unit / (1 - k * unit)) + k * 0x1p-25)
              .all());
    CHECK_FALSE(identical(got, exact));
    const matrix<half> whole = (random_matrix(n, n, 6) * 5).array().round().matrix().cast<half>();
    CHECK(identical(values<half>(whole * whole), values(whole) * values(whole)));
}

TEST_CASE("the same product comes from minifloat, real and shadowed") {
    const matrix<double> a = random_matrix(30, 30, 7), b = random_matrix(30, 30, 8);
    const matrix<double> fixed = values<half>(a.cast<half>() * b.cast<half>());
    const use_format scope(lowp::float16);
    CHECK(identical(values<real>(a.cast<real>() * b.cast<real>()), fixed));
    using both = shadowed<half>;
    const matrix<both> c = a.cast<both>() * b.cast<both>();
    CHECK(identical(values(c), fixed));
    CHECK((c.unaryExpr([](const both& x) { return x.shadow(); }) - a * b).norm() < 1e-13);
}

/// max |b - A x| / (max row sum of |A| * max |x| + max |b|), in float64.
double backward_error(const matrix<double>& a, const vector<double>& x, const vector<double>& b) {
    const double norm = a.cwiseAbs().rowwise().sum().maxCoeff();
    return (b - a * x).cwiseAbs().maxCoeff() /
           (norm * x.cwiseAbs().maxCoeff() + b.cwiseAbs().maxCoeff());
}

/// Solves with the decomposition that `decompose` makes of a, and gives the backward error.
template <class S, class Decompose>
double error_of(const matrix<double>& a, Decompose decompose) {
    const matrix<S> narrow = a.cast<S>();
    const vector<S> b = random_matrix(a.rows(), 1, 11).cast<S>();
    const vector<S> x = decompose(narrow).solve(b);
    return backward_error(values(narrow), x.template cast<double>(), b.template cast<double>());
}

TEST_CASE("Eigen's LU, Cholesky and QR solve within n units roundoff, and not exactly") {
    const matrix<double> a = random_matrix(24, 24, 9, 3), spd = random_spd(24, 10);
    const auto lu = [](const auto& m) { return m.partialPivLu(); };
    const auto llt = [](const auto& m) { return m.llt(); };
    const auto qr = [](const auto& m) { return m.householderQr(); };
    for (const double error :
         {error_of<half>(a, lu), error_of<half>(spd, llt), error_of<half>(a, qr)}) {
        CHECK(error <= 24 * 0x1p-11);
        CHECK(error > 0);
    }
    CHECK(error_of<shadowed<half>>(a, lu) == error_of<half>(a, lu));
    const use_format scope(lowp::bfloat16);
    CHECK(error_of<real>(a, lu) <= 24 * 0x1p-8);
    CHECK(error_of<real>(spd, llt) <= 24 * 0x1p-8);
}

TEST_CASE("factors of Eigen's LU are on the grid of the scalar's format") {
    const use_format scope(lowp::float8_e5m2);
    const matrix<real> factors =
        matrix<real>(random_matrix(12, 12, 9, 3).cast<real>()).partialPivLu().matrixLU();
    for (const real& x : factors.reshaped())
        CHECK(x.value() == lowp::quantize(x.value(), lowp::float8_e5m2));
}

TEST_CASE(
    "a decomposition in emulated float32 or float64 is that of a plain loop in float or double") {
    const matrix<double> a = random_matrix(12, 12, 12);
    const auto eliminate = [](auto m) {
        const Index n = m.rows();
        for (Index k = 0; k < n; ++k)
            for (Index i = k + 1; i < n; ++i) {
                m(i, k) /= m(k, k);
                for (Index j = k + 1; j < n; ++j)
                    m(i, j) -= lowp::linalg::detail::product(m(i, k), m(k, j));
            }
        return m;
    };
    CHECK(identical(values<single>(eliminate(matrix<single>(a.cast<single>()))),
                    values<float>(eliminate(matrix<float>(a.cast<float>())))));
    using wide = minifloat<lowp::float64>;
    CHECK(identical(values<wide>(eliminate(matrix<wide>(a.cast<wide>()))), eliminate(a)));
}

// In float16 the rotations of JacobiSVD square ratios beyond its range, and lose columns.
TEST_CASE("singular values in tensorfloat32 come out within n epsilon of the norm") {
    using wide_range = minifloat<lowp::tensorfloat32>;
    const Index n = 10;
    const matrix<wide_range> a = random_spd(n, 13).cast<wide_range>();
    const vector<double> want = values(a).jacobiSvd().singularValues();
    const Eigen::JacobiSVD<matrix<wide_range>, Eigen::NoQRPreconditioner> got(a);
    CHECK((got.singularValues().cast<double>() - want).norm() <=
          static_cast<double>(n) * 0x1p-10 * values(a).norm());
}

TEST_CASE("norms, reductions, random matrices and isApprox work") {
    using small = Eigen::Matrix<half, 2, 1>;
    CHECK(small(half(3), half(4)).norm() == half(5));
    CHECK(vector<half>::Constant(3000, half(1)).size() == 3000);
    const matrix<half> r = matrix<half>::Random(20, 20);
    CHECK(values(r).cwiseAbs().maxCoeff() <= 1);
    CHECK(values(r).cwiseAbs().maxCoeff() > 0.5);
    CHECK(r.isApprox(r));
    CHECK(r.maxCoeff() >= r.minCoeff());
    CHECK(matrix<half>(3, 3).setIdentity().trace() == half(3));
}

}  // namespace
