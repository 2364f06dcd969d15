// Sums in formats as wide as float32 go through narrower ones where the factors let them: the bits are
// those of the chain of fused operations, at every place of the exponents' range.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "lowp/lowp.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

/// Lines of three kinds: of all sizes, half the largest, so that sums go far beyond the products, and
/// the smallest alone, powers of two, so that every bit of a sum counts. line(i): that of element i.
template <class Line>
std::vector<float> values(std::size_t count, int low, int high, dice& d, const Line& line) {
    std::vector<float> x(count);
    for (std::size_t i = 0; i < count; ++i) {
        const float all = static_cast<float>(d.between(-255, 255)) / 128.0F;
        const float smallest = std::ldexp(1.0F, std::max(low - 7, -133));
        if (line(i) % 3 == 0) x[i] = d.coin() ? smallest : 0.0F;
        else if (line(i) % 3 == 1 && d.coin()) x[i] = std::ldexp(1.9921875F, high);
        else x[i] = std::ldexp(all, d.between(low, high));
    }
    quantize<float>(std::span<const float>(x), std::span<float>(x), bfloat16);
    return x;
}

/// The chain as it is said: c, then one fused operation after the other.
std::vector<float> by_fma(const std::vector<float>& a, const std::vector<float>& b,
                          const std::vector<float>& c, std::size_t n, std::size_t k,
                          const accumulator& how) {
    const converter<float> to(how.addition.format, how.addition.projection);
    std::vector<float> out(c);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t t = 0; t < k; ++t)
                out[i * n + j] = lowp::fma(a[i * k + t], b[t * n + j], out[i * n + j], to);
    return out;
}

}  // namespace

TEST_CASE("sums in bfloat16 are its chain of fused operations wherever the factors lie") {
    dice d(5);
    constexpr std::size_t n = 20;
    constexpr std::size_t k = 61;
    for (const char* const name :
         {"bfloat16", "bfloat16/rounding=toward_zero", "e8m4", "bfloat16/saturation=finite"})
        for (const int place : {-126, -66, -40, -8, 0, 20, 40, 52, 58, 126})
            for (const int width : {0, 4, 20, 24, 25, 26, 27, 28, 29, 30, 60})
                for (const int c_place : {-140, 0, 60}) {
                    const accumulator how = parse_accumulator(name);
                    const int low = std::max(place - width, -133);
                    const int high = std::min(place + width, 126);
                    const auto a = values(n * k, low, high, d, [](std::size_t i) { return i / k; });
                    const auto b =
                        values(k * n, -width, width, d, [](std::size_t i) { return i % n; });
                    const auto c =
                        values(n * n, c_place, c_place + 20, d, [](std::size_t) { return 2; });
                    std::vector<float> got(n * n);
                    product_options<float> o;
                    if (c_place != 0) o.c = in_c_order(c.data(), n, n);
                    matmul<float>(in_c_order(a.data(), n, k), in_c_order(b.data(), k, n),
                                  in_c_order(got.data(), n, n), how, o);
                    const auto start = c_place != 0 ? c : std::vector<float>(n * n);
                    const auto wanted = by_fma(a, b, start, n, k, how);
                    std::size_t different = 0;
                    for (std::size_t i = 0; i < got.size(); ++i)
                        different += bits_of(got[i]) != bits_of(wanted[i]) &&
                                     !(std::isnan(got[i]) && std::isnan(wanted[i]));
                    CAPTURE(name);
                    CAPTURE(place);
                    CAPTURE(width);
                    CAPTURE(c_place);
                    CHECK(different == 0);
                }
}

TEST_CASE("an infinity or NaN among small factors comes out as it does of the chain") {
    dice d(6);
    constexpr std::size_t n = 17;
    for (const float special : {INFINITY, -INFINITY, NAN}) {
        const auto one_kind = [](std::size_t) { return 2; };
        auto a = values(n * n, -4, 4, d, one_kind);
        const auto b = values(n * n, -4, 4, d, one_kind);
        a[3] = special;
        const std::vector<float> c(n * n);
        std::vector<float> got(n * n);
        const accumulator how = parse_accumulator("bfloat16");
        matmul<float>(in_c_order<const float>(a.data(), n, n), in_c_order(b.data(), n, n),
                      in_c_order(got.data(), n, n), how);
        const auto wanted = by_fma(a, b, c, n, n, how);
        for (std::size_t i = 0; i < got.size(); ++i)
            CHECK((got[i] == wanted[i] || (std::isnan(got[i]) && std::isnan(wanted[i]))));
    }
}
