// The one switch from a carrier at run time to one at compile time.
#pragma once

#include <stdexcept>
#include <string>
#include <type_traits>

#include "lowp/cuda.hpp"
#include "lowp/rounding.hpp"

namespace lowp::cuda::detail {

/// Random bits of fewer than 32 come right-aligned: what they have above is told.
inline void check_random(const char* verb, const projection& p, const options& o) {
    if (o.random != nullptr && is_stochastic(p.rounding) && p.random_bits < 32 &&
        o.failures == nullptr)
        throw std::invalid_argument(
            std::string("lowp::cuda::") + verb + ": random of " + std::to_string(p.random_bits) +
            " bits: say where to report bits above them (options::failures)");
}

/// f with the carrier as a type.
template <class F>
constexpr void with_carrier(carrier c, F&& f) {
    switch (c) {
        case carrier::float64: return f(std::integral_constant<carrier, carrier::float64>{});
        case carrier::float16: return f(std::integral_constant<carrier, carrier::float16>{});
        case carrier::bfloat16: return f(std::integral_constant<carrier, carrier::bfloat16>{});
        case carrier::float32: break;
    }
    f(std::integral_constant<carrier, carrier::float32>{});
}

}  // namespace lowp::cuda::detail
