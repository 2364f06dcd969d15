// What the tests of linalg.hpp share: matrices of known properties, and comparison bit by bit.
#pragma once

#include <Eigen/Dense>
#include <cstdint>

#include "lowp/formats.hpp"
#include "lowp/linalg.hpp"
#include "support.hpp"

namespace lowp::test {

using linalg::Index;
using linalg::matrix;
using linalg::vector;

using half = minifloat<float16>;
using single = minifloat<float32>;
using bfloat = minifloat<bfloat16>;

[[nodiscard]] inline matrix<double> random_matrix(Index rows, Index columns, std::uint64_t seed) {
    dice d(seed);
    matrix<double> a(rows, columns);
    for (Index j = 0; j < columns; ++j)
        for (Index i = 0; i < rows; ++i)
            a(i, j) = static_cast<double>(static_cast<std::int64_t>(d() >> 11)) * 0x1p-52 - 1;
    return a;
}

/// Symmetric, eigenvalues from 1 to about 5.
[[nodiscard]] inline matrix<double> random_spd(Index n, std::uint64_t seed) {
    const matrix<double> b = random_matrix(n, n, seed);
    return b * b.transpose() * (3.0 / static_cast<double>(n)) + matrix<double>::Identity(n, n);
}

[[nodiscard]] inline matrix<double> hilbert(Index n) {
    matrix<double> a(n, n);
    for (Index j = 0; j < n; ++j)
        for (Index i = 0; i < n; ++i) a(i, j) = 1.0 / static_cast<double>(i + j + 1);
    return a;
}

/// The five-point Laplacian of an m by m grid.
[[nodiscard]] inline matrix<double> poisson(Index m) {
    matrix<double> a = matrix<double>::Zero(m * m, m * m);
    for (Index k = 0; k < m * m; ++k) {
        a(k, k) = 4;
        if (k % m != 0) a(k, k - 1) = a(k - 1, k) = -1;
        if (k >= m) a(k, k - m) = a(k - m, k) = -1;
    }
    return a;
}

template <class S, class Derived>
[[nodiscard]] auto in_scalar(const Eigen::MatrixBase<Derived>& a) {
    return linalg::converted(a, linalg::in<S>{});
}
[[nodiscard]] inline vector<double> ones(Index n) { return vector<double>::Ones(n); }

template <class A, class B>
[[nodiscard]] bool identical(const A& a, const B& b) {
    if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
    for (Index j = 0; j < a.cols(); ++j)
        for (Index i = 0; i < a.rows(); ++i)
            if (bits_of(static_cast<double>(a(i, j))) != bits_of(static_cast<double>(b(i, j))))
                return false;
    return true;
}

[[nodiscard]] inline double unit_of(const lowp::format& f) { return f.epsilon() / 2; }

}  // namespace lowp::test
