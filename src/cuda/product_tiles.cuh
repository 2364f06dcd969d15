// Tiles of products: which part of the matrices a thread block works on, how their numbers come to it, and
// what becomes of finished sums. 256 threads make 64 by 64 sums, each thread 4 by 4 of them in registers,
// from lines of both factors in shared memory, some places of k at a time.
#pragma once

#include "carriers.hpp"
#include "conversion.cuh"
#include "lowp/random.hpp"
#include "product.hpp"

namespace lowp::cuda::detail {

inline constexpr int tile_side = 64;
inline constexpr int own_side = 4;  ///< of a thread

/// A number of a carrier, exact in T; numbers of float64 are worked on in float64.
template <carrier C, class T>
__device__ T number_at(const void* data, std::int64_t i) {
    const auto stored = static_cast<const typename memory<C>::stored*>(data)[i];
    return static_cast<T>(__builtin_bit_cast(worker_t<C>, memory<C>::widened(stored)));
}
template <class T>
__device__ T load_number(const void* data, carrier c, std::int64_t i) {
    T x = 0;
    with_carrier(c, [&](auto of) { x = number_at<decltype(of)::value, T>(data, i); });
    return x;
}

/// The numbers of one factor in a tile: `items` places along k of `tile_side` lines. fetch(item, line) reads
/// some, put(item, line, what was read) stores it; a thread reads `Ahead` times before it waits for the
/// first. Lanes follow the numbers in memory: along k, in runs of `Width`, or from line to line.
template <int Width, int Ahead, class Fetch, class Put>
__device__ void over_lines(std::int64_t k_stride, std::uint32_t items, const Fetch& fetch,
                           const Put& put) {
    const bool along_k = k_stride == 1;
    const std::uint32_t all = (along_k ? (items + Width - 1) / Width * Width : items) * tile_side;
    const auto place = [&](std::uint32_t t, std::uint32_t& item, std::uint32_t& line) {
        item = along_k ? t % Width + t / (Width * tile_side) * Width : t / tile_side;
        line = along_k ? t / Width % tile_side : t % tile_side;
        return t < all && item < items;
    };
    for (std::uint32_t first = threadIdx.x; first < all; first += Ahead * block_threads) {
        decltype(fetch(0U, 0U)) read[Ahead];
        std::uint32_t item = 0;
        std::uint32_t line = 0;
#pragma unroll
        for (int j = 0; j < Ahead; ++j)
            if (place(first + j * block_threads, item, line)) read[j] = fetch(item, line);
#pragma unroll
        for (int j = 0; j < Ahead; ++j)
            if (place(first + j * block_threads, item, line)) put(item, line, read[j]);
    }
}

/// A tile of `side` by `side` sums: which it is, and where its batch begins in each array.
struct tile_at {
    std::uint64_t batch, row, column;           ///< row, column: of its first sum
    std::int64_t a = 0, b = 0, c = 0, out = 0;  ///< offsets of the batch

    __device__ tile_at(const product_call& p, std::uint64_t tile, int side) {
        const std::uint64_t tiles = p.tiles_down * p.tiles_across;
        batch = tile / tiles;
        const std::uint64_t within = tile - batch * tiles;
        row = within / p.tiles_across * side;
        column = within % p.tiles_across * side;
        std::uint64_t left = batch;
        for (int axis = p.axes - 1; axis >= 0; --axis) {
            const std::uint64_t over = left / p.lengths[axis];
            const auto i = static_cast<std::int64_t>(left - over * p.lengths[axis]);
            a += i * p.a.batch[axis];
            b += i * p.b.batch[axis];
            c += i * p.c.batch[axis];
            out += i * p.out.batch[axis];
            left = over;
        }
    }
};

/// The thread's place among 16 by 16: a warp has 4 by 8 of them, so that what its lanes read of shared
/// memory lies side by side.
struct own_place {
    int row, column;
    __device__ own_place() {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        const int warp = static_cast<int>(threadIdx.x) / 32;
        row = warp / 2 * 4 + lane / 8;
        column = warp % 2 * 8 + lane % 8;
    }
};

/// One sum of a product: its row and column, and the random bits of its operations.
struct sum_at {
    std::uint64_t row, column, first_index;

