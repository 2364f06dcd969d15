// Chains in float64 lanes in stochastic modes, and those of rare formats.
#include "product_chain.cuh"

namespace lowp::cuda::detail {

void random_chain(const chain_call<double>& c, stream s) {
    launch_any_chain<any_steps<double, chance::random>>(c, s);
}
void slow_chain(const chain_call<double>& c, stream s) { launch_any_chain<slow_steps>(c, s); }

}  // namespace lowp::cuda::detail
