// Block formats over arrays of bfloat16.
#include "block.cuh"

template struct lowp::cuda::detail::block_kernels<lowp::cuda::carrier::bfloat16>;
