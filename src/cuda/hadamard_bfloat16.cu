// The Walsh-Hadamard transform of arrays of bfloat16.
#include "hadamard.cuh"

template struct lowp::cuda::detail::hadamard_kernels<lowp::cuda::carrier::bfloat16>;
