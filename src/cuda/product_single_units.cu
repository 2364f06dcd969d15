// Any matrix unit by the text of detail/product_kernel.hpp: a thread a sum, 16 by 16 of them a block, or
// 8 by 8 where the steps' numbers have no room for more.
#include "product_units.cuh"

namespace lowp::cuda::detail {

namespace {

/// One step's numbers of both factors: [line][term], powers and scales [line][part], as aligned_factors
/// wants them; rows one number apart from the next bank.
struct single_step {
    std::uint32_t side, stride, parts;
    double *a, *b, *a_powers, *b_powers, *a_scales, *b_scales;  ///< scales: of groups only

    __host__ __device__ static std::uint32_t parts_of(const unit_call& c) {
        const auto group = static_cast<std::uint32_t>(c.unit.group);
        return group > 1 ? (c.terms + group - 1) / group : c.terms;
    }
    __host__ __device__ static std::size_t bytes(const unit_call& c, std::uint32_t side) {
        const std::uint32_t of_parts = c.unit.group > 1 ? 2 : 1;
        return sizeof(double) * 2 * side * ((c.terms + 1) + of_parts * (parts_of(c) + 1));
    }
    /// Of a block's tile.
    __host__ __device__ static std::uint32_t side_of(const unit_call& c) {
        return bytes(c, 16) <= most_shared ? 16 : 8;
    }
    __device__ single_step(const unit_call& c, double2* memory)
        : side(side_of(c)),
          stride(c.terms + 1),
          parts(parts_of(c) + 1),
          a(reinterpret_cast<double*>(memory)) {
        b = a + side * stride;
        a_powers = b + side * stride;
        b_powers = a_powers + side * parts;
        a_scales = b_powers + side * parts;
        b_scales = a_scales + side * parts;
    }

    __device__ static double power(double x, int emin) {
        const int e = exponent_of(x, emin);
        if (e == zero_exponent || e == infinite_exponent) return e == zero_exponent ? 0 : 1;
        return __hiloint2double((e + 1023) << 20, 0);
    }
    __device__ void load_factor(const unit_call& c, const factor& f, std::uint32_t step,
                                double* values, double* powers, double* scales) const {
        const auto group = static_cast<std::uint32_t>(c.unit.group);
        for (std::uint32_t t = threadIdx.x; t < c.terms * side; t += block_threads) {
            const std::uint32_t line = t / c.terms;
            const std::uint32_t i = t - line * c.terms;
            const std::uint64_t k = k_at(c, step, i);
            const bool is_there = f.has(c.product, line, k);
            const double x = is_there ? f.value(line, k) : 0;
            const double scale = is_there && f.scales.values != nullptr ? f.scale(line, k) : 1;
            values[line * stride + i] = group > 1 ? x : x * scale;
            if (group == 1) {
                powers[line * parts + i] = power(x, f.emin) * power(scale, f.scales.emin);
            } else if (i % group == 0) {
                powers[line * parts + i / group] = power(scale, f.scales.emin);
                scales[line * parts + i / group] = scale;
            }
        }
    }
    __device__ void load(const unit_call& c, const tile_at& at, std::uint32_t step) const {
        load_factor(c, factor_a(c, at), step, a, a_powers, a_scales);
        load_factor(c, factor_b(c, at), step, b, b_powers, b_scales);
    }

    /// c and the step's products, for the sum at a row and a column of the tile.
    __device__ double sum(const unit_call& c, int row, int column, std::uint32_t terms,
                          double so_far) const {
        const lowp::detail::aligned_factors f{a + row * stride,          a_powers + row * parts,
                                              a_scales + row * parts,    b + column * stride,
                                              b_powers + column * parts, b_scales + column * parts};
        using sums = lowp::detail::aligned_lanes<lanes<double>>;
        const auto bits = fused_lanes<double>::bits(so_far);
        std::uint64_t result = 0;
        const auto with_cut = [&](auto mode) {
            constexpr rounding R = decltype(mode)::value;
            if (c.unit.alignment != alignment::together) {
                result = sums::apart<R>(c.unit, f, terms, bits);
                return;
            }
            const auto run = [&](auto cut_) {
                constexpr lowp::cut C = decltype(cut_)::value;
                result = c.unit.group > 1 ? sums::grouped<R, C>(c.unit, f, terms, bits)
                                          : sums::together<R, C>(c.unit, f, terms, bits);
            };
            if (c.unit.cut == cut::toward_negative)
                run(std::integral_constant<lowp::cut, cut::toward_negative>{});
            else if (c.unit.cut == cut::nearest_ties_to_even)
                run(std::integral_constant<lowp::cut, cut::nearest_ties_to_even>{});
            else run(std::integral_constant<lowp::cut, cut::toward_zero>{});
        };
        if (c.unit.result.rounding == rounding::toward_zero)
            with_cut(std::integral_constant<rounding, rounding::toward_zero>{});
        else with_cut(std::integral_constant<rounding, rounding::nearest_ties_to_even>{});
        return fused_lanes<double>::value(result);
    }
};

__global__ void __launch_bounds__(block_threads) single_units(const __grid_constant__ unit_call c) {
    extern __shared__ double2 shared_memory[];
    const product_call& p = c.product;
    const single_step step(c, shared_memory);
    const auto side = static_cast<int>(step.side);
    const tile_at at(p, blockIdx.x, side);
    const int row = static_cast<int>(threadIdx.x) / side;
    const int column = static_cast<int>(threadIdx.x) % side;
    sum_at here(p, at, row, column);
    if (row >= side) here.row = p.m;  // most threads of a small tile load only
    const bool is_in = here.is_in(p);
    const double begin = load_c<double>(p, at, here);
    const bool is_whole = p.promotion.chunk == 0;
    double sum = is_whole ? begin : 0;
    double total = begin;
    std::uint32_t in_chunk = 0;
    std::uint32_t turn = 0;
    for (std::uint32_t s = 0; s < c.steps; ++s) {
        __syncthreads();
        step.load(c, at, s);
        __syncthreads();
        if (is_in) sum = step.sum(c, row, column, c.terms, sum);
        if (is_whole || (++in_chunk < c.chunk_steps && s + 1 < c.steps)) continue;
        in_chunk = 0;
        total = promote<promoted::by_plan>(p, here, turn++, total, sum);
        sum = 0;
    }
    store_sum(p, at, here, is_whole ? sum : total);
}

}  // namespace

void single_unit_sums(const unit_call& c, stream s) {
    const std::uint32_t side = single_step::side_of(c);
    static_assert(sizeof(double) * 2 * 8 * 3 * (most_unit_terms + 1) <= most_shared);
    launch_tiles(&single_units, c, static_cast<int>(side), single_step::bytes(c, side), s);
}

}  // namespace lowp::cuda::detail
