// Block-scaled formats on a CUDA device: the verbs of block.hpp with the bits of the CPU, but for the NaN
// that 0 times infinity is, whose sign is the processor's own. As in cuda.hpp, calls check their
// arguments, put work on a stream and return.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "lowp/block_format.hpp"
#include "lowp/cuda.hpp"
#include "lowp/cuda_hadamard.hpp"

namespace lowp::cuda {

/// How blocks are worked on. Random bits as in block.hpp.
struct block_options : options {
    /// Memory of the device for what passes over the array share, on a boundary of 16 bytes:
    /// workspace_size bytes, nullptr where that is 0. Calls on one stream may share it.
    void* workspace = nullptr;
    /// Outer scales on the device instead of those of the data: `outer_given` of them, one or one a
    /// line; they must be finite and positive, which nobody checks.
    const double* outer = nullptr;
    std::size_t outer_given = 0;
    /// Ideal scales on the device instead of those of the rule, one a block in C order, as
    /// given_scales::ideals; they must be finite and not negative, which nobody checks.
    const double* ideals = nullptr;
    /// quantize and encode: runs of so many values along the axis of the blocks, {1, k} ones, go through
    /// the transform first, as by cuda::hadamard, within the kernel where the format is a common one; 0:
    /// none. The axis must be a multiple of it, and x and results lie on boundaries of 16 bytes. Not
    /// inversely.
    std::size_t hadamard_size = 0;
    hadamard_options hadamard = {};
};

/// Bytes of workspace that encode needs; with packing::loose also what quantize and decode need.
/// hadamard_size: as in block_options.
[[nodiscard]] std::size_t workspace_size(carrier c, const block_format& f, const block_layout& l,
                                         packing how = packing::loose,
                                         std::size_t hadamard_size = 0);

/// Codes and scales of an array in the device's memory, laid out as block_tensor's; outer: as many
/// doubles as there are outer scales, or nullptr where there are none.
struct block_memory {
    std::uint8_t* codes = nullptr;
    std::uint8_t* scales = nullptr;
    double* outer = nullptr;
    lowp::packing packing = packing::loose;
};

/// x on the grid of its blocks, as lowp::quantize; 16-bit carriers as in halves.hpp. x and out: l.size()
/// values in C order, either apart or the same memory. Throws std::invalid_argument as there.
void quantize(const void* x, void* out, carrier c, const block_format& f, const block_layout& l,
              const block_options& o = {}, stream s = nullptr);

/// Codes, scales and outer scales of x, as lowp::encode. A NaN that neither scale nor element has a code
/// for is told to options::failures, which must be there in formats where that can be. Packed codes of
/// four bits need x and codes on boundaries of 16 bytes.
void encode(const void* x, carrier c, const block_memory& to, const block_format& f,
            const block_layout& l, const block_options& o = {}, stream s = nullptr);

/// Values of codes, scales and outer scales, as lowp::decode. Bits above a format's are left out and told
/// to options::failures where that is not nullptr. Of the options: those, the workspace, and outer_given,
/// how many doubles `from.outer` has: 1, or 0 for one a line.
void decode(const block_memory& from, void* out, carrier c, const block_format& f,
            const block_layout& l, const block_options& o = {}, stream s = nullptr);

/// How a matrix is worked on both ways. The columns' may go through a Hadamard transform first
/// (block_options::hadamard_size); the workspace is by_rows.workspace.
struct both_options {
    block_options by_rows, by_columns;
};

/// Bytes of workspace that quantize_both needs.
inline constexpr std::size_t both_workspace_size = 256;

/// Whether there is a kernel for both ways at once: of bfloat16, rows and columns multiples of the blocks
/// along them, which are 16 or 32 long in both formats, of common elements and scales that are rounded
/// alike in both, with or without a scale of the tensor; hadamard_size: 0, or 16 with blocks of 16.
[[nodiscard]] bool has_both(carrier c, const block_format& of_rows, const block_format& of_columns,
                            std::size_t rows, std::size_t columns, std::size_t hadamard_size = 0);

/// x, a matrix of `rows` by `columns` in C order, on the grid of of_rows in blocks along its rows, and on
/// that of of_columns in blocks along its columns: the bits of two calls of quantize. x is read once, or
/// twice where there are scales of the tensor. x and both results apart. Throws std::invalid_argument
/// where has_both is false.
void quantize_both(const void* x, void* by_rows, void* by_columns, carrier c,
                   const block_format& of_rows, const block_format& of_columns, std::size_t rows,
                   std::size_t columns, const both_options& o = {}, stream s = nullptr);

}  // namespace lowp::cuda
