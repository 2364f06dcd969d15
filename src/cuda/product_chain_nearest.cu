// Chains of float32 and float64, and to nearest even in any format along the commonest paths.
#include "product_chain.cuh"

namespace lowp::cuda::detail {

void plain_chain(const chain_call<float>& c, stream s) { launch_chain<plain_steps<float>>(c, s); }
void plain_chain(const chain_call<double>& c, stream s) {
    launch_any_chain<plain_steps<double>>(c, s);
}

void nearest_chain(const chain_call<float>& c, stream s) {
    constexpr rounding R = rounding::nearest_ties_to_even;
    if (c.addition.path == path::plain_sum)
        return launch_chain<rounded_steps<float, R, path::plain_sum>>(c, s);
    launch_chain<rounded_steps<float, R, path::plain_aligned>>(c, s);
}

}  // namespace lowp::cuda::detail
