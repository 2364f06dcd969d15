// Another definition, in big integers: all values of a format as multiples of 2^-1200, the two next
// to an input, and a choice by comparing integers. Nothing of spec.hpp or the kernel is used.
#include <doctest/doctest.h>

#include <algorithm>
#include <boost/multiprecision/cpp_int.hpp>
#include <cmath>
#include <limits>

#include "lowp/codec.hpp"
#include "lowp/formats.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;
using boost::multiprecision::cpp_int;

namespace {

constexpr int unit_exponent = -1200;

cpp_int exact(double x) {
    int e = 0;
    const double fraction = std::frexp(x, &e);  // 53 bits
    const auto whole = static_cast<std::int64_t>(std::ldexp(fraction, 53));
    cpp_int value = whole;
    value <<= e - 53 - unit_exponent;
    return value;
}

/// Magnitude of code c, special codes read as numbers, from the text of format.hpp's comment.
cpp_int magnitude(const format& f, code_type c) {
    const std::uint64_t field = c >> f.mantissa_bits;
    const std::uint64_t fraction = c - (field << f.mantissa_bits);
    const int smallest = 1 - f.bias - f.mantissa_bits - unit_exponent;
    if (f.exponent_bits == 0) return cpp_int(c) << smallest;
    if (field == 0 && f.has_zero)
        return f.has_subnormals ? cpp_int(fraction) << smallest : cpp_int(0);
    return (cpp_int(1) << (f.mantissa_bits + static_cast<int>(field) + smallest - 1)) +
           (cpp_int(fraction) << (static_cast<int>(field) + smallest - 1));
}

/// The finite codes with their magnitudes, growing, and one past the end: the next value were there one.
struct line {
    std::vector<code_type> codes;
    std::vector<cpp_int> values;

