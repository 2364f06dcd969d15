// Sums of doubles in one order on every instruction set: eight partial sums side by side.
#pragma once

#include <cstddef>

namespace lowp::detail {

/// Eight doubles on every instruction set, for sums in one fixed order.
using eight_doubles [[gnu::vector_size(64)]] = double;

/// x[0] .. x[n - 1] as doubles, zeros behind; n: up to 8.
template <class T>
[[gnu::always_inline]] inline void load_eight(const T* x, std::size_t n, eight_doubles& to) {
    using source [[gnu::vector_size(8 * sizeof(T))]] = T;
    source from{};
    if (n >= 8) __builtin_memcpy(&from, x, sizeof(from));
    else __builtin_memcpy(&from, x, n * sizeof(T));
    to = __builtin_convertvector(from, eight_doubles);
}

/// Keeps the compiler from fusing the product x with a sum it goes into.
[[gnu::always_inline]] inline void keep_rounded(eight_doubles& x) { asm("" : "+m"(x)); }

}  // namespace lowp::detail
