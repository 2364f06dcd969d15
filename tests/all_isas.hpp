// For tests that run every instruction set of the machine by themselves, so that CMakeLists.txt
// need not run them once for each.
#pragma once

#include <string_view>
#include <vector>

#include "lowp/dispatch.hpp"

namespace lowp::test {

/// Names of the instruction sets that are built in and that this machine has.
[[nodiscard]] inline const std::vector<std::string_view>& isas() {
    static const std::vector<std::string_view> names = dispatch::available();
    return names;
}

}  // namespace lowp::test
