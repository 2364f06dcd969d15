// The device against the definitions themselves: conversions and block formats of float32 and float64,
// and products, as the tests of the CPU compare its kernels with them. Arrays of 16 bits are compared
// with the CPU's kernels elsewhere.
#include "block_definition.hpp"
#include "definition_check.hpp"
#include "lowp/block_formats.hpp"
#include "lowp/cuda_block.hpp"
#include "product_check.hpp"
#include "product_definition.hpp"

namespace lowp::test {
namespace {

// ---- conversions --------------------------------------------------------------------------------

/// Runs a case on the device, with codes in the smallest integers that hold them.
struct on_the_device {
    template <class T>
    void operator()(const conversion_case<T>& c, tally& t) const {
        const auto all = cuda::layout::of({c.x.size()});
        const device_array<T> x(c.x);
        const device_array<T> values(c.x.size());
        const device_array<std::uint32_t> random(c.random);
        const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
        cuda::options o;
        o.random = c.random.empty() ? nullptr : random.data();
        o.failures = failures.data();
        o.nan_code = c.nan_code;
        const cuda::const_values from{x.data(), carrier_of<T>, all};
        cuda::quantize(from, {values.data(), carrier_of<T>, all}, c.f, c.p, o);
        const auto codes = in_integers_of(c.f, [&]<class Code>(Code) {
            const device_array<Code> to(c.x.size());
            cuda::encode(from, {to.data(), sizeof(Code), all}, c.f, c.p, o);
            const auto got = to.host();
            return std::vector<code_type>(got.begin(), got.end());
        });
        c.compare("the device", values.host(), codes, t);
        CHECK(failures.host()[0] == 0);
    }

    template <class T>
    void operator()(const decoding_case<T>& c, tally& t) const {
        const auto all = cuda::layout::of({c.codes.size()});
        const device_array<T> values(c.codes.size());
        const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
        cuda::options o;
        o.failures = failures.data();
        in_integers_of(c.f, [&]<class Code>(Code) {
            const device_array<Code> from(std::vector<Code>(c.codes.begin(), c.codes.end()));
            cuda::decode({from.data(), sizeof(Code), all}, {values.data(), carrier_of<T>, all}, c.f,
                         o);
        });
        c.compare("the device", values.host(), t);
        CHECK(failures.host()[0] == 0);
    }

private:
    template <class Work>
    static auto in_integers_of(const format& f, const Work& work) {
        if (f.bits() <= 8) return work(std::uint8_t{});
        if (f.bits() <= 16) return work(std::uint16_t{});
        if (f.bits() <= 32) return work(std::uint32_t{});
        return work(std::uint64_t{});
    }
};

TEST_CASE("the device equals the definition for every registered format") {
    compare_with_definition(registered_formats(), 3000, 1, on_the_device{});
}
TEST_CASE("the device equals the definition for every P3109 format of 3 to 8 bits") {
    compare_with_definition(p3109_formats(), 400, 2, on_the_device{});
}
TEST_CASE("the device equals the definition for random descriptors") {
    compare_with_definition(random_formats(60 / scale(), 3), 600, 4, on_the_device{});
}

// ---- block formats ------------------------------------------------------------------------------

/// quantize, and encode and its decode, of one array: elements that differ from the definition's.
template <class T>
[[nodiscard]] std::size_t block_differences(const block_format& f, const block_map& map,
                                            const std::vector<T>& x) {
    const block_layout l = layout_of(f.shape, map.sizes, map.axis);
    const auto wanted = block_definition<T>(f, map, {})(x);
    const device_array<std::uint8_t> workspace(cuda::workspace_size(carrier_of<T>, f, l));
    const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
    cuda::block_options o;
    o.workspace = workspace.data();
    o.failures = failures.data();
    const device_array<T> from(x);
    const device_array<T> quantized(x.size());
    const device_array<T> decoded(x.size());
    const device_array<std::uint8_t> codes(code_size(f, l, packing::loose));
    const device_array<std::uint8_t> scales(scale_size(f, l));
    const device_array<double> outer(wanted.outer.size());
    const cuda::block_memory memory{codes.data(), scales.data(), outer.data(), packing::loose};
    cuda::quantize(from.data(), quantized.data(), carrier_of<T>, f, l, o);
    cuda::encode(from.data(), carrier_of<T>, memory, f, l, o);
    const bool lost = failures.host()[0] == cuda::nan_without_code;
    cuda::decode(memory, decoded.data(), carrier_of<T>, f, l, o);

    const auto values = quantized.host();
    const auto back = decoded.host();
    const auto all_codes = codes.host();
    std::size_t wrong = lost == wanted.lost_nan ? 0 : 1;
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (wanted.is_uncertain[i]) continue;
        if (!is_same(values[i], wanted.values[i])) ++wrong;
        if (wanted.lost_nan) continue;
        if (code_at(all_codes, f.element_bits(), i) != wanted.codes[i]) ++wrong;
        if (!is_same(back[i], wanted.values[i])) ++wrong;
    }
    if (wanted.lost_nan) return wrong;
    const auto all_scales = scales.host();
    for (std::size_t b = 0; b < wanted.scales.size(); ++b)
        if (!wanted.is_uncertain[map.blocks[b].front()] &&
            code_at(all_scales, f.scale.bits(), b) != wanted.scales[b])
            ++wrong;
    if (outer.host() != std::vector<double>(wanted.outer.begin(), wanted.outer.end())) ++wrong;
    return wrong;
}

/// Numbers of about one magnitude in each run of 16; in some arrays what is no number, too.
template <class T>
[[nodiscard]] std::vector<T> numbers(std::size_t n, dice& d) {
    std::vector<T> x(n);
    const bool with_specials = d.below(3) == 0;
    int e = 0;
    for (std::size_t i = 0; i < n; ++i) {
        if (i % 16 == 0) e = d.between(-12, 12);
        x[i] = std::ldexp(static_cast<T>(d.between(-(1 << 20), 1 << 20)),
                          e - 20 - static_cast<int>(d.below(6)));
        if (d.below(24) == 0) x[i] = d.coin() ? T{0} : -T{0};
        if (with_specials && d.below(64) == 0)
            x[i] = d.pick({std::numeric_limits<T>::infinity(), -std::numeric_limits<T>::infinity(),
                           std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::max(),
                           std::numeric_limits<T>::denorm_min()});
    }
    return x;
}

TEST_CASE_TEMPLATE("the device equals the definition for every preset of block formats", T, float,
                   double) {
    struct form {
        std::vector<std::size_t> shape;
        int axis;
    };
    dice d(5);
    for (const named_block_format& preset : block_presets)
        for (const form& at : {form{{24, 128}, -1}, form{{19, 97}, -1}, form{{64, 40}, 0},
                               form{{3, 40, 52}, 1}, form{{130, 200}, -1}}) {
            const block_format f = preset.format;
            try {
                (void)layout_of(f.shape, at.shape, at.axis);
            } catch (const std::invalid_argument&) {
                continue;  // tiles along another axis
            }
            const block_map map(f.shape, at.shape, at.axis);
            INFO(name(f) << ", axis " << at.axis);
            CHECK(block_differences<T>(f, map, numbers<T>(map.size(), d)) == 0);
        }
}

// ---- products -----------------------------------------------------------------------------------

/// Elements of c + a b on the device that are not what `defined` says.
template <class Definition>
[[nodiscard]] std::size_t product_differences(const accumulator& how, const format& f,
                                              const Definition& defined, dice& roll) {
    const std::size_t m = roll.pick<std::size_t>({1, 9, 33});
    const std::size_t n = roll.pick<std::size_t>({1, 17, 40});
    const std::size_t k = roll.pick<std::size_t>({1, 7, 33, 64, 130});
    stack a(1, m, k, false, 0);
    stack b(1, k, n, false, 0);
    stack c(1, m, n, false, 0);
    const bool with_specials = roll.below(4) == 0;
    draw(a, f, with_specials, roll);
    draw(b, f, with_specials, roll);
    draw(c, float8_e5m2, with_specials, roll);
    const device_array<double> x(a.values);
    const device_array<double> y(b.values);
    const device_array<double> z(c.values);
    const device_array<double> out(m * n);
    cuda::product_options o;
    o.a_format = o.b_format = f;
    o.c = {z.data(), cuda::carrier::float64, c.layout()};
    cuda::matmul({x.data(), cuda::carrier::float64, a.layout()},
                 {y.data(), cuda::carrier::float64, b.layout()},
                 {out.data(), cuda::carrier::float64, c.layout()}, how, o);
    const auto got = out.host();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < m; ++i)
        for (std::size_t j = 0; j < n; ++j) {
            const terms row(a.values.begin() + static_cast<std::ptrdiff_t>(i * k),
                            a.values.begin() + static_cast<std::ptrdiff_t>((i + 1) * k));
            terms column;
            for (std::size_t t = 0; t < k; ++t) column.push_back(b.values[t * n + j]);
            if (!is_same(got[i * n + j], defined(row, column, c.values[i * n + j]))) ++wrong;
        }
    return wrong;
}

