// Every verb gives the same bits whatever the thread's floating-point control says, from the making of
// its constants on. Training code flushes subnormals to zero; XLA does so around every callback.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "lowp/lowp.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>

namespace {

using lowp::block_format;

template <class T>
std::vector<T> subnormal_values() {
    std::vector<T> x;
    for (int e = std::numeric_limits<T>::min_exponent - std::numeric_limits<T>::digits; e < 40;
         e += e < -90 ? 1 : 13)
        for (const double f : {1.0, -1.25, 1.5, -1.9375, 0.0})
            x.push_back(static_cast<T>(std::ldexp(f, e)));
    x.resize(x.size() / 32 * 32);
    return x;
}

template <class T>
void append(std::vector<unsigned char>& bytes, const std::vector<T>& values) {
    const auto* const first = reinterpret_cast<const unsigned char*>(values.data());
    bytes.insert(bytes.end(), first, first + values.size() * sizeof(T));
}

/// What scalar formats make of the values, by arrays and one by one.
template <class T>
void scalar_results(const std::vector<T>& x, std::vector<unsigned char>& bytes) {
    for (const char* const name :
         {"float8_e8m0fnu", "float8_e4m3fn", "bfloat16", "e8m2", "float32"})
        for (const lowp::rounding r : {lowp::rounding::nearest_ties_to_even,
                                       lowp::rounding::toward_zero, lowp::rounding::stochastic_a}) {
            const lowp::format f = lowp::parse_format(name);
            const lowp::projection p{.rounding = r};
            std::vector<T> y(x.size());
            lowp::quantize<T>(x, y, f, p);
            append(bytes, y);
            for (std::size_t i = 0; i < x.size(); ++i) y[i] = lowp::quantize(x[i], f, p);
            append(bytes, y);
            std::vector<std::uint32_t> codes(x.size());
            lowp::encode<T>(std::span<const T>(y), std::span(codes), f, p);
            append(bytes, codes);
            lowp::decode<T>(std::span<const std::uint32_t>(codes), std::span(y), f);
            append(bytes, y);
        }
}

template <class T>
void block_results(const std::vector<T>& x, std::vector<unsigned char>& bytes) {
    for (const char* const name :
         {"mxfp4", "mxfp8_e4m3", "nvfp4", "mxfp4/rceil", "mxfp4/std", "fp8_tensor", "int8_row",
          "mxfp4/compat=torchao", "nvfp4/compat=te", "mxfp8_e4m3/compat=microxcaling",
          "fp4_ue5m3_16", "deepseek_1x128", "mxfp4/mse", "nvfp4/outer=row"}) {
        const block_format f = lowp::parse_block_format(name);
        const std::size_t shape[] = {x.size() / 32, 32};
        const lowp::block_layout layout = lowp::layout_of(f.shape, shape, -1);
        std::vector<T> y(x.size());
        lowp::quantize<T>(x, y, f, layout);
        append(bytes, y);
    }
}

template <class T>
void arithmetic_results(const std::vector<T>& x, std::vector<unsigned char>& bytes) {
    std::vector<T> reversed(x.rbegin(), x.rend()), y(x.size());
    const std::span<const T> a(x), b(reversed);
    for (const char* const name : {"bfloat16", "float16", "float8_e5m2"})
        for (const lowp::rounding r :
             {lowp::rounding::nearest_ties_to_even, lowp::rounding::toward_positive}) {
            const lowp::converter<T> to(lowp::parse_format(name), {.rounding = r});
            lowp::add<T>(a, b, y, to);
            append(bytes, y);
            lowp::mul<T>(a, b, y, to);
            append(bytes, y);
            lowp::div<T>(a, b, y, to);
            append(bytes, y);
            lowp::fma<T>(a, b, a, y, to);
            append(bytes, y);
        }
}

template <class T>
void product_results(const std::vector<T>& x, std::vector<unsigned char>& bytes) {
    const std::size_t n = x.size() / 32;
    for (const char* const name : {"float32", "bfloat16", "h100", "exact"}) {
        std::vector<T> y(n * n), scaled(x.size());
        lowp::quantize<T>(x, scaled, lowp::parse_format("bfloat16"));
        const auto a = lowp::in_c_order<const T>(scaled.data(), n, 32);
        lowp::product_options<T> o;
        o.a_format = o.b_format = lowp::parse_format("bfloat16");
        lowp::matmul<T>(a, a.transposed(), lowp::in_c_order(y.data(), n, n),
                        lowp::parse_accumulator(name), o);
        append(bytes, y);
    }
}

template <class T>
std::vector<unsigned char> all_results(const std::vector<T>& x) {
    std::vector<unsigned char> bytes;
    scalar_results(x, bytes);
    block_results(x, bytes);
    arithmetic_results(x, bytes);
    product_results(x, bytes);
    return bytes;
}

}  // namespace

TEST_CASE_TEMPLATE("no result depends on flush-to-zero, from the constants on", T, float, double) {
    const std::vector<T> x = subnormal_values<T>();
    const auto wanted = all_results(x);
    const unsigned before = _mm_getcsr();
    for (const unsigned flags : {0x8000U, 0x0040U, 0x8040U}) {
        _mm_setcsr(before | flags);
        const auto got = all_results(x);
        _mm_setcsr(before);
        REQUIRE(got.size() == wanted.size());
        CHECK(std::memcmp(got.data(), wanted.data(), got.size()) == 0);
    }
}
#endif
