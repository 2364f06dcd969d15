// How large the values of an array on a CUDA device are, and how far quantized ones are from them: the
// largest magnitudes that scales are made of, and the sums behind lowp.error of Python, to the bit.
//
// As in cuda.hpp, calls check their arguments, put work on a stream and return. Results are on the
// device, too. No result depends on the device or on how work is spread over it: maxima and counts are
// those of integers, and floats are added in one tree, that of NumPy's sum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "lowp/block_format.hpp"
#include "lowp/cuda.hpp"

namespace lowp::cuda {

/// Bytes of workspace that amax needs.
[[nodiscard]] std::size_t amax_workspace_size(carrier c, const block_layout& l);

/// The largest magnitude of each block. x: l.size() values in C order; out: l.blocks() values of x's
/// carrier in C order of the blocks (layout_of: {0, 0} the tensor, {1, 0} rows, {0, 1} columns). A NaN
/// in a block gives the quiet NaN, else an infinity gives infinity; -0 counts as 0. An empty array has
/// no blocks and is no work. workspace: amax_workspace_size bytes on a boundary of 16, nullptr where
/// that is 0. Throws std::invalid_argument for null arrays and for tiles of 2^31 elements or more.
void amax(const void* x, carrier c, const block_layout& l, void* out, void* workspace,
          stream s = nullptr);

/// Elements that are summed as one run; the last run of an array may be shorter.
inline constexpr std::size_t error_run = 65536;

[[nodiscard]] constexpr std::size_t error_runs(std::size_t n) {
    return n / error_run + (n % error_run != 0 ? 1 : 0);
}

/// What the elements of one run add to the measures of lowp.error. x: the values, q: what became of
/// them. The four sums are over elements with finite x and finite q - x, each sum that of
/// lowp.error's float64, added pairwise as NumPy does; over runs they are to be added exactly.
///
///     sum x^2     = signal  * 2^(2 x_exponent)          sum x q = product * 2^(x_exponent + q_exponent)
///     sum (q-x)^2 = noise   * 2^(2 error_exponent)      sum q^2 = result  * 2^(2 q_exponent)
struct error_sums {
    double signal, noise, product, result;
    double max_absolute;  ///< |q - x|; infinity where an x is finite and q - x is not
    double max_relative;  ///< |q - x| / |x|; infinity also where a zero did not stay zero
    double max_ulp;       ///< |q - x| in ulps of the format at x; 0 without a format
    /// 0, but where values of float64 are so far from 1 that their squares could leave its range.
    std::int32_t x_exponent, q_exponent, error_exponent;
    std::uint32_t count;             ///< elements of the run
    std::uint32_t nans, infinities;  ///< of x; neither counts below
    std::uint32_t nonzero, flushed;  ///< x not 0; of these with q = 0
    std::uint32_t overflowed;        ///< q - x infinite or NaN
    std::uint32_t clipped;    ///< x beyond the format's lowest or largest value; 0 without a format
    std::uint32_t subnormal;  ///< q between 0 and the smallest normal number; 0 without a format
};
static_assert(sizeof(error_sums) == 104, "read as bytes by the Python package");

/// The sums of q against x, both of n values of one carrier. out: error_runs(n) of them. f: the format
/// of q's values, where known: it must fit float32, or float64 in that carrier. Throws
/// std::invalid_argument for null arrays and formats that the carrier's arithmetic does not hold.
void measure(const void* x, const void* q, carrier c, std::size_t n, error_sums* out,
             const std::optional<format>& f = {}, stream s = nullptr);

/// How often each code occurs: counts has 2^bits words, which are cleared first. codes: n integers of
/// `bytes` bytes (1 or 2) with codes of `bits` bits, 1 to 16; bits above are left out. x: nullptr, or
/// the values that were encoded, of which those not finite are not counted.
void count_codes(const void* codes, int bytes, std::size_t n, int bits, std::uint64_t* counts,
                 const void* x = nullptr, carrier c = carrier::float32, stream s = nullptr);

}  // namespace lowp::cuda
