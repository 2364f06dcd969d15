// quantize in block formats over arrays of float64.
#include "block.cuh"

template struct lowp::cuda::detail::block_elements<lowp::cuda::carrier::float64,
                                                   lowp::cuda::detail::block_verb::quantize>;
