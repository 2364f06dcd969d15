// Block formats over arrays of float64.
#include "block.cuh"

template struct lowp::cuda::detail::block_kernels<lowp::cuda::carrier::float64>;
