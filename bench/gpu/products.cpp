// What lowp::cuda's matrix products reach: multiply-adds a second of 4096 by 4096 by 4096, by accumulator
// and the format that the product is told of its factors.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "lowp/accumulator_names.hpp"
#include "lowp/cuda_product.hpp"
#include "lowp/formats.hpp"
#include "timing.hpp"

namespace {

namespace cuda = lowp::cuda;

constexpr std::size_t side = 4096;

using lowp::bench::check;

/// Median seconds of three calls.
double seconds(const std::function<void()>& work) { return lowp::bench::seconds<3>(work); }

/// Device memory of the benchmark: factors of values from codes, sums, scales of ones.
struct arrays {
    void *random = nullptr, *a = nullptr, *b = nullptr, *out = nullptr, *scales = nullptr;
    std::uint32_t* failures = nullptr;
};

/// Values of E4M3's finite codes, zeros and subnormals among them. In float32 they are rounded to f, which
/// holds them unless it is narrower.
void fill(const arrays& at, const lowp::format& f, cuda::carrier c) {
    std::vector<std::uint8_t> codes(side * side);
    const lowp::random_source source;
    for (std::size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<std::uint8_t>(source(i) % 0x7F | (source(i) >> 24 & 0x80));
    check(cudaMemcpy(at.random, codes.data(), codes.size(), cudaMemcpyHostToDevice));
    const auto all = cuda::layout::of({side, side});
    cuda::options o;
    o.failures = at.failures;
    for (void* const to : {at.a, at.b}) {
        cuda::decode({at.random, 1, all}, {to, c, all}, lowp::float8_e4m3fn, o);
        if (c == cuda::carrier::float32) cuda::quantize({to, c, all}, {to, c, all}, f);
    }
}

enum class second : std::uint8_t { in_c_order, turned };

void row(const arrays& at, const char* name, const lowp::format& f, cuda::carrier c,
         second how_b = second::in_c_order) {
    fill(at, f, c);
    const lowp::accumulator how = lowp::parse_accumulator(name);
    const std::size_t shape[] = {side, side};
    const std::ptrdiff_t turned[] = {1, static_cast<std::ptrdiff_t>(side)};
    const auto all = cuda::layout::of({side, side});
    const auto of_b = how_b == second::turned ? cuda::layout::of(shape, turned) : all;
    cuda::product_options o;
    o.a_format = f;
    o.b_format = f;
    if (how.unit.factors == lowp::factors::block_scaled) {
        const cuda::factor_scales scales{static_cast<const double*>(at.scales), 16, -6};
        o.a_scales = scales;
        o.b_scales = scales;
    }
    const double t = seconds([&] {
        cuda::matmul({at.a, c, all}, {at.b, c, of_b}, {at.out, cuda::carrier::float32, all}, how,
                     o);
    });
    const double terms = static_cast<double>(side) * side * side;
    std::printf("%-34s %-14s %-9s %8.3f T multiply-adds/s\n", name, lowp::name(f).c_str(),
                how_b == second::turned ? "b^T" : "b", 1e-12 * terms / t);
    std::fflush(stdout);
}

}  // namespace

int main() {
    arrays at;
    check(cudaMalloc(&at.random, side * side));
    for (void** const p : {&at.a, &at.b, &at.out}) check(cudaMalloc(p, side * side * 8));
    check(cudaMalloc(&at.scales, side * side / 2));
    check(cudaMalloc(reinterpret_cast<void**>(&at.failures), 4));
    const std::vector<double> ones(side * side / 16, 1.0);
    check(cudaMemcpy(at.scales, ones.data(), ones.size() * 8, cudaMemcpyHostToDevice));
    constexpr auto wide = cuda::carrier::float32;
    for (const second how_b : {second::in_c_order, second::turned}) {
        row(at, "float32", lowp::float32, wide, how_b);
        row(at, "float16", lowp::float8_e4m3fn, wide, how_b);
        row(at, "float16", lowp::float16, wide, how_b);
        row(at, "float16", lowp::float16, cuda::carrier::float16, how_b);
        row(at, "h100_fp8", lowp::float8_e4m3fn, wide, how_b);
        row(at, "b200_nvfp4", lowp::float4_e2m1fn, wide, how_b);
    }
    for (const char* const name :
         {"bfloat16", "float8_e5m2", "float8_e4m3fn", "tensorfloat32",
          "float16/rounding=toward_zero", "bfloat16/rounding=toward_positive", "float16/chunk=128",
          "float16/rounding=stochastic_a", "bfloat16/rounding=stochastic_a",
          "float32/rounding=toward_zero", "float16/separate"})
        row(at, name, lowp::float16, wide);
    row(at, "bfloat16", lowp::float8_e4m3fn, wide);
    row(at, "bfloat16", lowp::bfloat16, cuda::carrier::bfloat16);
    for (const char* const name : {"v100", "a100", "h100", "h100_tf32", "b200", "mi300"})
        row(at, name, name == std::string("h100_tf32") ? lowp::tensorfloat32 : lowp::float16, wide);
    for (const char* const name :
         {"ada_fp8", "h100_fp8_promoted", "h100_fp8_mma", "b200_fp8", "b200_mxf8"})
        row(at, name, lowp::float8_e4m3fn, wide);
    row(at, "b200_mxf4", lowp::float4_e2m1fn, wide);
    return 0;
}
