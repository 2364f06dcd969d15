// Codes, scales and outer scales back to values.
#pragma once

#include "block_parts.cuh"
#include "conversion_ways.cuh"

namespace lowp::cuda::detail {

/// The code of element i, loose or closed up.
template <class T>
__device__ std::uint64_t code_at(const block_call<T>& c, std::uint64_t i) {
    if (!c.is_dense) {
        std::uint64_t code[1];
        load_codes(c.from, c.code_bytes, i, code);
        return code[0];
    }
    const std::uint64_t line = i / c.line_codes;
    const std::uint64_t bit = (i - line * c.line_codes) * c.code_bits;
    const auto* const bytes = static_cast<const std::uint8_t*>(c.from) + line * c.line_bytes;
    const unsigned shift = bit % 8;
    unsigned code = bytes[bit / 8] >> shift;
    if (shift + c.code_bits > 8) code |= static_cast<unsigned>(bytes[bit / 8 + 1]) << (8 - shift);
    return code & ((1U << c.code_bits) - 1U);
}

/// The block of element i.
__device__ inline std::uint64_t block_of(const block_layout& l, std::uint64_t i) {
    if (l.block_rows >= l.rows && l.block_columns >= l.columns && l.count == 1) return 0;
    const std::uint64_t row = i / l.columns;
    const std::uint64_t column = i - row * l.columns;
    const std::uint64_t matrix = row / l.rows;
    const std::uint64_t down = (row - matrix * l.rows) / l.block_rows;
    return (matrix * l.blocks_down() + down) * l.blocks_across() + column / l.block_columns;
}

template <class T>
__device__ word_of<T> decoded_total(const block_call<T>& c, std::uint64_t block) {
    word_of<T> code[1];
    std::uint64_t above = load_codes(c.scale_codes, c.scale_bytes, block, code);
    above |= code[0] & ~c.scale.code_mask;
    if (above != 0 && c.failures != nullptr) atomicOr(c.failures, code_too_wide);
    word_of<T> scale = 0;
    lowp::detail::with_integer_path(c.scale.path, [&](auto way) {
        scale = lowp::detail::decode_lanes<lanes<T>, decltype(way)::value>(c.scale, code[0]);
    });
    const auto outer = outer_scale_of(c, block);
    return lowp::detail::total_of<lanes<T>>(c.totals, scale,
                                            __builtin_bit_cast(word_of<T>, outer.scale))
        .total;
}

/// The values of codes as float bits; bits above the format's are told of.
template <int N, class T>
__device__ void decode_all(const block_call<T>& c, const codebook* book,
                           const std::uint64_t (&codes)[N], word_of<T> (&v)[N]) {
    const std::uint64_t mask =
        c.code_bits < 64 ? (std::uint64_t{1} << c.code_bits) - 1 : ~std::uint64_t{0};
    std::uint64_t above = 0;
#pragma unroll
    for (int j = 0; j < N; ++j) above |= codes[j] & ~mask;
    if (above != 0 && c.failures != nullptr) atomicOr(c.failures, code_too_wide);
    if (book != nullptr) {
        for (int j = 0; j < N; ++j) {
            const std::uint64_t code = codes[j] & mask;
            v[j] = code < book->size()
                       ? __builtin_bit_cast(word_of<T>, static_cast<T>(book->values()[code]))
                       : quiet_nan_bits<T>;
        }
        return;
    }
    lowp::detail::with_integer_path(c.element.path, [&](auto way) {
#pragma unroll
        for (int j = 0; j < N; ++j)
            v[j] = lowp::detail::decode_lanes<lanes<T>, decltype(way)::value>(
                c.element, static_cast<word_of<T>>(codes[j]));
    });
}

/// An element times its block's total; every NaN is the quiet one once it is stored in the carrier.
template <carrier C, class T = worker_t<C>>
__device__ word_of<T> scaled_back(word_of<T> value, word_of<T> total) {
    if constexpr (bytes_of(C) == 2) return lanes<T>::product(value, total);  // narrowing sees to it
    const bool is_nan = is_nan_word<T>(total) || is_nan_word<T>(value);
    return is_nan ? quiet_nan_bits<T> : lanes<T>::product(value, total);
}

/// Codes of N neighbours, each Bits after the one before: in registers as in memory.
template <int Bits, int N>
struct close_codes {
    static_assert(N * Bits % 8 == 0);
    static constexpr int bytes = N * Bits / 8;
    std::uint32_t words[(bytes + 3) / 4] = {};

