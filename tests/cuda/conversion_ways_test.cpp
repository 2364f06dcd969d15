// Conversions that take ways of their own on the device (conversion_ways.cuh), and those just outside,
// against the CPU's kernels: on and off boundaries, whole groups and what is left, nothing written beside.
#include <type_traits>

#include "conversion_check.hpp"

namespace lowp::test {
namespace {

constexpr std::size_t beside = 32;  ///< elements before and after that stay as they are

/// What lies where results of `wanted` begin at `first`: the bytes of device_array around it.
template <class Out>
std::vector<Out> with_beside(const std::vector<Out>& wanted, std::size_t first) {
    std::vector<Out> all(wanted.size() + 2 * beside);
    std::memset(static_cast<void*>(all.data()), 0xA5, all.size() * sizeof(Out));
    std::copy(wanted.begin(), wanted.end(), all.begin() + static_cast<std::ptrdiff_t>(first));
    return all;
}

template <class T>
std::size_t decode_bytes_at(const format& f, std::size_t n, std::size_t first, dice& d) {
    std::vector<std::uint8_t> codes(first + n);
    for (auto& c : codes) c = static_cast<std::uint8_t>(d() & f.code_mask());
    const std::vector<std::uint8_t> used(codes.begin() + static_cast<std::ptrdiff_t>(first),
                                         codes.end());
    std::vector<T> wanted(n);
    decode<T, std::uint8_t>(std::span<const std::uint8_t>(used), std::span<T>(wanted), f,
                            host_options({}, 0));
    const device_array<std::uint8_t> from(codes);
    const device_array<T> to(n + 2 * beside);
    const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
    cuda::options o;
    o.failures = failures.data();
    const auto all = cuda::layout::of({n});
    cuda::decode({from.data() + first, 1, all}, {to.data() + first, carrier_of<T>, all}, f, o);
    return differences(to.host(), with_beside(wanted, first), "decode bytes of " + name(f)) +
           failures.host()[0];
}

TEST_CASE_TEMPLATE("bytes decode to the bits of the CPU on any boundary", T, float, double, f16,
                   bf16) {
    dice d(51);
    std::size_t wrong = 0;
    for (const format& f : registered_formats()) {
        if (f.bits() > 8 || !takes<T>(f)) continue;
        for (const std::size_t n : {1UL, 15UL, 16UL, 33UL, 8191UL})
            for (const std::size_t first : {0UL, 1UL, 8UL, 16UL})
                wrong += decode_bytes_at<T>(f, n, first, d);
    }
    CHECK(wrong == 0);
}

/// Every bfloat16, in an order that puts unlike ones side by side.
std::vector<bf16> every_bfloat16() {
    std::vector<bf16> x;
    for (std::uint32_t i = 0; i < 65536; ++i)
        x.push_back(bf16::from_code(static_cast<std::uint16_t>(i * 40503)));
    return x;
}

std::size_t encode_bytes_at(const std::vector<bf16>& x, const format& f, const projection& p,
                            std::size_t first) {
    options h = host_options({}, 0);
    if (!f.has_nan()) h.nan_code = f.max_code();
    const std::vector<bf16> used(x.begin() + static_cast<std::ptrdiff_t>(first), x.end());
    std::vector<std::uint8_t> wanted(used.size());
    encode<bf16, std::uint8_t>(std::span<const bf16>(used), std::span<std::uint8_t>(wanted), f, p,
                               h);
    const device_array<bf16> from(x);
    const device_array<std::uint8_t> to(used.size() + 2 * beside);
    const auto all = cuda::layout::of({used.size()});
    cuda::options o;
    o.nan_code = h.nan_code;
    cuda::encode({from.data() + first, cuda::carrier::bfloat16, all}, {to.data() + first, 1, all},
                 f, p, o);
    return differences(to.host(), with_beside(wanted, first), "encode bytes " + text(f, p));
}

TEST_CASE("every bfloat16 has the codes of the CPU in every format of a byte, on any boundary") {
    const std::vector<bf16> x = every_bfloat16();
    std::vector<format> formats = registered_formats();
    for (const format& f : random_formats(100 / scale(), 53)) formats.push_back(f);
    std::size_t wrong = 0;
    for (const format& f : formats) {
        if (f.bits() > 8 || !encodes<bf16>(f)) continue;
        for (const saturation s : all_saturations)
            for (const rounding r : {rounding::nearest_ties_to_even, rounding::toward_positive})
                for (const std::size_t first : {0UL, 1UL, 16UL})
                    wrong += encode_bytes_at(x, f, {r, s}, first);
    }
    CHECK(wrong == 0);
}

TEST_CASE("a NaN without a code is told wherever the bfloat16 lies") {
    for (const std::size_t at : {0UL, 31UL, 4096UL, 4098UL}) {
        std::vector<bf16> x(4099, bf16(1.0));
        x[at] = bf16::from_code(0xFFC1);
        const device_array<bf16> from(x);
        const device_array<std::uint8_t> to(x.size());
        const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
        cuda::options o;
        o.failures = failures.data();
        const auto all = cuda::layout::of({x.size()});
        cuda::encode({from.data(), cuda::carrier::bfloat16, all}, {to.data(), 1, all},
                     float4_e2m1fn, {}, o);
        CHECK(failures.host()[0] == cuda::nan_without_code);
    }
}

TEST_CASE("a bit above the format's is told wherever the byte lies, and left out") {
    for (const std::size_t at : {0UL, 63UL, 4096UL, 4098UL}) {
        std::vector<std::uint8_t> codes(4099, 5);
        const device_array<float> to(codes.size());
        const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
        cuda::options o;
        o.failures = failures.data();
        const auto all = cuda::layout::of({codes.size()});
        codes[at] = 0x25;
        const device_array<std::uint8_t> from(codes);
        cuda::decode({from.data(), 1, all}, {to.data(), cuda::carrier::float32, all}, float4_e2m1fn,
                     o);
        CHECK(failures.host()[0] == cuda::code_too_wide);
        CHECK(to.host()[at] == to.host()[1]);
    }
}

/// Arrays of shape {3, rows, columns} that lie in memory as {columns, 3, rows}, read into C order; axes of
/// way -1 from their end, those of way 0 stay at their beginning.
template <class In>
struct turned {
    std::size_t rows, columns;
    std::vector<In> lying;
    std::array<std::ptrdiff_t, 3> ways{1, 1, 1};

