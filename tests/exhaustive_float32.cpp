// Every one of the 2^32 float32 inputs, through the kernel of the best instruction set, against the
// definition.
//
// The definition is too slow to be asked 2^32 times, and need not be: for a mode and one R it is a
// step function. Positive inputs, taken as integers, grow with their value; the code to which they
// round never goes back and, past the last, stays the code of overflow. So where the definition gives
// one code at both ends of a range of finite positive inputs it gives that code throughout; else the
// range is halved. Negative inputs mirror this. Zero, infinity and NaN are asked for one by one.
// The kernel is given every input, and each result is compared.
//
// LOWP_EXHAUSTIVE_STATE=file    cases named there are skipped, those that pass are added
// LOWP_EXHAUSTIVE_SECONDS=n     no case begins later than that; those left out are printed
#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>

#include "lowp/dispatch.hpp"
#include "lowp/formats.hpp"
#include "lowp/spec.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

using bits = std::uint32_t;
constexpr bits sign_bit = 0x80000000U;
constexpr bits infinity = 0x7F800000U;

class sweep {
public:
    sweep(const format& f, const projection& p, std::uint32_t random)
        : f_(f), p_(p), r_(random), convert_(f, p), random_(block, random) {
        options_ = dispatch::options({.random = random_, .threads = 1});
        // A NaN without a code of its own: any code will do, if it is the one asked for.
        if (!f.has_nan()) options_.nan_code = f.max_code();
    }

    /// Runs the kernel over [0, 2^32); false where a result differs.
    bool run() {
        std::uint64_t base = 0;
        for (; base < std::uint64_t{1} << 32 && different_ == 0; base += block) {
            base_ = static_cast<bits>(base);
            for (bits i = 0; i < block; ++i) x_[i] = std::bit_cast<float>(base_ + i);
            quantize<float>(x_, y_, convert_, options_);
            encode<float, bits>(x_, codes_, convert_, options_);
            check_block();
        }
        return different_ == 0 && compared_ == base;
    }

    [[nodiscard]] std::size_t runs() const { return runs_; }

private:
    static constexpr bits block = 1U << 15;  // divides every range below; stays in the cache

    void check_block() {
        const bits sign = base_ & sign_bit;
        const bits first = base_ ^ sign;
        const bits last = first + (block - 1);
        if (first >= infinity) {  // infinity stands at the beginning of a block
            const bits head = first == infinity ? 1 : 0;
            if (head != 0) check_same(base_, base_, code_at(base_));
            return check_nans(base_ + head, base_ + (block - 1));
        }
        const bits head = first == 0 ? 1 : 0;
        if (head != 0) check_same(base_, base_, code_at(base_));
        check_range(base_ + head, sign | last, code_at(base_ + head), code_at(sign | last));
    }

    [[nodiscard]] code_type code_at(bits x) const {
        return spec::encode(static_cast<double>(std::bit_cast<float>(x)), f_, p_, r_);
    }

    void check_range(bits first, bits last, code_type code_first, code_type code_last) {
        if (code_first == code_last) return check_same(first, last, code_first);
        if (last - first == 1) {
            check_same(first, first, code_first);
            return check_same(last, last, code_last);
        }
        const bits middle = first + (last - first) / 2;
        const code_type code_middle = code_at(middle);
        check_range(first, middle, code_first, code_middle);
        if (middle + 1 <= last) check_range(middle + 1, last, code_at(middle + 1), code_last);
    }

    /// Inputs first..last all have this code, and its value.
    void check_same(bits first, bits last, code_type code) {
        const double value = spec::decode(code, f_);
        const bool below_all = std::bit_cast<float>(first) == 0 && !f_.has_zero && !f_.is_signed;
        const bits nan_sign =
            below_all ? sign_bit : first & sign_bit;  // NaN has the sign of its side
        const bits wanted = std::isnan(value)
                                ? bits_of(std::numeric_limits<float>::quiet_NaN()) | nan_sign
                                : bits_of(static_cast<float>(value));
        ++runs_;
        bits wrong = 0;
        for (std::size_t i = first - base_; i <= last - base_; ++i)
            wrong |= (bits_of(y_[i]) ^ wanted) | (codes_[i] ^ static_cast<bits>(code));
        compared_ += std::uint64_t{last} - first + 1;
        if (wrong != 0) report(first, last, static_cast<bits>(code), wanted);
    }

    /// NaNs keep their bits and have the format's NaN as code.
    void check_nans(bits first, bits last) {
        const auto code = static_cast<bits>(f_.has_nan() ? f_.nan_code() : *options_.nan_code);
        bits wrong = 0;
        for (std::size_t i = first - base_; i <= last - base_; ++i)
            wrong |= (bits_of(y_[i]) ^ (base_ + static_cast<bits>(i))) | (codes_[i] ^ code);
        compared_ += std::uint64_t{last} - first + 1;
        if (wrong != 0) report(first, last, code, first);
    }

