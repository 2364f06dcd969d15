// The loops of one instruction set; compiled once for each, with LOWP_ISA_NAME and its flags.
#include "lowp/detail/loops.hpp"

#define LOWP_JOIN(a, b) a##b
#define LOWP_TABLE(isa) LOWP_JOIN(loops_, isa)
#define LOWP_TEXT(isa) #isa
#define LOWP_STRING(isa) LOWP_TEXT(isa)

namespace lowp::dispatch::detail {

extern const lowp::detail::loop_table LOWP_TABLE(LOWP_ISA_NAME);
const lowp::detail::loop_table LOWP_TABLE(LOWP_ISA_NAME) =
    lowp::detail::make_loops<lowp::detail::native_lanes>(LOWP_STRING(LOWP_ISA_NAME));

}  // namespace lowp::dispatch::detail
