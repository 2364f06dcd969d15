// Block formats over arrays of float32: scales and decode.
#include "block.cuh"

template struct lowp::cuda::detail::block_kernels<lowp::cuda::carrier::float32>;
