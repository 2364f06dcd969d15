// The transform of cuda_hadamard.hpp as the host sees it.
#include "hadamard.hpp"

#include <bit>
#include <cmath>
#include <stdexcept>
#include <string>

#include "carriers.hpp"

namespace lowp::cuda {

namespace {

[[noreturn]] void fail(const std::string& message) {
    throw std::invalid_argument("lowp::cuda::hadamard: " + message);
}

void check(const void* x, const void* out, std::size_t n, std::size_t size, std::size_t columns,
           const hadamard_options& o) {
    if (size < 2 || size > 256 || !std::has_single_bit(size))
        fail("size must be a power of two from 2 to 256; got " + std::to_string(size));
    if (columns == 0 || n % size != 0 || n / size % columns != 0)
        fail("the length must be a multiple of size " + std::to_string(size) + " times columns " +
             std::to_string(columns) + "; got " + std::to_string(n) + ": pad with zeros");
    if (o.source && o.signs != nullptr) fail("give signs or a source of them, not both");
    if (n > 0 && (x == nullptr || out == nullptr))
        fail("x and out must not be null where there are elements");
}

}  // namespace

void hadamard(const void* x, void* out, carrier c, std::size_t n, std::size_t size,
              std::size_t columns, const hadamard_options& o, stream s) {
    check(x, out, n, size, columns, o);
    if (n == 0) return;
    detail::with_carrier(c, [&](auto of) {
        constexpr carrier C = decltype(of)::value;
        using T = detail::worker_t<C>;
        detail::hadamard_call<T> call;
        call.from = x;
        call.to = out;
        call.size = n;
        call.run = static_cast<std::uint32_t>(size);
        call.columns = columns;
        call.norm = static_cast<T>(1 / std::sqrt(static_cast<double>(size)));
        call.signs = o.source             ? detail::sign_source::random
                     : o.signs != nullptr ? detail::sign_source::given
                                          : detail::sign_source::none;
        call.signs_after = o.is_inverse;
        call.source = o.source.value_or(random_source{});
        call.stream_offset = o.stream_offset;
        call.given = o.signs;
        detail::hadamard_kernels<C>::transform(call, s);
    });
}

}  // namespace lowp::cuda