    void report(bits first, bits last, bits code, bits value) {
        ++different_;
        MESSAGE(text(f_, p_) << " R=" << r_ << std::hex << ": inputs " << first << " to " << last
                             << " should have code " << code << " and value " << value);
        int told = 0;
        for (std::size_t i = first - base_; i <= last - base_ && told < 5; ++i)
            if (codes_[i] != code ||
                (bits_of(y_[i]) != value && code == codes_[i] && value != first)) {
                ++told;
                MESSAGE("input " << std::hex << bits_of(x_[i]) << " has " << codes_[i] << " and "
                                 << bits_of(y_[i]));
            }
    }

    format f_;
    projection p_;
    std::uint32_t r_;
    converter<float> convert_;
    options options_;
    std::vector<std::uint32_t> random_;
    std::vector<float> x_ = std::vector<float>(block), y_ = x_;
    std::vector<bits> codes_ = std::vector<bits>(block);
    bits base_ = 0;
    std::size_t runs_ = 0, different_ = 0;
    std::uint64_t compared_ = 0;
};

// ---- what is left to do -------------------------------------------------------------------------

using seconds = std::chrono::duration<double>;
const auto program_start = std::chrono::steady_clock::now();

double elapsed_since(std::chrono::steady_clock::time_point start) {
    return seconds(std::chrono::steady_clock::now() - start).count();
}

bool has_passed(const std::string& name) {
    const char* const file = std::getenv("LOWP_EXHAUSTIVE_STATE");
    if (file == nullptr) return false;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);)
        if (line == name) return true;
    return false;
}

void remember(const std::string& name) {
    if (const char* const file = std::getenv("LOWP_EXHAUSTIVE_STATE"))
        std::ofstream(file, std::ios::app) << name << "\n";
}

bool is_out_of_time() {
    const char* const budget = std::getenv("LOWP_EXHAUSTIVE_SECONDS");
    return budget != nullptr && elapsed_since(program_start) > std::atof(budget);
}

void check_all(const std::string& name, const format& f, const projection& p,
               std::uint32_t random) {
    if (has_passed(name)) return;
    if (is_out_of_time()) {
        std::printf("skipped: %s\n", name.c_str());
        return;
    }
    const auto start = std::chrono::steady_clock::now();
    sweep all(f, p, random);
    const bool passed = all.run();
    CHECK(passed);
    if (passed) remember(name);
    std::printf("%s: %zu steps, %.1f s\n", name.c_str(), all.runs(), elapsed_since(start));
    std::fflush(stdout);
}

}  // namespace

// One test case for each format, mode and R, so that cmake/exhaustive.py can stop and go on between.
#define LOWP_SWEEP(format, mode, overflow, n, r)                                       \
    TEST_CASE("every float32 in " #format " " #mode " " #overflow " N=" #n " R=" #r) { \
        check_all(#format " " #mode " " #overflow " N=" #n " R=" #r, format,           \
                  {rounding::mode, saturation::overflow, n}, r);                       \
    }

#define LOWP_SWEEP_FORMAT(format)                              \
    LOWP_SWEEP(format, nearest_ties_to_even, none, 32, 0)      \
    LOWP_SWEEP(format, nearest_ties_to_away, none, 32, 0)      \
    LOWP_SWEEP(format, nearest_ties_to_zero, none, 32, 0)      \
    LOWP_SWEEP(format, toward_zero, none, 32, 0)               \
    LOWP_SWEEP(format, toward_positive, none, 32, 0)           \
    LOWP_SWEEP(format, toward_negative, none, 32, 0)           \
    LOWP_SWEEP(format, away_from_zero, none, 32, 0)            \
    LOWP_SWEEP(format, to_odd, none, 32, 0)                    \
    LOWP_SWEEP(format, nearest_ties_to_even, propagate, 32, 0) \
    LOWP_SWEEP(format, nearest_ties_to_even, finite, 32, 0)    \
    LOWP_SWEEP(format, stochastic_a, none, 32, 1)              \
    LOWP_SWEEP(format, stochastic_a, none, 32, 0x80000001)     \
    LOWP_SWEEP(format, stochastic_a, none, 32, 0xFFFFFFFF)     \
    LOWP_SWEEP(format, stochastic_a, finite, 8, 0x5A)          \
    LOWP_SWEEP(format, stochastic_a, none, 1, 1)               \
    LOWP_SWEEP(format, stochastic_b, none, 8, 0x5A)            \
    LOWP_SWEEP(format, stochastic_c, none, 8, 0x5A)            \
    LOWP_SWEEP(format, stochastic_equal, none, 8, 0x80)

LOWP_SWEEP_FORMAT(float8_e4m3fn)
LOWP_SWEEP_FORMAT(float8_e5m2)
LOWP_SWEEP_FORMAT(float4_e2m1fn)
LOWP_SWEEP_FORMAT(float6_e3m2fn)
LOWP_SWEEP_FORMAT(float6_e2m3fn)
LOWP_SWEEP_FORMAT(float16)
LOWP_SWEEP_FORMAT(bfloat16)
LOWP_SWEEP_FORMAT(float8_e8m0fnu)
LOWP_SWEEP_FORMAT(tensorfloat32)
