// What the host hands to the kernels of a matrix in blocks along its rows and along its columns.
#pragma once

#include "block.hpp"

namespace lowp::cuda::detail {

/// One call: blocks of `size` elements along the rows and along the columns, whose numbers are multiples
/// of it. x is by_rows.from.
struct both_call {
    block_call<float> by_rows, by_columns;
    std::uint32_t rows = 0, columns = 0;
    int size = 16;
};

/// Kernels of both ways of a carrier of 16 bits.
template <carrier C>
struct block_both {
    static void work(const both_call& c, stream s);
};

}  // namespace lowp::cuda::detail