    [[nodiscard]] std::array<std::size_t, 3> shape() const { return {3, rows, columns}; }
    [[nodiscard]] std::size_t size() const { return 3 * rows * columns; }
    [[nodiscard]] std::array<std::ptrdiff_t, 3> strides() const {
        const auto run = static_cast<std::ptrdiff_t>(rows);
        return {ways[0] * run, ways[1], ways[2] * 3 * run};
    }
    /// Where the first element lies.
    [[nodiscard]] std::size_t begin() const {
        std::ptrdiff_t at = 0;
        for (std::size_t a = 0; a < 3; ++a)
            if (ways[a] < 0) at -= strides()[a] * static_cast<std::ptrdiff_t>(shape()[a] - 1);
        return static_cast<std::size_t>(at);
    }
    [[nodiscard]] cuda::layout from() const { return cuda::layout::of(shape(), strides()); }
    [[nodiscard]] cuda::layout to() const { return cuda::layout::of({3, rows, columns}); }
    [[nodiscard]] std::vector<In> in_order() const {
        const auto s = strides();
        std::vector<In> x;
        for (std::ptrdiff_t b = 0; b < 3; ++b)
            for (std::ptrdiff_t r = 0; r < static_cast<std::ptrdiff_t>(rows); ++r)
                for (std::ptrdiff_t k = 0; k < static_cast<std::ptrdiff_t>(columns); ++k)
                    x.push_back(
                        lying[begin() + static_cast<std::size_t>(b * s[0] + r * s[1] + k * s[2])]);
        return x;
    }
};

template <class T>
std::size_t turned_differences(std::size_t rows, std::size_t columns, const format& f,
                               const projection& p,
                               const std::array<std::ptrdiff_t, 3>& ways = {1, 1, 1}) {
    const turned<T> x{rows, columns, inputs<T>(3 * rows * columns, 55), ways};
    const auto in_order = x.in_order();
    options h = host_options({7, 9}, 5);
    if (!f.has_nan()) h.nan_code = f.max_code();
    cuda::options o;
    o.source = {7, 9};
    o.first_index = 5;
    o.nan_code = h.nan_code;
    const device_array<T> from(x.lying);
    std::vector<T> values(x.size());
    quantize<T>(std::span<const T>(in_order), std::span<T>(values), f, p, h);
    const device_array<T> to(x.size());
    const cuda::const_values turned_values{from.data() + x.begin(), carrier_of<T>, x.from()};
    cuda::quantize(turned_values, {to.data(), carrier_of<T>, x.to()}, f, p, o);
    std::size_t wrong = differences(to.host(), values, "turned, quantize " + text(f, p));
    std::vector<std::uint8_t> codes(x.size());
    encode<T, std::uint8_t>(std::span<const T>(in_order), std::span<std::uint8_t>(codes), f, p, h);
    const device_array<std::uint8_t> to_codes(x.size());
    cuda::encode(turned_values, {to_codes.data(), 1, x.to()}, f, p, o);
    return wrong + differences(to_codes.host(), codes, "turned, encode " + text(f, p));
}

TEST_CASE_TEMPLATE("arrays whose neighbours turn give the bits of the CPU, random ones too", T,
                   float, double, f16, bf16) {
    std::size_t wrong = 0;
    for (const rounding r :
         {rounding::nearest_ties_to_even, rounding::toward_negative, rounding::stochastic_b})
        for (const format& f : {float8_e4m3fn, float4_e2m1fn})
            for (const auto& [rows, columns] :
                 {std::pair{64UL, 128UL}, {33UL, 65UL}, {130UL, 95UL}, {31UL, 64UL}, {1UL, 70UL}})
                wrong += turned_differences<T>(rows, columns, f, {r});
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("turned arrays may run backwards, or stay", T, float, bf16) {
    std::size_t wrong = 0;
    for (const auto& ways : {std::array<std::ptrdiff_t, 3>{1, -1, 1},
                             {1, 1, -1},
                             {-1, -1, -1},
                             {0, 1, 1},
                             {1, 0, 1},
                             {1, 1, 0},
                             {-1, 1, 0}})
        for (const rounding r : {rounding::nearest_ties_to_even, rounding::stochastic_a})
            wrong += turned_differences<T>(70, 101, float8_e4m3fn, {r}, ways);
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("random bits given to turned arrays are read where elements are", T, float,
                   bf16) {
    constexpr std::size_t rows = 33, columns = 65;
    const turned<T> x{rows, columns, inputs<T>(3 * rows * columns, 61)};
    const auto in_order = x.in_order();
    dice d(61);
    std::vector<std::uint32_t> words(x.size());
    for (std::uint32_t& w : words) w = static_cast<std::uint32_t>(d()) >> 24;
    const projection p{rounding::stochastic_a, saturation::finite, 8};
    options h = host_options({}, 0);
    h.random = std::span<const std::uint32_t>(words);
    std::vector<T> wanted(x.size());
    quantize<T>(std::span<const T>(in_order), std::span<T>(wanted), float8_e4m3fn, p, h);
    const device_array<T> from(x.lying), to(x.size());
    const device_array<std::uint32_t> random(words);  // wide ones lie behind them
    const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
    cuda::options o;
    o.random = random.data();
    o.failures = failures.data();
    cuda::quantize({from.data(), carrier_of<T>, x.from()}, {to.data(), carrier_of<T>, x.to()},
                   float8_e4m3fn, p, o);
    CHECK(differences(to.host(), wanted, "turned, random bits given") == 0);
    CHECK(failures.host()[0] == 0);
}

TEST_CASE_TEMPLATE("codes whose neighbours turn decode to the values of the CPU", T, float, double,
                   f16, bf16) {
    dice d(57);
    turned<std::uint8_t> codes{70, 101, {}};
    while (codes.lying.size() < codes.size()) codes.lying.push_back(static_cast<std::uint8_t>(d()));
    std::vector<T> wanted(codes.size());
    decode<T, std::uint8_t>(std::span<const std::uint8_t>(codes.in_order()), std::span<T>(wanted),
                            float8_e5m2, host_options({}, 0));
    const device_array<std::uint8_t> from(codes.lying);
    const device_array<T> to(codes.size());
    cuda::decode({from.data(), 1, codes.from()}, {to.data(), carrier_of<T>, codes.to()},
                 float8_e5m2);
    CHECK(differences(to.host(), wanted, "turned, decode") == 0);
}

}  // namespace
}  // namespace lowp::test
