// Delayed scaling on the device against lowp::delayed_scaling and the CPU's blocks with a given scale.
#include <cmath>

#include "block_check_device.hpp"
#include "lowp/block_formats.hpp"
#include "lowp/cuda_delayed.hpp"

namespace lowp::test {
namespace {

/// History and scale on the device, and what goes with a call.
struct delayed_there {
    device_array<float> history;
    device_array<float> scale{std::vector<float>{1}};
    device_array<std::uint8_t> workspace{cuda::delayed_workspace_size};
    cuda::delayed_options options;

    explicit delayed_there(std::size_t length) : history(std::vector<float>(length, 0)) {
        options.workspace = workspace.data();
    }
    [[nodiscard]] cuda::delayed_memory memory() const {
        return {history.data(), history.size(), scale.data()};
    }
};

/// x on the CPU's grid times `scale`.
template <class T>
std::vector<T> with_scale(const std::vector<T>& x, const block_format& f, float scale,
                          block_options o) {
    const std::vector<double> scales{scale};
    o.given.ideals = std::span<const double>(scales);
    std::vector<T> y(x.size());
    const std::vector<std::size_t> shape{x.size()};
    quantize<T>(std::span<const T>(x), std::span<T>(y), f, layout_of(f.shape, shape), o);
    return y;
}

template <class T>
std::vector<T> normal(std::size_t n, double size, dice& d) {
    std::vector<T> x;
    while (x.size() < n)
        x.push_back(static_cast<T>(size * std::ldexp(d.between(-4096, 4096), d.between(-20, -12))));
    return x;
}

/// Some calls of one size, against the CPU; n: of values, not of blocks' rows.
template <class T>
std::size_t delayed_differences(const block_format& f, std::size_t n, dice& d) {
    constexpr std::size_t length = 3;
    const delayed_there there(length);
    delayed_scaling here(f.element.max(), length);
    std::size_t wrong = 0;
    for (const double size : {1.0, 3000.0, 1e-6}) {
        const auto x = normal<T>(n, size, d);
        float largest = 0;
        for (const T v : x) largest = std::max(largest, std::abs(static_cast<float>(v)));
        const auto wanted = with_scale(x, f, here.scale(), cpu_options({}, 0));
        here.observe(largest);
        const device_array<T> from(x), to(n);
        cuda::quantize_delayed(from.data(), to.data(), carrier_of<T>, f, n, there.memory(),
                               there.options);
        wrong += differences(to.host(), wanted, "delayed, " + name(f));
        wrong += differences(there.history.host(), here.history(), "history");
        wrong += differences(there.scale.host(), {here.scale()}, "scale");
    }
    return wrong;
}

TEST_CASE_TEMPLATE("delayed scales and what they round are the CPU's", T, float, f16, bf16) {
    dice d(83);
    std::size_t wrong = 0;
    for (const char* const text :
         {"float8_e4m3fn/tensor/float32/amax", "float8_e5m2/tensor/float8_e8m0fnu/amax",
          "float8_e4m3fn/tensor/float32/amax/rounding=stochastic_a",
          "float4_e2m1fn/tensor/float32/amax/rounding=stochastic_c", "int8/tensor/float32/amax"})
        for (const std::size_t n : {1UL, 8UL, 4096UL, 4099UL})
            wrong += delayed_differences<T>(parse_block_format(text), n, d);
    CHECK(wrong == 0);
}

TEST_CASE("arrays of more steps than threads are rounded to their end") {
    dice d(89);
    const auto f = parse_block_format("float8_e4m3fn/tensor/float32/amax");
    CHECK(delayed_differences<bf16>(f, (std::size_t{1} << 25) / scale() + 8, d) == 0);
}

TEST_CASE("delayed scales take given random bits, and results in the input's place") {
    dice d(97);
    const auto f =
        parse_block_format("float8_e4m3fn/tensor/float32/amax/rounding=stochastic_a/random_bits=8");
    const auto x = normal<float>(1000, 1, d);
    std::vector<std::uint32_t> random;
    while (random.size() < x.size()) random.push_back(static_cast<std::uint32_t>(d()) >> 24);
    auto o = cpu_options({}, 0);
    o.random = std::span<const std::uint32_t>(random);
    delayed_there there(2);
    const device_array<std::uint32_t> words(random), failures(std::vector<std::uint32_t>{0});
    there.options.random = words.data();
    there.options.failures = failures.data();
    const device_array<float> values(x);
    cuda::quantize_delayed(values.data(), values.data(), cuda::carrier::float32, f, x.size(),
                           there.memory(), there.options);
    CHECK(differences(values.host(), with_scale(x, f, 1, o), "in place") == 0);
    CHECK(failures.host()[0] == 0);
}

TEST_CASE("what delayed scales cannot do is refused") {
    const auto f = parse_block_format("float8_e4m3fn/tensor/float32/amax");
    const delayed_there there(2);
    const device_array<float> x(8);
    const auto run = [&](const block_format& of, const cuda::delayed_memory& m,
                         const cuda::delayed_options& o, cuda::carrier c) {
        cuda::quantize_delayed(x.data(), x.data(), c, of, 4, m, o);
    };
    constexpr auto single = cuda::carrier::float32;
    for (const char* const text : {"mxfp4", "nvfp4", "float8_e4m3fn/row/float32/amax",
                                   "float8_e4m3fn/tensor/float32/amax/nan=element"}) {
        const auto other = parse_block_format(text);
        CHECK_FALSE(cuda::has_delayed(other));
        CHECK_THROWS_AS(run(other, there.memory(), there.options, single), std::invalid_argument);
    }
    CHECK_THROWS_AS(run(f, {}, there.options, single), std::invalid_argument);
    CHECK_THROWS_AS(run(f, there.memory(), {}, single), std::invalid_argument);
    const auto wide = parse_block_format("bfloat16/tensor/float32/amax");
    CHECK_THROWS_AS(run(wide, there.memory(), there.options, cuda::carrier::float16),
                    std::invalid_argument);
}

}  // namespace
}  // namespace lowp::test
