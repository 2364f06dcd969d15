// What the tests of arithmetic share: the projections to try, and calls by the name of an operation.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "lowp/arithmetic_array.hpp"
#include "lowp/dispatch.hpp"
#include "support.hpp"

namespace lowp::test {

using detail::operation;

struct trial {
    projection how;
    std::uint32_t random = 0;  ///< R, below 2^N
};

/// All deterministic modes with all saturations, and stochastic ones with R at its ends and between.
[[nodiscard]] inline std::vector<trial> trials(dice& d) {
    std::vector<trial> all;
    for (const rounding r : all_roundings())
        for (const saturation s : all_saturations) {
            if (is_stochastic(r) && s == saturation::finite) continue;
            const int n = s == saturation::none ? 32 : d.between(1, 8);
            const auto end = std::uint64_t{1} << n;
            const auto random = d.pick<std::uint64_t>({0, end - 1, end / 2, d.below(end)});
            all.push_back({{r, s, n}, static_cast<std::uint32_t>(random)});
        }
    return all;
}

[[nodiscard]] inline std::string shown(operation o, double x, double y, double z, const format& f,
                                       const trial& t) {
    char numbers[128];
    std::snprintf(numbers, sizeof numbers, " operation %d of %a %a %a, R = %u", static_cast<int>(o),
                  x, y, z, t.random);
    return text(f, t.how) + numbers;
}

/// 32 random bits whose upper N are R.
[[nodiscard]] inline std::uint32_t word_of_trial(const trial& t) {
    return t.random << (32 - t.how.random_bits);
}

template <class T>
void run(operation o, const std::vector<T>& x, const std::vector<T>& y, const std::vector<T>& z,
         std::vector<T>& out, const converter<T>& c, const options& opts) {
    detail::run_arithmetic<T, detail::native_isa>("test", o, x, y, z, out, c, opts);
}

}  // namespace lowp::test