    /// Group g, moved in the largest pieces on whose boundaries all groups begin where the first does.
    __device__ void load(const void* from, std::uint64_t g) {
        constexpr int piece = bytes % 16 == 0 ? 16 : bytes & -bytes;
        using part =
            std::conditional_t<piece >= 4, std::uint32_t,
                               std::conditional_t<piece == 2, std::uint16_t, std::uint8_t>>;
        constexpr int size = sizeof(part);
        const auto* const at = static_cast<const std::uint8_t*>(from) + g * bytes;
#pragma unroll
        for (int k = 0; k < bytes; k += piece) {
            const auto whole = *reinterpret_cast<const group<part, piece / size>*>(at + k);
#pragma unroll
            for (int j = 0; j < piece; j += size)
                words[(k + j) / 4] |= std::uint32_t{whole.at[j / size]} << (8 * ((k + j) % 4));
        }
    }
    [[nodiscard]] __device__ std::uint32_t code(int j) const {
        const int word = j * Bits / 32;
        const int bit = j * Bits % 32;
        std::uint32_t from_here = words[word] >> bit;
        if (bit + Bits > 32) from_here |= words[word + 1] << (32 - bit);
        return from_here & ((1U << Bits) - 1U);
    }
};

/// The values of all codes of a byte, from a format or a codebook; mask: of the code's bits.
template <class T>
__device__ void fill_elements(const lowp::detail::plan<T>& element, const codebook& book,
                              std::uint32_t mask, word_of<T> (&values)[256]) {
    if (book.empty())
        return decode_every_byte(element, [&](unsigned code, word_of<T> v) { values[code] = v; });
    for (unsigned byte = threadIdx.x; byte < 256; byte += blockDim.x) {
        const unsigned code = byte & mask;
        values[byte] = code < book.size()
                           ? __builtin_bit_cast(word_of<T>, static_cast<T>(book.values()[code]))
                           : quiet_nan_bits<T>;
    }
}

/// Some neighbours of one block a thread; their codes lie Bits apart: closed up, or one a byte.
/// log2_groups: of a block, where blocks follow each other in memory; else negative.
template <carrier C, int Bits, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    decode_groups(const __grid_constant__ block_call<T> c, const __grid_constant__ codebook book,
                  std::uint64_t groups, int log2_groups) {
    constexpr int N = block_step<C>;
    // What each byte stands for, as element and as scale: worked out once a thread block.
    __shared__ word_of<T> values[256];
    __shared__ word_of<T> scales[256];
    const std::uint32_t mask = (1U << c.code_bits) - 1U;
    fill_elements(c.element, book, mask, values);
    decode_every_byte(c.scale, [&](unsigned code, word_of<T> v) { scales[code] = v; });
    __syncthreads();
    const auto total_of_block = [&](std::uint64_t block) {
        if (c.scale_bytes != 1) return decoded_total(c, block);
        const word_of<T> code = c.scale_codes[block];
        if ((code & ~c.scale.code_mask) != 0 && c.failures != nullptr)
            atomicOr(c.failures, code_too_wide);
        const auto outer = outer_scale_of(c, block);
        return lowp::detail::total_of<lanes<T>>(c.totals, scales[code],
                                                __builtin_bit_cast(word_of<T>, outer.scale))
            .total;
    };
    std::uint32_t met = 0;  // of codes that may have bits above
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t g = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; g < groups;
         g += threads) {
        const std::uint64_t block = log2_groups < 0 ? block_of(c.layout, g * N) : g >> log2_groups;
        close_codes<Bits, N> codes;
        codes.load(c.from, g);  // before the scale: one wait for both
        const word_of<T> total = total_of_block(block);
        word_of<T> v[N];
#pragma unroll
        for (int j = 0; j < N; ++j) {
            if constexpr (Bits == 8) met |= codes.code(j);
            v[j] = scaled_back<C>(values[codes.code(j)], total);
        }
        store_values<C>(c.to, g * N, v);
    }
    if ((met & ~mask) != 0 && c.failures != nullptr) atomicOr(c.failures, code_too_wide);
}

template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    decode_blocks(const __grid_constant__ block_call<T> c,
                  const __grid_constant__ any_elements<T> elements, std::uint64_t n) {
    const codebook* const book = elements.book.empty() ? nullptr : &elements.book;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
         i += threads) {
        const word_of<T> total = decoded_total(c, block_of(c.layout, i));
        const std::uint64_t code[1] = {code_at(c, i)};
        word_of<T> v[1];
        decode_all(c, book, code, v);
        v[0] = scaled_back<C>(v[0], total);
        store_values<C>(c.to, i, v);
    }
}

}  // namespace lowp::cuda::detail
