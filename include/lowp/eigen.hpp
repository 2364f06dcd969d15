// The verbs for Eigen's dense matrices and arrays of float and double; include it where Eigen is.
// Results have the shape and storage order of the argument, which may be any expression.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <span>

#include "lowp/array.hpp"

namespace lowp {

namespace detail {

template <class Derived>
using plain_of = typename Eigen::DenseBase<Derived>::PlainObject;

template <class Derived>
constexpr auto size_of(const Eigen::DenseBase<Derived>& x) {
    return static_cast<std::size_t>(x.size());
}

}  // namespace detail

/// x on the grid of f. Stochastic modes count elements in storage order. Otherwise as the verb over
/// spans in array.hpp.
template <class Derived>
[[nodiscard]] detail::plain_of<Derived> quantize(const Eigen::DenseBase<Derived>& x,
                                                 const format& f, const projection& p = {},
                                                 const options& o = {}) {
    using T = typename Derived::Scalar;
    detail::plain_of<Derived> result = x;
    quantize(std::span<T>(result.data(), detail::size_of(x)), f, p, o);
    return result;
}

/// Codes of x, in unsigned integers of type Code.
template <code_integer Code = std::uint8_t, class Derived>
[[nodiscard]] auto encode(const Eigen::DenseBase<Derived>& x, const format& f,
                          const projection& p = {}, const options& o = {}) {
    using T = typename Derived::Scalar;
    const detail::plain_of<Derived> dense = x;
    Eigen::Array<Code, Derived::RowsAtCompileTime, Derived::ColsAtCompileTime,
                 detail::plain_of<Derived>::Options>
        codes(x.rows(), x.cols());
    encode(std::span<const T>(dense.data(), detail::size_of(x)),
           std::span<Code>(codes.data(), detail::size_of(x)), f, p, o);
    return codes;
}

/// Values of codes, as T.
template <carrier_float T = float, class Derived>
    requires code_integer<typename Derived::Scalar>
[[nodiscard]] auto decode(const Eigen::DenseBase<Derived>& codes, const format& f,
                          const options& o = {}) {
    using Code = typename Derived::Scalar;
    const detail::plain_of<Derived> dense = codes;
    Eigen::Array<T, Derived::RowsAtCompileTime, Derived::ColsAtCompileTime,
                 detail::plain_of<Derived>::Options>
        values(codes.rows(), codes.cols());
    decode(std::span<const Code>(dense.data(), detail::size_of(codes)),
           std::span<T>(values.data(), detail::size_of(codes)), f, o);
    return values;
}

}  // namespace lowp
