// A matrix in blocks along its rows and along its columns at once, against two calls on the CPU.
#include <array>
#include <cmath>

#include "conversion_check.hpp"
#include "lowp/block_formats.hpp"
#include "lowp/cuda_block.hpp"
#include "lowp/hadamard.hpp"

namespace lowp::test {
namespace {

struct both_case {
    const char* of_rows;
    const char* of_columns;
    std::size_t hadamard;
};
constexpr std::array cases{
    both_case{"mxfp8_e4m3", "mxfp8_e4m3/rceil", 0},
    both_case{"mxfp4", "mxfp6_e3m2", 0},
    both_case{"mxfp4/rounding=stochastic_a", "mxfp4/rounding=stochastic_a", 0},
    both_case{"nvfp4", "nvfp4", 0},
    both_case{"nvfp4", "nvfp4", 16},
    both_case{"nvfp4/rounding=stochastic_a", "nvfp4/rounding=stochastic_a", 16},
    both_case{"float4_e2m1fn/16/float8_e4m3fn/amax", "nvfp4", 16},
};

/// A matrix of values of many sizes, a tenth of it special where `special` says so.
std::vector<bf16> matrix_of(std::size_t n, std::uint64_t seed, std::uint64_t special) {
    dice d(seed);
    std::vector<bf16> x;
    while (x.size() < n) {
        const double value = std::ldexp(d.between(-4096, 4096), d.between(-24, -6));
        x.push_back(special != 0 && d.below(special) == 0
                        ? bf16::from_code(static_cast<std::uint16_t>(d()))
                        : bf16(value));
    }
    return x;
}

std::vector<bf16> quantized(const std::vector<bf16>& x, const block_format& f, std::size_t rows,
                            std::size_t columns, int axis, const random_source& source,
                            std::uint64_t first) {
    std::vector<bf16> y(x.size());
    block_options o;
    o.source = source;
    o.first_index = first;
    o.threads = 1;
    const std::array<std::size_t, 2> shape{rows, columns};
    quantize<bf16>(std::span<const bf16>(x), std::span<bf16>(y), f, layout_of(f.shape, shape, axis),
                   o);
    return y;
}

std::vector<bf16> turned(const std::vector<bf16>& x, std::size_t columns,
                         const random_source& signs) {
    std::vector<float> wide;
    for (const bf16 v : x) wide.push_back(static_cast<float>(v));
    lowp::hadamard_options o;
    o.source = signs;
    o.columns = columns;
    o.threads = 1;
    hadamard<float>(std::span<const float>(wide), std::span(wide), 16, o);
    std::vector<bf16> y;
    for (const float v : wide) y.push_back(static_cast<bf16>(v));
    return y;
}

TEST_CASE("both ways are two calls of the CPU's, NaN and infinity among them") {
    const random_source by_rows{5, 1}, by_columns{5, std::uint64_t{2} << 40}, signs{9, 3};
    const device_array<std::uint64_t> offset(std::vector<std::uint64_t>{6});
    const auto moved = [](random_source s) {
        s.stream += 6;
        return s;
    };
    for (const both_case& c : cases)
        for (const std::size_t columns : {32U, 160U, 768U})
            for (const std::uint64_t special : {0U, 5000U}) {
                constexpr std::size_t rows = 96;
                const std::uint64_t first = special + columns / 32;  // on and off a counter's first
                const auto of_rows = parse_block_format(c.of_rows);
                const auto of_columns = parse_block_format(c.of_columns);
                const auto x = matrix_of(rows * columns, columns, special);
                const device_array<bf16> from(x), a(x.size()), b(x.size());
                const device_array<std::uint8_t> work(cuda::both_workspace_size);
                cuda::both_options o;
                o.by_rows.source = by_rows;
                o.by_columns.source = by_columns;
                o.by_rows.first_index = o.by_columns.first_index = first;
                o.by_rows.stream_offset = o.by_columns.stream_offset = offset.data();
                o.by_rows.workspace = work.data();
                o.by_columns.hadamard_size = c.hadamard;
                if (c.hadamard != 0) o.by_columns.hadamard.source = signs;
                o.by_columns.hadamard.stream_offset = offset.data();
                CAPTURE(c.of_rows);
                CAPTURE(c.hadamard);
                REQUIRE(cuda::has_both(cuda::carrier::bfloat16, of_rows, of_columns, rows, columns,
                                       c.hadamard));
                cuda::quantize_both(from.data(), a.data(), b.data(), cuda::carrier::bfloat16,
                                    of_rows, of_columns, rows, columns, o);
                CHECK(differences(a.host(),
                                  quantized(x, of_rows, rows, columns, 1, moved(by_rows), first),
                                  "rows") == 0);
                const auto y = c.hadamard == 0 ? x : turned(x, columns, moved(signs));
                CHECK(differences(
                          b.host(),
                          quantized(y, of_columns, rows, columns, 0, moved(by_columns), first),
                          "columns") == 0);
            }
}

TEST_CASE("what has no kernel for both ways is refused") {
    const auto nvfp4 = parse_block_format("nvfp4"), mxfp4 = parse_block_format("mxfp4");
    const auto half = cuda::carrier::bfloat16;
    CHECK(cuda::has_both(half, nvfp4, nvfp4, 32, 32, 16));
    CHECK_FALSE(cuda::has_both(half, nvfp4, mxfp4, 32, 32, 0));
    CHECK_FALSE(cuda::has_both(half, mxfp4, mxfp4, 32, 32, 16));
    CHECK_FALSE(cuda::has_both(half, mxfp4, mxfp4, 48, 32, 0));
    CHECK_FALSE(cuda::has_both(half, nvfp4, nvfp4, 32, 40, 0));
    CHECK_FALSE(cuda::has_both(cuda::carrier::float32, nvfp4, nvfp4, 32, 32, 0));
    CHECK_FALSE(
        cuda::has_both(half, nvfp4, parse_block_format("nvfp4/rounding=stochastic_a"), 32, 32, 0));
    const device_array<bf16> x(32 * 32), a(32 * 32), b(32 * 32);
    CHECK_THROWS_AS(cuda::quantize_both(x.data(), a.data(), b.data(), half, nvfp4, mxfp4, 32, 32),
                    std::invalid_argument);
    CHECK_THROWS_AS(cuda::quantize_both(x.data(), a.data(), b.data(), half, nvfp4, nvfp4, 32, 32),
                    std::invalid_argument);
}

}  // namespace
}  // namespace lowp::test
