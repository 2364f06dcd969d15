// quantize, encode and decode on the device against the CPU's kernels, bit for bit.
#include "conversion_check.hpp"

namespace lowp::test {
namespace {

template <class T>
std::size_t all_verbs(const std::vector<T>& x, const format& f, const projection& p,
                      const random_source& source, std::uint64_t first) {
    std::size_t wrong = 0;
    if (takes<T>(f)) wrong += quantize_differences(x, f, p, source, first);
    if (!encodes<T>(f)) return wrong;
    if (f.bits() <= 8) return wrong + encode_differences<T, std::uint8_t>(x, f, p, source, first);
    if (f.bits() <= 16) return wrong + encode_differences<T, std::uint16_t>(x, f, p, source, first);
    if (f.bits() <= 32) return wrong + encode_differences<T, std::uint32_t>(x, f, p, source, first);
    return wrong + encode_differences<T, std::uint64_t>(x, f, p, source, first);
}

template <class T>
std::size_t over(const std::vector<format>& formats, std::size_t n, dice& d) {
    const std::vector<T> x = inputs<T>(n, 7);
    std::size_t wrong = 0;
    for (const format& f : formats)
        for (const rounding r : all_roundings())
            for (const saturation s : all_saturations) {
                const projection p{r, s, d.pick({32, 1, 5, 16, 31})};
                wrong +=
                    all_verbs(x, f, p, {d(), d()}, d.pick<std::uint64_t>({0, 4, 3, 1ULL << 40}));
            }
    return wrong;
}

TEST_CASE_TEMPLATE("every registered format in every mode gives the bits of the CPU", T, float,
                   double, f16, bf16) {
    dice d(1);
    CHECK(over<T>(registered_formats(), 4099 / scale(), d) == 0);
}

TEST_CASE_TEMPLATE("random descriptors in every mode give the bits of the CPU", T, float, double) {
    dice d(2);
    CHECK(over<T>(random_formats(400 / scale(), 3), 1031, d) == 0);
}

template <class T, class Code>
std::size_t decode_all(const format& f) {
    if (f.bits() > static_cast<int>(8 * sizeof(Code)) || !takes<T>(f)) return 0;
    dice d(4);
    std::vector<Code> codes(4099);
    for (std::size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<Code>((i < 4000 ? i : d()) & f.code_mask());
    return decode_differences<T, Code>(codes, f);
}

TEST_CASE_TEMPLATE("decode gives the bits of the CPU from integers of any width", T, float, double,
                   f16, bf16) {
    std::vector<format> formats = registered_formats();
    for (const format& f : random_formats(400 / scale(), 5)) formats.push_back(f);
    for (const format& f : formats) {
        CHECK(decode_all<T, std::uint8_t>(f) == 0);
        CHECK(decode_all<T, std::uint16_t>(f) == 0);
        CHECK(decode_all<T, std::uint32_t>(f) == 0);
        CHECK(decode_all<T, std::uint64_t>(f) == 0);
    }
}

TEST_CASE("both generators give the bits of the CPU") {
    const auto x = inputs<float>(5001, 9);
    for (const generator g : {generator::philox4x32_10, generator::philox4x32_7})
        for (const std::uint64_t first : {0ULL, 2ULL, (1ULL << 34) + 1})
            CHECK(quantize_differences(x, float8_e4m3fn, {rounding::stochastic_b}, {5, 6, g},
                                       first) == 0);
}

TEST_CASE("the word on the device is added to the stream") {
    const auto x = inputs<float>(1000, 11);
    std::vector<float> wanted(x.size());
    const projection p{rounding::stochastic_a};
    quantize<float>(std::span<const float>(x), std::span<float>(wanted), float8_e5m2, p,
                    host_options({3, 41}, 0));
    const device_array<float> from(x);
    const device_array<float> to(x.size());
    const device_array<std::uint64_t> calls(std::vector<std::uint64_t>{31});
    cuda::options o;
    o.source = {3, 10};
    o.stream_offset = calls.data();
    const auto all = cuda::layout::of({x.size()});
    cuda::quantize({from.data(), cuda::carrier::float32, all},
                   {to.data(), cuda::carrier::float32, all}, float8_e5m2, p, o);
    CHECK(differences(to.host(), wanted, "stream offset") == 0);
}

TEST_CASE("any strides, and memory on no boundary, give the same bits") {
    const std::size_t rows = 67;
    const std::size_t columns = 93;
    const auto x = inputs<float>(rows * columns + 1, 13);
    for (const rounding r : {rounding::nearest_ties_to_even, rounding::stochastic_a}) {
        const projection p{r};
        // x as the transpose of what lies in memory, shifted by one; the result in C order.
        std::vector<float> turned(rows * columns);
        for (std::size_t i = 0; i < columns; ++i)
            for (std::size_t j = 0; j < rows; ++j) turned[i * rows + j] = x[1 + j * columns + i];
        std::vector<float> wanted(turned.size());
        quantize<float>(std::span<const float>(turned), std::span<float>(wanted), float8_e4m3fn, p,
                        host_options({1, 2}, 0));
        const device_array<float> from(x);
        const device_array<float> to(rows * columns);
        cuda::options o;
        o.source = {1, 2};
        const std::size_t shape[] = {columns, rows};
        const std::ptrdiff_t strides[] = {1, static_cast<std::ptrdiff_t>(columns)};
        const auto transposed = cuda::layout::of(shape, strides);
        cuda::quantize({from.data() + 1, cuda::carrier::float32, transposed},
                       {to.data(), cuda::carrier::float32, cuda::layout::of(shape)}, float8_e4m3fn,
                       p, o);
        CHECK(differences(to.host(), wanted, "transposed") == 0);
        // And in place, where it lies.
        cuda::quantize({from.data() + 1, cuda::carrier::float32, transposed},
                       {from.data() + 1, cuda::carrier::float32, transposed}, float8_e4m3fn, p, o);
        const auto lying = from.host();
        std::vector<float> back(turned.size());
        for (std::size_t i = 0; i < columns; ++i)
            for (std::size_t j = 0; j < rows; ++j) back[i * rows + j] = lying[1 + j * columns + i];
        CHECK(differences(back, wanted, "in place") == 0);
        CHECK(lying[0] == x[0]);
    }
}

TEST_CASE_TEMPLATE("inputs that run backwards or repeat give the same bits", T, float, bf16) {
    constexpr std::size_t rows = 61;
    constexpr std::size_t columns = 83;
    const auto x = inputs<T>(rows * columns, 19);
    const projection p{rounding::stochastic_a};
    const device_array<T> from(x);
    cuda::options o;
    o.source = {4, 5};
    const std::size_t shape[] = {rows, columns};
    const auto check = [&](std::ptrdiff_t first, std::ptrdiff_t row, std::ptrdiff_t column) {
        std::vector<T> seen;
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = 0; j < columns; ++j)
                seen.push_back(
                    x[static_cast<std::size_t>(first + row * static_cast<std::ptrdiff_t>(i) +
                                               column * static_cast<std::ptrdiff_t>(j))]);
        std::vector<T> wanted(seen.size());
        quantize<T>(std::span<const T>(seen), std::span<T>(wanted), float8_e4m3fn, p,
                    host_options({4, 5}, 0));
        const device_array<T> to(seen.size());
        const std::ptrdiff_t strides[] = {row, column};
        cuda::quantize({from.data() + first, carrier_of<T>, cuda::layout::of(shape, strides)},
                       {to.data(), carrier_of<T>, cuda::layout::of(shape)}, float8_e4m3fn, p, o);
        return differences(to.host(), wanted, "strides " + std::to_string(row));
    };
    constexpr auto width = static_cast<std::ptrdiff_t>(columns);
    CHECK(check(width - 1, width, -1) == 0);
    CHECK(check(static_cast<std::ptrdiff_t>(rows - 1) * width, -width, 1) == 0);
    CHECK(check(3, 0, 1) == 0);
    CHECK(check(3, width, 0) == 0);
}

TEST_CASE("random bits given element by element are the CPU's") {
    const auto x = inputs<float>(1003, 23);
    dice d(24);
    std::vector<std::uint32_t> words(x.size());
    for (std::uint32_t& w : words) w = static_cast<std::uint32_t>(d()) >> 24;
    const projection p{rounding::stochastic_a, saturation::none, 8};
    options h = host_options({}, 0);
    h.random = std::span<const std::uint32_t>(words);
    std::vector<float> wanted(x.size());
    quantize<float>(std::span<const float>(x), std::span<float>(wanted), float8_e5m2, p, h);
    const device_array<float> from(x);
    const device_array<float> to(x.size());
    const device_array<std::uint32_t> random(words);
    const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
    cuda::options o;
    o.random = random.data();
    o.failures = failures.data();
    const auto all = cuda::layout::of({x.size()});
    cuda::quantize({from.data(), cuda::carrier::float32, all},
                   {to.data(), cuda::carrier::float32, all}, float8_e5m2, p, o);
    CHECK(differences(to.host(), wanted, "given random bits") == 0);
    CHECK(failures.host()[0] == 0);
}

TEST_CASE("what only the data can tell is reported, and calls without a place for it are refused") {
    const device_array<float> x(std::vector<float>{1, std::numeric_limits<float>::quiet_NaN()});
    const device_array<std::uint8_t> codes(2);
    const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
    const auto all = cuda::layout::of({2});
    const cuda::const_values from{x.data(), cuda::carrier::float32, all};
    CHECK_THROWS_AS(cuda::encode(from, {codes.data(), 1, all}, float4_e2m1fn),
                    std::invalid_argument);
    cuda::options o;
    o.failures = failures.data();
    cuda::encode(from, {codes.data(), 1, all}, float4_e2m1fn, {}, o);
    CHECK(failures.host()[0] == cuda::nan_without_code);
    const device_array<std::uint8_t> wide(std::vector<std::uint8_t>{1, 0x90});
    CHECK_THROWS_AS(
        cuda::decode({wide.data(), 1, all}, {x.data(), cuda::carrier::float32, all}, float4_e2m1fn),
        std::invalid_argument);
    cuda::decode({wide.data(), 1, all}, {x.data(), cuda::carrier::float32, all}, float4_e2m1fn, o);
    CHECK(failures.host()[0] == (cuda::nan_without_code | cuda::code_too_wide));
}

TEST_CASE("arguments that contradict are refused") {
    const auto two = cuda::layout::of({2});
    const device_array<float> x(std::size_t{4});
    const cuda::values v{x.data(), cuda::carrier::float32, two};
    const cuda::values h{x.data(), cuda::carrier::float16, two};
    CHECK_THROWS_AS(
        cuda::quantize(v, {x.data(), cuda::carrier::float32, cuda::layout::of({3})}, float16),
        std::invalid_argument);
    CHECK_THROWS_AS(cuda::quantize(v, h, float16), std::invalid_argument);
    CHECK_THROWS_AS(cuda::quantize(v, v, float64), std::invalid_argument);
    CHECK_THROWS_AS(cuda::quantize(h, h, bfloat16), std::invalid_argument);
    CHECK_THROWS_AS(cuda::encode(v, {x.data(), 1, two}, float16), std::invalid_argument);
    CHECK_THROWS_AS(cuda::encode(v, {x.data(), 3, two}, float8_e5m2), std::invalid_argument);
    cuda::quantize({nullptr, cuda::carrier::float32, cuda::layout::of({0})},
                   {nullptr, cuda::carrier::float32, cuda::layout::of({0})}, float16);
}

TEST_CASE("codes pack and unpack as on the CPU") {
    dice d(21);
    for (int bits = 1; bits <= 8; ++bits)
        for (const std::size_t n : {0UL, 1UL, 8UL, 4099UL})
            for (const std::size_t shift : {0UL, 1UL}) {
                std::vector<std::uint8_t> codes(n + shift);
                for (auto& c : codes) c = static_cast<std::uint8_t>(d.below(1ULL << bits));
                std::vector<std::uint8_t> wanted(packed_size(n, bits));
                pack(std::span(codes).subspan(shift), bits, wanted);
                const device_array<std::uint8_t> from(codes);
                const device_array<std::uint8_t> to(wanted.size());
                const device_array<std::uint8_t> back(n);
                const device_array<std::uint32_t> failures(std::vector<std::uint32_t>{0});
                cuda::options o;
                o.failures = failures.data();
                cuda::pack(from.data() + shift, n, bits, to.data(), o);
                CHECK(differences(to.host(), wanted, "pack") == 0);
                cuda::unpack(to.data(), bits, back.data(), n);
                const std::vector<std::uint8_t> expected(
                    codes.begin() + static_cast<std::ptrdiff_t>(shift), codes.end());
                CHECK(differences(back.host(), expected, "unpack") == 0);
                CHECK(failures.host()[0] == 0);
            }
}

TEST_CASE("a captured graph gives the same bits at each replay, and others with another offset") {
    const auto x = inputs<float>(4096, 17);
    const device_array<float> from(x);
    const device_array<float> to(x.size());
    const device_array<std::uint64_t> calls(std::vector<std::uint64_t>{0});
    cuda::options o;
    o.stream_offset = calls.data();
    const auto all = cuda::layout::of({x.size()});
    cudaStream_t s = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t made = nullptr;
    check_cuda(cudaStreamCreate(&s));
    check_cuda(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    const projection p{rounding::stochastic_a};
    cuda::quantize({from.data(), cuda::carrier::float32, all},
                   {to.data(), cuda::carrier::float32, all}, float4_e2m1fn, p, o, s);
    check_cuda(cudaStreamEndCapture(s, &graph));
    check_cuda(cudaGraphInstantiate(&made, graph, 0));
    for (const std::uint64_t call : {0ULL, 1ULL, 2ULL}) {
        check_cuda(cudaMemcpy(calls.data(), &call, sizeof(call), cudaMemcpyHostToDevice));
        check_cuda(cudaGraphLaunch(made, s));
        check_cuda(cudaStreamSynchronize(s));
        std::vector<float> wanted(x.size());
        quantize<float>(std::span<const float>(x), std::span<float>(wanted), float4_e2m1fn, p,
                        host_options({0, call}, 0));
        CHECK(differences(to.host(), wanted, "graph") == 0);
    }
    check_cuda(cudaGraphExecDestroy(made));
    check_cuda(cudaGraphDestroy(graph));
    check_cuda(cudaStreamDestroy(s));
}

}  // namespace
}  // namespace lowp::test
