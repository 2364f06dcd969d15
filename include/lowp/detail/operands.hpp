// What a matrix product reads: views of any strides, what their numbers have in common, and their values
// packed as the loops want them.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "lowp/codec.hpp"
#include "lowp/detail/product_loops.hpp"

namespace lowp {

/// rows by columns values anywhere in memory; strides in elements, negative ones included.
template <class T>
struct matrix_view {
    T* data = nullptr;
    std::size_t rows = 0, columns = 0;
    std::ptrdiff_t row_stride = 0, column_stride = 1;

    [[nodiscard]] T& operator()(std::size_t i, std::size_t j) const {
        return data[static_cast<std::ptrdiff_t>(i) * row_stride +
                    static_cast<std::ptrdiff_t>(j) * column_stride];
    }
    [[nodiscard]] matrix_view transposed() const {
        return {data, columns, rows, column_stride, row_stride};
    }
};

/// rows by columns values in C order.
template <class T>
[[nodiscard]] matrix_view<T> in_c_order(T* data, std::size_t rows, std::size_t columns) {
    return {data, rows, columns, static_cast<std::ptrdiff_t>(columns), 1};
}

/// Scales of blocks along k of a factor: [line][block], lines being rows of a or columns of b.
struct factor_scales {
    std::span<const double> values;
    std::size_t block = 0;  ///< elements of a block
    int emin = -127;        ///< exponent that a subnormal scale counts with
};

namespace detail {

/// What the finite numbers of an array have in common: they are multiples of 2^lowest below 2^(top + 1)
/// with at most `bits` significant bits. All zeros: lowest > top.
struct number_range {
    int lowest = std::numeric_limits<int>::max() / 4, top = std::numeric_limits<int>::min() / 4;
    int bits = 0;

    [[nodiscard]] bool is_empty() const { return lowest > top; }
    template <class T>
    void add(T x) {
        using layout = carrier<T>;
        using word = typename layout::word;
        constexpr word hidden = word{1} << layout::mantissa;
        const word size = std::bit_cast<word>(x) & (~word{0} >> 1);
        const auto field = static_cast<int>(size >> layout::mantissa);
        if (size == 0 || field == 2 * layout::bias + 1) return;
        const int e = std::max(field, 1) - layout::bias;
        const int zeros = std::countr_zero((size & (hidden - 1)) | hidden);
        lowest = std::min(lowest, e - layout::mantissa + zeros);
        top = std::max(top, e);
        bits = std::max(bits, layout::mantissa + 1 - zeros);
    }
};

/// Range of a format's values.
[[nodiscard]] inline number_range range_of(const format& f) {
    return {f.min_quantum_exponent(), std::max(f.emax(), f.emin()), f.precision()};
}

template <class T>
[[nodiscard]] number_range range_of(const matrix_view<const T>& m) {
    number_range r;
    for (std::size_t i = 0; i < m.rows; ++i)
        for (std::size_t j = 0; j < m.columns; ++j) r.add(m(i, j));
    return r;
}

/// Factor lines (rows of a, columns of b) in groups of `width`: [group][k][width], zeros behind the last.
template <class To, class T>
[[nodiscard]] std::vector<To> packed(const matrix_view<const T>& lines, std::size_t width) {
    const std::size_t groups = (lines.rows + width - 1) / width;
    std::vector<To> out(groups * lines.columns * width);
    for (std::size_t g = 0; g < groups; ++g) {
        const std::size_t first = g * width;
        const std::size_t count = std::min(width, lines.rows - first);
        To* to = out.data() + first * lines.columns;
        for (std::size_t k = 0; k < lines.columns; ++k, to += width) {
            const T* const from = &lines(first, k);
            if (lines.row_stride == 1)
                for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<To>(from[i]);
            else
                for (std::size_t i = 0; i < count; ++i)
                    to[i] =
                        static_cast<To>(from[static_cast<std::ptrdiff_t>(i) * lines.row_stride]);
        }
    }
    return out;
}

/// 2^e of x, e at least emin; 0 of zero, 1 of infinity and NaN, which need none.
[[nodiscard]] inline double power_of(double x, int emin) {
    if (x == 0) return 0;
    if (!std::isfinite(x)) return 1;
    int exponent = 0;
    std::frexp(x, &exponent);
    return format::power_of_two(std::max(exponent - 1, emin));
}

/// A factor as aligned sums want it: values, the powers of two they count with, and scales.
struct aligned_factor {
    std::vector<double> values, powers, scales;
};

/// order[k']: which k comes at place k'. Scales of groups stand apart, one a group of `group` terms;
/// otherwise they are multiplied in.
template <class T>
[[nodiscard]] aligned_factor packed_for_alignment(const matrix_view<const T>& lines,
                                                  std::size_t width, int emin,
                                                  const std::optional<factor_scales>& scales,
                                                  std::size_t group,
                                                  const std::vector<std::size_t>& order) {
    const std::size_t k = order.size();
    const std::size_t line_groups = (lines.rows + width - 1) / width;
    const std::size_t parts = group > 1 ? (k + group - 1) / group : k;
    aligned_factor f;
    f.values.resize(line_groups * k * width);
    f.powers.resize(line_groups * parts * width);
    f.scales.resize(group > 1 ? f.powers.size() : 0);
    const std::size_t blocks = scales ? (lines.columns + scales->block - 1) / scales->block : 0;
    const auto scale = [&](std::size_t line, std::size_t at) {
        return scales ? scales->values[line * blocks + at / scales->block] : 1.0;
    };
    const int scale_emin = scales ? scales->emin : 0;
    for (std::size_t i = 0; i < lines.rows; ++i) {
        const std::size_t lane = i % width;
        double* const values = f.values.data() + i / width * k * width + lane;
        double* const powers = f.powers.data() + i / width * parts * width + lane;
        for (std::size_t t = 0; t < k; ++t) {
            if (order[t] >= lines.columns) continue;
            const auto x = static_cast<double>(lines(i, order[t]));
            const double s = scale(i, order[t]);
            values[t * width] = group > 1 ? x : x * s;
            if (group == 1) powers[t * width] = power_of(x, emin) * power_of(s, scale_emin);
        }
        if (group == 1) continue;
        double* const own = f.scales.data() + i / width * parts * width + lane;
        for (std::size_t g = 0; g < parts; ++g) {
            own[g * width] = scale(i, g * group);
            powers[g * width] = power_of(own[g * width], scale_emin);
        }
    }
    return f;
}

}  // namespace detail
}  // namespace lowp
