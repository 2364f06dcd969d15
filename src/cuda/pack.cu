// Codes of 1 to 8 bits to dense bytes and back: eight codes a thread and step, by the text of pack.hpp.
#include "block.hpp"
#include "device.cuh"
#include "lowp/pack.hpp"

namespace lowp::cuda {

namespace detail {
namespace {

/// Bytes of a group of eight codes, one at a time: their places are on no boundary.
__device__ std::uint64_t load_bytes(const std::uint8_t* from, int bytes) {
    std::uint64_t w = 0;
    for (int b = 0; b < bytes; ++b) w |= std::uint64_t{from[b]} << (8 * b);
    return w;
}
__device__ void store_bytes(std::uint64_t w, std::uint8_t* to, int bytes) {
    for (int b = 0; b < bytes; ++b) to[b] = static_cast<std::uint8_t>(w >> (8 * b));
}

/// Up to eight codes or their dense bytes, in one access where they lie on a boundary of their size.
template <int N>
__device__ std::uint64_t load_whole(const std::uint8_t* from) {
    if constexpr (N == 8) return *reinterpret_cast<const std::uint64_t*>(from);
    else if constexpr (N == 4) return *reinterpret_cast<const std::uint32_t*>(from);
    else if constexpr (N == 2) return *reinterpret_cast<const std::uint16_t*>(from);
    else return load_bytes(from, N);
}
template <int N>
__device__ void store_whole(std::uint64_t w, std::uint8_t* to) {
    if constexpr (N == 8) *reinterpret_cast<std::uint64_t*>(to) = w;
    else if constexpr (N == 4)
        *reinterpret_cast<std::uint32_t*>(to) = static_cast<std::uint32_t>(w);
    else if constexpr (N == 2)
        *reinterpret_cast<std::uint16_t*>(to) = static_cast<std::uint16_t>(w);
    else store_bytes(w, to, N);
}

enum class boundary : std::uint8_t { any, aligned };

/// Lines of `count` codes, each closed up to whole bytes: a group of eight codes a thread and step.
__global__ void __launch_bounds__(block_threads)
    pack_line_groups(const std::uint8_t* codes, std::uint64_t lines, std::uint64_t count, int bits,
                     std::uint8_t* bytes, std::uint32_t* failures) {
    const std::uint64_t groups = (count + 7) / 8;
    const std::uint64_t unused = 0x0101010101010101U * (0xFFU >> bits << bits & 0xFFU);
    const std::uint64_t line_bytes = packed_size(count, bits);
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; t < lines * groups;
         t += threads) {
        const std::uint64_t line = t / groups;
        const std::uint64_t g = t - line * groups;
        const std::uint64_t left = count - 8 * g;
        const int here = left < 8 ? static_cast<int>(left) : 8;
        const std::uint64_t w = load_bytes(codes + line * count + 8 * g, here);
        if ((w & unused) != 0 && failures != nullptr) atomicOr(failures, code_too_wide);
        store_bytes(lowp::detail::close_up(w & ~unused, bits), bytes + line * line_bytes + bits * g,
                    (here * bits + 7) / 8);
    }
}

/// And back.
__global__ void __launch_bounds__(block_threads)
    unpack_line_groups(const std::uint8_t* bytes, std::uint64_t lines, std::uint64_t count,
                       int bits, std::uint8_t* codes) {
    const std::uint64_t groups = (count + 7) / 8;
    const std::uint64_t line_bytes = packed_size(count, bits);
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t t = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; t < lines * groups;
         t += threads) {
        const std::uint64_t line = t / groups;
        const std::uint64_t g = t - line * groups;
        const std::uint64_t left = count - 8 * g;
        const int here = left < 8 ? static_cast<int>(left) : 8;
        const std::uint64_t w =
            load_bytes(bytes + line * line_bytes + bits * g, (here * bits + 7) / 8);
        store_bytes(lowp::detail::spread(w, bits), codes + line * count + 8 * g, here);
    }
}

template <int Bits, boundary Boundary>
__global__ void __launch_bounds__(block_threads)
    pack_groups(const std::uint8_t* codes, std::uint64_t count, std::uint8_t* bytes,
                std::uint32_t* failures) {
    constexpr std::uint64_t unused = 0x0101010101010101U * (0xFFU >> Bits << Bits & 0xFFU);
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t g = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
         g < (count + 7) / 8; g += threads) {
        const bool whole = 8 * g + 8 <= count;
        const int codes_here = whole ? 8 : static_cast<int>(count - 8 * g);
        const bool at_once = whole && Boundary == boundary::aligned;
        const std::uint64_t w =
            at_once ? load_whole<8>(codes + 8 * g) : load_bytes(codes + 8 * g, codes_here);
        if ((w & unused) != 0) atomicOr(failures, code_too_wide);
        const std::uint64_t closed = lowp::detail::close_up(w & ~unused, Bits);
        if (at_once) store_whole<Bits>(closed, bytes + Bits * g);
        else store_bytes(closed, bytes + Bits * g, (codes_here * Bits + 7) / 8);
    }
}

