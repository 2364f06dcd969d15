// Matrices of bfloat16 in blocks both ways.
#include "block_both.cuh"

template struct lowp::cuda::detail::block_both<lowp::cuda::carrier::bfloat16>;
