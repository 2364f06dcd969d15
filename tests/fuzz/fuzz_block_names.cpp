// Any text either is refused by parse_block_format with std::invalid_argument, or means a valid
// block format whose own name means it again.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lowp/block_formats.hpp"
#include "names.hpp"

namespace {

void check(std::string_view text) { lowp::fuzz::check_name(text, lowp::parse_block_format); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check({reinterpret_cast<const char*>(data), size});
    return 0;
}

#ifdef LOWP_PLAIN_FUZZ
// Without libFuzzer: random texts made of the parts of names. Argument: how many.
#include <random>

int main(int argc, char** argv) {
    // clang-format off
    static constexpr std::string_view heads[] = {
        "mxfp4", "mxint8", "nvfp4", "nf4", "float4_e2m1fn", "int8", "e4m3fn", "bfp_m", "bfp_m3_k16",
        "{", "{-1,0,1}", "{0.5,1}", "float64", ""};
    static constexpr std::string_view parts[] = {
        "/", "/", "/", "/", "=", "=", "x", ",", "{", "}", "-", ".", "_k", " ", "\xFF",
        "0", "1", "2", "3", "16", "32", "448", "99999999999999999999", "1e300", "1e-400", "0.1", "nan", "inf",
        "row", "column", "tensor", "none", "floor", "ceil", "even", "rceil", "amax", "mse", "four_six", "std",
        "float8_e8m0fnu", "ue5m3", "float32", "int4", "e4m3", "fixed", "compat", "torchao", "te", "ocp",
        "microxcaling", "model_optimizer", "outer", "outer_format", "outer_fixed", "outer_scale_max",
        "rounding", "scale_rounding", "stochastic_a", "random_bits", "statistic", "rms", "power_of_two",
        "search", "all", "gain", "post_gain", "element", "infinity", "number", "arithmetic", "division",
        "zero_sign", "negative", "zero_scale", "min_scale", "max_scale", "lowest_divisor"};
    static constexpr std::string_view keys[] = {
        "/zero_scale=", "/min_scale=", "/max_scale=", "/lowest_divisor=", "/outer_fixed=",
        "/outer_scale_max=", "/gain=", "/post_gain=", "/fixed=", "/random_bits=", "/compat=", "/"};
    // clang-format on
    const long count = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 20000;
    std::mt19937_64 engine(1);
    for (long i = 0; i < count; ++i) {
        std::string text(heads[engine() % std::size(heads)]);
        for (std::uint64_t n = engine() % 8; n > 0; --n) {
            if (engine() % 2 == 0) text.append(keys[engine() % std::size(keys)]);
            text.append(parts[engine() % std::size(parts)]);
        }
        check(text);
    }
    std::printf("%ld texts\n", count);
    return 0;
}
#endif
