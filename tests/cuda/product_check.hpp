// One product on the device against the same on the CPU, for the tests of src/cuda.
#pragma once

#include <algorithm>
#include <optional>

#include "conversion_check.hpp"
#include "lowp/accumulator_names.hpp"
#include "lowp/cuda_product.hpp"
#include "lowp/gemm.hpp"

namespace lowp::test {

/// What a product is of and how its arrays lie.
struct product_case {
    std::size_t m = 1, n = 1, k = 1, batches = 1;
    format a = float16, b = float16;  ///< what the factors are drawn from
    cuda::carrier a_carrier = cuda::carrier::float32, b_carrier = cuda::carrier::float32;
    bool names_formats = true;  ///< whether the device is told them
    bool a_turned = false, b_turned = false, out_turned = false, has_c = true, has_specials = false;
    bool broadcasts_b = false;                          ///< one b for all batches
    std::size_t gap = 0;                                ///< elements between the lines in memory
    std::size_t block = 0;                              ///< of scales; 0: none
    std::optional<double> number = {}, of_scales = {};  ///< all factors, and all scales
    double scale = 1;
    std::optional<rounding_step> out = {};
    random_source source = {};
    std::uint64_t first_index = 0;
};

[[nodiscard]] inline std::vector<std::uint8_t> bytes_in(cuda::carrier c,
                                                        const std::vector<double>& x) {
    std::vector<std::uint8_t> bytes(x.size() * static_cast<std::size_t>(cuda::bytes_of(c)));
    const auto put = [&](std::size_t i, const auto& value) {
        std::memcpy(bytes.data() + i * sizeof(value), &value, sizeof(value));
    };
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (c == cuda::carrier::float64) put(i, x[i]);
        else if (c == cuda::carrier::float32) put(i, static_cast<float>(x[i]));
        else if (c == cuda::carrier::float16) put(i, f16(static_cast<float>(x[i])).code());
        else put(i, bf16(static_cast<float>(x[i])).code());
    }
    return bytes;
}

/// A stack of matrices in memory: [batch][line][place] with a gap behind each line.
struct stack {
    std::vector<double> values;
    std::vector<std::size_t> shape;
    std::vector<std::ptrdiff_t> strides;

    stack(std::size_t batches, std::size_t rows, std::size_t columns, bool turned, std::size_t gap)
        : shape{batches, rows, columns} {
        const auto line = static_cast<std::ptrdiff_t>((turned ? rows : columns) + gap);
        const auto lines = static_cast<std::ptrdiff_t>(turned ? columns : rows);
        strides = {lines * line, turned ? 1 : line, turned ? line : 1};
        values.assign(batches * static_cast<std::size_t>(lines * line), 0);
    }
    [[nodiscard]] std::size_t place(std::size_t x, std::size_t i, std::size_t j) const {
        return x * static_cast<std::size_t>(strides[0]) + i * static_cast<std::size_t>(strides[1]) +
               j * static_cast<std::size_t>(strides[2]);
    }
    template <class T>
    [[nodiscard]] matrix_view<T> view(T* data, std::size_t x) const {
        return {data + x * static_cast<std::size_t>(strides[0]), shape[1], shape[2], strides[1],
                strides[2]};
    }
    [[nodiscard]] cuda::layout layout() const { return cuda::layout::of(shape, strides); }
};

/// Values of codes, so that subnormals and the largest come up as often as others; a tenth zeros.
inline void draw(stack& s, const format& f, bool with_specials, dice& roll) {
    for (double& x : s.values) {
        do x = f.value(roll() & f.code_mask());
        while (!with_specials && !std::isfinite(x));
        if (with_specials && !std::isfinite(x) && roll.below(50) != 0) x = 1;
        if (roll.below(10) == 0) x = 0;
    }
}

