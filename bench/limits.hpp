// What no conversion can be faster than, measured in the program whose figures are held against it:
// memcpy, and a loop y = a x compiled for the same instruction set.
#pragma once

#include <cstring>
#include <string>

#include "data.hpp"

namespace lowp::bench {

template <class T>
void copy(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<T>& x = normal<T>(n);
    std::vector<T> y(n);
    for (auto _ : state) {
        std::memcpy(y.data(), x.data(), n * sizeof(T));
        benchmark::ClobberMemory();
    }
    count(state, n);
}

#if defined(__x86_64__)
#define LOWP_BENCH_CLONES \
    __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define LOWP_BENCH_CLONES
#endif

LOWP_BENCH_CLONES inline void scale_loop(const float* x, float* y, std::size_t n, float a) {
    for (std::size_t i = 0; i < n; ++i) y[i] = a * x[i];
}
LOWP_BENCH_CLONES inline void scale_loop(const double* x, double* y, std::size_t n, double a) {
    for (std::size_t i = 0; i < n; ++i) y[i] = a * x[i];
}

template <class T>
void scale(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<T>& x = normal<T>(n);
    std::vector<T> y(n);
    for (auto _ : state) {
        scale_loop(x.data(), y.data(), n, T{1.5});
        benchmark::ClobberMemory();
    }
    count(state, n);
}

inline void add(const std::string& name, auto&& function) {
    auto* const b = benchmark::RegisterBenchmark(name.c_str(), function);
    for (const std::int64_t n : sizes) b->Arg(n);
}

template <class T>
void add_limits() {
    const std::string carried = carrier<T>;
    add("memcpy/" + carried, copy<T>);
    add("scale/" + carried, scale<T>);
}

}  // namespace lowp::bench