TEST_CASE("sums on the device round as their definition says, in every mode") {
    dice roll(6);
    for (const format& f : {float16, bfloat16, float8_e4m3fn, float8_e5m2, float32})
        for (const rounding r : all_roundings())
            for (const saturation s : all_saturations)
                for (const products q : {products::exact, products::rounded}) {
                    if (is_stochastic(r)) continue;
                    accumulator how;
                    how.addition = {f, {.rounding = r, .saturation = s}};
                    how.products = q;
                    if (q == products::rounded) how.product = how.addition;
                    INFO(name(how));
                    const sum_definition defined(how);
                    CHECK(product_differences(how, float8_e5m2, defined, roll) == 0);
                }
}

TEST_CASE("chunks, pairwise and Kahan's sums on the device are what they say") {
    dice roll(7);
    for (const char* const text : sums_in_parts)
        for (int trial = 0; trial < 4; ++trial) {
            const accumulator how = parse_accumulator(text);
            INFO(text);
            CHECK(product_differences(how, float8_e5m2, sum_definition(how), roll) == 0);
        }
}

TEST_CASE("aligned sums on the device are those of integers, for every unit that aligns together") {
    dice roll(8);
    for (const named_accumulator& unit : accumulators) {
        if (unit.accumulator.unit.alignment != alignment::together) continue;
        if (unit.accumulator.unit.group != 1) continue;
        for (const cut c : {cut::toward_zero, cut::toward_negative, cut::nearest_ties_to_even})
            for (const format& f : {float16, bfloat16, float8_e4m3fn, float8_e5m2}) {
                accumulator how = unit.accumulator;
                how.unit.cut = c;
                INFO(unit.name << ", " << name(f));
                const aligned_definition defined(how, f.emin(), f.emin());
                CHECK(product_differences(how, f, defined, roll) == 0);
            }
    }
}

}  // namespace
}  // namespace lowp::test
