// What the host hands to the kernels that convert element by element, and the kernels' names. Plain
// C++: the host's checks and plans are in arrays.cpp, the kernels in conversion.cuh.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lowp/codec.hpp"
#include "walk.hpp"

namespace lowp::cuda::detail {

/// The float in which the kernel works on values of a carrier.
template <carrier C>
struct worker {
    using type = float;
};
template <>
struct worker<carrier::float64> {
    using type = double;
};
template <carrier C>
using worker_t = typename worker<C>::type;

/// Whether groups of `step` elements of this many bytes lie on their own boundaries.
[[nodiscard]] inline bool is_aligned(const void* p, int bytes, int step) {
    const int group_bytes = bytes * step < 16 ? bytes * step : 16;
    return reinterpret_cast<std::uintptr_t>(p) % static_cast<std::uintptr_t>(group_bytes) == 0;
}

/// One call of one verb: read by every thread, so it goes to the device by value.
template <class T>
struct call {
    lowp::detail::plan<T> plan;
    random_source source = {};
    const std::uint64_t* stream_offset = nullptr;
    const std::uint32_t* random = nullptr;  ///< instead of the source, from `first_index` on
    std::uint64_t first_index = 0;
    std::uint32_t* failures = nullptr;
    const void* from = nullptr;
    void* to = nullptr;
    int code_bytes = 0;
    bool refuses_nan = false;
    bool ignores_index = false;  ///< deterministic modes: any order of steps does
};

/// The verbs over arrays of a carrier; one .cu file defines those of one.
template <carrier C>
struct conversions {
    using T = worker_t<C>;
    static void quantize(const call<T>& c, const walk& w, stream s);
    static void encode(const call<T>& c, const walk& w, stream s);
    static void decode(const call<T>& c, const walk& w, stream s);
};

}  // namespace lowp::cuda::detail