template <int Bits, boundary Boundary>
__global__ void __launch_bounds__(block_threads)
    unpack_groups(const std::uint8_t* bytes, std::uint8_t* codes, std::uint64_t count) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t g = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
         g < (count + 7) / 8; g += threads) {
        const bool whole = 8 * g + 8 <= count;
        const int codes_here = whole ? 8 : static_cast<int>(count - 8 * g);
        const bool at_once = whole && Boundary == boundary::aligned;
        const std::uint64_t w = at_once ? load_whole<Bits>(bytes + Bits * g)
                                        : load_bytes(bytes + Bits * g, (codes_here * Bits + 7) / 8);
        const std::uint64_t spread = lowp::detail::spread(w, Bits);
        if (at_once) store_whole<8>(spread, codes + 8 * g);
        else store_bytes(spread, codes + 8 * g, codes_here);
    }
}

bool on_boundary(const void* codes, const void* bytes) {
    const auto at =
        reinterpret_cast<std::uintptr_t>(codes) | reinterpret_cast<std::uintptr_t>(bytes);
    return at % 8 == 0;
}

void check_packing(const char* verb, int bits, const void* codes, const void* bytes,
                   std::size_t count) {
    const std::string where = std::string("lowp::cuda::") + verb + ": ";
    if (bits < 1 || bits > 8)
        throw std::invalid_argument(where + "bits must be between 1 and 8; got " +
                                    std::to_string(bits));
    if (count > 0 && (codes == nullptr || bytes == nullptr))
        throw std::invalid_argument(where + "codes and bytes must not be null");
}

}  // namespace

void pack_lines(const std::uint8_t* codes, std::size_t lines, std::size_t count, int bits,
                std::uint8_t* bytes, stream s) {
    const unsigned blocks = blocks_for(lines * ((count + 7) / 8));
    launch(&pack_line_groups, blocks, s, codes, std::uint64_t{lines}, std::uint64_t{count}, bits,
           bytes, static_cast<std::uint32_t*>(nullptr));
}

}  // namespace detail

void pack(const std::uint8_t* codes, std::size_t count, int bits, std::uint8_t* bytes,
          const options& o, stream s) {
    detail::check_packing("pack", bits, codes, bytes, count);
    if (bits < 8 && o.failures == nullptr)
        throw std::invalid_argument(
            "lowp::cuda::pack: say where to report codes of more bits (options::failures)");
    const unsigned blocks = detail::blocks_for((count + 7) / 8);
    lowp::detail::with_bits(bits, [&](auto b) {
        using detail::boundary;
        if (detail::on_boundary(codes, bytes))
            detail::launch(&detail::pack_groups<b(), boundary::aligned>, blocks, s, codes,
                           std::uint64_t{count}, bytes, o.failures);
        else
            detail::launch(&detail::pack_groups<b(), boundary::any>, blocks, s, codes,
                           std::uint64_t{count}, bytes, o.failures);
    });
}

void unpack(const std::uint8_t* bytes, int bits, std::uint8_t* codes, std::size_t count, stream s) {
    detail::check_packing("unpack", bits, codes, bytes, count);
    const unsigned blocks = detail::blocks_for((count + 7) / 8);
    lowp::detail::with_bits(bits, [&](auto b) {
        using detail::boundary;
        if (detail::on_boundary(codes, bytes))
            detail::launch(&detail::unpack_groups<b(), boundary::aligned>, blocks, s, bytes, codes,
                           std::uint64_t{count});
        else
            detail::launch(&detail::unpack_groups<b(), boundary::any>, blocks, s, bytes, codes,
                           std::uint64_t{count});
    });
}

void pack_lines(const std::uint8_t* codes, std::size_t lines, std::size_t count, int bits,
                std::uint8_t* bytes, const options& o, stream s) {
    detail::check_packing("pack_lines", bits, codes, bytes, lines * count);
    if (bits < 8 && o.failures == nullptr)
        throw std::invalid_argument(
            "lowp::cuda::pack_lines: say where to report codes of more bits (options::failures)");
    const unsigned blocks = detail::blocks_for(lines * ((count + 7) / 8));
    detail::launch(&detail::pack_line_groups, blocks, s, codes, std::uint64_t{lines},
                   std::uint64_t{count}, bits, bytes, o.failures);
}

void unpack_lines(const std::uint8_t* bytes, std::size_t lines, std::size_t count, int bits,
                  std::uint8_t* codes, stream s) {
    detail::check_packing("unpack_lines", bits, codes, bytes, lines * count);
    const unsigned blocks = detail::blocks_for(lines * ((count + 7) / 8));
    detail::launch(&detail::unpack_line_groups, blocks, s, bytes, std::uint64_t{lines},
                   std::uint64_t{count}, bits, codes);
}

}  // namespace lowp::cuda
