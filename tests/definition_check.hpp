// Conversions against the definition, whoever runs them: what is put in, at and around every place
// where a result can change, and what must come out.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string_view>
#include <vector>

#include "lowp/formats.hpp"
#include "lowp/spec.hpp"
#include "support.hpp"

namespace lowp::test {

// ---- what is put in -----------------------------------------------------------------------------

/// Magnitude codes: all, or where there are many, both ends, the ends of binades and some between.
[[nodiscard]] inline std::vector<code_type> chosen_codes(const format& f, std::size_t most,
                                                         dice& d) {
    const code_type last = f.max_code();
    std::vector<code_type> codes;
    if (last < most) {
        for (code_type c = 0; c <= last; ++c) codes.push_back(c);
        return codes;
    }
    const auto add = [&](code_type c) {
        if (c <= last) codes.push_back(c);
    };
    for (code_type c = 0; c < most / 8; ++c) {
        add(c);
        add(last - c);
    }
    const code_type binade = code_type{1} << f.mantissa_bits;
    for (std::size_t i = 0; i < most / 8; ++i) {
        const code_type first = d.below(last / binade + 1) * binade;
        add(first);
        add(first + 1);
        add(first - 1);
        add(d.below(last + 1));
    }
    return codes;
}

template <class T>
void add_with_neighbours(std::vector<T>& to, spec::exact value, int steps) {
    const T x = static_cast<T>(value);
    T above = x;
    T below = x;
    to.push_back(x);
    for (int i = 0; i < steps; ++i) {
        above = std::nextafter(above, std::numeric_limits<T>::infinity());
        below = std::nextafter(below, -std::numeric_limits<T>::infinity());
        to.push_back(above);
        to.push_back(below);
    }
}

/// Values, midpoints and quarter points of the codes, each with the floats next to it.
template <class T>
[[nodiscard]] std::vector<T> points_of_codes(const format& f, std::size_t most, dice& d) {
    std::vector<T> points;
    for (const code_type c : chosen_codes(f, most, d)) {
        const spec::exact low = spec::on_line(f, c);
        const spec::exact gap = spec::on_line(f, spec::successor(f, c)) - low;
        for (const int quarters : {0, 1, 2, 3})
            add_with_neighbours(points, low + gap * quarters / 4, d.below(16) == 0 ? 3 : 1);
    }
    return points;
}

/// Powers of two over the whole range of the carrier, and its subnormal numbers.
template <class T>
[[nodiscard]] std::vector<T> points_of_carrier(dice& d) {
    using limits = std::numeric_limits<T>;
    std::vector<T> points;
    for (int e = limits::min_exponent - limits::digits; e < limits::max_exponent; ++e)
        add_with_neighbours<T>(points, std::ldexp(spec::exact{1}, e), 1);
    for (int i = 0; i < 100; ++i)
        points.push_back(std::bit_cast<T>(static_cast<word_of<T>>(
            d() & ((word_of<T>{1} << d.below(static_cast<std::uint64_t>(limits::digits))) - 1))));
    for (int i = 0; i < 100; ++i) points.push_back(std::bit_cast<T>(static_cast<word_of<T>>(d())));
    return points;
}

/// Zeros, infinities, NaNs of many payloads, limits of the carrier and of the format.
template <class T>
[[nodiscard]] std::vector<T> special_points(const format& f) {
    using limits = std::numeric_limits<T>;
    constexpr auto infinity = std::bit_cast<word_of<T>>(limits::infinity());
    std::vector<T> points{0, limits::infinity(), limits::max(), limits::min(),
                          limits::denorm_min()};
    add_with_neighbours<T>(points, limits::min(), 2);
    add_with_neighbours<T>(points, limits::denorm_min(), 2);
    for (const word_of<T> payload :
         {word_of<T>{1}, infinity >> 2, bits_of(limits::quiet_NaN()) - infinity,
          bits_of(limits::quiet_NaN()) - infinity + 5, ~infinity >> 1})
        points.push_back(std::bit_cast<T>(static_cast<word_of<T>>(
            infinity | (payload & (~word_of<T>{0} >> 1) & ~infinity) | 1U)));
    for (const bool negative : {false, true}) {
        const auto last = spec::limit(f, negative);
        if (!last) continue;
        const spec::exact max = spec::on_line(f, *last);
        const spec::exact quantum = spec::on_line(f, spec::successor(f, *last)) - max;
        for (const int halves : {-2, -1, 0, 1, 2, 3, 4, 8})
            add_with_neighbours(points, max + quantum * halves / 2, 2);
    }
    return points;
}

/// Both signs of all special points and of about `most` of the others.
template <class T>
[[nodiscard]] std::vector<T> points_of(const format& f, std::size_t most, dice& d) {
    const std::vector<T> always = special_points<T>(f);
    std::vector<T> points = points_of_codes<T>(f, 1024 / scale(), d);
    d.shuffle(points);
    points.resize(std::min(points.size(), most * 3 / 8));
    std::vector<T> others = points_of_carrier<T>(d);
    d.shuffle(others);
    others.resize(std::min(others.size(), most / 8));
    points.insert(points.end(), others.begin(), others.end());
    points.insert(points.end(), always.begin(), always.end());
    const std::size_t positive = points.size();
    for (std::size_t i = 0; i < positive; ++i)  // by bits: the sign of a NaN, too
        points.push_back(std::bit_cast<T>(bits_of(points[i]) ^ bits_of(-T{0})));
    return points;
}

// ---- what comes out -----------------------------------------------------------------------------

/// Counts differences and tells the first few.
struct tally {
    std::size_t compared = 0, different = 0;
    std::ostringstream first;

