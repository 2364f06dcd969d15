// Largest magnitudes and errors of arrays of bfloat16.
#include "statistics.cuh"

template struct lowp::cuda::detail::statistics<lowp::cuda::carrier::bfloat16>;
