// The loops of matrix products of one instruction set; compiled once for each, as kernels.cpp.
#include "isa.hpp"
#include "lowp/detail/product_loops.hpp"

namespace lowp::dispatch::detail {

extern const lowp::detail::product_loops LOWP_PRODUCTS;
const lowp::detail::product_loops LOWP_PRODUCTS =
    lowp::detail::make_product_loops<lowp::detail::native_lanes>();

}  // namespace lowp::dispatch::detail