    template <class T, class Result>
    void compare(const char* verb, std::string_view by, const format& f, const projection& p, T x,
                 std::uint32_t random, Result got, Result wanted) {
        ++compared;
        if (got == wanted) return;
        if (++different > 5) return;
        first << "\n"
              << verb << " by " << by << ": " << text(f, p) << std::hexfloat << " x=" << x << " ("
              << std::hex << bits_of(x) << ") R=" << random << ": got " << got << ", spec "
              << wanted << std::dec;
    }

    void check() const {
        CHECK_MESSAGE(different == 0, different << " of " << compared << " differ:" << first.str());
        CHECK(compared > 0);
    }
};

/// Results of the definition, as bits and codes.
template <class T>
struct expected {
    std::vector<word_of<T>> values;
    std::vector<code_type> codes;

    expected(const format& f, const projection& p, const std::vector<T>& x,
             const std::vector<std::uint32_t>& random, code_type nan_code) {
        for (std::size_t i = 0; i < x.size(); ++i) {
            if (std::isnan(x[i])) {  // NaNs stay as they are, bit for bit
                values.push_back(bits_of(x[i]));
                codes.push_back(nan_code);
                continue;
            }
            codes.push_back(spec::encode(x[i], f, p, random.empty() ? 0 : random[i]));
            const double value = spec::decode(codes.back(), f);
            values.push_back(std::isnan(value) ? nan_for(f, x[i]) : bits_of(static_cast<T>(value)));
        }
    }

    /// Overflow to NaN gives the quiet NaN with the sign of the side on which the input lies.
    static word_of<T> nan_for(const format& f, T x) {
        const bool negative = std::signbit(x) || (x == 0 && !f.has_zero && !f.is_signed);
        return bits_of(std::numeric_limits<T>::quiet_NaN()) | (negative ? bits_of(-T{0}) : 0);
    }
};

/// Inputs of one format and projection, with the random bits of each where it is stochastic.
template <class T>
struct conversion_case {
    format f;
    projection p;
    std::vector<T> x;
    std::vector<std::uint32_t> random;
    code_type nan_code = f.has_nan() ? f.nan_code() : code_type{1};
    expected<T> wanted{f, p, x, random, nan_code};

    /// What somebody's quantize and encode made of them.
    void compare(std::string_view by, const std::vector<T>& values,
                 const std::vector<code_type>& codes, tally& t) const {
        for (std::size_t i = 0; i < x.size(); ++i) {
            t.compare("quantize", by, f, p, x[i], random_of(i), bits_of(values[i]),
                      wanted.values[i]);
            t.compare("encode", by, f, p, x[i], random_of(i), codes[i], wanted.codes[i]);
        }
    }
    [[nodiscard]] std::uint32_t random_of(std::size_t i) const {
        return random.empty() ? 0 : random[i];
    }
};

/// Codes of one format.
template <class T>
struct decoding_case {
    format f;
    std::vector<code_type> codes;

