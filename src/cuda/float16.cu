// Element by element over arrays of float16.
#include "conversion.cuh"

template struct lowp::cuda::detail::conversions<lowp::cuda::carrier::float16>;
