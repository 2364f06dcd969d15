// Arithmetic in a format, element by element, against a loop y = a + b of the same instruction set.
#include "limits.hpp"
#include "lowp/arithmetic_array.hpp"

namespace {

using namespace lowp::bench;

LOWP_BENCH_CLONES void add_loop(const float* x, const float* y, float* z, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) z[i] = x[i] + y[i];
}
LOWP_BENCH_CLONES void add_loop(const double* x, const double* y, double* z, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) z[i] = x[i] + y[i];
}

template <class T>
void sum_limit(benchmark::State& state) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<T>& x = normal<T>(n);
    const std::vector<T> y(x.rbegin(), x.rend());
    std::vector<T> z(n);
    for (auto _ : state) {
        add_loop(x.data(), y.data(), z.data(), n);
        benchmark::ClobberMemory();
    }
    count(state, n);
}

template <class T>
using verb = void (*)(std::span<const T>, std::span<const T>, std::span<T>,
                      const lowp::converter<T>&, const lowp::options&);

template <class T>
struct named_verb {
    const char* name;
    verb<T> run;
};

template <class T>
void root_of(std::span<const T> x, std::span<const T> /*unused*/, std::span<T> z,
             const lowp::converter<T>& c, const lowp::options& o) {
    lowp::sqrt(x, z, c, o);
}
template <class T>
void fused(std::span<const T> x, std::span<const T> y, std::span<T> z, const lowp::converter<T>& c,
           const lowp::options& o) {
    lowp::fma(x, y, x, z, c, o);
}

template <class T>
void operate(benchmark::State& state, verb<T> run, const lowp::format& f,
             const lowp::projection& p) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const std::vector<T>& x = normal<T>(n);
    const std::vector<T> y(x.rbegin(), x.rend());
    std::vector<T> z(n);
    const lowp::converter<T> to(f, p);
    for (auto _ : state) {
        run(x, y, z, to, one_thread());
        benchmark::ClobberMemory();
    }
    count(state, n);
}

template <class T>
void add_all() {
    const std::string carried = carrier<T>;
    add("sum/" + carried, sum_limit<T>);
    const named_verb<T> verbs[] = {{"add", &lowp::add<T>},
                                   {"mul", &lowp::mul<T>},
                                   {"div", &lowp::div<T>},
                                   {"sqrt", &root_of<T>},
                                   {"fma", &fused<T>},
                                   {"minimum", &lowp::minimum<T>},
                                   {"remainder", &lowp::remainder<T>}};
    for (const char* const name : {"float8_e4m3fn", "bfloat16", "float32"})
        for (const named_verb<T>& v : verbs)
            for (const auto r : {lowp::rounding::nearest_ties_to_even, lowp::rounding::toward_zero,
                                 lowp::rounding::stochastic_a}) {
                const lowp::format f = lowp::parse_format(name);
                add(std::string(v.name) + "/" + carried + "/" + name + "/" +
                        std::string(lowp::name(r)),
                    [f, r, run = v.run](benchmark::State& state) {
                    operate<T>(state, run, f, {r});
                });
            }
}

const int registered = [] {
    add_all<float>();
    add_all<double>();
    return 0;
}();

}  // namespace
