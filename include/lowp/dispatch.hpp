// The instruction set chosen at run time: pass `dispatch::options()` to the verbs of array.hpp.
// Needs the compiled library lowp::dispatch; header-only use runs what the compiler was told.
#pragma once

#include <string_view>
#include <vector>

#include "lowp/array.hpp"

namespace lowp::dispatch {

/// Names of the instruction sets that are built in and that this machine has, best last.
[[nodiscard]] std::vector<std::string_view> available();

/// The loops in use: the best available, or the one that LOWP_ISA names. Throws
/// std::invalid_argument where that is not available.
[[nodiscard]] const detail::loop_table& loops();

/// The loops of an instruction set by name; throws std::invalid_argument where not available.
[[nodiscard]] const detail::loop_table& loops(std::string_view isa);

/// `o` with the loops in use.
[[nodiscard]] inline lowp::options options(lowp::options o = {}) {
    o.loops = &loops();
    return o;
}

}  // namespace lowp::dispatch
