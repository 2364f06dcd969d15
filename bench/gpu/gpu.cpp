// What lowp::cuda reaches, against a copy on the device that moves as many bytes. Prints a table:
// values a second, bytes a second, and the ratio to the copy. An argument: only rows with that text.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lowp/block_formats.hpp"
#include "lowp/cuda.hpp"
#include "lowp/cuda_block.hpp"
#include "lowp/cuda_delayed.hpp"
#include "lowp/formats.hpp"
#include "lowp/minifloat.hpp"
#include "timing.hpp"

namespace {

namespace cuda = lowp::cuda;

using lowp::bench::check;

/// Median seconds of fifteen calls.
double seconds(const std::function<void()>& work) { return lowp::bench::seconds<15>(work); }

constexpr std::size_t n = std::size_t{1} << 28;
double copied_bytes_a_second = 0;
std::string_view wanted;  // part of the rows' names

void row(const std::string& what, double bytes_a_value, const std::function<void()>& work) {
    if (what.find(wanted) == std::string::npos) return;
    const double t = seconds(work);
    const double values = static_cast<double>(n) / t;
    std::printf("%-58s %8.1f Gv/s %7.2f TB/s %6.3f of copy\n", what.c_str(), 1e-9 * values,
                1e-12 * values * bytes_a_value, values * bytes_a_value / copied_bytes_a_second);
    std::fflush(stdout);
}

const char* name_of(cuda::carrier c) {
    return c == cuda::carrier::float32   ? "float32"
           : c == cuda::carrier::float64 ? "float64"
           : c == cuda::carrier::float16 ? "float16"
                                         : "bfloat16";
}

void conversions(void* x, void* y, cuda::carrier c, const lowp::format& f,
                 const lowp::projection& p) {
    const auto all = cuda::layout::of({n});
    const double bytes = cuda::bytes_of(c);
    const std::string what =
        std::string(name_of(c)) + " " + lowp::name(f) + " " + std::string(lowp::name(p.rounding));
    const bool holds =
        bytes > 2 || (c == cuda::carrier::float16 ? lowp::float16 : lowp::bfloat16).holds(f);
    if (holds)
        row("quantize " + what, 2 * bytes, [&] { cuda::quantize({x, c, all}, {y, c, all}, f, p); });
    if (f.bits() <= 8)
        row("encode " + what, bytes + 1, [&] {
            cuda::encode({x, c, all}, {y, 1, all}, f, p, {.nan_code = 0});
        });
}

/// Numbers between -1 and 1, those near 0 more often, whose last bits are something to round.
template <class T>
void fill_as(void* x) {
    constexpr std::size_t period = std::size_t{1} << 20;
    std::vector<T> some;
    for (std::size_t i = 0; i < period; ++i) {
        const double a = lowp::random_source{}(2 * i), b = lowp::random_source{}(2 * i + 1);
        some.push_back(static_cast<T>((a - b) * 0x1p-32));
    }
    for (std::size_t i = 0; i < n; i += period)
        check(cudaMemcpy(static_cast<T*>(x) + i, some.data(), period * sizeof(T),
                         cudaMemcpyHostToDevice));
}
void fill(void* x, cuda::carrier c) {
    if (c == cuda::carrier::float32) fill_as<float>(x);
    else if (c == cuda::carrier::float64) fill_as<double>(x);
    else if (c == cuda::carrier::float16) fill_as<lowp::minifloat<lowp::float16>>(x);
    else fill_as<lowp::minifloat<lowp::bfloat16>>(x);
}

/// Blocks along the last axis of rows of 4096, or another; of runs that a Hadamard matrix of
/// `hadamard_size` turned on the way, if any.
void blocks(const void* x, void* y, void* z, void* extra, cuda::carrier c, const char* name,
            int axis = -1, std::size_t hadamard_size = 0) {
    const auto f = lowp::parse_block_format(name);
    const std::size_t shape[] = {n / 4096, 4096};
    const auto l = lowp::layout_of(f.shape, shape, axis);
    cuda::block_options o;
    auto* const scales = static_cast<std::uint8_t*>(extra) + (std::size_t{1} << 30);
    o.workspace = extra;
    o.hadamard_size = hadamard_size;
    o.failures = reinterpret_cast<std::uint32_t*>(scales + (std::size_t{1} << 28));
    const double bytes = cuda::bytes_of(c);
    // Two levels read twice; so does a scale that blocks larger than a thread block's share have.
    const bool reads_twice = f.outer.per != lowp::granularity::none || f.shape.columns == 0;
    const double in = reads_twice ? 2 * bytes : bytes;
    const std::string what =
        std::string(name_of(c)) + " " + name + (axis == -1 ? "" : ", axis 0") +
        (hadamard_size == 0 ? "" : ", turned by " + std::to_string(hadamard_size));
    row("quantize " + what, in + bytes, [&] { cuda::quantize(x, y, c, f, l, o); });
    const double codes = f.element_bits() / 8.0;
    const int scale_bytes = (f.scale.bits() + 7) / 8;
    const double all_scales =
        static_cast<double>(l.blocks()) / static_cast<double>(n) * scale_bytes;
    const cuda::block_memory memory{static_cast<std::uint8_t*>(y), scales,
                                    reinterpret_cast<double*>(scales + (std::size_t{1} << 28) + 8),
                                    lowp::packing::dense};
    row("encode " + what, in + codes + all_scales, [&] { cuda::encode(x, c, memory, f, l, o); });
    if (axis == -1 && hadamard_size == 0)
        row("decode " + what, bytes + codes + all_scales,
            [&] { cuda::decode(memory, z, c, f, l, o); });
}

/// A matrix in blocks along its rows and along its columns, which a Hadamard matrix may have turned.
void both_ways(const void* x, void* y, void* z, void* extra, const char* name,
               std::size_t hadamard_size) {
    constexpr auto c = cuda::carrier::bfloat16;
    const auto f = lowp::parse_block_format(name);
    cuda::both_options o;
    o.by_rows.workspace = extra;
    o.by_columns.hadamard_size = hadamard_size;
    const std::string turned =
        hadamard_size == 0 ? "" : ", columns turned by " + std::to_string(hadamard_size);
    const double reads = f.outer.per == lowp::granularity::none ? 1 : 2;
    row("quantize bfloat16 " + std::string(name) + " both ways" + turned,
        (reads + 2) * cuda::bytes_of(c),
        [&] { cuda::quantize_both(x, y, z, c, f, f, n / 4096, 4096, o); });
}

/// With the scale that past calls left, and the step to the next.
void delayed(const void* x, void* y, void* extra, cuda::carrier c) {
    const std::vector<float> memory(17, 1.0F);  // a history of 16, and a scale
    auto* const there = static_cast<float*>(extra) + 16;
    check(cudaMemcpy(there, memory.data(), memory.size() * sizeof(float), cudaMemcpyHostToDevice));
    cuda::delayed_options o;
    o.workspace = extra;
    const auto f = lowp::parse_block_format("float8_e4m3fn/tensor/float32/amax");
    row(std::string("quantize ") + name_of(c) + " float8_e4m3fn, delayed scale",
        2 * cuda::bytes_of(c), [&] {
            cuda::quantize_delayed(x, y, c, f, n, {there, 16, there + 16}, o);
        });
}

/// Arrays that lie in memory as their transposes, into C order.
void transposed(void* x, void* y, cuda::carrier c) {
    const std::size_t side = std::size_t{1} << 14;
    static_assert(n == std::size_t{1} << 28);
    const std::size_t shape[] = {side, side};
    const std::ptrdiff_t turned[] = {1, static_cast<std::ptrdiff_t>(side)};
    const auto from = cuda::layout::of(shape, turned);
    const auto to = cuda::layout::of(shape);
    const double bytes = cuda::bytes_of(c);
    const auto& f = lowp::float8_e4m3fn;
    const std::string what = std::string(name_of(c)) + " float8_e4m3fn, transposed into C order";
    row("quantize " + what, 2 * bytes, [&] { cuda::quantize({x, c, from}, {y, c, to}, f); });
    row("encode " + what, bytes + 1, [&] { cuda::encode({x, c, from}, {y, 1, to}, f); });
    row("decode " + what, bytes + 1, [&] { cuda::decode({y, 1, from}, {x, c, to}, f); });
}

}  // namespace

