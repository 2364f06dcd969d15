// Matrix products of 256 by 256 by 256: every kind of accumulator beside Eigen's own product.
#include "limits.hpp"
#include "lowp/accumulator_names.hpp"
#include "lowp/gemm.hpp"

void eigen_product(const float* a, const float* b, float* c, std::size_t n);

namespace {

using namespace lowp::bench;

constexpr std::size_t n = 256;

void count_operations(benchmark::State& state) {
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) *
                            static_cast<std::int64_t>(n * n * n));
}

/// Numbers of the format that the unit multiplies.
std::vector<float> factor(const lowp::format& f) {
    std::vector<float> x = normal<float>(n * n);
    lowp::quantize(std::span<float>(x), f);
    return x;
}

void product(benchmark::State& state, const lowp::accumulator& how, const lowp::format& f) {
    const std::vector<float> a = factor(f);
    const std::vector<float>& b = a;
    std::vector<float> c(n * n);
    lowp::product_options<float> o;
    static_cast<lowp::options&>(o) = one_thread();
    for (auto _ : state) {
        lowp::matmul<float>(lowp::in_c_order(a.data(), n, n), lowp::in_c_order(b.data(), n, n),
                            lowp::in_c_order(c.data(), n, n), how, o);
        benchmark::ClobberMemory();
    }
    count_operations(state);
}

void eigen(benchmark::State& state) {
    const std::vector<float> a = factor(lowp::float32);
    std::vector<float> c(n * n);
    for (auto _ : state) {
        eigen_product(a.data(), a.data(), c.data(), n);
        benchmark::ClobberMemory();
    }
    count_operations(state);
}

const int registered = [] {
    benchmark::RegisterBenchmark("eigen/float32", eigen);
    for (const char* const name :
         {"float32", "float16", "bfloat16", "float8_e5m2", "float16/separate",
          "float16/rounding=toward_zero", "float16/rounding=toward_positive", "float16/chunk=32",
          "float16/pairwise", "float16/rounding=stochastic_a", "exact", "float16/exact"}) {
        const lowp::accumulator how = lowp::parse_accumulator(name);
        benchmark::RegisterBenchmark(
            ("product/" + std::string(name)).c_str(),
            [how](benchmark::State& s) { product(s, how, lowp::float8_e4m3fn); });
    }
    for (const lowp::named_accumulator& unit : lowp::accumulators) {
        const std::string_view first = unit.inputs.substr(0, unit.inputs.find(' '));
        const bool is_block = first.substr(0, 2) == "mx" || first.substr(0, 2) == "nv";
        const lowp::format f = is_block ? lowp::float8_e4m3fn : lowp::parse_format(first);
        const lowp::accumulator how = unit.accumulator;
        benchmark::RegisterBenchmark(("product/" + std::string(unit.name)).c_str(),
                                     [how, f](benchmark::State& s) { product(s, how, f); });
    }
    return 0;
}();

}  // namespace
