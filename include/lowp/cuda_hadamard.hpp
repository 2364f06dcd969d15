// The Walsh-Hadamard transform on a CUDA device: hadamard.hpp's, with its bits. As in cuda.hpp, the call
// checks its arguments, puts work on a stream and returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "lowp/cuda.hpp"
#include "lowp/random.hpp"

namespace lowp::cuda {

/// Which diagonal D of signs goes with x D H / sqrt(size): that of a source, given ones, or none.
struct hadamard_options {
    std::optional<random_source> source = {};  ///< sign i: top bit of its word i, 1 is minus
    /// A word on the device that is added to source's stream, or nullptr, as options::stream_offset.
    const std::uint64_t* stream_offset = nullptr;
    /// On the device instead of a source: 1 or -1, `size` of them, which nobody checks.
    const std::int8_t* signs = nullptr;
    bool is_inverse = false;  ///< x H D / sqrt(size)
};

/// Each run of `size` values of x, transformed: of neighbours, or with `columns` > 1 of values that far
/// apart, down the columns of matrices of `size` rows. x and out: n values of one carrier in C order,
/// apart or the same memory; those of 16 bits are transformed in float32 and rounded once. Sums go
/// butterfly by butterfly as on the CPU; NaN and infinity spread over their run, though NaN are the
/// device's own. Throws std::invalid_argument for a size that is no power of two from 2 to 256, for n
/// that is no multiple of size times columns, and for signs beside a source.
void hadamard(const void* x, void* out, carrier c, std::size_t n, std::size_t size,
              std::size_t columns = 1, const hadamard_options& o = {}, stream s = nullptr);

}  // namespace lowp::cuda
