// Every float32 there is, into the formats that hardware converts to, on the device and on the CPU.
#include "conversion_check.hpp"

namespace lowp::test {
namespace {

constexpr std::size_t part = std::size_t{1} << 26;

/// All 2^32 floats in order, a part at a time.
template <class Work>
void for_every_float(const Work& work) {
    std::vector<float> x(part);
    for (std::uint64_t begin = 0; begin < std::uint64_t{1} << 32; begin += part * scale()) {
        for (std::size_t i = 0; i < part; ++i)
            x[i] = std::bit_cast<float>(static_cast<std::uint32_t>(begin + i));
        work(x);
    }
}

TEST_CASE("every float32 quantizes and encodes as on the CPU") {
    options h = dispatch::options();
    const auto all = cuda::layout::of({part});
    for (const format& f : {float8_e4m3fn, float8_e5m2, float16, bfloat16}) {
        std::vector<float> wanted(part);
        std::vector<std::uint16_t> wanted_codes(part);
        const device_array<float> to(part);
        const device_array<std::uint16_t> codes(part);
        const device_array<float> from(part);
        bool same = true;
        for_every_float([&](const std::vector<float>& x) {
            check_cuda(
                cudaMemcpy(from.data(), x.data(), part * sizeof(float), cudaMemcpyHostToDevice));
            const cuda::const_values v{from.data(), cuda::carrier::float32, all};
            cuda::quantize(v, {to.data(), cuda::carrier::float32, all}, f);
            cuda::encode(v, {codes.data(), 2, all}, f);
            quantize<float>(std::span<const float>(x), std::span<float>(wanted), f, {}, h);
            encode<float, std::uint16_t>(std::span<const float>(x), std::span(wanted_codes), f, {},
                                         h);
            const auto got = to.host();
            const auto got_codes = codes.host();
            same = same && std::memcmp(got.data(), wanted.data(), part * sizeof(float)) == 0 &&
                   std::memcmp(got_codes.data(), wanted_codes.data(), part * 2) == 0;
        });
        INFO(name(f));
        CHECK(same);
    }
}

}  // namespace
}  // namespace lowp::test
