// Sums of matrix units, alignment::together: what detail/product_kernel.hpp says of one row, for tiles.
//
// A step's terms are cut to multiples of q = 2^(largest exponent - fraction_bits). Here the device's
// fused operation cuts them: the doubles in [2^52 q, 2^53 q) are multiples of q, so that an exact product
// added to one of them toward zero, less that one, is the product without what lies below q. Sums of such
// multiples are exact.
#pragma once

#include "product_tiles.cuh"

namespace lowp::cuda::detail {

// ---- where the places of a step come from --------------------------------------------------------

/// Which k stands at place i of a step; the call's k or more: none, a zero.
__device__ inline std::uint64_t k_at(const unit_call& c, std::uint32_t step, std::uint32_t i) {
    constexpr std::uint64_t none = ~std::uint64_t{0};
    if (c.is_dense) return std::uint64_t{step} * c.terms + i;
    if (i >= c.terms) return none;
    if (c.product.promotion.chunk == 0) return std::uint64_t{step} * c.terms + i;
    const auto chunk_steps = static_cast<std::uint32_t>(c.chunk_steps);
    const std::uint32_t turn = step / chunk_steps;
    const std::uint32_t within = step - turn * chunk_steps;
    std::uint64_t at = std::uint64_t{within} * c.terms + i;
    if (c.run > 0) at = (i / c.run * c.turns + within) * c.run + i % c.run;
    const std::uint64_t chunk = c.product.promotion.chunk;
    return at < chunk ? turn * chunk + at : none;
}

/// What infinities and NaN count with, which need none: above all sums of numbers' exponents, also in a
/// sum with a zero's, and two of them in 16 bits.
inline constexpr int infinite_exponent = 12288;
/// Exponents from here on are not those of two finite numbers that float32 holds, scaled or not.
inline constexpr int special_exponent = 900;

/// The exponent that x counts with: its own, but emin at least.
__device__ inline int exponent_of(double x, int emin) {
    const int field = __double2hiint(x) >> 20 & 0x7FF;
    if (x == 0) return zero_exponent;
    if (field == 0x7FF) return infinite_exponent;
    return max(field - 1023, emin);
}

/// One factor of a product as a load sees it.
struct factor {
    const detail::lines& from;
    const line_scales& scales;
    std::int64_t offset;         ///< of the batch
    std::uint64_t batch, count;  ///< count: of lines
    std::uint64_t first;         ///< line of the tile
    int emin;

    __device__ bool has(const product_call& p, std::uint32_t line, std::uint64_t k) const {
        return first + line < count && k < p.k;
    }
    [[nodiscard]] __device__ std::int64_t place(std::uint32_t line, std::uint64_t k) const {
        return offset + static_cast<std::int64_t>(first + line) * from.line_stride +
               static_cast<std::int64_t>(k) * from.k_stride;
    }
    __device__ double value(std::uint32_t line, std::uint64_t k) const {
        return load_number<double>(from.data, from.carrier, place(line, k));
    }
    __device__ double scale(std::uint32_t line, std::uint64_t k) const {
        return scales.values[(batch * count + first + line) * scales.blocks + k / scales.block];
    }
};
__device__ inline factor factor_a(const unit_call& c, const tile_at& t) {
    return {c.product.a, c.a_scales, t.a, t.batch, c.product.m, t.row, c.a_emin};
}
__device__ inline factor factor_b(const unit_call& c, const tile_at& t) {
    return {c.product.b, c.b_scales, t.b, t.batch, c.product.n, t.column, c.b_emin};
}

// ---- cut sums -----------------------------------------------------------------------------------

/// The sum of what is left of some numbers when each is cut to multiples of q.
template <lowp::cut C>
struct cut_sum {
    double sum;
    int anchor;  ///< upper half of 2^52 q; where sums are anchored or signed, of 1.5 times that

