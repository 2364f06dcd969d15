// The verbs of cuda.hpp as the host sees them: arguments checked, plans made, kernels chosen.
#include <stdexcept>
#include <string>

#include "carriers.hpp"
#include "conversion.hpp"
#include "lowp/formats.hpp"

namespace lowp::cuda {

namespace {

using lowp::detail::plan;

[[noreturn]] void fail(const char* verb, const std::string& message) {
    throw std::invalid_argument(std::string("lowp::cuda::") + verb + ": " + message);
}

/// Results of 16 bits must hold every value of f.
void check_holds(const char* verb, carrier c, const format& f) {
    if (bytes_of(c) != 2) return;
    const format& half = c == carrier::float16 ? float16 : bfloat16;
    if (!half.holds(f))
        fail(verb, name(half) + " does not hold every value of " + name(f) +
                       "; use an array of float32 or float64");
}

void check_data(const char* verb, const void* from, const void* to, std::size_t size) {
    if (size > 0 && (from == nullptr || to == nullptr))
        fail(verb, "input and output must not be null where there are elements");
}

void check_code_bytes(const char* verb, int bytes, const format& f) {
    if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8)
        fail(verb, "codes must be integers of 1, 2, 4 or 8 bytes; got " + std::to_string(bytes));
    if (f.bits() > 8 * bytes)
        fail(verb, "codes of " + std::to_string(f.bits()) + " bits do not fit integers of " +
                       std::to_string(bytes) + " bytes; use wider ones");
}

/// Sets how magnitudes round by chance (chance.cuh), if they may and codes are a sign and a magnitude.
void set_chance(detail::call<double>& /*c*/, const format& /*f*/) {}
void set_chance(detail::call<float>& c, const format& f) {
    c.draws_in_sums = detail::fits_chance(c.plan) && f.has_neg_zero;
    if (c.draws_in_sums) c.chance = detail::make_chance(c.plan, detail::magnitudes::exact);
}

template <class T>
detail::call<T> make_call(const char* verb, const format& f, const projection& p, const options& o,
                          const void* from, void* to) {
    const converter<T> made(f, p);
    detail::check_random(verb, p, o);
    detail::call<T> c;
    c.plan = made.plan();
    c.source = {o.source, o.stream_offset};
    c.random = o.random;
    c.first_index = o.first_index;
    c.failures = o.failures;
    c.from = from;
    c.to = to;
    c.ignores_index = !is_stochastic(p.rounding);
    set_chance(c, f);
    return c;
}

/// Sets how pairs of bfloat16 encode (encode_pairs), if they do as floats do.
void set_pairs(detail::call<double>& /*c*/, const format& /*f*/) {}
void set_pairs(detail::call<float>& c, const format& f) {
    const auto& v = c.plan.codes;
    const bool is_plain = c.plan.encode_path == lowp::detail::path::plain_sum;
    c.drops_sign = !is_plain && v.over_positive == c.plan.max_code + 1 && f.has_neg_zero &&
                   v.over_negative == v.over_positive && v.inf_positive == v.over_positive &&
                   v.inf_negative == v.over_positive;
    c.encodes_pairs = c.plan.rounding == rounding::nearest_ties_to_even && c.code_bytes == 1 &&
                      lowp::detail::without_plain(c.plan.path) == lowp::detail::path::sum &&
                      (is_plain || c.drops_sign) && detail::fits_pairs(c.plan, f);
}

}  // namespace

void quantize(const const_values& x, const values& out, const format& f, const projection& p,
              const options& o, stream s) {
    if (x.carrier != out.carrier) fail("quantize", "x and out must be of one carrier");
    const detail::walk w = detail::make_walk("quantize", x.layout, out.layout, o.first_index);
    check_data("quantize", x.data, out.data, w.size);
    if (x.data == out.data && !detail::same_strides(x.layout, out.layout))
        fail("quantize", "x and out at one place must have the same strides");
    detail::with_carrier(x.carrier, [&](auto of) {
        constexpr carrier C = decltype(of)::value;
        const auto c = make_call<detail::worker_t<C>>("quantize", f, p, o, x.data, out.data);
        check_holds("quantize", C, f);
        if (w.size > 0) detail::conversions<C>::quantize(c, w, s);
    });
}

void encode(const const_values& x, const codes& out, const format& f, const projection& p,
            const options& o, stream s) {
    const detail::walk w = detail::make_walk("encode", x.layout, out.layout, o.first_index);
    check_data("encode", x.data, out.data, w.size);
    detail::with_carrier(x.carrier, [&](auto of) {
        constexpr carrier C = decltype(of)::value;
        auto c = make_call<detail::worker_t<C>>("encode", f, p, o, x.data, out.data);
        check_code_bytes("encode", out.bytes, f);
        c.code_bytes = out.bytes;
        if (bytes_of(C) == 2 && f.bits() > 16) c.draws_in_sums = false;  // two codes share a word
        c.refuses_nan = !o.nan_code && !f.has_nan();
        if (C == carrier::bfloat16) set_pairs(c, f);
        if (c.refuses_nan && o.failures == nullptr)
            fail("encode", name(f) +
                               " has no NaN: say what a NaN becomes (options::nan_code), or " +
                               "where to report one (options::failures)");
        if (o.nan_code && (*o.nan_code & ~f.code_mask()) != 0)
            fail("encode", "nan_code must be a code of " + std::to_string(f.bits()) +
                               " bits; got " + std::to_string(*o.nan_code));
        if (o.nan_code) c.plan.nan_code = static_cast<decltype(c.plan.nan_code)>(*o.nan_code);
        if (w.size > 0) detail::conversions<C>::encode(c, w, s);
    });
}

void decode(const const_codes& codes, const values& out, const format& f, const options& o,
            stream s) {
    const detail::walk w = detail::make_walk("decode", codes.layout, out.layout, 0);
    check_data("decode", codes.data, out.data, w.size);
    detail::with_carrier(out.carrier, [&](auto of) {
        constexpr carrier C = decltype(of)::value;
        auto c = make_call<detail::worker_t<C>>("decode", f, {}, o, codes.data, out.data);
        check_holds("decode", C, f);
        check_code_bytes("decode", codes.bytes, f);
        c.code_bytes = codes.bytes;
        if (8 * codes.bytes > f.bits() && o.failures == nullptr)
            fail("decode", "codes of " + std::to_string(f.bits()) + " bits in integers of " +
                               std::to_string(8 * codes.bytes) +
                               ": say where to report bits above them (options::failures)");
        if (w.size > 0) detail::conversions<C>::decode(c, w, s);
    });
}

}  // namespace lowp::cuda
