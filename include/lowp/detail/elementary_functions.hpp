// The elementary functions by name: one line each here, one where libm evaluates it
// (elementary_libm.hpp) and one where many digits are wanted (elementary_precise.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lowp {

/// What lowp::evaluate evaluates; the meaning of each is in elementary.hpp.
enum class function : std::uint8_t {
    exp,
    exp2,
    exp10,
    expm1,
    log,
    log2,
    log10,
    log1p,
    sin,
    cos,
    tan,
    asin,
    acos,
    atan,
    atan2,
    sinh,
    cosh,
    tanh,
    asinh,
    acosh,
    atanh,
    erf,
    erfc,
    pow,
    hypot,
    cbrt,
    rsqrt,
    reciprocal,
    sigmoid,
    softplus,
    gelu,
    silu,
};

// clang-format off
inline constexpr std::array<std::string_view, 32> function_names{
    "exp",   "exp2",  "exp10",  "expm1",      "log",     "log2",     "log10", "log1p",
    "sin",   "cos",   "tan",    "asin",       "acos",    "atan",     "atan2", "sinh",
    "cosh",  "tanh",  "asinh",  "acosh",      "atanh",   "erf",      "erfc",  "pow",
    "hypot", "cbrt",  "rsqrt",  "reciprocal", "sigmoid", "softplus", "gelu",  "silu",
};
// clang-format on

[[nodiscard]] constexpr std::string_view name(function f) {
    return function_names.at(static_cast<std::size_t>(f));
}

/// Operands: 1, or 2 for atan2, hypot and pow.
[[nodiscard]] constexpr int arity(function f) {
    return f == function::atan2 || f == function::hypot || f == function::pow ? 2 : 1;
}

}  // namespace lowp
