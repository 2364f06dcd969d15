// What a program that includes the headers and nothing else reaches, by the compiler's flags
// (flags.py compiles and runs it with several): 2^16 float32 to float8_e4m3fn, one thread.
#include <chrono>
#include <cstdio>
#include <lowp/array.hpp>
#include <vector>
#ifdef WITH_DISPATCH
#include <lowp/dispatch.hpp>
#endif

int main() {
    std::vector<float> x(std::size_t{1} << 16);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 1999) * 0.01F - 10.0F;
    std::vector<float> y(x.size());
#ifdef WITH_DISPATCH
    lowp::options o = lowp::dispatch::options();
#else
    lowp::options o;
#endif
    o.threads = 1;
    double best = 1;
    for (int i = 0; i < 300; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        lowp::quantize<float>(x, y, lowp::float8_e4m3fn, {}, o);
        const std::chrono::duration<double> t = std::chrono::steady_clock::now() - begin;
        best = t.count() < best ? t.count() : best;
    }
    std::printf("%.2f\n", 1e-9 * static_cast<double>(x.size()) / best);
    return y[1] != 0 ? 0 : 1;
}
