// encode to codes, decode from them, pack and unpack.
#include "limits.hpp"
#include "lowp/pack.hpp"

namespace {

using namespace lowp::bench;

template <class T>
std::vector<std::uint8_t> codes_of(const lowp::format& f, std::size_t n) {
    std::vector<std::uint8_t> codes(n);
    lowp::encode(std::span<const T>(normal<T>(n)), std::span(codes), f, {}, one_thread());
    return codes;
}

template <class T>
void encode(benchmark::State& state, const lowp::format& f) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<T>& x = normal<T>(n);
    std::vector<std::uint8_t> codes(n);
    const lowp::converter<T> converter(f);
    const lowp::options o = one_thread();
    for (auto _ : state) {
        lowp::encode(std::span<const T>(x), std::span(codes), converter, o);
        benchmark::ClobberMemory();
    }
    count(state, n);
}

template <class T>
void decode(benchmark::State& state, const lowp::format& f) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<std::uint8_t> codes = codes_of<T>(f, n);
    std::vector<T> y(n);
    const lowp::converter<T> converter(f);
    const lowp::options o = one_thread();
    for (auto _ : state) {
        lowp::decode(std::span<const std::uint8_t>(codes), std::span(y), converter, o);
        benchmark::ClobberMemory();
    }
    count(state, n);
}

void pack(benchmark::State& state, const lowp::format& f) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<std::uint8_t> codes = codes_of<float>(f, n);
    std::vector<std::uint8_t> bytes(lowp::packed_size(n, f.bits()));
    for (auto _ : state) {
        lowp::pack(codes, f.bits(), bytes);
        benchmark::ClobberMemory();
    }
    count(state, n);
}

void unpack(benchmark::State& state, const lowp::format& f) {
    const auto n = static_cast<std::size_t>(state.range(0));
    std::vector<std::uint8_t> codes = codes_of<float>(f, n);
    std::vector<std::uint8_t> bytes(lowp::packed_size(n, f.bits()));
    lowp::pack(codes, f.bits(), bytes);
    for (auto _ : state) {
        lowp::unpack(bytes, f.bits(), codes);
        benchmark::ClobberMemory();
    }
    count(state, n);
}

const int registered = [] {
    add_limits<float>();
    add_limits<double>();
    for (const char* const name :
         {"float8_e4m3fn", "float8_e5m2", "float6_e3m2fn", "float4_e2m1fn"}) {
        const lowp::format f = lowp::parse_format(name);
        const std::string tail = std::string("/") + name;
        add("encode/float32" + tail, [f](benchmark::State& s) { encode<float>(s, f); });
        add("encode/float64" + tail, [f](benchmark::State& s) { encode<double>(s, f); });
        add("decode/float32" + tail, [f](benchmark::State& s) { decode<float>(s, f); });
        add("decode/float64" + tail, [f](benchmark::State& s) { decode<double>(s, f); });
        if (f.bits() == 8) continue;
        add("pack" + tail, [f](benchmark::State& s) { pack(s, f); });
        add("unpack" + tail, [f](benchmark::State& s) { unpack(s, f); });
    }
    return 0;
}();

}  // namespace
