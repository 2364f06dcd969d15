// What the tests of src/cuda share: memory of the device, inputs to try, comparison to the bit, and
// a program that says why it does nothing where there is no GPU.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "lowp/cuda.hpp"
#include "support.hpp"

namespace lowp::test {

inline void check_cuda(cudaError_t status) {
    if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

[[nodiscard]] inline bool has_device() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

/// Memory of the device, filled with bytes that no test expects; those after the array must stay.
template <class T>
class device_array {
public:
    explicit device_array(std::size_t n) : size_(n) {
        check_cuda(cudaMalloc(&data_, bytes() + spare));
        check_cuda(cudaMemset(data_, filler, bytes() + spare));
    }
    explicit device_array(const std::vector<T>& host) : device_array(host.size()) {
        check_cuda(cudaMemcpy(data_, host.data(), bytes(), cudaMemcpyHostToDevice));
    }
    ~device_array() { cudaFree(data_); }
    device_array(const device_array&) = delete;
    device_array(device_array&&) = delete;
    device_array& operator=(const device_array&) = delete;
    device_array& operator=(device_array&&) = delete;

    [[nodiscard]] T* data() const { return static_cast<T*>(data_); }
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::vector<T> host() const {
        std::vector<T> v(size_);
        std::array<std::uint8_t, spare> after{};
        check_cuda(cudaMemcpy(v.data(), data_, bytes(), cudaMemcpyDeviceToHost));
        check_cuda(cudaMemcpy(after.data(), static_cast<const std::uint8_t*>(data_) + bytes(),
                              spare, cudaMemcpyDeviceToHost));
        CHECK(std::ranges::count(after, filler) == spare);
        return v;
    }

private:
    static constexpr int spare = 16;
    static constexpr std::uint8_t filler = 0xA5;
    [[nodiscard]] std::size_t bytes() const { return size_ * sizeof(T); }
    void* data_ = nullptr;
    std::size_t size_;
};

/// Positions at which two arrays have different bits; prints the first.
template <class T>
[[nodiscard]] std::size_t differences(const std::vector<T>& got, const std::vector<T>& wanted,
                                      const std::string& what) {
    if (got.size() != wanted.size()) return std::max(got.size(), wanted.size());
    std::size_t count = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        if (std::memcmp(&got[i], &wanted[i], sizeof(T)) == 0) continue;
        if (count++ > 0) continue;
        std::uint64_t a = 0;
        std::uint64_t b = 0;
        std::memcpy(&a, &got[i], sizeof(T));
        std::memcpy(&b, &wanted[i], sizeof(T));
        std::printf("%s: element %zu is %llx on the device, %llx on the CPU\n", what.c_str(), i,
                    static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
    }
    return count;
}

/// Floats of any bits, numbers of common sizes, and the edges.
template <class T>
[[nodiscard]] std::vector<T> samples(std::size_t n, std::uint64_t seed) {
    using limits = std::numeric_limits<T>;
    dice d(seed);
    std::vector<T> x{T{0},
                     -T{0},
                     T{1},
                     -T{1},
                     limits::max(),
                     limits::lowest(),
                     limits::min(),
                     -limits::min(),
                     limits::denorm_min(),
                     T{448},
                     T{464},
                     T{480},
                     T{57344},
                     T{61440},
                     T{65520},
                     limits::infinity(),
                     -limits::infinity(),
                     limits::quiet_NaN(),
                     -limits::quiet_NaN()};
    while (x.size() < n) {
        const auto word = static_cast<word_of<T>>(d());
        const auto integer = static_cast<T>(d.between(-4096, 4096));
        const std::uint64_t kind = d.below(4);
        if (kind == 0) x.push_back(std::bit_cast<T>(word));
        else if (kind == 1) x.push_back(std::ldexp(integer, d.between(-24, 8)));
        else x.push_back(std::ldexp(static_cast<T>(d() >> 11), d.between(-75, -35)) * integer);
    }
    x.resize(n);
    return x;
}

}  // namespace lowp::test
