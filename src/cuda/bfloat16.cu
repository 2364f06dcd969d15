// Element by element over arrays of bfloat16.
#include "conversion.cuh"

template struct lowp::cuda::detail::conversions<lowp::cuda::carrier::bfloat16>;
