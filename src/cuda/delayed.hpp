// What the host hands to the kernels of delayed scaling.
#pragma once

#include "block.hpp"
#include "lowp/cuda_delayed.hpp"

namespace lowp::cuda::detail {

/// How a call's largest magnitude becomes the next scale.
struct delayed_step {
    delayed_memory memory;
    double largest_element = 0;
    int margin = 0;
    delayed_scaling::take take = delayed_scaling::take::max;
    observing observes = observing::amax;
};

template <carrier C>
struct delayed_kernels {
    /// n values; c: in one block, of which c.blocks gathers what there is.
    static void work(const block_call<worker_t<C>>& c, const delayed_step& d, std::uint64_t n,
                     stream s);
};

}  // namespace lowp::cuda::detail
