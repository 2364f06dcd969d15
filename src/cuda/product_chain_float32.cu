// Chains in float32 lanes in any mode without random bits.
#include "product_chain.cuh"

namespace lowp::cuda::detail {

void any_chain(const chain_call<float>& c, stream s) {
    launch_any_chain<any_steps<float, chance::none>>(c, s);
}

}  // namespace lowp::cuda::detail
