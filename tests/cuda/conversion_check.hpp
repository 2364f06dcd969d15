// One conversion on the device against the same on the CPU, for the tests of src/cuda.
#pragma once

#include <type_traits>

#include "device.hpp"
#include "lowp/dispatch.hpp"
#include "lowp/halves.hpp"

namespace lowp::test {

using f16 = minifloat<float16>;
using bf16 = minifloat<bfloat16>;

template <class T>
inline constexpr cuda::carrier carrier_of = std::is_same_v<T, float>    ? cuda::carrier::float32
                                            : std::is_same_v<T, double> ? cuda::carrier::float64
                                            : std::is_same_v<T, f16>    ? cuda::carrier::float16
                                                                        : cuda::carrier::bfloat16;

/// Whether arrays of T take results in f.
template <class T>
[[nodiscard]] bool takes(const format& f) {
    if constexpr (std::is_floating_point_v<T>) return f.fits<T>();
    else return T::format.holds(f) && f.fits<float>();
}
template <class T>
[[nodiscard]] bool encodes(const format& f) {
    return f.fits<std::conditional_t<std::is_same_v<T, double>, double, float>>();
}

/// samples in an array of T.
template <class T>
[[nodiscard]] std::vector<T> inputs(std::size_t n, std::uint64_t seed) {
    if constexpr (std::is_floating_point_v<T>) return samples<T>(n, seed);
    dice d(seed);
    std::vector<T> x;
    if constexpr (!std::is_floating_point_v<T>)
        while (x.size() < n) x.push_back(T::from_code(static_cast<std::uint16_t>(d())));
    return x;
}

[[nodiscard]] inline options host_options(const random_source& source, std::uint64_t first) {
    options o = dispatch::options();
    o.source = source;
    o.first_index = first;
    o.threads = 1;
    return o;
}

template <class T>
std::size_t quantize_differences(const std::vector<T>& x, const format& f, const projection& p,
                                 const random_source& source = {}, std::uint64_t first = 0) {
    std::vector<T> wanted(x.size());
    quantize<T>(std::span<const T>(x), std::span<T>(wanted), f, p, host_options(source, first));
    const device_array<T> from(x);
    const device_array<T> to(x.size());
    const auto all = cuda::layout::of({x.size()});
    cuda::options o;
    o.source = source;
    o.first_index = first;
    cuda::quantize({from.data(), carrier_of<T>, all}, {to.data(), carrier_of<T>, all}, f, p, o);
    return differences(to.host(), wanted, "quantize " + text(f, p));
}

template <class T, class Code>
std::size_t encode_differences(const std::vector<T>& x, const format& f, const projection& p,
                               const random_source& source = {}, std::uint64_t first = 0) {
    std::vector<Code> wanted(x.size());
    options h = host_options(source, first);
    if (!f.has_nan()) h.nan_code = f.max_code();
    encode<T, Code>(std::span<const T>(x), std::span<Code>(wanted), f, p, h);
    const device_array<T> from(x);
    const device_array<Code> to(x.size());
    const auto all = cuda::layout::of({x.size()});
    cuda::options o;
    o.source = source;
    o.first_index = first;
    o.nan_code = h.nan_code;
    cuda::encode({from.data(), carrier_of<T>, all}, {to.data(), sizeof(Code), all}, f, p, o);
    return differences(to.host(), wanted, "encode " + text(f, p));
}

template <class T, class Code>
std::size_t decode_differences(const std::vector<Code>& codes, const format& f) {
    std::vector<T> wanted(codes.size());
    decode<T, Code>(std::span<const Code>(codes), std::span<T>(wanted), f, host_options({}, 0));
    const device_array<Code> from(codes);
    const device_array<T> to(codes.size());
    const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
    const auto all = cuda::layout::of({codes.size()});
    cuda::options o;
    o.failures = failures.data();
    cuda::decode({from.data(), sizeof(Code), all}, {to.data(), carrier_of<T>, all}, f, o);
    return differences(to.host(), wanted, "decode " + name(f)) + failures.host()[0];
}

}  // namespace lowp::test
