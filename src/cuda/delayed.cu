#include "delayed.cuh"

namespace lowp::cuda::detail {
template struct delayed_kernels<carrier::float32>;
template struct delayed_kernels<carrier::float64>;
template struct delayed_kernels<carrier::float16>;
template struct delayed_kernels<carrier::bfloat16>;
}  // namespace lowp::cuda::detail
