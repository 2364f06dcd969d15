// What the tests share: formats to try, bits to compare, and how much to try.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "lowp/detail/lanes.hpp"
#include "lowp/format.hpp"
#include "lowp/formats.hpp"
#include "lowp/rounding.hpp"

namespace lowp::test {

// clang-format off
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LOWP_TEST_IS_SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LOWP_TEST_IS_SLOW 1
#endif
#endif
// clang-format on

/// 1: all that a test would try; n: about an n-th of it, edges kept. LOWP_TEST_SCALE says it; else
/// it is 8 under a sanitizer or where long double, the number of spec.hpp, is done in software.
[[nodiscard]] inline std::size_t scale() {
    if (const char* const text = std::getenv("LOWP_TEST_SCALE"))
        return std::max(std::size_t{1}, static_cast<std::size_t>(std::strtoul(text, nullptr, 10)));
#if defined(LOWP_TEST_IS_SLOW) || __LDBL_MANT_DIG__ > 64
    return 8;
#else
    return 1;
#endif
}

template <class T>
using word_of = typename detail::carrier<T>::word;

/// The bits of a float: what results are compared by, as -0 == +0 and NaN != NaN.
template <class T>
[[nodiscard]] constexpr word_of<T> bits_of(T x) {
    return std::bit_cast<word_of<T>>(x);
}

/// Random numbers that are the same with every standard library.
class dice {
public:
    explicit dice(std::uint64_t seed) : engine_(seed) {}

    std::uint64_t operator()() { return engine_(); }
    std::uint64_t below(std::uint64_t end) { return engine_() % end; }
    int between(int low, int high) {
        return low + static_cast<int>(below(static_cast<std::uint64_t>(high - low) + 1));
    }
    bool coin() { return below(2) != 0; }
    template <class T>
    T pick(std::initializer_list<T> from) {
        return from.begin()[below(from.size())];
    }
    template <class T>
    void shuffle(std::vector<T>& v) {
        for (std::size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[below(i)]);
    }

private:
    std::mt19937_64 engine_;
};

[[nodiscard]] inline bool is_valid(const format& f) {
    try {
        f.validate();
        return true;
    } catch (const std::invalid_argument&) {
        return false;
    }
}

/// A valid descriptor: any fields, most often near an edge of float32 or float64.
[[nodiscard]] inline format random_format(dice& d) {
    while (true) {
        format f;
        f.exponent_bits = d.pick({0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11});
        f.mantissa_bits = d.pick({d.between(0, 3), d.between(0, 10), d.between(0, 23),
                                  23 - d.between(0, 2), 52 - d.between(0, 2), d.between(0, 52)});
        const int top_field = (1 << f.exponent_bits) - 1;
        f.bias =
            d.pick({format::ieee_bias(f.exponent_bits) + d.between(-4, 4), 1 + d.between(118, 152),
                    1 + d.between(1015, 1075), top_field - d.between(120, 130),
                    top_field - d.between(1017, 1026), d.between(-20, 20)});
        f.is_signed = d.below(4) != 0;
        f.has_inf = d.coin();
        const auto magnitudes = static_cast<std::int64_t>(f.magnitude_mask());
        const auto any = static_cast<std::int64_t>(d.below(f.magnitude_mask() + 1));
        f.nan_codes = d.pick<std::int64_t>(
            {0, 0, 1, 2, (std::int64_t{1} << f.mantissa_bits) - 1, magnitudes / 2, any});
        f.has_neg_zero = f.is_signed && d.coin();
        f.has_zero = d.below(5) != 0;
        f.has_subnormals = f.has_zero && d.below(4) != 0;
        if (f.exponent_bits == 0 && f.is_signed && d.coin()) {
            f.is_twos_complement = true;
            f.has_inf = f.has_neg_zero = false;
            f.nan_codes = 0;
        }
        if (is_valid(f)) return f;
    }
}

/// Every P3109 format of 3 to 8 bits.
[[nodiscard]] inline std::vector<format> p3109_formats() {
    std::vector<format> found;
    for (int width = 3; width <= 8; ++width)
        for (int precision = 1; precision <= width; ++precision)
            for (const auto s :
                 {format::signedness::signed_values, format::signedness::unsigned_values})
                for (const auto d : {format::domain::finite, format::domain::extended}) {
                    if (s == format::signedness::signed_values && precision == width) continue;
                    found.push_back(format::p3109(width, precision, s, d));
                }
    return found;
}

[[nodiscard]] inline std::vector<format> registered_formats() {
    std::vector<format> found;
    for (const named_format& entry : registry) found.push_back(entry.format);
    return found;
}

[[nodiscard]] inline std::vector<format> random_formats(std::size_t count, std::uint64_t seed) {
    dice d(seed);
    std::vector<format> found;
    while (found.size() < count) found.push_back(random_format(d));
    return found;
}

[[nodiscard]] inline std::vector<rounding> all_roundings() {
    std::vector<rounding> all;
    for (std::size_t i = 0; i < rounding_names.size(); ++i) all.push_back(static_cast<rounding>(i));
    return all;
}

inline constexpr saturation all_saturations[] = {saturation::none, saturation::propagate,
                                                 saturation::finite};

[[nodiscard]] inline std::string text(const format& f, const projection& p) {
    return lowp::name(f) + " " + std::string(name(p.rounding)) + " " +
           std::string(name(p.saturation)) + " N=" + std::to_string(p.random_bits);
}

}  // namespace lowp::test
