// Matrix products under a model of their accumulator, in the memory of a CUDA device: gemm.hpp's, with its
// bits. Needs the compiled library lowp::cuda.
//
// Every sum is one thread's, in ascending k; tiles of both factors lie in shared memory. How sums are
// worked out is chosen from the descriptors alone, for the data is not looked at:
//     sequential   the device's fused operation in float32 or float64, then the kernel of codec.hpp
//     aligned      units of alignment::together in float64, cut by the device's rounding toward zero
//     others       the text of detail/, a thread a sum: tens of times slower
#pragma once

#include <cstddef>
#include <optional>

#include "lowp/accumulator.hpp"
#include "lowp/cuda.hpp"

namespace lowp::cuda {

/// Scales of blocks along k of a factor, on the device: [batch][line][block], lines being rows of a or
/// columns of b.
struct factor_scales {
    const double* values = nullptr;
    std::size_t block = 0;  ///< elements of a block
    int emin = -127;        ///< exponent that a subnormal scale counts with
};

struct product_options : options {
    std::optional<const_values> c = {};  ///< nothing: +0; strides of 0 where it is broadcast
    /// Formats that the numbers of a and b are in already: quantize them first. They say which way of
    /// working is exact, and with which exponent an aligned sum counts subnormal factors (float32's
    /// without). Nothing: any numbers of the array's carrier.
    std::optional<format> a_format = {}, b_format = {};
    std::optional<factor_scales> a_scales = {}, b_scales = {};  ///< block-scaled units only
    double scale = 1;  ///< multiplies finished sums, in float64 if `out` is, else in float32
    /// Words on the device that multiply `scale`: outer scales; or nullptr.
    const double* a_outer = nullptr;
    const double* b_outer = nullptr;
    std::optional<rounding_step> out = {};  ///< rounds finished sums
};

/// out = c + a b. a: (..., m, k); b: (..., k, n); c and out: (..., m, n); one number of leading axes, which
/// are equal in all (broadcast ones have stride 0); any strides and carriers, each array its own. out lies
/// apart from a, b and scales, and from c unless both are the same memory with the same strides and
/// elements of one size; what is only read may overlap. Sums are worked out as lowp::matmul does in
/// float64 where out is of float64, else in float32, but numbers of float64 go in as they are: in aligned
/// sums they must be ones that float32 holds, which a_format and b_format say and c is trusted in. Arrays
/// of 16 bits take results that they hold. An empty k gives c, which out must hold, or +0.
/// NaN, infinity, -0: as lowp::matmul; NaNs of 16 bits are the quiet one.
/// Random bits: as lowp::matmul, the first index of batch number x being first_index + 4 x (k + 1) m n.
/// Throws std::invalid_argument for shapes that do not meet, for contradictions, and for what
/// has_kernels(how, ...) denies; std::runtime_error where CUDA reports an error.
void matmul(const const_values& a, const const_values& b, const values& out, const accumulator& how,
            const product_options& o = {}, stream s = nullptr);

/// Whether the device has kernels for an accumulator with results of a carrier. Not for sums of more than
/// 51 significant bits, but float64's own to nearest even; modes whose random bits leave less room, as
/// 32 of them over float32's 24; units of more than 256 terms. The same on every device from compute
/// capability 8.0 on: no kernel takes more shared memory than the smallest of them have.
[[nodiscard]] bool has_kernels(const accumulator& how, carrier out);

}  // namespace lowp::cuda
