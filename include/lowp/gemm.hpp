// Matrix products and dot products under a model of their accumulator: out = c + a b, element by element
// what the accumulator says, in any order of execution.
//
// Every element is one dot product over k in ascending order. How it is worked out is chosen once:
//     sequential, no random bits   tiles in registers, float32 or float64 lanes
//     aligned                      rows of tiles in float64 lanes
//     exact                        digits of a Kulisch accumulator
//     any other                    rows of arithmetic.hpp's operations
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lowp/accumulator.hpp"
#include "lowp/array.hpp"
#include "lowp/detail/product_engine.hpp"

namespace lowp {

/// How a product is worked out. Numbers outside a_format or b_format are rounded to it first, to nearest
/// even; it also says with which exponent an aligned sum counts subnormal factors (float32's without).
template <carrier_float T>
struct product_options : options {
    std::optional<matrix_view<const T>> c = {};  ///< nothing: +0
    std::optional<format> a_format = {}, b_format = {};
    std::optional<factor_scales> a_scales = {}, b_scales = {};  ///< aligned sums only
    T scale = 1;                            ///< multiplies the finished sums in T, before `out`
    std::optional<rounding_step> out = {};  ///< rounds the finished sums
};

/// out = c + a b. a: m by k; b: k by n; c and out: m by n; any strides; out apart from the others, but
/// it may be c. An empty k gives c. NaN results are the positive quiet NaN, in aligned sums together
/// NVIDIA's 0x7FFFFFFF; infinities and zeros follow from the
/// operations; an exact sum that is zero is +0. Random bits of additions are those of
/// element first_index + (k' m + i) n + j of the source's stream, k' the addition's place in the chain; of products,
/// of stream + 2^63; of promotions, of stream + 2^62; of `out`, of stream + 2^62 + 2^63. (pairwise: k' is
/// the first k on the right; kahan: its four operations have the places 4 k to 4 k + 3.)
/// Throws std::invalid_argument for shapes that do not meet, and for numbers or formats that the way of
/// working does not hold.
template <carrier_float T, class Isa = detail::native_isa>
void matmul(matrix_view<const T> a, matrix_view<const T> b, matrix_view<T> out,
            const accumulator& how, const product_options<T>& o = {}) {
    const auto size = [](const auto& m) {
        return std::to_string(m.rows) + " by " + std::to_string(m.columns);
    };
    if (a.columns != b.rows || out.rows != a.rows || out.columns != b.columns)
        detail::fail("lowp::matmul: m by k times k by n gives m by n; got " + size(a) + ", " +
                     size(b) + " and out " + size(out));
    if (o.c && (o.c->rows != out.rows || o.c->columns != out.columns))
        detail::fail("lowp::matmul: c must have the shape of out, " + size(out) + "; got " +
                     size(*o.c));
    how.validate();
    detail::check_options("matmul", {}, o, 0);
    if (o.random) detail::fail("lowp::matmul: random bits come from `source`, not from `random`");
    if (!detail::is_better_transposed(out, how, o.out))
        return detail::product_engine<T, Isa>(a, b, out, how, o, {}).run();
    product_options<T> swapped = o;
    std::swap(swapped.a_format, swapped.b_format);
    std::swap(swapped.a_scales, swapped.b_scales);
    if (o.c) swapped.c = o.c->transposed();
    detail::product_engine<T, Isa>(b.transposed(), a.transposed(), out.transposed(), how, swapped,
                                   {"b", "a"})
        .run();
}

/// c + the sum of x[i] y[i].
template <carrier_float T, class Isa = detail::native_isa>
[[nodiscard]] T dot(std::span<const T> x, std::span<const T> y, const accumulator& how,
                    const product_options<T>& o = {}) {
    if (x.size() != y.size())
        detail::fail("lowp::dot: x and y must have one length; got " + std::to_string(x.size()) +
                     " and " + std::to_string(y.size()));
    T result = 0;
    matmul<T, Isa>(in_c_order(x.data(), 1, x.size()), in_c_order(y.data(), y.size(), 1),
                   in_c_order(&result, 1, 1), how, o);
    return result;
}

}  // namespace lowp
