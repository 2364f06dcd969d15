#include "lowp/eigen.hpp"

#include <doctest/doctest.h>

#include "lowp/formats.hpp"

namespace {

TEST_CASE("Eigen matrices, arrays, blocks and expressions are quantized element by element") {
    const Eigen::MatrixXf m = Eigen::MatrixXf::Random(5, 7) * 3;
    const Eigen::MatrixXf q = lowp::quantize(m, lowp::float4_e2m1fn);
    const Eigen::ArrayXXf doubled = lowp::quantize(2 * m.array(), lowp::float4_e2m1fn);
    const Eigen::MatrixXf block = lowp::quantize(m.block(1, 2, 3, 4), lowp::float4_e2m1fn);
    const Eigen::MatrixXf transposed = lowp::quantize(m.transpose(), lowp::float4_e2m1fn);
    for (Eigen::Index i = 0; i < m.rows(); ++i)
        for (Eigen::Index j = 0; j < m.cols(); ++j) {
            CHECK(q(i, j) == lowp::quantize(m(i, j), lowp::float4_e2m1fn));
            CHECK(doubled(i, j) == lowp::quantize(2 * m(i, j), lowp::float4_e2m1fn));
            CHECK(transposed(j, i) == q(i, j));
        }
    CHECK(block == q.block(1, 2, 3, 4));
}

TEST_CASE("Eigen codes decode to the quantized matrix, in float and in double") {
    const Eigen::Matrix<double, 3, 4, Eigen::RowMajor> m =
        Eigen::Matrix<double, 3, 4, Eigen::RowMajor>::Random();
    const auto codes = lowp::encode(m, lowp::float8_e5m2);
    const auto values = lowp::decode<double>(codes, lowp::float8_e5m2);
    CHECK(values.matrix() == lowp::quantize(m, lowp::float8_e5m2));
    CHECK(lowp::quantize(Eigen::VectorXf(), lowp::float8_e5m2).size() == 0);
}

}  // namespace
