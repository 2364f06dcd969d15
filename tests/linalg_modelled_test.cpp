#include <doctest/doctest.h>

#include <vector>

#include "linalg_matrices.hpp"
#include "lowp/accumulator_names.hpp"
#include "lowp/linalg/modelled.hpp"

namespace {

using namespace lowp::linalg;
using namespace lowp::test;

TEST_CASE("a modelled accumulator sums the products of linalg as lowp::dot does") {
    const matrix<half> a = in_scalar<half>(random_matrix(5, 40, 1));
    const matrix<half> b = in_scalar<half>(random_matrix(40, 3, 2));
    for (const char* name : {"float32", "float16", "exact", "h100", "v100"}) {
        CAPTURE(name);
        const lowp::accumulator how = lowp::parse_accumulator(name);
        const matrix<half> c = gemm(a, b, modelled{how});
        for (Index i = 0; i < 5; ++i)
            for (Index j = 0; j < 3; ++j) {
                std::vector<double> x, y;
                for (Index k = 0; k < 40; ++k) {
                    x.push_back(static_cast<double>(a(i, k)));
                    y.push_back(static_cast<double>(b(k, j)));
                }
                const double want =
                    lowp::dot(std::span<const double>(x), std::span<const double>(y), how);
                CHECK(c(i, j) == half(want));
            }
    }
}

TEST_CASE("an exact accumulator rounds a dot product once, and half's own stalls at 2048") {
    const vector<half> x = in_scalar<half>(ones(3000));
    CHECK(dot(x, x, modelled{lowp::parse_accumulator("exact")}) == half(3000));
    CHECK(dot(x, x, modelled{lowp::parse_accumulator("float16")}) == half(2048));
    CHECK(dot(x, x, modelled{lowp::parse_accumulator("float32")}) == half(3000));
}

}  // namespace
