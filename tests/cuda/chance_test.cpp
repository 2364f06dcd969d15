// Stochastic rounding where one random bit decides: with the most random bits at which the CPU does not
// step away from zero, and with their neighbours, the device gives the CPU's bits.
#include <cmath>

#include "block_check_device.hpp"
#include "lowp/block_formats.hpp"
#include "lowp/formats.hpp"

namespace lowp::test {
namespace {

using words = std::vector<std::uint32_t>;

/// Numbers of all sizes around a format's, down to far below its smallest.
template <class T>
std::vector<T> around(std::size_t n, int least, int most, dice& d) {
    std::vector<T> x;
    while (x.size() < n) {
        const double m = 1 + std::ldexp(static_cast<double>(d() >> 12), -52);
        x.push_back(static_cast<T>(std::ldexp(d.coin() ? m : -m, d.between(least, most))));
    }
    return x;
}

/// For each element the largest R below 2^bits with which it stays what R = 0 makes of it.
template <class Quantize>
words last_stays(std::size_t n, int bits, const Quantize& quantize) {
    words last(n, 0);
    const auto stays = quantize(last);
    for (int b = bits - 1; b >= 0; --b) {
        words tried = last;
        for (std::uint32_t& r : tried) r |= std::uint32_t{1} << b;
        const auto y = quantize(tried);
        for (std::size_t i = 0; i < n; ++i)
            if (std::memcmp(&y[i], &stays[i], sizeof(y[i])) == 0) last[i] = tried[i];
    }
    return last;
}

/// check(random) for the R that decide and their neighbours, within `bits`.
template <class Check>
void at_decisions(const words& last, int bits, const Check& check) {
    const auto end = std::int64_t{1} << bits;
    for (int away = -2; away <= 3; ++away) {
        words random;
        for (const std::uint32_t r : last)
            random.push_back(static_cast<std::uint32_t>(
                std::clamp<std::int64_t>(std::int64_t{r} + away, 0, end - 1)));
        check(random);
    }
}

template <class T>
std::size_t conversion_differences(const format& f, int bits, dice& d) {
    const projection p{rounding::stochastic_a, saturation::none, bits};
    const auto x = around<T>(4096 + 3, f.emin() - 40, f.emax() + 1, d);
    const device_array<T> from(x);
    const auto all = cuda::layout::of({x.size()});
    const auto on_cpu = [&](const words& random) {
        options o = host_options({}, 0);
        o.random = std::span<const std::uint32_t>(random);
        std::vector<T> y(x.size());
        quantize<T>(std::span<const T>(x), std::span<T>(y), f, p, o);
        return y;
    };
    std::size_t wrong = 0;
    at_decisions(last_stays(x.size(), bits, on_cpu), bits, [&](const words& random) {
        const device_array<std::uint32_t> there(random), failures(words{0});
        cuda::options o;
        o.random = there.data();
        o.failures = failures.data();
        const device_array<T> to(x.size());
        cuda::quantize({from.data(), carrier_of<T>, all}, {to.data(), carrier_of<T>, all}, f, p, o);
        wrong += differences(to.host(), on_cpu(random), "quantize " + text(f, p));
        options h = host_options({}, 0);
        h.random = std::span<const std::uint32_t>(random);
        std::vector<std::uint16_t> codes(x.size());
        encode<T, std::uint16_t>(std::span<const T>(x), std::span(codes), f, p, h);
        const device_array<std::uint16_t> to_codes(x.size());
        cuda::encode({from.data(), carrier_of<T>, all}, {to_codes.data(), 2, all}, f, p, o);
        wrong += differences(to_codes.host(), codes, "encode " + text(f, p));
        wrong += failures.host()[0];
    });
    return wrong;
}

TEST_CASE_TEMPLATE("where a random bit decides, values and codes are the CPU's", T, float, double,
                   f16, bf16) {
    dice d(71);
    std::size_t wrong = 0;
    for (const format& f : registered_formats()) {
        if (!takes<T>(f) || f.bits() > 16) continue;
        for (const int bits : {32, 24, 23, 8, 1}) wrong += conversion_differences<T>(f, bits, d);
    }
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("codes wider than a carrier of 16 bits are the CPU's by chance, too", T, f16,
                   bf16) {
    dice d(79);
    std::size_t wrong = 0;
    for (const char* const text : {"e6m10", "e7m9", "e7m10"}) {
        const auto f = parse_format(text);
        const auto x = around<T>(4096 + 5, -14, 15, d);
        for (const int bits : {32, 8})
            wrong += encode_differences<T, std::uint32_t>(
                x, f, {rounding::stochastic_a, saturation::finite, bits}, {3, 1}, 8);
    }
    CHECK(wrong == 0);
}

template <class T>
std::size_t block_differences(const block_format& f, const std::vector<std::size_t>& shape,
                              int axis, dice& d) {
    const block_layout l = layout_of(f.shape, shape, axis);
    const auto x = around<T>(l.size(), -46, 1, d);
    const device_array<T> from(x);
    const auto options_with = [](const words& random) {
        block_options o = cpu_options({}, 0);
        o.random = std::span<const std::uint32_t>(random);
        return o;
    };
    const auto on_cpu = [&](const words& random) {
        std::vector<T> y(x.size());
        quantize<T>(std::span<const T>(x), std::span<T>(y), f, l, options_with(random));
        return y;
    };
    std::size_t wrong = 0;
    const int bits = f.random_bits;
    at_decisions(last_stays(x.size(), bits, on_cpu), bits, [&](const words& random) {
        const device_array<std::uint32_t> there(random);
        on_device with(carrier_of<T>, f, l, {}, 0);
        with.options.random = there.data();
        const device_array<T> to(x.size());
        cuda::quantize(from.data(), to.data(), carrier_of<T>, f, l, with.options);
        wrong += differences(to.host(), on_cpu(random), "quantize " + name(f));
        std::vector<std::uint8_t> codes(code_size(f, l, packing::loose)), scales(scale_size(f, l));
        const auto outer =
            encode<T>(std::span<const T>(x), lowp::block_memory{codes.data(), scales.data()}, f, l,
                      options_with(random));
        const device_array<std::uint8_t> to_codes(codes.size()), to_scales(scales.size());
        const device_array<double> to_outer(outer.size() + 1);
        cuda::encode(from.data(), carrier_of<T>,
                     {to_codes.data(), to_scales.data(), to_outer.data()}, f, l, with.options);
        wrong += differences(to_codes.host(), codes, "encode " + name(f));
        wrong += with.failures.host()[0];
    });
    return wrong;
}

TEST_CASE_TEMPLATE("where a random bit decides, blocks are the CPU's along rows and columns", T,
                   float, f16, bf16) {
    dice d(73);
    std::size_t wrong = 0;
    for (const char* const text :
         {"nvfp4", "mxfp4", "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "fp8_tensor",
          "e2m5/16/float8_e4m3fn/amax", "e1m6/32/float32/amax"})
        for (const char* const bits : {"", "/random_bits=24", "/random_bits=8"})
            for (const int axis : {1, 0}) {
                const auto f =
                    parse_block_format(std::string(text) + "/rounding=stochastic_a" + bits);
                wrong += block_differences<T>(f, {64, 160}, axis, d);
            }
    CHECK(wrong == 0);
}

}  // namespace
}  // namespace lowp::test
