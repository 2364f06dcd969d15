// quantize for every mode against three limits: memcpy, a loop y = a x, and a plain intrinsics
// version of the nearest-even kernel that is kept as it is, as an anchor.
#include "limits.hpp"
#include "lowp/halves.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using namespace lowp::bench;

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC's own AVX-512 header initialises "undefined" registers with themselves (GCC 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

// float8_e4m3fn, nearest even, overflow to NaN, nothing else: the frozen anchor.
__attribute__((target("avx512f"))) void anchor_loop(const float* x, float* y, std::size_t n) {
    const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    const __m512i field = _mm512_set1_epi32(0x7F800000);
    const __m512i lowest = _mm512_set1_epi32((127 - 6) << 23);
    const __m512i shift = _mm512_set1_epi32(20 << 23);
    const __m512 bound = _mm512_set1_ps(464.0F);
    const __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000));
    for (std::size_t i = 0; i + 16 <= n; i += 16) {
        const __m512i bits = _mm512_loadu_si512(x + i);
        const __m512 a = _mm512_castsi512_ps(_mm512_and_si512(bits, magnitude));
        const __m512i e = _mm512_max_epi32(_mm512_and_si512(bits, field), lowest);
        const __m512 k = _mm512_castsi512_ps(_mm512_add_epi32(e, shift));
        __m512 r = _mm512_sub_ps(_mm512_add_ps(a, k), k);
        r = _mm512_mask_mov_ps(r, _mm512_cmp_ps_mask(a, bound, _CMP_NLE_UQ), nan);
        const __m512i sign = _mm512_andnot_si512(magnitude, bits);
        _mm512_storeu_si512(y + i, _mm512_or_si512(_mm512_castps_si512(r), sign));
    }
}

void anchor(benchmark::State& state) {
    if (!__builtin_cpu_supports("avx512f")) return state.SkipWithError("needs AVX-512");
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<float>& x = normal<float>(n);
    std::vector<float> y(n);
    for (auto _ : state) {
        anchor_loop(x.data(), y.data(), n);
        benchmark::ClobberMemory();
    }
    count(state, n);
}
#endif

template <class T>
void quantize(benchmark::State& state, const lowp::format& f, const lowp::projection& p,
              lowp::generator generator) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<T>& x = normal<T>(n);
    std::vector<T> y(n);
    const lowp::converter<T> converter(f, p);
    lowp::options o = one_thread();
    o.source.generator = generator;
    for (auto _ : state) {
        lowp::quantize(std::span<const T>(x), std::span<T>(y), converter, o);
        benchmark::ClobberMemory();
    }
    count(state, n);
}

template <class T>
void add_all() {
    const std::string carried = carrier<T>;
    add_limits<T>();
    for (const char* const name :
         {"float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "bfloat16", "float16"}) {
        const lowp::format f = lowp::parse_format(name);
        const auto one = [&](lowp::rounding r, lowp::generator g, const std::string& label) {
            add("quantize/" + carried + "/" + name + "/" + label,
                [f, r, g](benchmark::State& state) { quantize<T>(state, f, {r}, g); });
        };
        for (std::size_t r = 0; r < lowp::rounding_names.size(); ++r)
            one(static_cast<lowp::rounding>(r), lowp::generator::philox4x32_10,
                std::string(lowp::rounding_names[r]));
        one(lowp::rounding::stochastic_a, lowp::generator::philox4x32_7, "stochastic_a_philox_7");
    }
}

/// Arrays of float16 and bfloat16.
template <class T>
void quantize_halves(benchmark::State& state, lowp::rounding r) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<float>& wide = normal<float>(n);
    std::vector<T> x(n);
    std::vector<T> y(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = T(wide[i]);
    for (auto _ : state) {
        lowp::quantize<T>(x, y, lowp::float8_e4m3fn, {r}, one_thread());
        benchmark::ClobberMemory();
    }
    count(state, n);
}

template <class T>
void add_halves() {
    for (const lowp::rounding r :
         {lowp::rounding::nearest_ties_to_even, lowp::rounding::stochastic_a})
        add("quantize/" + lowp::name(T::format) + "/float8_e4m3fn/" + std::string(lowp::name(r)),
            [r](benchmark::State& state) { quantize_halves<T>(state, r); });
}

const int registered = [] {
#if defined(__x86_64__)
    add("anchor/float32", anchor);
#endif
    add_all<float>();
    add_all<double>();
    add_halves<lowp::minifloat<lowp::float16>>();
    add_halves<lowp::minifloat<lowp::bfloat16>>();
    return 0;
}();

}  // namespace