    line(const format& f, bool negative) {
        if (negative && !f.is_signed && !f.has_zero) return;
        const code_type most = negative && !f.is_signed
                                   ? 0
                                   : f.max_code() + (negative && f.is_twos_complement ? 1 : 0);
        for (code_type c = 0; c <= most + 1 || values.size() < 2; ++c) {
            cpp_int value = magnitude(f, c);
            if (!values.empty() && value <= values.back()) continue;  // without subnormals: zeros
            if (c > most && past_end_ == 0) past_end_ = codes.size();
            codes.push_back(c);
            values.push_back(std::move(value));
        }
        if (past_end_ == 0) past_end_ = codes.size();
        codes.resize(past_end_ + 1, most + 1);
        values.resize(past_end_ + 1);
    }
    [[nodiscard]] std::size_t past_end() const { return past_end_; }

private:
    std::size_t past_end_ = 0;
};

bool goes_up(rounding r, const cpp_int& x, const cpp_int& low, const cpp_int& high,
             code_type low_code, bool negative) {
    const cpp_int twice = 2 * x;
    const cpp_int sum = low + high;
    const int side = twice.compare(sum);  // below 0: nearer to low; 0: a tie; above: nearer to high
    switch (r) {
        using enum rounding;
        case nearest_ties_to_even: return side > 0 || (side == 0 && low_code % 2 == 1);
        case nearest_ties_to_away: return side >= 0;
        case nearest_ties_to_zero: return side > 0;
        case toward_zero: return false;
        case toward_positive: return !negative;
        case toward_negative: return negative;
        case away_from_zero: return true;
        case to_odd: return low_code % 2 == 0;
        default: break;
    }
    FAIL("no deterministic mode");
    return false;
}

/// The code by IEEE 754-2019, 7.4 where x is too large, without saturation.
code_type overflow_code(const format& f, rounding r, bool negative) {
    using enum rounding;
    const bool inward = r == toward_zero || r == to_odd || (r == toward_positive && negative) ||
                        (r == toward_negative && !negative);
    const bool side_has_infinity = f.has_inf && (f.is_signed || !negative);
    if (!inward && side_has_infinity) return f.inf_code() + (negative ? f.sign_mask() : 0);
    if (!inward && f.has_nan()) return f.nan_code();
    return negative ? f.lowest_code() : f.max_code();
}

code_type wanted_code(const format& f, rounding r, double x, const line& positive_line,
                      const line& negative_line) {
    const bool negative = std::signbit(x) || (x == 0 && !f.has_zero && !f.is_signed);
    const line& values = negative ? negative_line : positive_line;
    const cpp_int m = exact(std::fabs(x));
    if (values.codes.empty()) return overflow_code(f, r, negative);
    const auto next = std::upper_bound(values.values.begin(), values.values.end(), m);
    auto at = static_cast<std::size_t>(next - values.values.begin());
    if (next == values.values.end()) return overflow_code(f, r, negative);
    if (at > 0) --at;  // else below the smallest value of a format without zero: it is taken
    const cpp_int& low = values.values[at];
    const bool up =
        m > low && goes_up(r, m, low, values.values[at + 1], values.codes[at], negative);
    if (up) ++at;
    if (at >= values.past_end()) return overflow_code(f, r, negative);
    const code_type code = values.codes[at];
    if (!negative) return code;
    if (f.is_twos_complement) return (f.code_mask() + 1 - code) & f.code_mask();
    if (code == 0 && f.has_zero && !f.has_neg_zero) return 0;
    return code + f.sign_mask();
}

/// Doubles at and around values and midpoints of the format, and anywhere.
std::vector<double> inputs(const format& f, const line& values, dice& d, std::size_t count) {
    std::vector<double> x{0, 1, std::numeric_limits<double>::max(),
                          std::numeric_limits<double>::denorm_min(), f.max()};
    const auto last_gap =
        std::ldexp(1.0, std::max(f.emax() - f.mantissa_bits, f.min_quantum_exponent()));
    for (const double halves : {0.5, 1.0, 1.5}) x.push_back(f.max() + halves * last_gap);
    while (x.size() < count) {
        const code_type c = values.codes[d.below(values.past_end())];
        const double low = f.magnitude_value(c);
        const double high = c < f.max_code() ? f.magnitude_value(c + 1) : low * 1.5;
        x.push_back(low + (high - low) * d.pick({0.0, 0.25, 0.5, 0.5, 0.75, 1.0}));
        x.push_back(std::bit_cast<double>(d() >> 1));
    }
    std::vector<double> all;
    for (const double v : x)
        for (const double w : {v, std::nextafter(v, HUGE_VAL), std::nextafter(v, 0.0)})
            if (std::isfinite(w)) all.insert(all.end(), {w, -w});
    return all;
}

void compare(const std::vector<format>& formats, std::size_t count) {
    dice d(31);
    for (const format& f : formats) {
        if (f.magnitude_bits() > 18) continue;  // the line is written out
        const line positive(f, false);
        const line negative(f, true);
        const std::vector<double> x = inputs(f, positive, d, count / scale());
        for (const rounding r : all_roundings()) {
            if (is_stochastic(r)) continue;
            const converter<double> c(f, {r});
            std::size_t different = 0;
            for (const double v : x) {
                const code_type wanted = wanted_code(f, r, v, positive, negative);
                const code_type got = c.encode(v);
                if (got != wanted && different++ < 3)
                    MESSAGE(text(f, {r}) << std::hexfloat << " x=" << v << ": got " << got
                                         << ", big integers " << wanted);
                const bool is_nan = f.has_nan() && wanted == f.nan_code();
                const double value = c.quantize(v);
                if (is_nan ? !std::isnan(value) : bits_of(value) != bits_of(f.value(wanted)))
                    ++different;
            }
            INFO(text(f, {r}));
            CHECK(different == 0);
        }
    }
}

}  // namespace

TEST_CASE("registered formats round as big integers say") { compare(registered_formats(), 400); }
TEST_CASE("P3109 formats round as big integers say") { compare(p3109_formats(), 120); }
TEST_CASE("random descriptors round as big integers say") {
    compare(random_formats(600 / scale(), 32), 120);
}

TEST_CASE("values of codes are the big integers") {
    for (const format& f : random_formats(300, 33)) {
        if (f.magnitude_bits() > 12) continue;
        for (code_type c = 0; c <= f.max_code(); ++c)
            CHECK(exact(f.magnitude_value(c)) == magnitude(f, c));
    }
}
