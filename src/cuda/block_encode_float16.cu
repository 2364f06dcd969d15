// encode in block formats over arrays of float16.
#include "block.cuh"

template struct lowp::cuda::detail::block_elements<lowp::cuda::carrier::float16,
                                                   lowp::cuda::detail::block_verb::encode>;
