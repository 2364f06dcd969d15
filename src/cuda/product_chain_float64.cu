// Chains in float64 lanes in any mode without random bits.
#include "product_chain.cuh"

namespace lowp::cuda::detail {

void any_chain(const chain_call<double>& c, stream s) {
    launch_any_chain<any_steps<double, chance::none>>(c, s);
}

}  // namespace lowp::cuda::detail
