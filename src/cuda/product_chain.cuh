// Chains of sums, each rounded: acc = project(acc + a b), in tiles of float32 or float64.
//
// The device's fused operation rounds the exact a b + acc, however many bits that has. Rounded to odd, it
// rounds once more to any format of two bits less as the exact value would (detail/product_kernel.hpp).
#pragma once

#include "product_tiles.cuh"

namespace lowp::cuda::detail {

inline constexpr int chain_places = 32;

template <class T>
struct chain_tile {
    static constexpr int stride = tile_side + 16 / static_cast<int>(sizeof(T));
    alignas(16) T a[chain_places][stride], b[chain_places][stride];
};

template <class T>
using own_sums = T[own_side][own_side];

/// What a step sees beside the numbers.
struct step_place {
    sum_at at;        ///< of the thread's first sum
    std::uint64_t k;  ///< of the first place
};

template <class T, fused_by F, rounding R>
__device__ T fused(T a, T b, T c) {
    if constexpr (F == fused_by::odd) return odd_sum<T, R>(a, b, c);
    else if constexpr (sizeof(T) == 4) return __fmaf_rn(a, b, c);
    else return __fma_rn(a, b, c);
}

/// How many copies of a step a kernel has.
enum class unrolling : std::uint8_t { some, none };

/// The places [from, to) of a tile: step(row of sums, factor, four factors, place) for each.
template <unrolling U = unrolling::some, class T, class Step>
__device__ void over_places(const chain_tile<T>& t, const own_place& own, int from, int to,
                            own_sums<T>& acc, const Step& step) {
    const auto one = [&](int p) {
        using four = group<T, own_side>;
        const four x = *reinterpret_cast<const four*>(&t.a[p][own.row * own_side]);
        const four y = *reinterpret_cast<const four*>(&t.b[p][own.column * own_side]);
#pragma unroll
        for (int i = 0; i < own_side; ++i) step(i, x.at[i], y.at, acc[i], p);
    };
    if (U == unrolling::some && from == 0 && to == chain_places) {
#pragma unroll 2
        for (int p = 0; p < chain_places; ++p) one(p);
    } else {
#pragma unroll 1
        for (int p = from; p < to; ++p) one(p);
    }
}

/// The carrier's own fused operation.
template <class T>
struct plain_steps {
    using value = T;
    __device__ static void run(const chain_call<T>&, const step_place&, const chain_tile<T>& t,
                               const own_place& own, int from, int to, own_sums<T>& acc) {
        over_places(t, own, from, to, acc,
                    [](int, T x, const T(&y)[own_side], T(&sums)[own_side], int) {
#pragma unroll
            for (int j = 0; j < own_side; ++j)
                sums[j] =
                    fused<T, fused_by::nearest, rounding::nearest_ties_to_even>(x, y[j], sums[j]);
        });
    }
};

/// Formats that the device itself rounds to, to nearest even and with infinity.
template <carrier C, fused_by F>
struct half_steps {
    using value = float;
    __device__ static void run(const chain_call<float>&, const step_place&,
                               const chain_tile<float>& t, const own_place& own, int from, int to,
                               own_sums<float>& acc) {
        over_places(t, own, from, to, acc,
                    [](int, float x, const float(&y)[own_side], float(&sums)[own_side], int) {
            constexpr rounding R = rounding::nearest_ties_to_even;
#pragma unroll
            for (int j = 0; j < own_side; j += 2) {
                const float first = fused<float, F, R>(x, y[j], sums[j]);
                const float second = fused<float, F, R>(x, y[j + 1], sums[j + 1]);
                std::uint32_t both;
                if constexpr (C == carrier::float16) {
                    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
                    sums[j] = __half2float(__ushort_as_half(static_cast<std::uint16_t>(both)));
                    sums[j + 1] =
                        __half2float(__ushort_as_half(static_cast<std::uint16_t>(both >> 16)));
                } else {
                    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
                    sums[j] = __uint_as_float(both << 16);
                    sums[j + 1] = __uint_as_float(both & 0xFFFF0000U);
                }
            }
        });
    }
};

/// Any format whose sums go along one path in one mode.
template <class T, rounding R, path P>
struct rounded_steps {
    using value = T;
    __device__ static void run(const chain_call<T>& c, const step_place&, const chain_tile<T>& t,
                               const own_place& own, int from, int to, own_sums<T>& acc) {
        over_places(t, own, from, to, acc,
                    [&](int, T x, const T(&y)[own_side], T(&sums)[own_side], int) {
#pragma unroll
            for (int j = 0; j < own_side; ++j) sums[j] = rounded(c.addition, x, y[j], sums[j], 0);
        });
    }
    __device__ static T rounded(const lowp::detail::plan<T>& to, T a, T b, T c,
                                std::uint32_t random) {
        using L = fused_lanes<T>;
        return L::value(lowp::detail::quantize_lanes<lanes<T>, R, P>(
            to, L::bits(odd_sum<T, R>(a, b, c)), random));
    }
};

/// The random words of a row of sums at one place.
static __device__ __noinline__ void words_of_row(const product_call& c, const step_place& first,
                                                 int i, int p, std::uint64_t stream,
                                                 std::uint32_t (&random)[own_side]) {
    random_source source = c.source;
    source.stream += stream;
    const std::uint64_t k = first.k + static_cast<std::uint64_t>(p);
    random_words(source, c.stream_offset,
                 first.at.first_index + (k * c.m + first.at.row + i) * c.n + first.at.column,
                 random);
}

/// Any mode of a kind along the path of sums or that of aligned formats: chosen once for some places.
template <class T, chance Chance>
struct any_steps {
    using value = T;

