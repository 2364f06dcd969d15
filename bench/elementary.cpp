// Elementary functions rounded once, against libm's own loop in float64, one thread.
#include "lowp/elementary.hpp"

#include "limits.hpp"

namespace {

using namespace lowp::bench;
using lowp::function;

/// The operands: where every function is a number, nowhere special.
template <class T>
std::vector<T> operands(std::size_t n) {
    std::vector<T> x(n);
    for (std::size_t i = 0; i < n; ++i)
        x[i] = static_cast<T>((static_cast<double>(i) + 0.5) / static_cast<double>(n));
    return x;
}

void by_libm(benchmark::State& state, function f) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto x = operands<double>(n);
    std::vector<double> y(n);
    for (auto _ : state) {
        lowp::detail::elementary::with_function(f, [&](auto tag) {
            for (std::size_t i = 0; i < n; ++i)
                y[i] = lowp::detail::elementary::libm(decltype(tag)::value, x[i], 1.5);
        });
        benchmark::ClobberMemory();
    }
    count(state, n);
}

template <class T>
void rounded_once(benchmark::State& state, function f, const lowp::format& to,
                  const lowp::projection& p) {
    const auto n = static_cast<std::size_t>(state.range(0));
    const auto x = operands<T>(n);
    const std::vector<T> exponents(n, T{1.5});
    const auto y = lowp::arity(f) == 2 ? std::span<const T>(exponents) : std::span<const T>();
    std::vector<T> z(n);
    const lowp::converter<T> c(to, p);
    for (auto _ : state) {
        lowp::evaluate<T>(f, x, y, z, c, one_thread());
        benchmark::ClobberMemory();
    }
    count(state, n);
}

const int registered = [] {
    constexpr std::int64_t n = 1 << 14;
    const auto once = [](const std::string& name, auto&& run) {
        benchmark::RegisterBenchmark(name.c_str(), run)->Arg(n);
    };
    for (std::size_t i = 0; i < lowp::function_names.size(); ++i) {
        const auto f = static_cast<function>(i);
        const std::string verb(lowp::name(f));
        if (f == function::acosh) continue;  // it has no number below 1
        once(verb + "/libm", [f](benchmark::State& state) { by_libm(state, f); });
        for (const char* const name : {"bfloat16", "float32"})
            for (const auto r :
                 {lowp::rounding::nearest_ties_to_even, lowp::rounding::stochastic_a})
                once(verb + "/" + name + "/" + std::string(lowp::name(r)),
                     [f, r, to = lowp::parse_format(name)](benchmark::State& state) {
                    rounded_once<float>(state, f, to, {r});
                });
        once(verb + "/float64",
             [f](benchmark::State& state) { rounded_once<double>(state, f, lowp::float64, {}); });
    }
    return 0;
}();

}  // namespace