/// Results that differ from the CPU's. T: of the result and of all arithmetic.
template <class T>
[[nodiscard]] std::size_t product_differences(const product_case& p, const accumulator& how,
                                              dice& roll) {
    stack a(p.batches, p.m, p.k, p.a_turned, p.gap);
    stack b(p.broadcasts_b ? 1 : p.batches, p.k, p.n, p.b_turned, p.gap);
    stack c(p.batches, p.m, p.n, false, 0);
    stack out(p.batches, p.m, p.n, p.out_turned, p.gap);
    draw(a, p.a, p.has_specials, roll);
    draw(b, p.b, p.has_specials, roll);
    draw(c, how.order == summation::aligned ? how.unit.result.format : how.addition.format,
         p.has_specials, roll);
    const std::size_t blocks = p.block == 0 ? 0 : (p.k + p.block - 1) / p.block;
    std::vector<double> a_scales(p.batches * p.m * blocks);
    std::vector<double> b_scales(p.batches * p.n * blocks);
    for (auto* const v : {&a_scales, &b_scales})
        for (double& s : *v) s = float8_e4m3fn.value(roll.below(0x7F));
    if (p.number)
        for (auto* const v : {&a.values, &b.values}) v->assign(v->size(), *p.number);
    if (p.of_scales)
        for (auto* const v : {&a_scales, &b_scales}) v->assign(v->size(), *p.of_scales);

    const std::vector<T> x(a.values.begin(), a.values.end());
    const std::vector<T> y(b.values.begin(), b.values.end());
    const std::vector<T> z(c.values.begin(), c.values.end());
    std::vector<T> wanted(out.values.size());
    for (std::size_t i = 0; i < p.batches; ++i) {
        product_options<T> o;
        static_cast<options&>(o) =
            host_options(p.source, p.first_index + i * 4 * (p.k + 1) * p.m * p.n);
        o.a_format = p.a;
        o.b_format = p.b;
        o.out = p.out;
        o.scale = static_cast<T>(p.scale);
        if (p.has_c) o.c = c.view(z.data(), i);
        if (blocks > 0) {
            o.a_scales = {std::span(a_scales).subspan(i * p.m * blocks, p.m * blocks), p.block, -6};
            o.b_scales = {std::span(b_scales).subspan(i * p.n * blocks, p.n * blocks), p.block, -6};
        }
        matmul<T>(a.view(x.data(), i), b.view(y.data(), p.broadcasts_b ? 0 : i),
                  out.view(wanted.data(), i), how, o);
    }

    const device_array<std::uint8_t> there_a(bytes_in(p.a_carrier, a.values));
    const device_array<std::uint8_t> there_b(bytes_in(p.b_carrier, b.values));
    const device_array<T> there_c(z);
    const device_array<T> there_out(std::vector<T>(out.values.size(), T{0}));
    const device_array<double> there_a_scales(a_scales);
    const device_array<double> there_b_scales(b_scales);
    cuda::product_options o;
    o.source = p.source;
    o.first_index = p.first_index;
    if (p.names_formats) {
        o.a_format = p.a;
        o.b_format = p.b;
    }
    o.out = p.out;
    o.scale = p.scale;
    if (p.has_c) o.c = {there_c.data(), carrier_of<T>, c.layout()};
    if (blocks > 0) {
        o.a_scales = {there_a_scales.data(), p.block, -6};
        o.b_scales = {there_b_scales.data(), p.block, -6};
    }
    cuda::layout of_b = b.layout();
    if (p.broadcasts_b) {
        of_b.shape[0] = p.batches;
        of_b.strides[0] = 0;
    }
    cuda::matmul({there_a.data(), p.a_carrier, a.layout()}, {there_b.data(), p.b_carrier, of_b},
                 {there_out.data(), carrier_of<T>, out.layout()}, how, o);
    return differences(there_out.host(), wanted,
                       "matmul " + name(how) + " of " + name(p.a) + " and " + name(p.b) + ", " +
                           std::to_string(p.m) + " " + std::to_string(p.n) + " " +
                           std::to_string(p.k));
}

/// A case of any shape and layout, in carriers that hold the formats.
[[nodiscard]] inline product_case random_case(const format& a, const format& b, dice& roll) {
    const auto carrier = [&](const format& f) {
        const std::uint64_t kind = roll.below(3);
        if (kind == 1 && float16.holds(f)) return cuda::carrier::float16;
        if (kind == 2 && bfloat16.holds(f)) return cuda::carrier::bfloat16;
        return cuda::carrier::float32;
    };
    product_case p;
    p.a = a;
    p.b = b;
    p.a_carrier = carrier(a);
    p.b_carrier = carrier(b);
    p.m = roll.pick<std::size_t>({1, 3, 17, 64, 65, 70});
    p.n = roll.pick<std::size_t>({1, 5, 18, 64, 66, 81});
    p.k = roll.pick<std::size_t>({0, 1, 7, 31, 32, 33, 64, 95, 130, 257});
    p.batches = roll.pick<std::size_t>({1, 1, 2, 3});
    p.a_turned = roll.coin();
    p.b_turned = roll.coin();
    p.out_turned = roll.coin();
    p.has_c = roll.coin();
    p.has_specials = roll.below(3) == 0;
    p.broadcasts_b = roll.below(4) == 0;
    p.gap = roll.below(3);
    p.first_index = roll.below(1000);
    p.source = {roll(), roll()};
    return p;
}

}  // namespace lowp::test
