// What the host hands to the kernels of cuda_hadamard.hpp. Plain C++: hadamard.cpp checks, the kernels
// are in hadamard.cuh.
#pragma once

#include <cstdint>

#include "conversion.hpp"
#include "lowp/cuda_hadamard.hpp"

namespace lowp::cuda::detail {

enum class sign_source : std::uint8_t { none, random, given };

template <class T>
struct hadamard_call {
    const void* from = nullptr;
    void* to = nullptr;
    std::uint64_t size = 0;     ///< values of the array
    std::uint32_t run = 2;      ///< values of a transform
    std::uint64_t columns = 1;  ///< distance of its values
    T norm = 1;
    sign_source signs = sign_source::none;
    bool signs_after = false;
    random_source source = {};
    const std::uint64_t* stream_offset = nullptr;
    const std::int8_t* given = nullptr;
};

template <carrier C>
struct hadamard_kernels {
    static void transform(const hadamard_call<worker_t<C>>& c, stream s);
};

}  // namespace lowp::cuda::detail
