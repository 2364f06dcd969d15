// Largest magnitudes and errors on the device against plain loops on the CPU, bit for bit.
#include <algorithm>
#include <cmath>
#include <span>

#include "conversion_check.hpp"
#include "lowp/block.hpp"
#include "lowp/cuda_statistics.hpp"
#include "lowp/formats.hpp"

namespace lowp::test {
namespace {

template <class T>
double as_double(T v) {
    return static_cast<double>(v);
}

// ---- largest magnitudes --------------------------------------------------------------------------

template <class T>
std::vector<T> amax_here(const std::vector<T>& x, const block_layout& l) {
    std::vector<double> largest(l.blocks(), 0.0);
    for (std::size_t i = 0; i < x.size(); ++i) {
        const std::size_t row = i / l.columns;
        const std::size_t band = row / l.rows * l.blocks_down() + row % l.rows / l.block_rows;
        double& at = largest[band * l.blocks_across() + i % l.columns / l.block_columns];
        const double v = std::abs(as_double(x[i]));
        if (std::isnan(v)) at = std::numeric_limits<double>::quiet_NaN();
        else if (!(at >= v || std::isnan(at))) at = v;
    }
    std::vector<T> result;
    for (const double v : largest) result.push_back(static_cast<T>(v));
    return result;
}

template <class T>
std::size_t amax_differences(const std::vector<T>& x, const block_layout& l, std::size_t skip) {
    const device_array<T> from([&] {
        std::vector<T> shifted(skip);
        shifted.insert(shifted.end(), x.begin(), x.end());
        return shifted;
    }());
    const device_array<T> to(l.blocks());
    const device_array<std::uint8_t> work(cuda::amax_workspace_size(carrier_of<T>, l) + 1);
    cuda::amax(from.data() + skip, carrier_of<T>, l, to.data(), work.data());
    return differences(to.host(), amax_here(x, l), "amax");
}

template <class T>
std::vector<T> finite_inputs(std::size_t n, std::uint64_t seed) {
    std::vector<T> x = inputs<T>(n, seed);
    for (T& v : x)
        if (!std::isfinite(as_double(v))) v = static_cast<T>(1.5);
    return x;
}

TEST_CASE_TEMPLATE("amax is the largest magnitude of every block of every shape", T, float, double,
                   f16, bf16) {
    struct one {
        block_shape block;
        std::vector<std::size_t> shape;
        int axis;
    };
    const std::vector<one> all{{{0, 0}, {100'003}, -1},      {{1, 0}, {7, 5000}, -1},
                               {{1, 0}, {300, 64}, -1},      {{0, 1}, {1000, 33}, -1},
                               {{0, 1}, {3, 70, 129}, -1},   {{1, 32}, {64, 256}, -1},
                               {{1, 32}, {5, 77}, -1},       {{1, 16}, {4, 100, 24}, 1},
                               {{1, 200}, {900, 24}, 0},     {{16, 16}, {40, 72}, -1},
                               {{128, 128}, {300, 500}, -1}, {{1, 0}, {5000, 9}, 0},
                               {{1, 5}, {5, 40}, -1},        {{0, 0}, {1}, -1},
                               {{1, 32}, {0, 32}, -1}};
    for (const one& o : all) {
        const block_layout l = layout_of(o.block, o.shape, o.axis);
        for (const std::size_t skip : {0U, 1U}) {
            CAPTURE(o.shape.size());
            CAPTURE(l.block_rows);
            CAPTURE(l.block_columns);
            CHECK(amax_differences(finite_inputs<T>(l.size(), 3), l, skip) == 0);
            CHECK(amax_differences(inputs<T>(l.size(), 4), l, skip) == 0);
        }
    }
}

// ---- errors --------------------------------------------------------------------------------------

double pairwise(std::span<const double> a) {
    const std::size_t n = a.size();
    if (n > 128) {
        const std::size_t half = n / 2 - n / 2 % 8;
        return pairwise(a.first(half)) + pairwise(a.subspan(half));
    }
    double sum = 0;
    std::size_t i = 0;
    if (n >= 8) {
        std::array<double, 8> r{};
        std::copy_n(a.begin(), 8, r.begin());
        for (i = 8; i + 8 <= n; i += 8)
            for (std::size_t j = 0; j < 8; ++j) r[j] += a[i + j];
        sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    }
    for (; i < n; ++i) sum += a[i];
    return sum;
}

/// The power of two above all magnitudes.
int exponent_of(const std::vector<double>& v) {
    double largest = 0;
    for (const double one : v) largest = std::max(largest, std::abs(one));
    int e = 0;
    std::frexp(largest, &e);
    return e;
}

double sum_of(const std::vector<double>& a, int ea, const std::vector<double>& b, int eb) {
    std::vector<double> products;
    for (std::size_t i = 0; i < a.size(); ++i)
        products.push_back(std::ldexp(a[i], -ea) * std::ldexp(b[i], -eb));
    return pairwise(products);
}

double in_ulps_here(const format& f, double x, double difference) {
    if (f.exponent_bits == 0) return difference / f.min_subnormal();
    const int binade = std::clamp(x == 0 ? f.emin() : std::ilogb(x), f.emin(), f.emax());
    return std::ldexp(difference, f.precision() - 1 - binade);
}

/// What measure says of one run, by the words of cuda_statistics.hpp.
template <class T>
cuda::error_sums measured(std::span<const T> xs, std::span<const T> qs,
                          const std::optional<format>& f) {
    cuda::error_sums r{};
    std::vector<double> x;
    std::vector<double> q;
    std::vector<double> d;
    r.count = static_cast<std::uint32_t>(xs.size());
    for (std::size_t i = 0; i < xs.size(); ++i) {
        const double a = as_double(xs[i]);
        const double b = as_double(qs[i]);
        if (std::isnan(a)) ++r.nans;
        if (std::isinf(a)) ++r.infinities;
        if (!std::isfinite(a)) continue;
        r.nonzero += a != 0 ? 1U : 0U;
        r.flushed += a != 0 && b == 0 ? 1U : 0U;
        if (f) {
            r.clipped += a < f->lowest() || a > f->max() ? 1U : 0U;
            r.subnormal += b != 0 && std::abs(b) < f->min_normal() ? 1U : 0U;
        }
        const double difference = b - a;
        if (!std::isfinite(difference)) {
            ++r.overflowed;
            continue;
        }
        x.push_back(a);
        q.push_back(b);
        d.push_back(difference);
        const double size = std::abs(difference);
        r.max_absolute = std::max(r.max_absolute, size);
        if (size > 0) r.max_relative = std::max(r.max_relative, size / std::abs(a));
        if (f) r.max_ulp = std::max(r.max_ulp, in_ulps_here(*f, a, size));
    }
    if (r.overflowed > 0) r.max_absolute = r.max_relative = HUGE_VAL;
    if (r.overflowed > 0 && f) r.max_ulp = HUGE_VAL;
    if constexpr (std::is_same_v<T, double>) {
        r.x_exponent = exponent_of(x);
        r.q_exponent = exponent_of(q);
        r.error_exponent = exponent_of(d);
    }
    r.signal = sum_of(x, r.x_exponent, x, r.x_exponent);
    r.noise = sum_of(d, r.error_exponent, d, r.error_exponent);
    r.product = sum_of(x, r.x_exponent, q, r.q_exponent);
    r.result = sum_of(q, r.q_exponent, q, r.q_exponent);
    return r;
}

/// wanted without its exponents, where got has none: exact, as sums are then far from the range's ends.
void unscale(cuda::error_sums& wanted, const cuda::error_sums& got) {
    if (got.x_exponent != 0 || got.q_exponent != 0 || got.error_exponent != 0) return;
    const int x = wanted.x_exponent;
    const int q = wanted.q_exponent;
    wanted.signal = std::ldexp(wanted.signal, 2 * x);
    wanted.noise = std::ldexp(wanted.noise, 2 * wanted.error_exponent);
    wanted.product = std::ldexp(wanted.product, x + q);
    wanted.result = std::ldexp(wanted.result, 2 * q);
    wanted.x_exponent = wanted.q_exponent = wanted.error_exponent = 0;
}

/// Runs in which some field is another; a sum of nothing is 0 or -0.
template <class T>
std::size_t error_differences(const std::vector<T>& x, const std::vector<T>& q,
                              const std::optional<format>& f, std::size_t skip = 0) {
    const device_array<T> from(x);
    const device_array<T> to(q);
    const std::size_t n = x.size() - skip;
    const device_array<cuda::error_sums> sums(cuda::error_runs(n));
    cuda::measure(from.data() + skip, to.data() + skip, carrier_of<T>, n, sums.data(), f);
    std::size_t wrong = 0;
    std::size_t first = skip;
    for (cuda::error_sums got : sums.host()) {
        const std::size_t count = std::min(cuda::error_run, x.size() - first);
        auto wanted =
            measured(std::span(x).subspan(first, count), std::span(q).subspan(first, count), f);
        unscale(wanted, got);
        for (double* sum : {&got.signal, &got.noise, &got.product, &got.result}) *sum += 0.0;
        if (std::memcmp(&got, &wanted, sizeof got) != 0 && wrong++ == 0)
            std::printf(
                "measure, n %zu: signal %a %a noise %a %a product %a %a result %a %a, max "
                "%a %a, %a %a, %a %a, counts %u %u %u %u %u %u, %u %u\n",
                n, got.signal, wanted.signal, got.noise, wanted.noise, got.product, wanted.product,
                got.result, wanted.result, got.max_absolute, wanted.max_absolute, got.max_relative,
                wanted.max_relative, got.max_ulp, wanted.max_ulp, got.overflowed, wanted.overflowed,
                got.flushed, wanted.flushed, got.clipped, wanted.clipped, got.subnormal,
                wanted.subnormal);
        first += count;
    }
    return wrong;
}

template <class T>
std::vector<T> quantized(const std::vector<T>& x, const format& f) {
    std::vector<T> q(x.size());
    quantize<T>(std::span<const T>(x), std::span<T>(q), f);
    return q;
}

TEST_CASE_TEMPLATE("measure adds in NumPy's order for every length", T, float, double, f16, bf16) {
    const std::vector<T> all = finite_inputs<T>(200'000, 11);
    std::vector<T> x(all);
    for (T& v : x) v = static_cast<T>(std::fmod(as_double(v), 300.0));
    const std::vector<T> q = quantized(x, float8_e4m3fn);
    for (const std::size_t n :
         {1U,      7U,      8U,      9U,      100U,    127U,     128U,    129U,
          130U,    137U,    255U,    256U,    264U,    1000U,    2047U,   2049U,
          20'001U, 65'528U, 65'535U, 65'536U, 65'537U, 131'072U, 200'000U}) {
        const std::vector<T> head(x.data(), x.data() + n);
        const std::vector<T> values(q.data(), q.data() + n);
        CAPTURE(n);
        CHECK(error_differences(head, values, float8_e4m3fn) == 0);
        CHECK(error_differences(head, values, std::nullopt) == 0);
        if (n > 1) CHECK(error_differences(head, values, float8_e4m3fn, 1) == 0);
    }
}

TEST_CASE_TEMPLATE("measure leaves out what is not finite and counts it", T, float, double, f16,
                   bf16) {
    for (const format& f : {float8_e4m3fn, float8_e5m2, float4_e2m1fn, parse_format("ue5m3")}) {
        if (!takes<T>(f)) continue;
        for (const std::size_t n : {50U, 1000U, 65'536U, 150'000U}) {
            const std::vector<T> x = inputs<T>(n, 17);  // NaN, infinities, any magnitude
            CAPTURE(n);
            CHECK(error_differences(x, quantized(x, f), f) == 0);
            CHECK(error_differences(x, quantized(x, f), std::nullopt) == 0);
        }
    }
}

TEST_CASE("measure knows formats of one quantum and refuses those wider than the carrier") {
    const format f = parse_format("int8");
    const std::vector<float> x = finite_inputs<float>(5000, 2);
    CHECK(error_differences(x, quantized(x, f), f) == 0);
    CHECK_THROWS_AS(cuda::measure(x.data(), x.data(), cuda::carrier::float32, 1, nullptr, float64),
                    std::invalid_argument);
}

// ---- codes ---------------------------------------------------------------------------------------

TEST_CASE("codes are counted, those of infinite and NaN values left out") {
    dice d(5);
    const std::vector<float> x = inputs<float>(100'001, 5);
    for (const int bits : {1, 4, 8}) {
        std::vector<std::uint8_t> codes;
        std::vector<std::uint64_t> wanted(std::size_t{1} << bits);
        std::vector<std::uint64_t> finite(wanted.size());
        for (const float v : x) {
            codes.push_back(static_cast<std::uint8_t>(d.below(std::uint64_t{1} << bits)));
            ++wanted[codes.back()];
            if (std::isfinite(v)) ++finite[codes.back()];
        }
        const device_array<std::uint8_t> from(codes);
        const device_array<float> values(x);
        const device_array<std::uint64_t> counts(wanted.size());
        cuda::count_codes(from.data(), 1, codes.size(), bits, counts.data());
        CHECK(counts.host() == wanted);
        cuda::count_codes(from.data(), 1, codes.size(), bits, counts.data(), values.data());
        CHECK(counts.host() == finite);
    }
}

TEST_CASE("codes of sixteen bits are counted, too") {
    dice d(6);
    std::vector<std::uint16_t> codes;
    std::vector<std::uint64_t> wanted(std::size_t{1} << 16);
    for (int i = 0; i < 300'000; ++i) {
        codes.push_back(static_cast<std::uint16_t>(d.below(i % 2 == 0 ? 65'536 : 8)));
        ++wanted[codes.back()];
    }
    const device_array<std::uint16_t> from(codes);
    const device_array<std::uint64_t> counts(wanted.size());
    cuda::count_codes(from.data(), 2, codes.size(), 16, counts.data());
    CHECK(counts.host() == wanted);
}

}  // namespace
}  // namespace lowp::test
