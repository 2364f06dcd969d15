// The transform on the device against the CPU's, bit for bit.
#include "lowp/hadamard.hpp"

#include <cmath>

#include "conversion_check.hpp"
#include "lowp/cuda_hadamard.hpp"

namespace lowp::test {
namespace {

/// Values of a carrier as the CPU transforms them, float32 for those of 16 bits.
template <class T>
using worker = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
std::vector<T> transformed(const std::vector<T>& x, std::size_t size,
                           const lowp::hadamard_options& o) {
    std::vector<worker<T>> wide;
    for (const T& v : x) wide.push_back(static_cast<worker<T>>(v));
    hadamard<worker<T>>(std::span<const worker<T>>(wide), std::span(wide), size, o);
    std::vector<T> y;
    for (const auto v : wide) y.push_back(static_cast<T>(v));
    return y;
}

template <class T>
std::vector<T> moderate(std::size_t n, std::uint64_t seed) {
    dice d(seed);
    std::vector<T> x;
    while (x.size() < n) x.push_back(static_cast<T>(std::ldexp(d.between(-4096, 4096), -9)));
    return x;
}

TEST_CASE_TEMPLATE("the transform has the CPU's bits along rows and down columns", T, float, double,
                   f16, bf16) {
    for (std::size_t size = 2; size <= 256; size *= 2) {
        for (const std::size_t columns : {1U, 5U, 64U, 300U}) {
            for (const bool inverse : {false, true}) {
                const std::vector<T> x = moderate<T>(3 * size * columns, size + columns);
                lowp::hadamard_options here;
                here.source = random_source{7, std::uint64_t{1} << 40};
                here.is_inverse = inverse;
                here.columns = columns;
                here.threads = 1;
                cuda::hadamard_options there;
                there.source = here.source;
                there.is_inverse = inverse;
                const device_array<T> from(x);
                const device_array<T> to(x.size());
                cuda::hadamard(from.data(), to.data(), carrier_of<T>, x.size(), size, columns,
                               there);
                CAPTURE(size);
                CAPTURE(columns);
                CHECK(differences(to.host(), transformed(x, size, here), "hadamard") == 0);
            }
        }
    }
}

TEST_CASE("given signs, none, offsets of the stream and odd places are the CPU's") {
    constexpr std::size_t size = 16;
    const std::vector<float> x = moderate<float>(64 * size, 3);
    std::vector<std::int8_t> signs;
    for (std::size_t i = 0; i < size; ++i)
        signs.push_back(static_cast<std::int8_t>(i % 3 == 0 ? -1 : 1));
    const device_array<std::int8_t> given(signs);
    const device_array<std::uint64_t> offset(std::vector<std::uint64_t>{5});
    std::vector<float> shifted(1);
    shifted.insert(shifted.end(), x.begin(), x.end());
    const device_array<float> from(shifted);
    const device_array<float> to(shifted.size());
    const auto run = [&](const lowp::hadamard_options& here, const cuda::hadamard_options& there) {
        cuda::hadamard(from.data() + 1, to.data() + 1, cuda::carrier::float32, x.size(), size, 1,
                       there);
        auto got = to.host();
        got.erase(got.begin());
        return differences(got, transformed(x, size, here), "hadamard");
    };
    CHECK(run({}, {}) == 0);
    CHECK(run({.signs = signs}, {.signs = given.data()}) == 0);
    CHECK(run({.source = random_source{1, 9}},
              {.source = random_source{1, 4}, .stream_offset = offset.data()}) == 0);
    cuda::hadamard(from.data() + 1, from.data() + 1, cuda::carrier::float32, x.size(), size);
    auto in_place = from.host();
    in_place.erase(in_place.begin());
    CHECK(differences(in_place, transformed(x, size, {}), "hadamard in place") == 0);
}

TEST_CASE("sizes and lengths that do not go are refused") {
    float x = 0;
    for (const std::size_t size : {0U, 1U, 3U, 512U})
        CHECK_THROWS_AS(cuda::hadamard(&x, &x, cuda::carrier::float32, size, size),
                        std::invalid_argument);
    CHECK_THROWS_AS(cuda::hadamard(&x, &x, cuda::carrier::float32, 17, 16), std::invalid_argument);
    for (const std::size_t columns : {std::size_t{2}, std::size_t{1} << 60})
        CHECK_THROWS_AS(cuda::hadamard(&x, &x, cuda::carrier::float32, 16, 16, columns),
                        std::invalid_argument);
}

}  // namespace
}  // namespace lowp::test
