// Codes of 1 to 8 bits, dense in bytes: little-endian, the first code in the lowest bits.
// FP4 so has the even element in the low nibble, as OCP MX, CUDA and PyTorch store it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace lowp {

/// Bytes that `count` codes of `bits` bits take.
[[nodiscard]] constexpr std::size_t packed_size(std::size_t count, int bits) {
    const auto b = static_cast<std::size_t>(bits);
    return count / 8 * b + (count % 8 * b + 7) / 8;
}

namespace detail {

inline void check_pack(const char* verb, int bits, std::size_t codes, std::size_t bytes) {
    const std::string where = std::string("lowp::") + verb + ": ";
    if (bits < 1 || bits > 8)
        throw std::invalid_argument(where + "bits must be between 1 and 8; got " +
                                    std::to_string(bits));
    if (bytes != packed_size(codes, bits))
        throw std::invalid_argument(
            where + std::to_string(codes) + " codes of " + std::to_string(bits) + " bits take " +
            std::to_string(packed_size(codes, bits)) + " bytes; got " + std::to_string(bytes));
}

/// Eight codes, one a byte, closed up to 8 * bits bits: pairs, then pairs of pairs, then halves.
[[nodiscard]] constexpr std::uint64_t close_up(std::uint64_t w, int bits) {
    const int free = 8 - bits;
    w = (w & 0x00FF00FF00FF00FFU) | ((w & 0xFF00FF00FF00FF00U) >> free);
    w = (w & 0x0000FFFF0000FFFFU) | ((w & 0xFFFF0000FFFF0000U) >> (2 * free));
    return (w & 0x00000000FFFFFFFFU) | ((w & 0xFFFFFFFF00000000U) >> (4 * free));
}

/// The inverse: 8 * bits bits spread to one code a byte.
[[nodiscard]] constexpr std::uint64_t spread(std::uint64_t w, int bits) {
    const int free = 8 - bits;
    const std::uint64_t code = (std::uint64_t{1} << bits) - 1;
    const std::uint64_t two = (std::uint64_t{1} << (2 * bits)) - 1;
    const std::uint64_t four = bits == 8 ? 0xFFFFFFFFU : (std::uint64_t{1} << (4 * bits)) - 1;
    w = (w & four) | ((w & (bits == 8 ? ~four : four << (4 * bits))) << (4 * free));
    w = (w & (two | two << 32)) | ((w & ((two | two << 32) << (2 * bits))) << (2 * free));
    const std::uint64_t each = code | code << 16 | code << 32 | code << 48;
    return (w & each) | ((w & (each << bits)) << free);
}

/// Least significant byte first, whatever the machine's order. One move each where sizes are known.
[[nodiscard]] inline std::uint64_t load_little(const std::uint8_t* from, std::size_t bytes) {
    std::uint64_t w = 0;
    if (bytes == 0) return w;  // `from` may then be null
    if constexpr (std::endian::native == std::endian::little) std::memcpy(&w, from, bytes);
    else
        for (std::size_t i = 0; i < bytes; ++i) w |= std::uint64_t{from[i]} << (8 * i);
    return w;
}
inline void store_little(std::uint64_t w, std::uint8_t* to, std::size_t bytes) {
    if (bytes == 0) return;
    if constexpr (std::endian::native == std::endian::little) std::memcpy(to, &w, bytes);
    else
        for (std::size_t i = 0; i < bytes; ++i) to[i] = static_cast<std::uint8_t>(w >> (8 * i));
}

/// Whether a code has one of `bits`; eight codes at a time.
[[nodiscard]] inline bool any_code_has(std::span<const std::uint8_t> codes, std::uint8_t bits) {
    std::uint64_t all = 0;
    std::size_t i = 0;
    for (; i + 8 <= codes.size(); i += 8) all |= load_little(codes.data() + i, 8);
    all |= load_little(codes.data() + i, codes.size() - i);
    return (all & (bits * 0x0101010101010101U)) != 0;
}

template <int Bits>
void pack_groups(const std::uint8_t* codes, std::uint8_t* bytes, std::size_t groups) {
    for (std::size_t g = 0; g < groups; ++g)
        store_little(close_up(load_little(codes + 8 * g, 8), Bits), bytes + Bits * g, Bits);
}
template <int Bits>
void unpack_groups(const std::uint8_t* bytes, std::size_t size, std::uint8_t* codes,
                   std::size_t groups) {
    constexpr std::size_t step = Bits;
    for (std::size_t g = 0; g < groups; ++g) {
        // spread() ignores what lies above the group: where a group is no power of two of bytes,
        // eight bytes are one load, as far as they exist.
        const bool reads_more = !std::has_single_bit(step) && step * g + 8 <= size;
        const std::size_t readable = reads_more ? 8 : step;
        store_little(spread(load_little(bytes + step * g, readable), Bits), codes + 8 * g, 8);
    }
}

/// Calls f with the width as a type.
template <class F>
void with_bits(int bits, F&& f) {
    switch (bits) {
        case 1: return f(std::integral_constant<int, 1>{});
        case 2: return f(std::integral_constant<int, 2>{});
        case 3: return f(std::integral_constant<int, 3>{});
        case 4: return f(std::integral_constant<int, 4>{});
        case 5: return f(std::integral_constant<int, 5>{});
        case 6: return f(std::integral_constant<int, 6>{});
        case 7: return f(std::integral_constant<int, 7>{});
        default: return f(std::integral_constant<int, 8>{});
    }
}

}  // namespace detail

/// Codes, one a byte, to dense bytes; unused bits of the last byte are zero. bytes: exactly
/// packed_size(codes.size(), bits). Throws std::invalid_argument for a code of more than `bits`.
inline void pack(std::span<const std::uint8_t> codes, int bits, std::span<std::uint8_t> bytes) {
    detail::check_pack("pack", bits, codes.size(), bytes.size());
    const auto unused = static_cast<std::uint8_t>(~((1U << bits) - 1U));
    if (detail::any_code_has(codes, unused))
        throw std::invalid_argument("lowp::pack: a code has more than " + std::to_string(bits) +
                                    " bits");
    const std::size_t groups = codes.size() / 8;
    detail::with_bits(
        bits, [&](auto b) { detail::pack_groups<b()>(codes.data(), bytes.data(), groups); });
    const std::size_t rest = codes.size() % 8;
    const std::uint64_t last =
        detail::close_up(detail::load_little(codes.data() + 8 * groups, rest), bits);
    const std::size_t done = groups * static_cast<std::size_t>(bits);
    detail::store_little(last, bytes.data() + done, bytes.size() - done);
}

/// Dense bytes to codes, one a byte. bytes: exactly packed_size(codes.size(), bits).
inline void unpack(std::span<const std::uint8_t> bytes, int bits, std::span<std::uint8_t> codes) {
    detail::check_pack("unpack", bits, codes.size(), bytes.size());
    const std::size_t groups = codes.size() / 8;
    detail::with_bits(bits, [&](auto b) {
        detail::unpack_groups<b()>(bytes.data(), bytes.size(), codes.data(), groups);
    });
    const std::size_t done = groups * static_cast<std::size_t>(bits);
    const std::uint64_t last =
        detail::spread(detail::load_little(bytes.data() + done, bytes.size() - done), bits);
    detail::store_little(last, codes.data() + 8 * groups, codes.size() % 8);
}

}  // namespace lowp
