// Block formats over arrays of float64: scales and decode.
#include "block.cuh"

template struct lowp::cuda::detail::block_kernels<lowp::cuda::carrier::float64>;
