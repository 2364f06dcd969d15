// Time on the device, for the benchmarks of this folder.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <vector>

namespace lowp::bench {

inline void check(cudaError_t status) {
    if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

/// Median seconds of so many calls, by events, after a fifth as many, at least one, to warm up.
template <int Repeats>
double seconds(const std::function<void()>& work) {
    constexpr int before = Repeats < 10 ? 1 : Repeats / 5;
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
    check(cudaEventCreate(&begin));
    check(cudaEventCreate(&end));
    std::vector<float> times;
    for (int i = 0; i < Repeats + before; ++i) {
        check(cudaEventRecord(begin));
        work();
        check(cudaEventRecord(end));
        check(cudaEventSynchronize(end));
        float milliseconds = 0;
        check(cudaEventElapsedTime(&milliseconds, begin, end));
        if (i >= before) times.push_back(milliseconds);
    }
    check(cudaEventDestroy(begin));
    check(cudaEventDestroy(end));
    std::nth_element(times.begin(), times.begin() + Repeats / 2, times.end());
    return 1e-3 * static_cast<double>(times[Repeats / 2]);
}

}  // namespace lowp::bench
