// Block formats over arrays of float16: scales and decode.
#include "block.cuh"

template struct lowp::cuda::detail::block_kernels<lowp::cuda::carrier::float16>;
