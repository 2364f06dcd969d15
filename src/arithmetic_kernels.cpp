// The loops of arithmetic on arrays of one instruction set; compiled once for each, as kernels.cpp.
#include "isa.hpp"
#include "lowp/detail/arithmetic_loops.hpp"

namespace lowp::dispatch::detail {

extern const lowp::detail::arithmetic_loops LOWP_ARITHMETIC;
const lowp::detail::arithmetic_loops LOWP_ARITHMETIC =
    lowp::detail::make_arithmetic_loops<lowp::detail::native_lanes>();

}  // namespace lowp::dispatch::detail
