// Scales that need more than one look at a block: statistics that are sums, searches, whatever the
// element. Eight lanes work on a block, or all of a thread block on a huge one; they add in the order of
// the CPU (detail/block_loops.hpp, sum_blocks): eight partial sums side by side, then those, piece by
// piece of a row.
#pragma once

#include "block_kernels.cuh"

namespace lowp::cuda::detail {

/// The lanes that work on one block. Teams of eight; more than one share their sums.
template <unsigned Teams>
struct crew {
    static constexpr unsigned size = 8 * Teams;
    unsigned rank = threadIdx.x % size;

    [[nodiscard]] __device__ unsigned team() const { return rank / 8; }
    [[nodiscard]] __device__ unsigned mask() const { return 0xFFU << (threadIdx.x % 32 / 8 * 8); }

    /// What the eight lanes of a team have, merged pairwise.
    template <class Value, class Merge>
    [[nodiscard]] __device__ Value merged(Value v, const Merge& merge) const {
#pragma unroll
        for (unsigned d = 4; d > 0; d /= 2) v = merge(v, __shfl_xor_sync(mask(), v, d));
        return v;
    }
    /// f(value of each team, in order), for all lanes.
    template <class Value, class F>
    __device__ void for_teams(Value v, const F& f) const {
        if constexpr (Teams == 1) {
            f(v);
        } else {
            __shared__ Value all[Teams];
            if (rank % 8 == 0) all[team()] = v;
            __syncthreads();
            for (unsigned t = 0; t < Teams; ++t) f(all[t]);
            __syncthreads();
        }
    }
};

/// Sum over a block of term(index of the element), in the one order.
template <unsigned Teams, class Term>
__device__ double sum_of(const crew<Teams>& all, const block_layout& l, const block_place& p,
                         const Term& term) {
    constexpr std::uint32_t piece = lowp::detail::block_chunk;
    const std::uint32_t pieces = (p.columns + piece - 1) / piece;
    const std::uint64_t runs = std::uint64_t{p.rows} * pieces;
    double sum = 0;
    for (std::uint64_t first = 0; first < runs; first += Teams) {
        const std::uint64_t run = first + all.team();
        double part = 0;
        if (run < runs) {
            const auto row = run / pieces;
            const auto begin = static_cast<std::uint32_t>(run % pieces) * piece;
            const std::uint32_t end = begin + piece < p.columns ? begin + piece : p.columns;
            for (std::uint32_t j = begin + all.rank % 8; j < end; j += 8)
                part += term(p.first + row * l.columns + j);
        }
        part = all.merged(part, [](double a, double b) { return a + b; });
        all.for_teams(part, [&](double of_team) { sum += of_team; });  // 0 behind the last run
    }
    return sum;
}

template <unsigned Teams, carrier C, class T>
__device__ block_content<T> content_of(const crew<Teams>& all, const block_call<T>& c,
                                       const block_place& p) {
    block_content<T> mine;
    gather<C>(c, p, 0, p.rows * p.columns, all.rank, crew<Teams>::size, false, mine);
    const auto largest = all.merged(mine.largest, [](auto a, auto b) { return a > b ? a : b; });
    const unsigned flags = all.merged((mine.has_nan ? 1U : 0U) | (mine.has_inf ? 2U : 0U),
                                      [](unsigned a, unsigned b) { return a | b; });
    block_content<T> content;
    all.for_teams(largest, [&](word_of<T> w) {
        content.largest = w > content.largest ? w : content.largest;
    });
    all.for_teams(flags, [&](unsigned f) {
        content.has_nan = content.has_nan || (f & 1) != 0;
        content.has_inf = content.has_inf || (f & 2) != 0;
    });
    return content;
}

template <carrier C, class T = worker_t<C>>
__device__ T value_at(const block_call<T>& c, std::uint64_t i) {
    word_of<T> v[1];
    load_values<C>(c.from, i, v);
    return __builtin_bit_cast(T, v[0]);
}

/// Mean of magnitudes, or its root of squares; special values left out, one by one, where there are any.
template <unsigned Teams, carrier C, class T>
__device__ T mean_of(const crew<Teams>& all, const block_call<T>& c, const block_place& p,
                     const block_content<T>& content) {
    const bool squares = c.statistic == statistic::rms;
    const auto term = [&](T x) {
        const double a = fabs(static_cast<double>(x));
        return squares ? a * a : a;
    };
    double sum = 0;
    std::uint64_t count = std::uint64_t{p.rows} * p.columns;
    if (!content.has_nan && !content.has_inf) {
        sum = sum_of(all, c.layout, p, [&](std::uint64_t i) { return term(value_at<C>(c, i)); });
    } else {
        const std::uint64_t size = count;
        count = 0;
        for (std::uint64_t e = 0; e < size && !content.has_inf; ++e) {
            const T x = value_at<C>(c, element_at(c.layout, p, static_cast<std::uint32_t>(e)));
            if (!isfinite(x)) continue;
            sum += term(x);
            ++count;
        }
    }
    const double mean = count > 0 ? sum / static_cast<double>(count) : 0;
    return static_cast<T>(squares ? sqrt(mean) : mean);
}

/// The scale format's codes of ideal scales.
template <class T>
struct scale_codes {
    const block_call<T>& c;