int main(int count, char** arguments) {
    using lowp::rounding;
    if (count > 1) wanted = arguments[1];
    void* x = nullptr;
    void* y = nullptr;
    void* z = nullptr;
    check(cudaMalloc(&x, n * 8));
    check(cudaMalloc(&y, n * 8));
    check(cudaMalloc(&z, n * 8));
    const double t =
        seconds([&] { check(cudaMemcpyAsync(x, y, n * 4, cudaMemcpyDeviceToDevice)); });
    copied_bytes_a_second = 8.0 * static_cast<double>(n) / t;
    std::printf("%-58s %8.1f Gv/s %7.2f TB/s\n", "device copy, float32", 1e-9 * n / t,
                1e-12 * copied_bytes_a_second);
    const auto all = cuda::layout::of({n});
    for (const cuda::carrier c : {cuda::carrier::float32, cuda::carrier::bfloat16,
                                  cuda::carrier::float16, cuda::carrier::float64}) {
        fill(x, c);
        cuda::encode({x, c, all}, {y, 1, all}, lowp::float8_e4m3fn);
        row(std::string("decode ") + name_of(c) + " float8_e4m3fn", cuda::bytes_of(c) + 1.0, [&] {
            cuda::decode({y, 1, all}, {z, c, all}, lowp::float8_e4m3fn);
        });
        for (const rounding r :
             {rounding::nearest_ties_to_even, rounding::toward_positive, rounding::stochastic_a})
            conversions(x, y, c, lowp::float8_e4m3fn, {r});
        conversions(x, y, c, lowp::float4_e2m1fn,
                    {rounding::nearest_ties_to_even, lowp::saturation::finite});
        conversions(x, y, c, lowp::float8_e8m0fnu, {});
        if (cuda::bytes_of(c) > 2) conversions(x, y, c, lowp::bfloat16, {});
        if (cuda::bytes_of(c) > 2) conversions(x, y, c, lowp::bfloat16, {rounding::stochastic_a});
    }
    void* extra = nullptr;
    check(cudaMalloc(&extra, std::size_t{3} << 29));
    for (const cuda::carrier c : {cuda::carrier::float32, cuda::carrier::bfloat16}) {
        fill(x, c);
        for (const char* const name :
             {"mxfp4", "mxfp8_e4m3", "mxfp8_e4m3/rceil", "mxfp6_e2m3", "nvfp4",
              "nvfp4/rounding=stochastic_a", "mxfp4/rounding=stochastic_a", "fp8_tensor",
              "deepseek_128x128", "int8_row", "nf4"})
            blocks(x, y, z, extra, c, name);
        blocks(x, y, z, extra, c, "mxfp4", 0);
        for (const char* const name : {"mxfp4", "nvfp4", "nvfp4/rounding=stochastic_a"})
            blocks(x, y, z, extra, c, name, -1, 16);
        delayed(x, y, extra, c);
    }
    both_ways(x, y, z, extra, "mxfp8_e4m3", 0);
    both_ways(x, y, z, extra, "nvfp4", 0);
    for (const char* const name : {"nvfp4", "nvfp4/rounding=stochastic_a"})
        both_ways(x, y, z, extra, name, 16);
    blocks(x, y, z, extra, cuda::carrier::bfloat16, "nvfp4/rounding=stochastic_a", 0);
    blocks(x, y, z, extra, cuda::carrier::bfloat16, "mxfp4/rounding=stochastic_a", 0);
    const std::vector<std::uint8_t> nibbles(n, 5);
    check(cudaMemcpy(x, nibbles.data(), n, cudaMemcpyHostToDevice));
    std::uint32_t* failures = nullptr;
    check(cudaMalloc(reinterpret_cast<void**>(&failures), 4));
    cuda::options o;
    o.failures = failures;
    auto* const codes = static_cast<std::uint8_t*>(x);
    auto* const bytes = static_cast<std::uint8_t*>(y);
    for (const int bits : {4, 6}) {
        const double each = 1 + bits / 8.0;
        row("pack " + std::to_string(bits), each, [&] { cuda::pack(codes, n, bits, bytes, o); });
        row("unpack " + std::to_string(bits), each, [&] { cuda::unpack(bytes, bits, codes, n); });
    }
    for (const cuda::carrier c : {cuda::carrier::float32, cuda::carrier::bfloat16})
        transposed(x, y, c);
    return 0;
}
