// What a few numbers become in FP8, FP6 and FP4: value, code, error.
#include <bitset>
#include <cstdio>
#include <lowp/lowp.hpp>
#include <string>

int main() {
    const lowp::projection saturating{.saturation = lowp::saturation::finite};
    for (const char* const name :
         {"float8_e4m3fn", "float8_e5m2", "float6_e3m2fn", "float4_e2m1fn"}) {
        const lowp::format f = lowp::parse_format(name);
        std::printf("%s: %d bits, largest %g, smallest %g\n", name, f.bits(), f.max(),
                    f.min_subnormal());
        const lowp::converter<double> to(f, saturating);
        for (const double x : {0.3, 1.0, -2.6, 17.0, 500.0, 1e-3}) {
            const std::string code = std::bitset<64>(to.encode(x))
                                         .to_string()
                                         .substr(64U - static_cast<unsigned>(f.bits()));
            std::printf("  %8g -> %-10g code %s\n", x, to.quantize(x), code.c_str());
        }
    }
}
