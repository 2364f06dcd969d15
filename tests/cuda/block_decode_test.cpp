// decode of block formats on the device against the CPU's, bit for bit: codes of any bits, which encode
// may never give, closed up and loose, on and off the boundaries that whole groups need.
#include "conversion_check.hpp"
#include "lowp/block.hpp"
#include "lowp/block_formats.hpp"
#include "lowp/cuda_block.hpp"
#include "random_block_format.hpp"

namespace lowp::test {
namespace {

std::vector<std::uint8_t> random_codes(std::size_t n, int bits, dice& d) {
    std::vector<std::uint8_t> codes(n);
    for (auto& c : codes) c = static_cast<std::uint8_t>(d.below(std::uint64_t{1} << bits));
    return codes;
}

struct given_codes {
    std::vector<std::uint8_t> codes, scales;
    std::vector<double> outer;
};

given_codes random_memory(const block_format& f, const block_layout& l, packing how, dice& d) {
    given_codes g;
    g.codes = random_codes(l.size(), f.element_bits(), d);
    g.scales = random_codes(scale_size(f, l), 8, d);
    if (f.outer.per != granularity::none) g.outer = {0.375};
    if (how == packing::loose) return g;
    std::vector<std::uint8_t> closed(code_size(f, l, packing::dense));
    const std::size_t lines = l.count * l.rows;
    const std::size_t bytes = packed_size(l.columns, f.element_bits());
    for (std::size_t line = 0; line < lines; ++line)
        pack(std::span<const std::uint8_t>(g.codes).subspan(line * l.columns, l.columns),
             f.element_bits(), std::span(closed).subspan(line * bytes, bytes));
    g.codes = closed;
    return g;
}

/// first: bytes, or values, by which codes and results are moved off their boundary.
template <class T>
std::size_t decode_differences_of(const block_format& f, const block_layout& l, packing how,
                                  std::size_t first, dice& d) {
    given_codes g = random_memory(f, l, how, d);
    std::vector<T> wanted(l.size());
    block_options h;
    static_cast<options&>(h) = host_options({}, 0);
    decode<T>(lowp::block_memory{g.codes.data(), g.scales.data(), how}, g.outer,
              std::span<T>(wanted), f, l, h);
    std::vector<std::uint8_t> moved(first);
    moved.insert(moved.end(), g.codes.begin(), g.codes.end());
    const device_array<std::uint8_t> codes(moved);
    const device_array<std::uint8_t> scales(g.scales);
    const device_array<double> outer(g.outer);
    const device_array<T> to(first + l.size());
    const device_array<std::uint8_t> workspace(cuda::workspace_size(carrier_of<T>, f, l));
    const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
    cuda::block_options o;
    o.workspace = workspace.data();
    o.failures = failures.data();
    o.outer_given = g.outer.size();
    cuda::decode({codes.data() + first, scales.data(), outer.data(), how}, to.data() + first,
                 carrier_of<T>, f, l, o);
    auto got = to.host();
    got.erase(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(first));
    // The NaN that a product of numbers makes is the processor's own: x86's is negative.
    if constexpr (std::is_floating_point_v<T>)
        for (std::size_t i = 0; i < got.size(); ++i)
            if (std::isnan(got[i]) && std::isnan(wanted[i])) got[i] = wanted[i];
    const std::size_t wrong = differences(got, wanted, "decode " + name(f));
    if (wrong > 0)
        std::printf("  %zu x %zu, %s, moved by %zu\n", l.rows, l.columns,
                    how == packing::dense ? "dense" : "loose", first);
    return wrong + failures.host()[0];
}

template <class T>
bool fits(const block_format& f, const block_layout& l) {
    try {
        if constexpr (std::is_floating_point_v<T>)
            lowp::detail::check_blocks<T>("test", f, l, l.size(), {});
        else lowp::detail::check_half_blocks<T>("test", f, l, l.size(), {});
        return true;
    } catch (const std::invalid_argument&) {
        return false;
    }
}

template <class T>
std::size_t everywhere(const block_format& f, dice& d) {
    std::size_t wrong = 0;
    const std::vector<std::vector<std::size_t>> shapes{{8, 128}, {3, 48}, {5, 33}, {2, 8192}};
    for (const auto& shape : shapes) {
        const block_layout l = layout_of(f.shape, shape);
        if (!fits<T>(f, l)) continue;
        for (const packing how : {packing::loose, packing::dense})
            for (const std::size_t first : {0UL, 8UL, 3UL})
                wrong += decode_differences_of<T>(f, l, how, first, d);
    }
    return wrong;
}

/// Elements of every width that is closed up.
std::vector<block_format> formats_of_all_widths(dice& d) {
    std::vector<block_format> all;
    for (const auto& preset : block_presets)
        if (preset.format.element_bits() <= 8 && preset.format.scale.bits() % 8 == 0)
            all.push_back(preset.format);
    block_format f = parse_block_format("mxfp4");
    for (const char* const element : {"int2", "e1m1f", "uint3", "e2m2f", "int6", "int7", "uint1"}) {
        try {
            f.element = parse_format(element);
            f.validate();
            all.push_back(f);
        } catch (const std::invalid_argument& e) {
            MESSAGE(element << ": " << e.what());
        }
    }
    for (int i = 0; i < 12; ++i) {
        f = parse_block_format("mxfp4");
        f.elements = random_codebook(d);
        all.push_back(f);
    }
    return all;
}

TEST_CASE_TEMPLATE("codes of every width give the values of the CPU, closed up and loose", T, float,
                   double, f16, bf16) {
    dice d(61);
    std::size_t wrong = 0;
    for (const block_format& f : formats_of_all_widths(d)) wrong += everywhere<T>(f, d);
    CHECK(wrong == 0);
}

TEST_CASE("a loose code with bits above its format's is told, from a codebook too") {
    for (const char* const text : {"mxfp4", "mxfp6_e2m3", "nf4"}) {
        const auto f = parse_block_format(text);
        const auto l = layout_of(f.shape, std::vector<std::size_t>{2, 128});
        std::vector<std::uint8_t> codes(l.size(), 1);
        codes[77] = 0x81;
        const device_array<std::uint8_t> from(codes);
        const device_array<std::uint8_t> scales(std::vector<std::uint8_t>(scale_size(f, l), 0));
        const device_array<float> to(l.size());
        const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
        cuda::block_options o;
        o.failures = failures.data();
        cuda::decode({from.data(), scales.data(), nullptr, packing::loose}, to.data(),
                     cuda::carrier::float32, f, l, o);
        CHECK(failures.host()[0] == cuda::code_too_wide);
    }
}

}  // namespace
}  // namespace lowp::test
