// What the benchmarks share: sizes, fresh normal data, and the limits that results are held against.
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "lowp/dispatch.hpp"
#include "lowp/formats.hpp"

namespace lowp::bench {

inline const std::vector<std::int64_t> sizes{1 << 10, 1 << 16, 1 << 25};

/// Standard normal values; every benchmark of a size sees the same ones.
template <class T>
const std::vector<T>& normal(std::size_t n) {
    static std::vector<T> data;
    if (data.size() != n) {
        std::mt19937_64 generator(n);
        std::normal_distribution<T> distribution;
        data.resize(n);
        for (T& x : data) x = distribution(generator);
    }
    return data;
}

inline lowp::options one_thread() { return dispatch::options({.threads = 1}); }

/// Values a second, as the rate of the report.
inline void count(benchmark::State& state, std::size_t n) {
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(n));
}

template <class T>
constexpr const char* carrier = sizeof(T) == 4 ? "float32" : "float64";

}  // namespace lowp::bench