    [[nodiscard]] __device__ code_type encode(T x) const {
        return scale_as<block_verb::encode, T>(c.scale, __builtin_bit_cast(word_of<T>, x), 0);
    }
    [[nodiscard]] __device__ T decode(code_type code) const {
        word_of<T> bits = 0;
        lowp::detail::with_integer_path(c.scale.path, [&](auto way) {
            bits = lowp::detail::decode_lanes<lanes<T>, decltype(way)::value>(
                c.scale, static_cast<word_of<T>>(code));
        });
        return __builtin_bit_cast(T, bits);
    }
};

/// Elements rounded to nearest even.
template <class T>
struct nearest_elements {
    const any_elements<T>& all;

    [[nodiscard]] __device__ static constexpr bool takes_random(const block_call<T>& /*c*/) {
        return false;
    }
    template <block_verb V, int N>
    __device__ void convert(const block_call<T>& c, const std::uint32_t (&random)[N],
                            word_of<T> (&v)[N]) const {
        if (!all.book.empty()) return all.of_book_each<V>(c, random, v);
        any_path::with<T>(c.element.path, [&](auto way) {
#pragma unroll
            for (int j = 0; j < N; ++j)
                v[j] = lowp::detail::quantize_lanes<lanes<T>, rounding::nearest_ties_to_even,
                                                    decltype(way)::value>(c.element, v[j], 0);
        });
    }
};

/// The power of an error that a search sums.
__device__ inline double power_of(error_norm n, double d) {
    const double a = d < 0 ? -d : d;
    return n == error_norm::absolute  ? a
           : n == error_norm::squared ? a * a
                                      : lowp::detail::power_2_4(a);
}

/// The sum of errors of a block's elements at a scale. c: its elements round to nearest even.
template <unsigned Teams, carrier C, class T>
__device__ double error_of(const crew<Teams>& all, const block_call<T>& c,
                           const any_elements<T>& elements, const block_place& p,
                           const block_scale<T>& s) {
    return sum_of(all, c.layout, p, [&](std::uint64_t i) {
        const T x = value_at<C>(c, i);
        word_of<T> v[1] = {__builtin_bit_cast(word_of<T>, x)};
        convert_elements<block_verb::quantize>(c, nearest_elements<T>{elements}, s, i, v);
        const double d = static_cast<double>(x);
        const bool is_finite = d - d == 0;  // NaN and infinity are not what a scale is chosen for
        return power_of(c.search.error_norm,
                        is_finite ? d - static_cast<double>(__builtin_bit_cast(T, v[0])) : 0.0);
    });
}

template <unsigned Teams, carrier C, class T>
__device__ word_of<T> searched(const crew<Teams>& all, const block_call<T>& c,
                               const any_elements<T>& elements, const block_place& p,
                               std::uint64_t block, T statistic, word_of<T> ideal,
                               const lowp::detail::outer_pair<T>& outer) {
    const auto measure = [&](const T* candidate, double* error) {
        const auto bits = __builtin_bit_cast(word_of<T>, candidate[0]);
        *error = error_of<Teams, C>(all, c, elements, p,
                                    rounded_scale(c, elements.scale, block, bits, outer));
    };
    const scale_codes<T> codes{c};
    lowp::detail::scale_search<T, decltype(measure), scale_codes<T>, 1> candidates(
        c.search, {__builtin_bit_cast(T, ideal)}, {statistic}, {outer.scale}, 1, measure, codes);
    return __builtin_bit_cast(word_of<T>, candidates.best()[0]);
}

/// The scales of all blocks. c: its elements round to nearest even, as searches want it.
template <carrier C, unsigned Teams, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    find_scales(const __grid_constant__ block_call<T> c,
                const __grid_constant__ any_elements<T> elements, std::uint64_t blocks) {
    const crew<Teams> all;
    const std::uint64_t crews = std::uint64_t{gridDim.x} * blockDim.x / crew<Teams>::size;
    const std::uint64_t thread = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    for (std::uint64_t block = thread / crew<Teams>::size; block < blocks; block += crews) {
        const block_place p = place_of(c.layout, block);
        const auto content = content_of<Teams, C>(all, c, p);
        const bool is_sum = c.statistic == statistic::mean_abs || c.statistic == statistic::rms;
        const T mean = is_sum ? mean_of<Teams, C>(all, c, p, content) : T{0};
        const T statistic = statistic_of(c, content, mean);
        const auto outer = outer_scale_of(c, block);
        word_of<T> ideal = ideal_of(c, block, statistic, outer);
        if (c.search.kind != search::none && c.ideals == nullptr)
            ideal = searched<Teams, C>(all, c, elements, p, block, statistic, ideal, outer);
        if (all.rank != 0) continue;
        const auto s = rounded_scale(c, elements.scale, block, ideal, outer);
        c.known[block] = {s.total, s.factor};
        if (c.scale_codes != nullptr) store_scale(c, elements.scale, block, s.ideal);
    }
}

/// Elements whose blocks' scales are known: N neighbours of one block a thread and step.
template <carrier C, block_verb V, int N, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads)
    scaled_elements(const __grid_constant__ block_call<T> c,
                    const __grid_constant__ any_elements<T> elements, std::uint64_t groups) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t g = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; g < groups;
         g += threads) {
        const auto known = c.known[block_of(c.layout, g * N)];
        word_of<T> v[N];
        load_values<C>(c.from, g * N, v);
        convert_elements<V>(c, elements, block_scale<T>{0, known.total, known.factor}, g * N, v);
        store_elements<C, V>(c, g * N, v);
    }
}

}  // namespace lowp::cuda::detail
