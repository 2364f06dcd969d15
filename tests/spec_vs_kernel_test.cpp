// The kernel gives what the definition says: every mode, saturation and carrier, on every
// instruction set of this machine, at and around every place where a result can change.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "all_isas.hpp"
#include "lowp/codec.hpp"
#include "lowp/formats.hpp"
#include "lowp/spec.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

// ---- what is put in -----------------------------------------------------------------------------

/// Magnitude codes: all, or where there are many, both ends, the ends of binades and some between.
std::vector<code_type> chosen_codes(const format& f, std::size_t most, dice& d) {
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
std::vector<T> points_of_codes(const format& f, std::size_t most, dice& d) {
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
std::vector<T> points_of_carrier(dice& d) {
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
std::vector<T> special_points(const format& f) {
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
std::vector<T> inputs(const format& f, std::size_t most, dice& d) {
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

template <class T>
void compare_all(const format& f, const projection& p, const std::vector<T>& x,
                 const std::vector<std::uint32_t>& random, tally& t) {
    options o;
    o.random = random;
    o.threads = 1;
    o.nan_code = f.has_nan() ? f.nan_code() : code_type{1};
    const converter<T> convert(f, p);
    const expected<T> wanted(f, p, x, random, *o.nan_code);
    std::vector<T> values(x.size());
    std::vector<code_type> codes(x.size());
    const auto r = [&](std::size_t i) { return random.empty() ? 0 : random[i]; };
    for (const std::string_view isa : isas()) {
        o.loops = &dispatch::loops(isa);
        quantize<T>(x, values, convert, o);
        encode<T, code_type>(x, codes, convert, o);
        for (std::size_t i = 0; i < x.size(); ++i) {
            t.compare("quantize", isa, f, p, x[i], r(i), bits_of(values[i]), wanted.values[i]);
            t.compare("encode", isa, f, p, x[i], r(i), codes[i], wanted.codes[i]);
        }
    }
    for (std::size_t i = 0; i < x.size(); i += 3) {  // single values are another text over one lane
        const std::uint32_t upper = r(i) << (32 - p.random_bits);
        const T value = convert.quantize(x[i], upper);
        t.compare("quantize", "converter", f, p, x[i], r(i), bits_of(value), wanted.values[i]);
        if (std::isnan(x[i]) && !f.has_nan()) continue;
        const code_type code = convert.encode(x[i], upper);
        t.compare("encode", "converter", f, p, x[i], r(i), code, wanted.codes[i]);
    }
}

// ---- deterministic modes ------------------------------------------------------------------------

template <class T>
void compare_deterministic(const format& f, std::size_t most, dice& d) {
    if (!f.fits<T>()) return;
    const std::vector<T> x = inputs<T>(f, most, d);
    tally t;
    for (const rounding r : all_roundings())
        for (const saturation s : all_saturations)
            if (!is_stochastic(r)) compare_all(f, {r, s}, x, {}, t);
    CHECK_MESSAGE(t.different == 0,
                  t.different << " of " << t.compared << " differ:" << t.first.str());
    CHECK(t.compared > 0);
}

// ---- stochastic modes ---------------------------------------------------------------------------

/// R at both ends, in the middle, at random, and about the one where the decision turns.
std::vector<std::uint32_t> chosen_random(double x, const format& f, int random_bits, dice& d) {
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

template <class T>
void compare_stochastic(const format& f, std::size_t most, dice& d) {
    if (!f.fits<T>()) return;
    const std::vector<T> points = inputs<T>(f, most, d);
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
            compare_all(f, {r, all_saturations[turn++ % 3], n}, x, random, t);
    }
    CHECK_MESSAGE(t.different == 0,
                  t.different << " of " << t.compared << " differ:" << t.first.str());
    CHECK(t.compared > 0);
}

// ---- decoding -----------------------------------------------------------------------------------

template <class T>
void compare_decoding(const format& f, dice& d) {
    if (!f.fits<T>()) return;
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
    const converter<T> convert(f);
    std::vector<T> values(codes.size());
    tally t;
    const auto bits = [](double value) { return bits_of(static_cast<T>(value)); };
    for (const std::string_view isa : isas()) {
        options o;
        o.loops = &dispatch::loops(isa);
        decode<T, code_type>(codes, values, convert, o);
        for (std::size_t i = 0; i < codes.size(); ++i)
            t.compare("decode", isa, f, {}, static_cast<double>(codes[i]), 0, bits_of(values[i]),
                      bits(spec::decode(codes[i], f)));
    }
    for (const code_type c : codes) {
        const auto wanted = bits(spec::decode(c, f));
        t.compare("decode", "converter", f, {}, static_cast<double>(c), 0,
                  bits_of(convert.decode(c)), wanted);
        t.compare("decode", "format::value", f, {}, static_cast<double>(c), 0, bits(f.value(c)),
                  wanted);
    }
    CHECK_MESSAGE(t.different == 0,
                  t.different << " of " << t.compared << " differ:" << t.first.str());
}

void compare(const std::vector<format>& formats, std::size_t most, std::uint64_t seed) {
    dice d(seed);
    most /= scale();
    for (const format& f : formats) {
        INFO(lowp::name(f));
        compare_deterministic<float>(f, most, d);
        compare_deterministic<double>(f, most, d);
        compare_stochastic<float>(f, most / 4, d);
        compare_stochastic<double>(f, most / 4, d);
        compare_decoding<float>(f, d);
        compare_decoding<double>(f, d);
    }
}

}  // namespace

TEST_CASE("the kernel equals the definition for every registered format") {
    compare(registered_formats(), 6000, 1);
}
TEST_CASE("the kernel equals the definition for every P3109 format of 3 to 8 bits") {
    compare(p3109_formats(), 1600, 2);
}
TEST_CASE("the kernel equals the definition for random descriptors") {
    compare(random_formats(400 / scale(), 3), 1600, 4);
}

TEST_CASE("the definition's quantize is its encode, decoded") {
    dice d(5);
    for (const format& f : registered_formats())
        for (const rounding r : all_roundings()) {
            const projection p{r, saturation::none, 8};
            for (const double x : inputs<double>(f, 400, d)) {
                const auto random = static_cast<std::uint32_t>(d.below(256));
                const double value = spec::quantize(x, f, p, random);
                CHECK(
                    std::isnan(value) ==
                    (std::isnan(x) || std::isnan(spec::decode(spec::encode(x, f, p, random), f))));
                if (!std::isnan(value))
                    CHECK(bits_of(value) ==
                          bits_of(spec::decode(spec::encode(x, f, p, random), f)));
            }
        }
}
