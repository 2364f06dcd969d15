// What the tests of the elementary functions share: inputs, MPFR's answers, and a tally of the wrong.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "elementary_oracle.hpp"
#include "lowp/elementary.hpp"
#include "lowp/formats.hpp"
#include "lowp/spec.hpp"
#include "support.hpp"

namespace lowp::test {

[[nodiscard]] inline std::vector<function> all_functions() {
    std::vector<function> all;
    for (std::size_t i = 0; i < function_names.size(); ++i) all.push_back(static_cast<function>(i));
    return all;
}

/// The same bits, or both NaN.
[[nodiscard]] inline bool same(double a, double b) {
    return (a != a && b != b) || bits_of(a) == bits_of(b);
}

/// Registered formats with so many bits.
[[nodiscard]] inline std::vector<format> formats_of(int least_bits, int most_bits) {
    std::vector<format> found;
    for (const format& f : registered_formats())
        if (f.bits() >= least_bits && f.bits() <= most_bits) found.push_back(f);
    return found;
}

/// All finite values but zero, which has tests of its own.
[[nodiscard]] inline std::vector<double> finite_values(const format& f) {
    std::vector<double> found;
    for (code_type c = 0; c <= f.code_mask(); ++c)
        if (std::isfinite(f.value(c)) && f.value(c) != 0) found.push_back(f.value(c));
    return found;
}

/// The finite values of all formats, each once; every `stride`-th of them.
[[nodiscard]] inline std::vector<double> inputs_of(const std::vector<format>& formats,
                                                   std::size_t stride) {
    std::vector<double> all;
    for (const format& f : formats) {
        const auto some = finite_values(f);
        all.insert(all.end(), some.begin(), some.end());
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::vector<double> picked;
    for (std::size_t i = 0; i < all.size(); i += stride) picked.push_back(all[i]);
    return picked;
}

/// Counts results, and keeps the first wrong one.
class tally {
public:
    void add(function f, double x, double y, const converter<double>& to, double got, double want) {
        ++tried_;
        if (same(got, want) || wrong_++ > 0) return;
        char line[256];
        std::snprintf(line, sizeof(line), "%s(%a, %a) in %s: got %a, want %a",
                      std::string(name(f)).c_str(), x, y,
                      text(to.format(), to.projection()).c_str(), got, want);
        first_ = line;
    }
    /// `odd`: f(x, y) rounded to odd.
    void check(function f, double x, double y, double odd, const converter<double>& to, dice* d) {
        const auto word = static_cast<std::uint32_t>(d != nullptr ? (*d)() : 0);
        const projection& p = to.projection();
        const double want = spec::quantize(odd, to.format(), p, word >> (32 - p.random_bits));
        add(f, x, y, to, evaluate(f, x, y, to, word), want);
    }
    void report() const {
        MESSAGE(tried_ << " results");
        INFO(first_);
        CHECK(wrong_ == 0);
        CHECK(tried_ > 0);
    }

private:
    std::size_t tried_ = 0, wrong_ = 0;
    std::string first_;
};

/// MPFR's answers for a function of one operand.
class results {
public:
    results(function f, std::vector<double> inputs) : function_(f), inputs_(std::move(inputs)) {
        for (const double x : inputs_) odd_.push_back(odd_double(f, x, 1));
    }

    /// Those inputs that the format of `to` has.
    void check_own_inputs(const converter<double>& to, tally& t, dice* d = nullptr) const {
        for (std::size_t i = 0; i < inputs_.size(); ++i)
            if (to.quantize(inputs_[i]) == inputs_[i])
                t.check(function_, inputs_[i], 1, odd_[i], to, d);
    }

private:
    function function_;
    std::vector<double> inputs_, odd_;
};

/// A number where the function has one: tiny, ordinary, large; of 53 random bits.
[[nodiscard]] inline double random_operand(function f, dice& d) {
    const double fraction = 1 + static_cast<double>(d.below(std::uint64_t{1} << 52)) * 0x1p-52;
    const double one = d.coin() ? 1 : -1;
    switch (f) {
        case function::sin:
        case function::cos:
        case function::tan: return one * std::ldexp(fraction, d.between(-43, 1023));
        case function::asin:
        case function::acos:
        case function::atanh: return one * std::ldexp(fraction, d.between(-43, -1));
        case function::acosh: return 1 + std::ldexp(fraction, d.between(-51, 60));
        case function::log:
        case function::log2:
        case function::log10:
        case function::rsqrt:
        case function::pow: return std::ldexp(fraction, d.between(-40, 40));
        case function::asinh:
        case function::atan:
        case function::atan2:
        case function::hypot:
        case function::cbrt:
        case function::reciprocal: return one * std::ldexp(fraction, d.between(-43, 43));
        case function::log1p: return std::ldexp(fraction, d.between(-88, 60));
        default: return one * std::ldexp(fraction, d.between(-43, 6));
    }
}

/// Whether 512 bits are never asked for f(x, y), or by results that are beyond every format.
[[nodiscard]] inline bool is_settled_before(function f, double x, double y) {
    namespace inner = detail::elementary;
    const double result = inner::libm(f, x, y);
    const bool is_far = !(std::fabs(result) < 0x1p1000) || std::fabs(result) < 0x1p-1000;
    return is_far || inner::is_exact(f, x, y, result) || inner::asymptote(f, x, y).has_value();
}

/// e, the error of 512 bits being below 2^e of the result.
[[nodiscard]] inline int relative_error_exponent(function f, double x, double y) {
    namespace inner = detail::elementary;
    const real want(700);
    oracle(f, want, x, y, MPFR_RNDN);
    const real error(700);
    mpfr_set(error, want, MPFR_RNDN);
    inner::big rest = inner::precise(f, x, y);
    for (int i = 0; i < 14; ++i) {
        const auto part = static_cast<double>(rest);
        mpfr_sub_d(error, error, part, MPFR_RNDN);
        rest -= part;
    }
    if (mpfr_zero_p(error)) return -1000;
    return static_cast<int>(mpfr_get_exp(error) - mpfr_get_exp(want)) + 1;
}

/// f(x, y) as MPFR rounds it: `precision` bits, quanta of 2^quantum and more, below 2^emax.
inline void check_by_mpfr(function f, double x, double y, int precision, int quantum, int emax,
                          const converter<double>& to, tally& t) {
    const auto mode = to.projection().rounding == rounding::toward_positive ? MPFR_RNDU : MPFR_RNDN;
    const real v(precision);
    const int side = oracle(f, v, x, y, mode);
    const auto least = mpfr_get_emin();
    const auto most = mpfr_get_emax();
    mpfr_set_emin(quantum + 1);
    mpfr_set_emax(emax);
    mpfr_subnormalize(v, mpfr_check_range(v, side, mode), mode);
    mpfr_set_emin(least);
    mpfr_set_emax(most);
    t.add(f, x, y, to, evaluate(f, x, y, to), mpfr_get_d(v, MPFR_RNDN));
}

}  // namespace lowp::test