    template <rounding R, path P>
    __device__ static void places(const chain_call<T>& c, const step_place& first,
                                  const chain_tile<T>& t, const own_place& own, int from, int to,
                                  own_sums<T>& acc) {
        over_places<unrolling::none>(
            t, own, from, to, acc,
            [&](int i, T x, const T(&y)[own_side], T(&sums)[own_side], int p) {
            std::uint32_t random[own_side] = {};
            if constexpr (Chance == chance::random) words_of_row(c.product, first, i, p, 0, random);
#pragma unroll
            for (int j = 0; j < own_side; ++j)
                sums[j] = rounded_steps<T, R, P>::rounded(c.addition, x, y[j], sums[j], random[j]);
            });
    }
    __device__ static void run(const chain_call<T>& c, const step_place& first,
                               const chain_tile<T>& t, const own_place& own, int from, int to,
                               own_sums<T>& acc) {
        with_mode<Chance>(c.addition.rounding, [&](auto mode) {
            constexpr rounding R = decltype(mode)::value;
            if (lowp::detail::without_plain(c.addition.path) == path::sum)
                return places<R, path::sum>(c, first, t, own, from, to, acc);
            if constexpr (sizeof(T) == 4) places<R, path::aligned>(c, first, t, own, from, to, acc);
        });
    }
};

/// Whatever float64 plans say: products rounded by themselves, any path. Slow.
struct slow_steps {
    using value = double;
    __device__ static void run(const chain_call<double>& c, const step_place& first,
                               const chain_tile<double>& t, const own_place& own, int from, int to,
                               own_sums<double>& acc) {
        const bool is_random = is_stochastic(c.addition.rounding);
        const bool is_separate = c.products == products::rounded;
        const bool has_random_product = is_separate && is_stochastic(c.separate.rounding);
        over_places<unrolling::none>(
            t, own, from, to, acc,
            [&](int i, double x, const double(&y)[own_side], double(&sums)[own_side], int p) {
            std::uint32_t random[own_side] = {};
            std::uint32_t of_products[own_side] = {};
            if (is_random) words_of_row(c.product, first, i, p, 0, random);
            if (has_random_product)
                words_of_row(c.product, first, i, p, product_stream, of_products);
#pragma unroll
            for (int j = 0; j < own_side; ++j) {
                double factor = x;
                double other = y[j];
                if (is_separate) {
                    factor = projected_product(c.separate, x, y[j], of_products[j]);
                    other = 1;
                }
                sums[j] = projected(c.addition, factor, other, sums[j], random[j]);
            }
            });
    }
};

template <class T>
__device__ void load_places(const lines& from, std::int64_t offset, std::uint64_t count,
                            std::uint64_t first, std::uint64_t k0, std::uint64_t k,
                            T (&to)[chain_places][chain_tile<T>::stride]) {
    const std::int64_t begin = offset + static_cast<std::int64_t>(first) * from.line_stride +
                               static_cast<std::int64_t>(k0) * from.k_stride;
    const auto lines_here =
        static_cast<std::uint32_t>(count - first < tile_side ? count - first : tile_side);
    const auto places = static_cast<std::uint32_t>(k - k0 < chain_places ? k - k0 : chain_places);
    with_carrier(from.carrier, [&](auto of) {
        over_lines<32, 8>(
            from.k_stride, chain_places,
            [&](std::uint32_t place, std::uint32_t line) {
            const std::int64_t i = begin + line * from.line_stride + place * from.k_stride;
            return line < lines_here && place < places
                       ? number_at<decltype(of)::value, T>(from.data, i)
                       : T{0};
            },
            [&](std::uint32_t place, std::uint32_t line, T x) { to[place][line] = x; });
    });
}

/// Places [from, to) of the tile that begins at k0, cut where chunks end.
template <class Steps, promoted How, class T = typename Steps::value>
__device__ void run_chunks(const chain_call<T>& c, const step_place& first,
                           const chain_tile<T>& tile, const own_place& own, int places,
                           own_sums<T>& acc, own_sums<T>& totals) {
    if (How == promoted::never || c.product.promotion.chunk == 0) {
        Steps::run(c, first, tile, own, 0, places, acc);
    } else {
        const product_call& p = c.product;
        for (int from = 0; from < places;) {
            const std::uint64_t left = p.promotion.chunk - (first.k + from) % p.promotion.chunk;
            const int to = left < static_cast<std::uint64_t>(places - from)
                               ? from + static_cast<int>(left)
                               : places;
            Steps::run(c, first, tile, own, from, to, acc);
            const bool is_last = first.k + to == p.k;
            if (is_last || left == static_cast<std::uint64_t>(to - from)) {
                const std::uint64_t turn = (first.k + from) / p.promotion.chunk;
#pragma unroll
                for (int i = 0; i < own_side; ++i)
#pragma unroll
                    for (int j = 0; j < own_side; ++j) {
                        sum_at at = first.at;
                        at.row += i;
                        at.column += j;
                        totals[i][j] =
                            promote<How>(p, at, turn, totals[i][j], static_cast<double>(acc[i][j]));
                        acc[i][j] = 0;
                    }
            }
            from = to;
        }
    }
}

template <class Steps, promoted How>
__global__ void __launch_bounds__(block_threads, 2)
    chain_tiles(const __grid_constant__ chain_call<typename Steps::value> c) {
    using T = typename Steps::value;
    __shared__ chain_tile<T> tile;
    const product_call& p = c.product;
    const tile_at at(p, blockIdx.x, tile_side);
    const own_place own;
    own_sums<T> acc = {};
    own_sums<T> totals = {};
    const bool is_whole = How == promoted::never || p.promotion.chunk == 0;
    const sum_at first(p, at, own.row * own_side, own.column * own_side);
#pragma unroll
    for (int i = 0; i < own_side; ++i)
#pragma unroll
        for (int j = 0; j < own_side; ++j) {
            sum_at here = first;
            here.row += i;
            here.column += j;
            const T begin = load_c<T>(p, at, here);
            if (is_whole) acc[i][j] = begin;
            else totals[i][j] = begin;
        }
    for (std::uint64_t k0 = 0; k0 < p.k; k0 += chain_places) {
        __syncthreads();
        load_places(p.a, at.a, p.m, at.row, k0, p.k, tile.a);
        load_places(p.b, at.b, p.n, at.column, k0, p.k, tile.b);
        __syncthreads();
        const std::uint64_t left = p.k - k0;
        const int places = left < chain_places ? static_cast<int>(left) : chain_places;
        run_chunks<Steps, How>(c, {first, k0}, tile, own, places, acc, totals);
    }
#pragma unroll
    for (int i = 0; i < own_side; ++i)
#pragma unroll
        for (int j = 0; j < own_side; ++j) {
            sum_at here = first;
            here.row += i;
            here.column += j;
            store_sum(p, at, here, static_cast<double>(is_whole ? acc[i][j] : totals[i][j]));
        }
}

/// Fast kernels: chunks are added up in float32 if at all.
template <class Steps, class T = typename Steps::value>
void launch_chain(const chain_call<T>& c, stream s) {
    if (c.product.promotion.chunk == 0)
        launch_tiles(&chain_tiles<Steps, promoted::never>, c, tile_side, 0, s);
    else launch_tiles(&chain_tiles<Steps, promoted::in_float>, c, tile_side, 0, s);
}
template <class Steps, class T = typename Steps::value>
void launch_any_chain(const chain_call<T>& c, stream s) {
    launch_tiles(&chain_tiles<Steps, promoted::by_plan>, c, tile_side, 0, s);
}

}  // namespace lowp::cuda::detail
