// Largest magnitudes and errors of arrays of float16.
#include "statistics.cuh"

template struct lowp::cuda::detail::statistics<lowp::cuda::carrier::float16>;
