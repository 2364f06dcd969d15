// Why training in few bits rounds stochastically: many small updates of a weight.
#include <cstdint>
#include <cstdio>
#include <lowp/lowp.hpp>
#include <string>

int main() {
    constexpr int steps = 1000;
    constexpr double update = 1e-3;
    for (const lowp::rounding mode :
         {lowp::rounding::nearest_ties_to_even, lowp::rounding::stochastic_a}) {
        const lowp::converter<double> to(lowp::bfloat16, {mode});
        double weight = 1;
        for (std::uint64_t step = 0; step < steps; ++step) {
            const lowp::random_source source{.seed = 7, .stream = step};
            weight = to.quantize(weight + update, source(0));
        }
        std::printf("%s: 1 + %d * %g = %g\n", std::string(lowp::name(mode)).c_str(), steps, update,
                    weight);
    }
}
