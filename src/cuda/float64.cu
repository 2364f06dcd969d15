// Element by element over arrays of float64.
#include "conversion.cuh"

template struct lowp::cuda::detail::conversions<lowp::cuda::carrier::float64>;
