// What the host hands to the kernels of cuda_statistics.hpp. Plain C++: statistics.cpp checks and
// plans, statistics.cuh has the kernels.
#pragma once

#include <cstdint>
#include <limits>

#include "conversion.hpp"
#include "lowp/cuda_statistics.hpp"

namespace lowp::cuda::detail {

/// Largest magnitudes: blocks as walked, and a word for each block that several teams look at.
struct amax_call {
    const void* from = nullptr;
    void* to = nullptr;
    block_layout layout = {};
    std::uint64_t* largest = nullptr;
};

/// What measures need of the format of q, in the numbers of the carrier's arithmetic.
template <class T>
struct error_call {
    const void* x = nullptr;
    const void* q = nullptr;
    std::uint64_t size = 0;
    error_sums* out = nullptr;
    bool has_format = false;
    bool in_ulps = false;  ///< whether ulps are to be looked at element by element
    /// x outside of the first two is beyond the format; normal: the first number of T from the smallest
    /// normal on.
    T lowest = -std::numeric_limits<T>::infinity();
    T max = std::numeric_limits<T>::infinity();
    T normal = 0;
    std::int32_t emin = 0, emax = 0;  ///< binades whose ulps are the format's own
    std::int32_t precision = 1;
    double quantum = 0;  ///< the one ulp of formats that have no exponent, else 0
};

template <carrier C>
struct statistics {
    using T = worker_t<C>;
    static void amax(const amax_call& c, stream s);
    static void measure(const error_call<T>& c, stream s);
    static void count_codes(const void* codes, int bytes, std::uint64_t n, int bits,
                            std::uint64_t* counts, const void* x, stream s);
};

/// Whether a block's elements are looked at by several teams, which raise one word.
[[nodiscard]] bool is_shared(const block_layout& walked);

/// Rows of an upright block that one thread goes down.
inline constexpr std::uint32_t rows_a_thread = 128;

}  // namespace lowp::cuda::detail
