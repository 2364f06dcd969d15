// The Walsh-Hadamard transform of arrays of float64.
#include "hadamard.cuh"

template struct lowp::cuda::detail::hadamard_kernels<lowp::cuda::carrier::float64>;
