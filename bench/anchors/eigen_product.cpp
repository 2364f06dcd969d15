// Eigen's product of square float32 matrices, compiled for this machine: the anchor of bench/products.cpp.
#include <Eigen/Core>
#include <cstddef>

void eigen_product(const float* a, const float* b, float* c, std::size_t n) {
    using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const auto size = static_cast<Eigen::Index>(n);
    const Eigen::Map<const matrix> x(a, size, size);
    const Eigen::Map<const matrix> y(b, size, size);
    Eigen::Map<matrix> z(c, size, size);
    z.noalias() = x * y;
}
