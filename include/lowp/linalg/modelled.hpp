// The accumulators of accumulator.hpp - Kahan, exact, tensor cores - for the products of linalg.hpp.
// Not included by linalg.hpp: the models take a compiler a while.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lowp/gemm.hpp"
#include "lowp/linalg/products.hpp"

namespace lowp::linalg {

/// lowp::dot of the values in float64 with this accumulator, the result rounded to S once. Shadows are
/// dropped. Random bits of the accumulator's modes are those of element 0 for every sum.
/// `gemm(a, b, modelled{parse_accumulator("h100")})`
struct modelled {
    lowp::accumulator accumulator;

    template <class S, class Left, class Right>
    [[nodiscard]] S sum(Index n, Left l, Right r) const {
        std::vector<double> x(static_cast<std::size_t>(n));
        std::vector<double> y(x.size());
        for (Index k = 0; k < n; ++k) {
            x[static_cast<std::size_t>(k)] = static_cast<double>(l(k));
            y[static_cast<std::size_t>(k)] = static_cast<double>(r(k));
        }
        const double total =
            lowp::dot(std::span<const double>(x), std::span<const double>(y), accumulator);
        return in<S>{}(total);
    }
};

}  // namespace lowp::linalg
