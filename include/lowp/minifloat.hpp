// A value of one format, stored as its code: for tables, files and arrays of structs.
// Conversions are explicit and exact or rounded once; arithmetic is done in a carrier.
#pragma once

#include <compare>
#include <cstdint>
#include <type_traits>

#include "lowp/codec.hpp"
#include "lowp/format.hpp"

namespace lowp {

/// The smallest unsigned integer that holds a code of `bits` bits.
template <int Bits>
using code_storage = std::conditional_t<
    (Bits <= 8), std::uint8_t,
    std::conditional_t<(Bits <= 16), std::uint16_t,
                       std::conditional_t<(Bits <= 32), std::uint32_t, std::uint64_t>>>;

/// A code of F with the meaning of its value. Trivially copyable, as large as its code. Default: +0
/// (code 0, in a format without zero its smallest value).
template <format F>
class minifloat {
public:
    using storage = code_storage<F.bits()>;
    static constexpr lowp::format format = F;

    constexpr minifloat() = default;

    /// x rounded once by `p`; NaN gives F's NaN, std::invalid_argument where F has none. `random`: 32
    /// random bits for stochastic modes.
    template <class T>
        requires std::is_same_v<T, float> || std::is_same_v<T, double>
    explicit constexpr minifloat(T x, const projection& p = {}, std::uint32_t random = 0)
        : code_(static_cast<storage>(converter<T>(F, p).encode(x, random))) {
        static_assert(F.fits<T>(), "T does not hold every value of F; construct from double");
    }

    /// The value of a code; bits above F's are dropped.
    [[nodiscard]] static constexpr minifloat from_code(storage code) {
        minifloat result;
        result.code_ = static_cast<storage>(code & F.code_mask());
        return result;
    }

    [[nodiscard]] constexpr storage code() const { return code_; }

    template <class T>
        requires std::is_same_v<T, float> || std::is_same_v<T, double>
    explicit constexpr operator T() const {
        static_assert(F.fits<T>(), "T does not hold every value of F; convert to double");
        return to<T>.decode(code_);
    }

    /// By value: NaN is unordered and equal to nothing, -0 equals +0.
    friend constexpr bool operator==(minifloat a, minifloat b) {
        return static_cast<double>(a) == static_cast<double>(b);
    }
    friend constexpr std::partial_ordering operator<=>(minifloat a, minifloat b) {
        return static_cast<double>(a) <=> static_cast<double>(b);
    }

private:
    template <class T>
    static constexpr converter<T> to{F};  // also refuses, at compile time, an F that is not valid

    storage code_ = 0;
};

}  // namespace lowp
