// Block-scaled formats: quantize, encode to packed codes, decode; the Hadamard transform before them.
#include "limits.hpp"
#include "lowp/block.hpp"
#include "lowp/block_formats.hpp"
#include "lowp/hadamard.hpp"

namespace {

using namespace lowp::bench;

/// An array of n values in blocks along it, and everything that a call needs.
struct setting {
    std::size_t n;
    lowp::block_format format;
    lowp::block_layout layout;
    lowp::block_options options;
    const std::vector<float>& x;
    std::vector<float> y;

    setting(std::size_t size, const lowp::block_format& f, int threads)
        : n(size), format(f), x(normal<float>(size)), y(size) {
        const std::size_t shape[] = {n};
        layout = lowp::layout_of(f.shape, shape);
        static_cast<lowp::options&>(options) = one_thread();
        options.threads = threads;
    }
    [[nodiscard]] std::span<const float> in() const { return x; }
};

void quantize(benchmark::State& state, const lowp::block_format& f, int threads = 1) {
    setting s(static_cast<std::size_t>(state.range(0)), f, threads);
    for (auto _ : state) {
        lowp::quantize<float>(s.in(), s.y, s.format, s.layout, s.options);
        benchmark::ClobberMemory();
    }
    count(state, s.n);
}

void encode(benchmark::State& state, const lowp::block_format& f) {
    setting s(static_cast<std::size_t>(state.range(0)), f, 1);
    lowp::block_tensor t = lowp::encode<float>(s.in(), s.format, s.layout, s.options);
    const lowp::block_memory to{t.codes.data(), t.scales.data(), t.packing};
    for (auto _ : state) {
        benchmark::DoNotOptimize(lowp::encode<float>(s.in(), to, s.format, s.layout, s.options));
        benchmark::ClobberMemory();
    }
    count(state, s.n);
}

void decode(benchmark::State& state, const lowp::block_format& f) {
    setting s(static_cast<std::size_t>(state.range(0)), f, 1);
    const lowp::block_tensor t = lowp::encode<float>(s.in(), s.format, s.layout, s.options);
    for (auto _ : state) {
        lowp::decode<float>(t, s.y, s.options);
        benchmark::ClobberMemory();
    }
    count(state, s.n);
}

void hadamard(benchmark::State& state, std::size_t size) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<float>& x = normal<float>(n);
    std::vector<float> y(n);
    lowp::hadamard_options o;
    o.source = lowp::random_source{1};
    o.threads = 1;
    o.loops = one_thread().loops;
    for (auto _ : state) {
        lowp::hadamard<float>(x, y, size, o);
        benchmark::ClobberMemory();
    }
    count(state, n);
}

/// Transformed, then quantized in place.
void hadamard_quantize(benchmark::State& state, const lowp::block_format& f) {
    setting s(static_cast<std::size_t>(state.range(0)), f, 1);
    lowp::hadamard_options o;
    o.source = lowp::random_source{1};
    o.threads = 1;
    o.loops = s.options.loops;
    for (auto _ : state) {
        lowp::hadamard<float>(s.in(), s.y, 16, o);
        lowp::quantize<float>(std::span<const float>(s.y), s.y, s.format, s.layout, s.options);
        benchmark::ClobberMemory();
    }
    count(state, s.n);
}

/// One call on 16 values with a converter at hand.
void sixteen_values(benchmark::State& state) {
    const std::vector<float>& x = normal<float>(16);
    std::vector<float> y(16);
    const lowp::converter<float> c(lowp::float8_e4m3fn);
    const lowp::options o = one_thread();
    for (auto _ : state) {
        lowp::quantize(std::span<const float>(x), std::span<float>(y), c, o);
        benchmark::ClobberMemory();
    }
    count(state, 16);
}

const int registered = [] {
    add_limits<float>();
    for (const char* const name : {"mxfp4", "mxfp6_e2m3", "mxfp8_e4m3", "mxint8", "nvfp4",
                                   "nvfp4_four_six", "fp4_ue5m3_16", "deepseek_1x128"}) {
        const lowp::block_format f = lowp::parse_block_format(name);
        const std::string tail = std::string("/float32/") + name;
        add("quantize" + tail, [f](benchmark::State& s) { quantize(s, f); });
        add("encode_packed" + tail, [f](benchmark::State& s) { encode(s, f); });
        add("decode_packed" + tail, [f](benchmark::State& s) { decode(s, f); });
    }
    for (const char* const name : {"mxfp4", "nvfp4"}) {
        const lowp::block_format f = lowp::parse_block_format(name);
        lowp::block_format stochastic = f;
        stochastic.rounding = lowp::rounding::stochastic_a;
        const std::string head = std::string("quantize/float32/") + name;
        add(head + "/stochastic_a", [stochastic](benchmark::State& s) { quantize(s, stochastic); });
        add(head + "/two_threads", [f](benchmark::State& s) { quantize(s, f, 2); });
        add(head + "/hadamard_16", [f](benchmark::State& s) { hadamard_quantize(s, f); });
    }
    for (const std::size_t size : {16U, 32U, 128U, 256U})
        add("hadamard/float32/" + std::to_string(size),
            [size](benchmark::State& s) { hadamard(s, size); });
    benchmark::RegisterBenchmark("sixteen_values/float32", sixteen_values)->Arg(16);
    return 0;
}();

}  // namespace
