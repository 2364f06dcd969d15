// What a user's first program does; each consumer builds this file its own way.
#include <cstdio>

#ifdef CONSUMER_HAS_DISPATCH
#include <lowp/dispatch.hpp>
#endif
#ifdef CONSUMER_HAS_CUDA
#include <lowp/cuda.hpp>
#endif
#include <lowp/lowp.hpp>

int main() {
    const lowp::format f = lowp::parse_format("float8_e4m3fn");
#ifdef CONSUMER_HAS_CUDA
    // No elements are no work: linked and called, on a machine without a GPU, too.
    lowp::cuda::quantize({nullptr, {}, lowp::cuda::layout::of({0})},
                         {nullptr, {}, lowp::cuda::layout::of({0})}, f);
#endif
    std::printf("%s: max %g\n", lowp::name(f).c_str(), f.max());
    return f.max() == 448.0 ? 0 : 1;
}
