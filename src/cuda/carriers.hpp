// The one switch from a carrier at run time to one at compile time.
#pragma once

#include <type_traits>

#include "lowp/cuda.hpp"

namespace lowp::cuda::detail {

/// f with the carrier as a type.
template <class F>
void with_carrier(carrier c, F&& f) {
    switch (c) {
        case carrier::float64: return f(std::integral_constant<carrier, carrier::float64>{});
        case carrier::float16: return f(std::integral_constant<carrier, carrier::float16>{});
        case carrier::bfloat16: return f(std::integral_constant<carrier, carrier::bfloat16>{});
        case carrier::float32: break;
    }
    f(std::integral_constant<carrier, carrier::float32>{});
}

}  // namespace lowp::cuda::detail
