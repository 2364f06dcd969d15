// minifloat, real and shadowed as scalars of Eigen: Matrix<minifloat<float16>, Dynamic, Dynamic> and
// its products and decompositions, every operation rounded.
#pragma once

#include <Eigen/Core>

#include "lowp/minifloat.hpp"
#include "lowp/real.hpp"
#include "lowp/shadowed.hpp"

namespace lowp {

/// x in another scalar, rounded once by To. A shadow goes along; to a scalar without one it is
/// dropped, from one it starts as the value.
template <class To, class From>
[[nodiscard]] constexpr To scalar_cast(const From& x) {
    if constexpr (std::is_same_v<To, From>) return x;
    else if constexpr (std::is_constructible_v<To, From>) return static_cast<To>(x);
    else return static_cast<To>(static_cast<double>(x));
}

namespace detail {

/// What Eigen asks of a scalar that is a real number. Products and sums are two roundings: Eigen's
/// algorithms call no fma. Costs are in additions of a float.
template <class S>
struct eigen_traits : Eigen::GenericNumTraits<S> {
    using Real = S;
    using NonInteger = S;
    using Nested = S;
    using Literal = S;
    enum {
        IsComplex = 0,
        IsInteger = 0,
        IsSigned = 1,
        RequireInitialization = 1,
        ReadCost = 1,
        AddCost = 20,
        MulCost = 20
    };
    static int digits10() { return std::numeric_limits<S>::digits10; }
    /// What isApprox takes: as far from epsilon as Eigen's own is for float, within a factor of 2.
    static S dummy_precision() {
        return S(64.0 * static_cast<double>(std::numeric_limits<S>::epsilon()));
    }
};

/// Matrix::Random and setRandom: Eigen's numbers in [-1, 1], rounded once.
template <class S>
struct eigen_random {
    static S run() { return S(Eigen::internal::random<double>()); }
    static S run(const S& low, const S& high) {
        return S(
            Eigen::internal::random<double>(static_cast<double>(low), static_cast<double>(high)));
    }
};

}  // namespace detail
}  // namespace lowp

namespace Eigen {

template <lowp::format F>
struct NumTraits<lowp::minifloat<F>> : lowp::detail::eigen_traits<lowp::minifloat<F>> {};
template <>
struct NumTraits<lowp::real> : lowp::detail::eigen_traits<lowp::real> {};
template <class S>
struct NumTraits<lowp::shadowed<S>> : lowp::detail::eigen_traits<lowp::shadowed<S>> {};

namespace internal {

template <lowp::format F>
struct random_impl<lowp::minifloat<F>> : lowp::detail::eigen_random<lowp::minifloat<F>> {};
template <>
struct random_impl<lowp::real> : lowp::detail::eigen_random<lowp::real> {};
template <class S>
struct random_impl<lowp::shadowed<S>> : lowp::detail::eigen_random<lowp::shadowed<S>> {};

// x.cast<To>() from and to the scalars of lowp is lowp::scalar_cast.
template <class From, lowp::format F>
struct cast_impl<From, lowp::minifloat<F>> {
    static lowp::minifloat<F> run(const From& x) {
        return lowp::scalar_cast<lowp::minifloat<F>>(x);
    }
};
template <class From>
struct cast_impl<From, lowp::real> {
    static lowp::real run(const From& x) { return lowp::scalar_cast<lowp::real>(x); }
};
template <class From, class S>
struct cast_impl<From, lowp::shadowed<S>> {
    static lowp::shadowed<S> run(const From& x) { return lowp::scalar_cast<lowp::shadowed<S>>(x); }
};

}  // namespace internal
}  // namespace Eigen
