// A small tensor with an outlier in MXFP4 and NVFP4: what the scale rule and a transform change.
#include <cstdio>
#include <lowp/lowp.hpp>
#include <vector>

namespace {

float squared_error(const std::vector<float>& x, const std::vector<float>& q) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += (q[i] - x[i]) * (q[i] - x[i]);
    return static_cast<float>(sum);
}

}  // namespace

int main() {
    std::vector<float> x(32);
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<float>(0.1 * static_cast<double>(i % 7) - 0.3);
    x[5] = 7.0F;
    const std::size_t shape[] = {x.size()};
    std::vector<float> q(x.size());

    for (const char* const name : {"mxfp4", "mxfp4/rceil", "mxfp4/mse", "nvfp4", "fp4_ue5m3_16"}) {
        const lowp::block_format block = lowp::parse_block_format(name);
        const lowp::block_layout layout = lowp::layout_of(block.shape, shape);
        lowp::quantize<float>(x, q, block, layout);
        const lowp::block_tensor t = lowp::encode<float>(x, block, layout);
        std::printf("%s: %zu bytes, squared error %.4f\n", name, t.bytes(),
                    static_cast<double>(squared_error(x, q)));
        std::printf("  scales");
        for (const std::uint8_t s : t.scales) std::printf(" %d", s);
        std::printf("   x[5] -> %.6g\n", static_cast<double>(q[5]));
    }

    std::vector<float> h(x.size());
    lowp::hadamard<float>(x, h, 16);
    lowp::quantize<float>(h, q, lowp::mxfp4);
    lowp::hadamard<float>(std::span<const float>(q), q, 16, {.is_inverse = true});
    std::printf("mxfp4 of the transformed: squared error %.4f\n",
                static_cast<double>(squared_error(x, q)));
}