    __device__ void begin(int exponent_of_q) {
        anchor = (exponent_of_q + 52 + 1023) << 20;
        sum = 0;
        if constexpr (C != cut::toward_zero) anchor |= 0x80000;
        if constexpr (C == cut::toward_negative) sum = __hiloint2double(anchor, 0);
    }
    /// a b, exact: of no more than 2^51 q.
    __device__ void add(double a, double b) {
        const double from = __hiloint2double(anchor, 0);
        if constexpr (C == cut::toward_zero) {
            const double size = __fma_rz(fabs(a), fabs(b), from) - from;
            const int sign =
                (__double2hiint(a) ^ __double2hiint(b)) & static_cast<int>(0x80000000U);
            sum += __hiloint2double(__double2hiint(size) ^ sign, __double2loint(size));
        } else if constexpr (C == cut::toward_negative) {
            sum = __fma_rd(a, b, sum);  // what is there is a multiple: as one by one
        } else {
            sum += __fma_rn(a, b, from) - from;  // a tie is the product's own
        }
    }
    __device__ double total() const {
        if constexpr (C == cut::toward_negative) return sum - __hiloint2double(anchor, 0);
        else return sum;
    }
};

/// The exponent that a sum so far counts with.
__device__ inline int exponent_of_sum(double x) {
    const int of_x = max((__double2hiint(x) >> 20 & 0x7FF) - 1023, -126);
    return x == 0 ? zero_exponent : of_x;
}

static __device__ __noinline__ double result_of_any(const lowp::detail::aligned_plan& unit,
                                                    double sum) {
    using sums = lowp::detail::aligned_lanes<lanes<double>>;
    const auto bits = fused_lanes<double>::bits(sum);
    return fused_lanes<double>::value(
        unit.result.rounding == rounding::toward_zero
            ? sums::round<rounding::toward_zero>(unit, bits)
            : sums::round<rounding::nearest_ties_to_even>(unit, bits));
}

/// The sum of a step as the unit's result. A normal number that is cut loses bits and nothing else.
__device__ inline double result_of(const unit_call& c, double sum) {
    const auto high = static_cast<std::uint32_t>(__double2hiint(sum)) & 0x7FFFFFFFU;
    if (high - c.normal < c.span)
        return fused_lanes<double>::value(fused_lanes<double>::bits(sum) & c.kept);
    return result_of_any(c.unit, sum);
}

// ---- tiles of sums --------------------------------------------------------------------------------

/// Sums of a tile; Step: how its numbers are loaded and a step is worked out.
template <class Step, promoted How>
__global__ void __launch_bounds__(block_threads, Step::blocks_at_once)
    unit_tiles(const __grid_constant__ unit_call c) {
    // float32 holds every promotion but by_plan's.
    using total = std::conditional_t<How == promoted::by_plan, double, float>;
    extern __shared__ double2 shared_memory[];
    const product_call& p = c.product;
    const tile_at at(p, blockIdx.x, tile_side);
    const own_place own;
    const Step step(c, shared_memory);
    const bool is_whole = How == promoted::never || p.promotion.chunk == 0;
    double sums[own_side][own_side];
    total totals[own_side][own_side];
    const auto each = [&](auto&& body) {
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j)
                body(i, j, sum_at(p, at, Step::line_of(own.row, i), Step::line_of(own.column, j)));
    };
    each([&](int i, int j, const sum_at& here) {
        const auto begin = load_c<double>(p, at, here);
        sums[i][j] = is_whole ? begin : 0;
        totals[i][j] = static_cast<total>(begin);
    });
    std::uint32_t in_chunk = 0;
    std::uint32_t turn = 0;
    for (std::uint32_t first = 0; first < c.steps; first += c.stage_steps) {
        const auto left = static_cast<std::uint32_t>(c.steps) - first;
        const std::uint32_t steps = left < c.stage_steps ? left : c.stage_steps;
        __syncthreads();
        step.load(c, at, first, steps);
        __syncthreads();
        for (std::uint32_t s = 0; s < steps; ++s) {
            step.run(c, own, s, sums);
            if (is_whole) continue;
            if (++in_chunk < c.chunk_steps && first + s + 1 < c.steps) continue;
            in_chunk = 0;
            each([&](int i, int j, const sum_at& here) {
                totals[i][j] = promote<How>(p, here, turn, totals[i][j], sums[i][j]);
                sums[i][j] = 0;
            });
            ++turn;
        }
    }
    each([&](int i, int j, const sum_at& here) {
        store_sum(p, at, here, is_whole ? sums[i][j] : static_cast<double>(totals[i][j]));
    });
}

template <class Step>
void launch_unit(const unit_call& c, stream s) {
    const std::size_t shared = Step::bytes(c);
    with_promoted(c.product, [&](auto how) {
        launch_tiles(&unit_tiles<Step, decltype(how)::value>, c, tile_side, shared, s);
    });
}
/// Units that nothing is named after: one kernel for all promotions.
template <class Step>
void launch_any_unit(const unit_call& c, stream s) {
    launch_tiles(&unit_tiles<Step, promoted::by_plan>, c, tile_side, Step::bytes(c), s);
}

}  // namespace lowp::cuda::detail
