// Block formats over arrays of bfloat16: scales and decode.
#include "block.cuh"

template struct lowp::cuda::detail::block_kernels<lowp::cuda::carrier::bfloat16>;
