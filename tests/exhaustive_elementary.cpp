// The elementary functions in full: every 16-bit input in every mode, every pair of 8-bit numbers,
// every 16-bit input into every other format, and random operands in float32 and float64.
#include <doctest/doctest.h>

#include "elementary_check.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

void all_modes(function first, function last) {
    tally t;
    dice d(1);
    for (const function f : all_functions()) {
        if (arity(f) == 2 || f < first || last < f) continue;
        const results exact(f, inputs_of(formats_of(16, 16), scale()));
        for (const rounding r : all_roundings())
            for (const format& to : formats_of(16, 16))
                exact.check_own_inputs(converter<double>(to, {r}), t, &d);
    }
    t.report();
}

void all_pairs(function f) {
    tally t;
    dice d(2);
    for (const format& from : {float8_e5m2, float8_e4m3fn, float8_e3m4}) {
        const auto values = finite_values(from);
        for (const double x : values)
            for (std::size_t i = 0; i < values.size(); i += scale()) {
                const double odd = odd_double(f, x, values[i]);
                for (const rounding r : all_roundings())
                    t.check(f, x, values[i], odd, converter<double>(from, {r}), &d);
            }
    }
    t.report();
}

}  // namespace

TEST_CASE("every 16-bit input in every mode: exponentials and logarithms") {
    all_modes(function::exp, function::log1p);
}
TEST_CASE("every 16-bit input in every mode: circular functions") {
    all_modes(function::sin, function::atan2);
}
TEST_CASE("every 16-bit input in every mode: hyperbolic and error functions") {
    all_modes(function::sinh, function::erfc);
}
TEST_CASE("every 16-bit input in every mode: roots and activations") {
    all_modes(function::pow, function::silu);
}

TEST_CASE("every pair of 8-bit numbers in every mode: atan2") { all_pairs(function::atan2); }
TEST_CASE("every pair of 8-bit numbers in every mode: hypot") { all_pairs(function::hypot); }
TEST_CASE("every pair of 8-bit numbers in every mode: pow") { all_pairs(function::pow); }

TEST_CASE("every 16-bit input into formats of other widths, odd ones among them") {
    tally t;
    dice d(3);
    const auto formats = random_formats(12, 4);
    for (const function f : all_functions()) {
        if (arity(f) == 2) continue;
        const auto inputs = inputs_of(formats_of(16, 16), 17 * scale());
        for (const double x : inputs) {
            const double odd = odd_double(f, x, 1);
            if (std::fabs(odd) == 0x1p1000 || std::fabs(odd) == 0x1p-1000) continue;
            for (const format& to : formats) {
                // What 53 bits and a sticky one decide.
                if (to.precision() > 18 || to.emin() < -900) continue;
                const auto r = static_cast<rounding>(d.below(rounding_names.size()));
                t.check(f, x, 1, odd, converter<double>(to, {r}), &d);
            }
        }
    }
    t.report();
}

TEST_CASE("300,000 float32 results a function, and 30,000 of float64") {
    tally t;
    dice d(5);
    const converter<double> single(float32);
    const converter<double> twice(float64);
    const converter<double> up(float64, {rounding::toward_positive});
    for (const function f : all_functions())
        for (std::size_t i = 0; i < 300000 / scale(); ++i) {
            const double x = random_operand(f, d);
            const double y = random_operand(f, d);
            check_by_mpfr(f, x, y, 24, -149, 128, single, t);
            if (i % 20 != 0) continue;
            check_by_mpfr(f, x, y, 53, -1074, 1024, twice, t);
            check_by_mpfr(f, x, y, 53, -1074, 1024, up, t);
        }
    t.report();
}
