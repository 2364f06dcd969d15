// Block formats on the device against the CPU's kernels, bit for bit.
#include "lowp/block.hpp"

#include "block_check_device.hpp"
#include "lowp/block_formats.hpp"
#include "lowp/hadamard.hpp"
#include "random_block_format.hpp"

namespace lowp::test {
namespace {

template <class T>
std::size_t quantize_blocks(const std::vector<T>& x, const block_format& f, const block_layout& l,
                            const random_source& source, std::uint64_t first) {
    std::vector<T> wanted(x.size());
    quantize<T>(std::span<const T>(x), std::span<T>(wanted), f, l, cpu_options(source, first));
    const device_array<T> from(x);
    const device_array<T> to(x.size());
    const on_device there(carrier_of<T>, f, l, source, first);
    cuda::quantize(from.data(), to.data(), carrier_of<T>, f, l, there.options);
    auto got = to.host();
    // The NaN that a product of numbers makes is the processor's own: x86's is negative.
    if constexpr (std::is_floating_point_v<T>)
        for (std::size_t i = 0; i < x.size(); ++i)
            if (!std::isnan(x[i]) && std::isnan(got[i]) && std::isnan(wanted[i]))
                got[i] = wanted[i];
    return differences(got, wanted, "quantize " + name(f));
}

template <class T>
std::size_t encode_blocks(const std::vector<T>& x, const block_format& f, const block_layout& l,
                          packing how, const random_source& source, std::uint64_t first) {
    std::vector<std::uint8_t> codes(code_size(f, l, how));
    std::vector<std::uint8_t> scales(scale_size(f, l));
    std::vector<double> outer;
    bool is_lost = false;
    try {
        outer =
            encode<T>(std::span<const T>(x), lowp::block_memory{codes.data(), scales.data(), how},
                      f, l, cpu_options(source, first));
    } catch (const std::invalid_argument&) {
        is_lost = true;
    }
    const device_array<T> from(x);
    const device_array<std::uint8_t> to(codes.size());
    const device_array<std::uint8_t> to_scales(scales.size());
    const device_array<double> to_outer(outer.size() + 1);
    const on_device there(carrier_of<T>, f, l, source, first);
    const cuda::block_memory memory{to.data(), to_scales.data(), to_outer.data(), how};
    cuda::encode(from.data(), carrier_of<T>, memory, f, l, there.options);
    const std::string what = "encode " + name(f);
    const bool told = there.failures.host()[0] == cuda::nan_without_code;
    if (told != is_lost)
        std::printf("%s: lost NaN told %d, thrown %d\n", what.c_str(), told, is_lost);
    if (is_lost || told) return told == is_lost ? 0 : 1;
    std::size_t wrong = differences(to.host(), codes, what) +
                        differences(to_scales.host(), scales, what + " scales");
    auto got_outer = to_outer.host();
    got_outer.resize(outer.size());
    wrong += differences(got_outer, outer, what + " outer");
    for (const double o : outer)
        if (!(o < std::numeric_limits<double>::infinity())) return wrong;  // decode refuses it
    std::vector<T> wanted(x.size());
    decode<T>(lowp::block_memory{codes.data(), scales.data(), how}, outer, std::span<T>(wanted), f,
              l, cpu_options({}, 0));
    const device_array<T> back(x.size());
    cuda::decode(memory, back.data(), carrier_of<T>, f, l, there.options);
    auto values = back.host();
    if constexpr (std::is_floating_point_v<T>)
        for (std::size_t i = 0; i < x.size(); ++i)  // 0 times infinity: as above
            if (std::isnan(values[i]) && std::isnan(wanted[i])) values[i] = wanted[i];
    wrong += differences(values, wanted, "decode " + name(f));
    return wrong + there.failures.host()[0];
}

/// Values near each other, as in tensors, or of any size; some special.
template <class T>
std::vector<T> block_inputs(std::size_t n, dice& d) {
    using wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
    const std::uint64_t kind = d.below(4);
    std::vector<wide> x(n);
    for (wide& v : x) {
        v = std::ldexp(static_cast<wide>(static_cast<std::int64_t>(d() >> 40) - (1 << 23)),
                       -23 + (kind == 1 ? d.between(-12, 6) : 0));
        if (kind == 2 && d.below(40) == 0)
            v = d.pick({std::numeric_limits<wide>::quiet_NaN(),
                        std::numeric_limits<wide>::infinity(),
                        -std::numeric_limits<wide>::infinity(), wide{0}, -wide{0},
                        std::numeric_limits<wide>::max(), std::numeric_limits<wide>::denorm_min()});
        if (kind == 3 && d.below(3) != 0) v = d.coin() ? wide{0} : -wide{0};
    }
    if constexpr (std::is_floating_point_v<T>) return x;
    else {
        std::vector<T> halves;
        for (const wide v : x) halves.push_back(T(static_cast<double>(v)));
        return halves;
    }
}

template <class T>
bool fits_blocks(const block_format& f, const block_layout& l) {
    try {
        if constexpr (std::is_floating_point_v<T>)
            lowp::detail::check_blocks<T>("test", f, l, l.size(), {});
        else lowp::detail::check_half_blocks<T>("test", f, l, l.size(), {});
        return true;
    } catch (const std::invalid_argument&) {
        return false;
    }
}

struct form {
    std::vector<std::size_t> shape;
    int axis;
};

template <class T>
std::size_t everything(const block_format& f, const form& at, dice& d) {
    block_layout l;
    try {
        l = layout_of(f.shape, at.shape, at.axis);
    } catch (const std::invalid_argument&) {
        return 0;  // tiles along another axis
    }
    if (!fits_blocks<T>(f, l)) return 0;
    const auto x = block_inputs<T>(l.size(), d);
    const random_source source{d(), d()};
    const std::uint64_t first = d.coin() ? 0 : d.below(1000);
    std::size_t wrong = quantize_blocks(x, f, l, source, first);
    wrong += encode_blocks(x, f, l, packing::loose, source, first);
    if (f.element_bits() <= 8) wrong += encode_blocks(x, f, l, packing::dense, source, first);
    if (wrong > 0) {
        std::printf("  shape");
        for (const std::size_t n : at.shape) std::printf(" %zu", n);
        std::printf(", axis %d\n", at.axis);
    }
    return wrong;
}

const std::vector<form> forms{{{64, 128}, -1},  {{33, 97}, -1},  {{64, 96}, 0},   {{3, 40, 52}, 1},
                              {{5}, -1},        {{2, 5000}, -1}, {{0, 32}, -1},   {{6000, 3}, 0},
                              {{17, 4096}, -1}, {{3, 160}, -1},  {{150, 144}, -1}};

TEST_CASE_TEMPLATE("every preset gives the bits of the CPU in every layout", T, float, double, f16,
                   bf16) {
    dice d(31);
    std::size_t wrong = 0;
    for (const auto& preset : block_presets)
        for (const form& at : forms) wrong += everything<T>(preset.format, at, d);
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("block formats of any fields give the bits of the CPU", T, float, double, f16,
                   bf16) {
    dice d(37);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < 150 / scale(); ++i) {
        const block_format f = random_block_format(d);
        wrong += everything<T>(f, forms[d.below(forms.size())], d);
    }
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("searched scales and statistics that are sums give the bits of the CPU", T,
                   float, double, f16, bf16) {
    dice d(41);
    std::size_t wrong = 0;
    for (const char* const text :
         {"mxfp4/mse", "nvfp4/mse", "mxfp4/shrink", "nvfp4/four_six", "mxfp8_e4m3/mean_abs",
          "mxfp4/std", "int4_group32/mse", "int8_row/shrink", "nf4/shrink", "deepseek_128x128/mse",
          "fp8_tensor/mean_abs", "mxfp4/exponents=logarithm",
          "mxfp8_e4m3/rceil/exponents=logarithm"}) {
        block_format f;
        try {
            f = parse_block_format(text);
        } catch (const std::invalid_argument& e) {
            MESSAGE(text << ": " << e.what());
            continue;
        }
        for (const form& at : {form{{9, 97}, -1}, form{{64, 20}, 0}, form{{5000}, -1}})
            wrong += everything<T>(f, at, d);
    }
    CHECK(wrong == 0);
}

/// quantize and encode with scales and random bits that the caller gives.
template <class T>
std::size_t given_differences(const block_format& f, const form& at, dice& d) {
    const block_layout l = layout_of(f.shape, at.shape, at.axis);
    if (!fits_blocks<T>(f, l)) return 0;
    const auto x = block_inputs<T>(l.size(), d);
    std::vector<double> ideals(l.blocks());
    for (double& s : ideals)
        s = d.below(9) == 0
                ? 0
                : std::ldexp(1.0 + static_cast<double>(d.below(64)) / 64.0, d.between(-4, 3));
    std::vector<std::uint32_t> words(l.size());
    for (std::uint32_t& w : words) w = static_cast<std::uint32_t>(d()) >> (32 - f.random_bits);
    block_options o = cpu_options({}, 0);
    o.given.ideals = std::span<const double>(ideals);
    if (is_stochastic(f.rounding)) o.random = std::span<const std::uint32_t>(words);
    std::vector<T> wanted(x.size());
    quantize<T>(std::span<const T>(x), std::span<T>(wanted), f, l, o);
    const device_array<T> from(x);
    const device_array<T> to(x.size());
    const device_array<double> scales(ideals);
    const device_array<std::uint32_t> random(words);
    on_device there(carrier_of<T>, f, l, {}, 7);
    there.options.ideals = scales.data();
    there.options.random = random.data();
    cuda::quantize(from.data(), to.data(), carrier_of<T>, f, l, there.options);
    std::size_t wrong = differences(to.host(), wanted, "given, quantize " + name(f));
    wrong += there.failures.host()[0];
    std::vector<std::uint8_t> codes(code_size(f, l, packing::loose));
    std::vector<std::uint8_t> codes_of_scales(scale_size(f, l));
    try {
        encode<T>(std::span<const T>(x), lowp::block_memory{codes.data(), codes_of_scales.data()},
                  f, l, o);
    } catch (const std::invalid_argument&) {
        return wrong;
    }
    const device_array<std::uint8_t> to_codes(codes.size());
    const device_array<std::uint8_t> to_scales(codes_of_scales.size());
    const device_array<double> outer(l.lines() + 1);
    cuda::encode(from.data(), carrier_of<T>, {to_codes.data(), to_scales.data(), outer.data()}, f,
                 l, there.options);
    wrong += differences(to_codes.host(), codes, "given, encode " + name(f));
    return wrong + differences(to_scales.host(), codes_of_scales, "given scales of " + name(f));
}

TEST_CASE_TEMPLATE("given scales and random bits give the bits of the CPU", T, float, double,
                   bf16) {
    dice d(43);
    std::size_t wrong = 0;
    for (const char* const text :
         {"mxfp4", "mxfp4/rounding=stochastic_a", "nvfp4",
          "nvfp4/rounding=stochastic_b/random_bits=8",
          "mxfp8_e4m3/rounding=stochastic_c/random_bits=23", "int8_row/rounding=stochastic_a",
          "nf4/rounding=stochastic_a", "mxfp4/mse"})
        for (const form& at : {form{{64, 128}, -1}, form{{33, 97}, -1}, form{{64, 96}, 0}})
            wrong += given_differences<T>(parse_block_format(text), at, d);
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("random bits given down columns are read where elements are, and nowhere else",
                   T, float, bf16) {
    dice d(59);
    for (const char* const text :
         {"nvfp4/rounding=stochastic_a/random_bits=8", "mxfp4/rounding=stochastic_a/random_bits=8"})
        for (const form& at : {form{{17, 36}, 0}, form{{2, 35, 36}, 1}, form{{33, 4}, 0}}) {
            const auto f = parse_block_format(text);
            const block_layout l = layout_of(f.shape, at.shape, at.axis);
            const auto x = block_inputs<T>(l.size(), d);
            std::vector<std::uint32_t> words(l.size());
            for (std::uint32_t& w : words) w = static_cast<std::uint32_t>(d()) >> 24;
            block_options o = cpu_options({}, 0);
            o.random = std::span<const std::uint32_t>(words);
            std::vector<T> wanted(x.size());
            quantize<T>(std::span<const T>(x), std::span<T>(wanted), f, l, o);
            const device_array<T> from(x), to(x.size());
            const device_array<std::uint32_t> random(words);  // wide ones lie behind them
            on_device there(carrier_of<T>, f, l, {}, 0);
            there.options.random = random.data();
            cuda::quantize(from.data(), to.data(), carrier_of<T>, f, l, there.options);
            CHECK(differences(to.host(), wanted, "given down columns, " + name(f)) == 0);
            CHECK(there.failures.host()[0] == 0);
        }
}

/// A transform, rounded to T, and then blocks, on the CPU.
template <class T>
std::vector<T> turned(const std::vector<T>& x, std::size_t size, std::size_t columns,
                      const hadamard_options& with) {
    using wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
    std::vector<wide> values;
    for (const T v : x) values.push_back(static_cast<wide>(v));
    hadamard_options o = with;
    o.columns = columns;
    o.threads = 1;
    hadamard<wide>(std::span<const wide>(values), std::span<wide>(values), size, o);
    if constexpr (std::is_floating_point_v<T>) return values;
    else {
        std::vector<T> narrow;
        for (const wide v : values) narrow.push_back(T(static_cast<double>(v)));
        return narrow;
    }
}

template <class T>
std::size_t turned_differences(const block_format& f, const form& at, std::size_t size, dice& d) {
    const block_layout l = layout_of(f.shape, at.shape, at.axis);
    if (!fits_blocks<T>(f, l)) return 0;
    std::vector<T> x;
    while (x.size() < l.size())
        x.push_back(T(std::ldexp(static_cast<double>(d.between(-127, 127)), d.between(-9, -6))));
    const bool has_signs = d.coin();
    hadamard_options signs;
    if (has_signs) signs.source = random_source{d(), d()};
    const auto y = turned(x, size, l.is_upright ? l.columns : 1, signs);
    const random_source source{d(), d()};
    std::vector<T> wanted(x.size());
    quantize<T>(std::span<const T>(y), std::span<T>(wanted), f, l, cpu_options(source, 0));
    const device_array<T> from(x);
    const device_array<T> to(x.size());
    on_device there(carrier_of<T>, f, l, source, 0);
    const device_array<std::uint8_t> workspace(
        std::max(cuda::workspace_size(carrier_of<T>, f, l, packing::dense, size),
                 cuda::workspace_size(carrier_of<T>, f, l, packing::loose, size)));
    there.options.workspace = workspace.data();
    there.options.hadamard_size = size;
    there.options.hadamard.source = signs.source;
    cuda::quantize(from.data(), to.data(), carrier_of<T>, f, l, there.options);
    std::size_t wrong = differences(to.host(), wanted, "turned, quantize " + name(f));
    const packing how = f.element_bits() <= 8 ? packing::dense : packing::loose;
    std::vector<std::uint8_t> codes(code_size(f, l, how));
    std::vector<std::uint8_t> scales(scale_size(f, l));
    encode<T>(std::span<const T>(y), lowp::block_memory{codes.data(), scales.data(), how}, f, l,
              cpu_options(source, 0));
    const device_array<std::uint8_t> to_codes(codes.size());
    const device_array<std::uint8_t> to_scales(scales.size());
    const device_array<double> to_outer(l.lines() + 1);
    cuda::encode(from.data(), carrier_of<T>,
                 {to_codes.data(), to_scales.data(), to_outer.data(), how}, f, l, there.options);
    wrong += differences(to_codes.host(), codes, "turned, encode " + name(f));
    wrong += differences(to_scales.host(), scales, "turned, scales " + name(f));
    if (wrong > 0)
        std::printf("  size %zu, axis %d, signs %d, %zu values\n", size, at.axis, has_signs,
                    x.size());
    return wrong;
}

TEST_CASE_TEMPLATE("a transform on the way gives the bits of a transform before", T, float, double,
                   f16, bf16) {
    dice d(47);
    std::size_t wrong = 0;
    for (const char* const text :
         {"mxfp4", "mxfp8_e4m3", "nvfp4", "nvfp4/rounding=stochastic_a",
          "mxfp4/rounding=stochastic_a", "nvfp4/outer=row", "mxfp4/mse", "int8_row"})
        for (const std::size_t size : {2U, 16U, 32U, 256U})
            for (const form& at : {form{{3, 512}, -1}, form{{512, 36}, 0}, form{{2, 256, 8}, 1}})
                wrong += turned_differences<T>(parse_block_format(text), at, size, d);
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("tiles of several thread blocks give the bits of the CPU", T, float, bf16) {
    dice d(53);
    std::size_t wrong = 0;
    for (const char* const text : {"deepseek_128x128/200x150", "mxfp8_e4m3/130x129", "fp8_tensor"})
        for (const form& at : {form{{400, 300}, -1}, form{{2, 261, 301}, -1}})
            wrong += everything<T>(parse_block_format(text), at, d);
    CHECK(wrong == 0);
}

TEST_CASE("bits above the codes of a codebook are left out and told") {
    const auto nf4 = parse_block_format("nf4");
    const auto l = layout_of(nf4.shape, std::vector<std::size_t>{64});
    std::vector<std::uint8_t> codes(64);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i % 16);
    std::vector<std::uint8_t> scales(scale_size(nf4, l), 0x40);
    std::vector<float> wanted(64);
    decode<float>(lowp::block_memory{codes.data(), scales.data()}, {}, std::span<float>(wanted),
                  nf4, l);
    codes[5] |= 0x10;
    const device_array<std::uint8_t> from(codes);
    const device_array<std::uint8_t> from_scales(scales);
    const device_array<float> to(std::size_t{64});
    const on_device there(cuda::carrier::float32, nf4, l, {}, 0);
    cuda::decode({from.data(), from_scales.data()}, to.data(), cuda::carrier::float32, nf4, l,
                 there.options);
    CHECK(differences(to.host(), wanted, "a code with a bit above") == 0);
    CHECK(there.failures.host()[0] == cuda::code_too_wide);
}

TEST_CASE("transforms that kernels do not make on their way are refused") {
    const device_array<float> x(std::size_t{512});
    const device_array<std::uint8_t> codes(std::size_t{512}), scales(std::size_t{512});
    const device_array<std::int8_t> signs(std::size_t{32});
    const auto f = parse_block_format("mxfp8_e4m3");
    const auto l = layout_of(f.shape, std::vector<std::size_t>{512});
    cuda::block_options o;
    o.hadamard_size = 32;
    const auto quantize_now = [&] {
        cuda::quantize(x.data(), x.data(), cuda::carrier::float32, f, l, o);
    };
    o.hadamard.is_inverse = true;
    CHECK_THROWS_AS(quantize_now(), std::invalid_argument);
    o.hadamard = {.source = random_source{1, 2}, .signs = signs.data()};
    CHECK_THROWS_AS(quantize_now(), std::invalid_argument);
    o.hadamard = {};
    o.failures = reinterpret_cast<std::uint32_t*>(x.data());
    CHECK_THROWS_AS(
        cuda::encode(x.data(), cuda::carrier::float32, {codes.data() + 4, scales.data()}, f, l, o),
        std::invalid_argument);  // codes on no boundary of 16 bytes
    CHECK_THROWS_AS(
        cuda::decode({codes.data(), scales.data()}, x.data(), cuda::carrier::float32, f, l, o),
        std::invalid_argument);
}

TEST_CASE("what cannot be told is refused") {
    const device_array<float> x(std::size_t{64});
    auto chance = parse_block_format("mxfp4/rounding=stochastic_a");
    chance.random_bits = 8;
    cuda::block_options o;
    o.random = reinterpret_cast<const std::uint32_t*>(x.data());
    CHECK_THROWS_AS(cuda::quantize(x.data(), x.data(), cuda::carrier::float32, chance,
                                   layout_of(chance.shape, std::vector<std::size_t>{64}), o),
                    std::invalid_argument);  // no word for random bits above the eight
    const auto nvfp4 = parse_block_format("nvfp4");
    CHECK_THROWS_AS(cuda::quantize(x.data(), x.data(), cuda::carrier::float32, nvfp4,
                                   layout_of(nvfp4.shape, std::vector<std::size_t>{64})),
                    std::invalid_argument);  // no workspace
}

}  // namespace
}  // namespace lowp::test
