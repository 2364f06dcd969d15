// The loops of one instruction set; compiled once for each, with LOWP_ISA_NAME and its flags.
#include "isa.hpp"
#include "lowp/detail/loops.hpp"

namespace lowp::dispatch::detail {

extern const lowp::detail::arithmetic_loops LOWP_ARITHMETIC;
extern const lowp::detail::product_loops LOWP_PRODUCTS;
extern const lowp::detail::loop_table LOWP_LOOPS;
const lowp::detail::loop_table LOWP_LOOPS = lowp::detail::make_loops<lowp::detail::native_lanes>(
    LOWP_STRING(LOWP_ISA_NAME), &LOWP_ARITHMETIC, &LOWP_PRODUCTS);

}  // namespace lowp::dispatch::detail
