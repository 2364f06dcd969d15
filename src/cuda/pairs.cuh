// Two values of 16 bits in a word, worked on at once.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace lowp::cuda::detail {

/// Half by half, as signed integers.
__device__ inline std::uint32_t smaller_halves(std::uint32_t a, std::uint32_t b) {
#if __CUDA_ARCH__ >= 900
    asm("min.s16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
    return a;
#else
    return __vmins2(a, b);
#endif
}
__device__ inline std::uint32_t larger_halves(std::uint32_t a, std::uint32_t b) {
#if __CUDA_ARCH__ >= 900
    asm("max.s16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
    return a;
#else
    return __vmaxs2(a, b);
#endif
}

/// Two bfloat16 side by side as lanes of detail/sum_kernel.hpp. A bfloat16 is the upper half of a float,
/// so the text's constants of float serve, upper halves all, in a plan that is `halved`. Halves do not
/// carry into each other where results are not negative. Sums and products round once, to nearest even.
struct bfloat16_pairs {
    using element = float;
    using word = std::uint32_t;
    using mask = bool;  // none: modes that choose lane by lane are not for pairs
    static constexpr std::size_t width = 2;

    __device__ static word set(word w) { return __byte_perm(w, w, 0x3232); }
    __device__ static word sum(word a, word b) { return fused(a, set(0x3F800000), b); }
    __device__ static word difference(word a, word b) { return fused(b, set(0xBF800000), a); }
    __device__ static word product(word a, word b) { return fused(a, b, set(0x80000000)); }
    __device__ static word shift_right(word a, int n) {
        return (a >> n) & ((0xFFFFU >> n) * 0x10001U);
    }
    /// All ones for magnitudes that are no numbers: 0x7F is the largest that can be added to infinity.
    __device__ static word nans(word magnitudes) {
        return ((magnitudes + 0x007F007F) >> 15 & 0x00010001) * 0xFFFF;
    }
    /// As signed integers: what positive floats compare as.
    __device__ static word smaller(word a, word b) { return smaller_halves(a, b); }
    __device__ static word larger(word a, word b) { return larger_halves(a, b); }

private:
    __device__ static word fused(word a, word b, word c) {
        asm("fma.rn.bf16x2 %0, %0, %1, %2;" : "+r"(a) : "r"(b), "r"(c));
        return a;
    }
};

}  // namespace lowp::cuda::detail
