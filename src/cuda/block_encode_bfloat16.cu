// encode in block formats over arrays of bfloat16.
#include "block.cuh"

template struct lowp::cuda::detail::block_elements<lowp::cuda::carrier::bfloat16,
                                                   lowp::cuda::detail::block_verb::encode>;
