// encode in block formats over arrays of float32.
#include "block.cuh"

template struct lowp::cuda::detail::block_elements<lowp::cuda::carrier::float32,
                                                   lowp::cuda::detail::block_verb::encode>;
