// The elementary functions by MPFR, for tests: in any precision, and rounded to odd into a double.
#pragma once

#include <mpfr.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "lowp/detail/elementary_functions.hpp"

namespace lowp::test {

/// A number of MPFR that frees itself.
class real {
public:
    explicit real(mpfr_prec_t bits) { mpfr_init2(value_, bits); }
    ~real() { mpfr_clear(value_); }
    real(const real&) = delete;
    real& operator=(const real&) = delete;
    real(real&&) = delete;
    real& operator=(real&&) = delete;
    operator mpfr_ptr() const { return value_; }

private:
    mutable mpfr_t value_;
};

/// The functions that MPFR has: to = f(x, y), rounded by `mode`; the return value says where the exact
/// result lies, as MPFR's do.
inline int by_mpfr(function f, mpfr_ptr to, mpfr_srcptr x, mpfr_srcptr y, mpfr_rnd_t mode) {
    switch (f) {
        case function::exp: return mpfr_exp(to, x, mode);
        case function::exp2: return mpfr_exp2(to, x, mode);
        case function::exp10: return mpfr_exp10(to, x, mode);
        case function::expm1: return mpfr_expm1(to, x, mode);
        case function::log: return mpfr_log(to, x, mode);
        case function::log2: return mpfr_log2(to, x, mode);
        case function::log10: return mpfr_log10(to, x, mode);
        case function::log1p: return mpfr_log1p(to, x, mode);
        case function::sin: return mpfr_sin(to, x, mode);
        case function::cos: return mpfr_cos(to, x, mode);
        case function::tan: return mpfr_tan(to, x, mode);
        case function::asin: return mpfr_asin(to, x, mode);
        case function::acos: return mpfr_acos(to, x, mode);
        case function::atan: return mpfr_atan(to, x, mode);
        case function::atan2: return mpfr_atan2(to, x, y, mode);
        case function::sinh: return mpfr_sinh(to, x, mode);
        case function::cosh: return mpfr_cosh(to, x, mode);
        case function::tanh: return mpfr_tanh(to, x, mode);
        case function::asinh: return mpfr_asinh(to, x, mode);
        case function::acosh: return mpfr_acosh(to, x, mode);
        case function::atanh: return mpfr_atanh(to, x, mode);
        case function::erf: return mpfr_erf(to, x, mode);
        case function::erfc: return mpfr_erfc(to, x, mode);
        case function::pow: return mpfr_pow(to, x, y, mode);
        case function::hypot: return mpfr_hypot(to, x, y, mode);
        case function::cbrt: return mpfr_cbrt(to, x, mode);
        case function::reciprocal: return mpfr_ui_div(to, 1, x, mode);
        default: return 0;
    }
}

/// The others, composed with as many more bits than `to` has that their sums are exact enough: x of
/// magnitude 2^-140 to 2^140. Where e^-|x| is too small to be seen, it is some other small number.
inline int composed(function f, mpfr_ptr to, mpfr_srcptr x, mpfr_rnd_t mode) {
    const double size = std::fabs(mpfr_get_d(x, MPFR_RNDN));
    const mpfr_prec_t bits =
        mpfr_get_prec(to) + 300 + (size < 1000 ? static_cast<long>(2 * size) : 2000);
    real a(bits);
    real b(bits);
    if (f == function::rsqrt) {  // MPFR's own gives +infinity for -0
        return mpfr_rec_sqrt(to, x, mode);
    }
    if (f == function::gelu) {
        mpfr_sqrt_ui(a, 2, MPFR_RNDN);
        mpfr_div(a, x, a, MPFR_RNDN);
        mpfr_neg(a, a, MPFR_RNDN);
        mpfr_erfc(b, a, MPFR_RNDN);
        // 2 or underflow to 0, where no bit would show what is missing.
        if (mpfr_cmp_ui(b, 2) == 0) mpfr_nextbelow(b);
        if (mpfr_zero_p(b)) mpfr_nextabove(b);
        mpfr_mul(b, b, x, MPFR_RNDN);
        return mpfr_div_ui(to, b, 2, mode);
    }
    mpfr_abs(a, x, MPFR_RNDN);
    if (mpfr_cmp_ui(a, 1000) > 0) mpfr_set_ui(a, 1000, MPFR_RNDN);
    mpfr_neg(a, a, MPFR_RNDN);
    mpfr_exp(a, a, MPFR_RNDN);  // e^-|x|
    if (f == function::softplus) {
        mpfr_log1p(b, a, MPFR_RNDN);
        // log(1 + e^x) = x + log(1 + e^-x); the sum of a large and a small number stays inexact.
        if (mpfr_sgn(x) < 0) return mpfr_set(to, b, mode);
        if (mpfr_get_exp(x) > 11) {
            mpfr_set(a, x, MPFR_RNDN);
            mpfr_nextabove(a);
            return mpfr_set(to, a, mode);
        }
        mpfr_add(b, b, x, MPFR_RNDN);
        return mpfr_set(to, b, mode);
    }
    mpfr_add_ui(b, a, 1, MPFR_RNDN);  // 1 + e^-|x|
    if (mpfr_sgn(x) > 0) mpfr_set_ui(a, 1, MPFR_RNDN);
    mpfr_div(b, a, b, MPFR_RNDN);  // the sigmoid
    if (f == function::silu) mpfr_mul(b, b, x, MPFR_RNDN);
    return mpfr_set(to, b, mode);
}

/// to = f(x, y) for finite operands, by `mode`.
inline int oracle(function f, mpfr_ptr to, double x, double y, mpfr_rnd_t mode) {
    real a(53);
    real b(53);
    mpfr_set_d(a, x, MPFR_RNDN);
    mpfr_set_d(b, y, MPFR_RNDN);
    const bool is_composed = f == function::rsqrt || f == function::sigmoid ||
                             f == function::softplus || f == function::gelu || f == function::silu;
    return is_composed ? composed(f, to, a, mode) : by_mpfr(f, to, a, b, mode);
}

/// f(x, y) in 53 bits, the last one odd where that is inexact; what is beyond 2^+-1000, out of reach of
/// every format of up to 16 bits, as a number there.
inline double odd_double(function f, double x, double y) {
    real v(53);
    const int side = oracle(f, v, x, y, MPFR_RNDZ);
    if (mpfr_nan_p(v) || mpfr_inf_p(v) || (mpfr_zero_p(v) && side == 0))
        return mpfr_get_d(v, MPFR_RNDN);
    const double sign = mpfr_signbit(v) ? -1 : 1;
    if (mpfr_zero_p(v) || mpfr_get_exp(v) < -1000) return sign * 0x1p-1000;
    if (mpfr_get_exp(v) > 1000) return sign * 0x1p1000;
    const double truncated = mpfr_get_d(v, MPFR_RNDZ);
    return side == 0 ? truncated
                     : std::bit_cast<double>(std::bit_cast<std::uint64_t>(truncated) | 1);
}

}  // namespace lowp::test
