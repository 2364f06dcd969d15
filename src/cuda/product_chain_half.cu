// Chains in float16 and bfloat16 to nearest even, by the device's own conversions.
#include "product_chain.cuh"

namespace lowp::cuda::detail {

void half_chain(carrier half, fused_by how, const chain_call<float>& c, stream s) {
    if (half == carrier::float16 && how == fused_by::nearest)
        return launch_chain<half_steps<carrier::float16, fused_by::nearest>>(c, s);
    if (half == carrier::float16)
        return launch_chain<half_steps<carrier::float16, fused_by::odd>>(c, s);
    if (how == fused_by::nearest)
        return launch_chain<half_steps<carrier::bfloat16, fused_by::nearest>>(c, s);
    launch_chain<half_steps<carrier::bfloat16, fused_by::odd>>(c, s);
}

}  // namespace lowp::cuda::detail