    __device__ sum_at(const product_call& p, const tile_at& t, std::uint64_t i, std::uint64_t j)
        : row(t.row + i),
          column(t.column + j),
          first_index(p.first_index + t.batch * p.batch_index) {}
    __device__ bool is_in(const product_call& p) const { return row < p.m && column < p.n; }
    /// `stream`: above the source's; `place`: of the operation in its chain.
    __device__ std::uint32_t random(const product_call& p, std::uint64_t stream,
                                    std::uint64_t place) const {
        random_source source = p.source;
        source.stream += stream + (p.stream_offset == nullptr ? 0 : *p.stream_offset);
        return source(first_index + (place * p.m + row) * p.n + column);
    }
};

/// What c has at the place of a sum; +0 without c.
template <class T>
__device__ T load_c(const product_call& p, const tile_at& t, const sum_at& at) {
    if (p.c.data == nullptr || !at.is_in(p)) return 0;
    return load_number<T>(p.c.data, p.c.carrier,
                          t.c + static_cast<std::int64_t>(at.row) * p.c.row_stride +
                              static_cast<std::int64_t>(at.column) * p.c.column_stride);
}

// ---- roundings ------------------------------------------------------------------------------------

/// Lanes whose fused operation rounds in any direction.
template <class T>
struct fused_lanes : lanes<T> {
    using word = word_of<T>;
    static constexpr bool has_directed = true;
    __device__ static T value(word w) { return __builtin_bit_cast(T, w); }
    __device__ static word bits(T x) { return __builtin_bit_cast(word, x); }
    __device__ static word fused_down(word a, word b, word c) {
        if constexpr (sizeof(T) == 4) return bits(__fmaf_rd(value(a), value(b), value(c)));
        else return bits(__fma_rd(value(a), value(b), value(c)));
    }
    __device__ static word fused_up(word a, word b, word c) {
        if constexpr (sizeof(T) == 4) return bits(__fmaf_ru(value(a), value(b), value(c)));
        else return bits(__fma_ru(value(a), value(b), value(c)));
    }
    __device__ static T fused_toward_zero(T a, T b, T c) {
        if constexpr (sizeof(T) == 4) return __fmaf_rz(a, b, c);
        else return __fma_rz(a, b, c);
    }
};

/// a b + c to odd, as lowp::detail::fused_to_odd has it: in the exact value's direction of zero, the last
/// bit set where the directed results differ. R: the rounding that follows, for the sign of a zero.
template <class T, rounding R>
__device__ T odd_sum(T a, T b, T c) {
    using L = fused_lanes<T>;
    const T down = L::value(L::fused_down(L::bits(a), L::bits(b), L::bits(c)));
    const T up = L::value(L::fused_up(L::bits(a), L::bits(b), L::bits(c)));
    const T cut =
        R == rounding::toward_negative && down == up ? down : L::fused_toward_zero(a, b, c);
    return down != up ? L::value(L::bits(cut) | 1) : cut;
}

/// A path that serves every format of a plan: sums of floats, or integers.
template <class F>
__device__ void with_step_path(path p, F&& f) {
    if (lowp::detail::without_plain(p) == path::sum)
        return f(std::integral_constant<path, path::sum>{});
    lowp::detail::with_integer_path(p, f);
}

/// x, exact or rounded to odd, by a plan of float64, any mode; random: bits of the stochastic ones. Not
/// for inner loops, and one copy a file: it is long.
static __device__ __noinline__ double quantized(const lowp::detail::plan<double>& to, double x,
                                                std::uint32_t random) {
    double result = 0;
    lowp::detail::with_rounding(to.rounding, [&](auto mode) {
        with_step_path(to.path, [&](auto way) {
            result = fused_lanes<double>::value(
                lowp::detail::quantize_lanes<lanes<double>, decltype(mode)::value,
                                             decltype(way)::value>(to, fused_lanes<double>::bits(x),
                                                                   random));
        });
    });
    return result;
}
/// a b + c rounded by such a plan.
__device__ inline double projected(const lowp::detail::plan<double>& to, double a, double b,
                                   double c, std::uint32_t random) {
    const double sum = to.rounding == rounding::toward_negative
                           ? odd_sum<double, rounding::toward_negative>(a, b, c)
                           : odd_sum<double, rounding::nearest_ties_to_even>(a, b, c);
    return quantized(to, sum, random);
}
/// a b rounded by such a plan: a zero has the sign of the product in every mode.
__device__ inline double projected_product(const lowp::detail::plan<double>& to, double a, double b,
                                           std::uint32_t random) {
    const double odd = odd_sum<double, rounding::nearest_ties_to_even>(a, b, -0.0);
    return quantized(to, odd == 0 ? a * b : odd, random);
}

inline constexpr std::uint64_t promotion_stream = std::uint64_t{1} << 62;
inline constexpr std::uint64_t product_stream = std::uint64_t{1} << 63;
inline constexpr std::uint64_t last_stream = std::uint64_t{3} << 62;

/// How chunks' sums are added up in a kernel: not at all, as float32 adds, or as the plan says.
enum class promoted : std::uint8_t { never, in_float, by_plan };

/// total + sum, the `turn`-th promotion.
template <promoted How, class Total>
__device__ Total promote(const product_call& p, const sum_at& at, std::uint64_t turn, Total total,
                         double sum) {
    if constexpr (How == promoted::in_float) return total + static_cast<float>(sum);
    const bool is_random = is_stochastic(p.promotion.plan.rounding);
    return static_cast<Total>(projected(p.promotion.plan, sum, 1.0, static_cast<double>(total),
                                        is_random ? at.random(p, promotion_stream, turn) : 0));
}

// ---- results ---------------------------------------------------------------------------------------

/// A finished sum: times the outer scales, rounded once more where that is asked for, every NaN the same.
__device__ inline void store_sum(const product_call& p, const tile_at& t, const sum_at& at,
                                 double x) {
    if (!at.is_in(p)) return;
    const std::int64_t i = t.out + static_cast<std::int64_t>(at.row) * p.out.row_stride +
                           static_cast<std::int64_t>(at.column) * p.out.column_stride;
    const bool is_double = p.out.carrier == carrier::float64;
    double scale = p.scale;
    if (p.a_outer != nullptr) scale *= *p.a_outer;
    if (p.b_outer != nullptr) scale *= *p.b_outer;
    x = is_double ? x * scale : static_cast<float>(x) * static_cast<float>(scale);
    if (p.rounds_last)
        x = quantized(p.last, x, is_stochastic(p.last.rounding) ? at.random(p, last_stream, 0) : 0);
    if (is_double) {
        static_cast<double*>(p.out.data)[i] =
            x != x ? __longlong_as_double(0x7FF8000000000000LL) : x;
        return;
    }
    const std::uint32_t word = x != x ? p.nan : __float_as_uint(static_cast<float>(x));
    if (p.out.carrier == carrier::float32) static_cast<std::uint32_t*>(p.out.data)[i] = word;
    else if (p.out.carrier == carrier::float16)
        static_cast<std::uint16_t*>(p.out.data)[i] = memory<carrier::float16>::narrowed(word);
    else static_cast<std::uint16_t*>(p.out.data)[i] = memory<carrier::bfloat16>::narrowed(word);
}

// ---- launches -------------------------------------------------------------------------------------

/// f(how) with the promotion of a call as a type.
template <class F>
void with_promoted(const product_call& p, F&& f) {
    if (p.promotion.chunk == 0) f(std::integral_constant<promoted, promoted::never>{});
    else if (p.promotion.is_float_add) f(std::integral_constant<promoted, promoted::in_float>{});
    else f(std::integral_constant<promoted, promoted::by_plan>{});
}

/// Bytes of shared memory that a block may have on every device of compute capability 8.0 and above: 8.6,
/// 8.9 and 12.0 have no more. Source: CUDA C++ Programming Guide, Compute Capabilities.
inline constexpr std::size_t most_shared = 99 * 1024;

/// A block of threads a tile; `shared`: bytes of dynamic shared memory.
template <class Call>
void launch_tiles(void (*kernel)(Call), const Call& c, int side, std::size_t shared, stream s) {
    auto call = c;
    product_call& p = call.product;
    p.tiles_down = (p.m + side - 1) / side;
    p.tiles_across = (p.n + side - 1) / side;
    const std::uint64_t blocks = p.tiles_down * p.tiles_across * p.batches;
    if (blocks > 0x7FFFFFFF)
        throw std::invalid_argument("lowp::cuda::matmul: too many sums for one call");
    if (shared > most_shared)  // said on devices with more, too, for tests to see
        throw std::logic_error("lowp::cuda::matmul: a kernel wants more shared memory than " +
                               std::to_string(most_shared) + " bytes");
    if (shared > 48 * 1024)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared)),
              "shared memory for a product");
    kernel<<<static_cast<unsigned>(blocks), block_threads, shared, s>>>(call);
    check(cudaGetLastError(), "a product did not start");
}

}  // namespace lowp::cuda::detail