    void compare(std::string_view by, const std::vector<T>& values, tally& t) const {
        for (std::size_t i = 0; i < codes.size(); ++i)
            t.compare("decode", by, f, {}, static_cast<double>(codes[i]), 0, bits_of(values[i]),
                      wanted(codes[i]));
    }
    [[nodiscard]] word_of<T> wanted(code_type code) const {
        return bits_of(static_cast<T>(spec::decode(code, f)));
    }
};

// ---- all of a format ----------------------------------------------------------------------------

/// Hands `run` every deterministic mode and saturation: run(conversion_case<T>, tally).
template <class T, class Run>
void compare_deterministic(const format& f, std::size_t most, dice& d, const Run& run) {
    const std::vector<T> x = points_of<T>(f, most, d);
    tally t;
    for (const rounding r : all_roundings())
        for (const saturation s : all_saturations)
            if (!is_stochastic(r)) run(conversion_case<T>{f, {r, s}, x, {}}, t);
    t.check();
}

/// R at both ends, in the middle, at random, and about the one where the decision turns.
[[nodiscard]] inline std::vector<std::uint32_t> chosen_random(double x, const format& f,
                                                              int random_bits, dice& d) {
    const std::uint32_t last = 0xFFFFFFFFU >> (32 - random_bits);
    std::vector<std::uint32_t> chosen{0, last, static_cast<std::uint32_t>(d()) & last,
                                      (last >> 1) + (d.coin() ? 1U : 0U)};
    const spec::outcome below = spec::project(x, f, {rounding::toward_zero, saturation::finite});
    if (below.what != spec::outcome::kind::finite) return chosen;
    const spec::exact low = spec::on_line(f, below.magnitude);
    const spec::exact gap = spec::on_line(f, spec::successor(f, below.magnitude)) - low;
    const spec::exact part = (std::fabs(static_cast<spec::exact>(x)) - low) / gap;
    if (!(part > 0 && part < 1)) return chosen;
    const auto turn = static_cast<std::int64_t>(std::ldexp(1 - part, random_bits));
    for (const std::int64_t r : {turn - 1, turn, turn + 1})
        if (r >= 0 && r <= std::int64_t{last}) chosen.push_back(static_cast<std::uint32_t>(r));
    return chosen;
}

/// Hands `run` every stochastic mode, with few random bits and many.
template <class T, class Run>
void compare_stochastic(const format& f, std::size_t most, dice& d, const Run& run) {
    const std::vector<T> points = points_of<T>(f, most, d);
    tally t;
    std::size_t turn = d.below(3);
    for (const int n : {1, 2, 8, 16, 23, 24, 30, 31, 32}) {
        std::vector<T> x;
        std::vector<std::uint32_t> random;
        for (std::size_t i = d.below(4); i < points.size(); i += 4)
            for (const std::uint32_t r : chosen_random(points[i], f, n, d)) {
                x.push_back(points[i]);
                random.push_back(r);
            }
        for (const rounding r : {rounding::stochastic_a, rounding::stochastic_b,
                                 rounding::stochastic_c, rounding::stochastic_equal})
            run(conversion_case<T>{f, {r, all_saturations[turn++ % 3], n}, x, random}, t);
    }
    t.check();
}

/// Hands `run` all codes, or of wide formats both ends and some between: run(decoding_case<T>, tally).
template <class T, class Run>
void compare_decoding(const format& f, dice& d, const Run& run) {
    std::vector<code_type> codes;
    if (f.bits() <= 12) {
        for (code_type c = 0; c <= f.code_mask(); ++c) codes.push_back(c);
    } else {
        for (const code_type c : chosen_codes(f, 1024, d))
            codes.push_back(c | (d() & f.sign_mask()));
        for (code_type c = 0; c < 40; ++c)
            for (const code_type end :
                 {f.max_code() + 20, f.sign_mask() + 20, f.sign_mask() + f.max_code() + 20})
                codes.push_back((end - c) & f.code_mask());
        for (int i = 0; i < 200; ++i) codes.push_back(d() & f.code_mask());
    }
    tally t;
    run(decoding_case<T>{f, codes}, t);
    t.check();
}

/// Everything of each format, in both carriers as far as they hold it.
template <class Run>
void compare_with_definition(const std::vector<format>& formats, std::size_t most,
                             std::uint64_t seed, const Run& run) {
    dice d(seed);
    most /= scale();
    const auto in = [&]<class T>(const format& f, T) {
        if (!f.fits<T>()) return;
        compare_deterministic<T>(f, most, d, run);
        compare_stochastic<T>(f, most / 4, d, run);
        compare_decoding<T>(f, d, run);
    };
    for (const format& f : formats) {
        INFO(lowp::name(f));
        in(f, float{});
        in(f, double{});
    }
}

}  // namespace lowp::test
