// The Walsh-Hadamard transform of runs of 2 to 256 values: spreads outliers over a block before it is
// quantized, and undoes itself. With random signs it hides any structure of the data.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lowp/array.hpp"

namespace lowp {

/// Which diagonal D of signs goes with the transform x D H / sqrt(size), H the Sylvester matrix.
struct hadamard_options {
    std::optional<random_source> source = {};  ///< sign i: top bit of its word i, 1 is minus
    std::optional<std::span<const std::int8_t>> signs = {};  ///< 1 or -1, `size` of them, instead
    bool is_inverse = false;                                 ///< x H D / sqrt(size)
    std::size_t columns = 1;  ///< values between neighbours of a run: rows' length, down columns
    int threads = 0;
    const detail::loop_table* loops = nullptr;
};

namespace detail {

/// Sign bits for a transform, repeated so that they fill any register.
template <class T>
[[nodiscard]] std::vector<typename carrier<T>::word> sign_words(std::size_t size,
                                                                const hadamard_options& o) {
    using word = typename carrier<T>::word;
    std::vector<word> words;
    if (!o.source && !o.signs) return words;
    words.resize(std::max<std::size_t>(size, 64));
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::size_t at = i % size;
        const bool minus = o.signs ? (*o.signs)[at] < 0 : (*o.source)(at) >> 31 != 0;
        words[i] = minus ? word{1} << (carrier<T>::width - 1) : 0;
    }
    return words;
}

}  // namespace detail

/// Each run of `size` values of x, transformed; x and out apart or the same memory. size: a power of
/// two from 2 to 256; x.size(): a multiple of it, else std::invalid_argument. Sums go butterfly by
/// butterfly, distances 1, 2, 4, ..., and are scaled at the end by 1 / sqrt(size), rounded to T: the
/// same bits everywhere. NaN and infinity spread over their run; sums may overflow.
template <carrier_float T, class Isa = detail::native_isa>
void hadamard(std::span<const T> x, std::span<T> out, std::size_t size,
              const hadamard_options& o = {}) {
    detail::check_sizes("hadamard", x.size(), out.size());
    if (size < 2 || size > 256 || !std::has_single_bit(size))
        detail::fail("lowp::hadamard: size must be a power of two from 2 to 256; got " +
                     std::to_string(size));
    if (o.columns == 0 || x.size() % size != 0 || x.size() / size % o.columns != 0)
        detail::fail("lowp::hadamard: the length must be a multiple of size " +
                     std::to_string(size) +
                     (o.columns == 1 ? "" : " times columns " + std::to_string(o.columns)) +
                     "; got " + std::to_string(x.size()) + ": pad with zeros");
    if (o.signs && o.signs->size() != size)
        detail::fail("lowp::hadamard: signs must have " + std::to_string(size) + " entries; got " +
                     std::to_string(o.signs->size()));
    for (std::size_t i = 0; o.signs && i < size; ++i)
        if ((*o.signs)[i] != 1 && (*o.signs)[i] != -1)
            detail::fail("lowp::hadamard: signs must be 1 or -1; got " +
                         std::to_string((*o.signs)[i]));
    options with;
    with.loops = o.loops;
    with.threads = o.threads;
    detail::check_options("hadamard", {}, with, x.size());
    const auto signs = detail::sign_words<T>(size, o);
    const auto* const words = signs.empty() ? nullptr : signs.data();
    const auto norm = static_cast<T>(1 / std::sqrt(static_cast<double>(size)));
    const auto* const before = o.is_inverse ? nullptr : words;
    const auto* const after = o.is_inverse ? words : nullptr;
    const auto& loops = detail::loops_of<Isa>(with).template of<T>().blocks;
    if (o.columns > 1)
        return detail::for_tasks(x.size() / (size * o.columns), x.size(), o.threads,
                                 [&](std::size_t begin, std::size_t end) {
            const detail::default_environment environment;
            for (std::size_t i = begin; i < end; ++i)
                loops.hadamard_columns(x.data() + i * size * o.columns,
                                       out.data() + i * size * o.columns, o.columns, size, before,
                                       after, norm);
        });
    detail::for_ranges(x.size(), o.threads, detail::block_chunk,
                       [&](std::size_t begin, std::size_t end) {
        const detail::default_environment environment;
        loops.hadamard(x.data() + begin, out.data() + begin, end - begin, size, before, after,
                       norm);
    });
}

}  // namespace lowp
