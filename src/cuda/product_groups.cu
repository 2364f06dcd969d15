// Units whose terms are groups of products, summed exactly and scaled by the scales of their blocks.
#include "product_units.cuh"

namespace lowp::cuda::detail {

namespace {

/// [place][line] numbers; [group][line] scales, their exponents, and which of the group's numbers are not
/// zero, a bit each. T holds every sum of a group's products.
template <class T, lowp::cut C>
struct grouped_step {
    static constexpr int blocks_at_once = sizeof(T) == 4 ? 2 : 1;
    static constexpr int stride = tile_side + 4;
    double *a_scales, *b_scales;
    T *a, *b;
    int *a_exponents, *b_exponents;
    std::uint32_t *a_bits, *b_bits;

    __device__ grouped_step(const unit_call& c, double2* memory) {
        const std::uint32_t places = c.stage_steps * c.places;
        const std::uint32_t groups = c.stage_steps * groups_of(c);
        a_scales = reinterpret_cast<double*>(memory);
        b_scales = a_scales + groups * stride;
        a = reinterpret_cast<T*>(b_scales + groups * stride);
        b = a + places * stride;
        a_exponents = reinterpret_cast<int*>(b + places * stride);
        b_exponents = a_exponents + groups * stride;
        a_bits = reinterpret_cast<std::uint32_t*>(b_exponents + groups * stride);
        b_bits = a_bits + groups * stride;
    }
    static std::size_t bytes(const unit_call& c) {
        return 2 * stride * c.stage_steps *
               (c.places * sizeof(T) + groups_of(c) * (sizeof(double) + 2 * sizeof(int)));
    }
    __host__ __device__ static std::uint32_t groups_of(const unit_call& c) {
        return c.terms / static_cast<std::uint32_t>(c.unit.group);
    }
    __device__ static int line_of(int own, int i) { return own_side * own + i; }

    static __device__ __noinline__ void load_factor(const unit_call& c, const factor& f,
                                                    std::uint32_t first, std::uint32_t steps,
                                                    T* values, double* scales, int* exponents,
                                                    std::uint32_t* bits) {
        const auto group = static_cast<std::uint32_t>(c.unit.group);
        const std::uint32_t groups = steps * groups_of(c);
        const auto k_of = [&](std::uint32_t place) {
            const std::uint32_t s = place / c.places;
            return k_at(c, first + s, place - s * c.places);
        };
        const auto of_group = [&](std::uint32_t g, std::uint32_t line) {
            const std::uint32_t s = g / groups_of(c);
            const std::uint64_t k = k_at(c, first + s, (g - s * groups_of(c)) * group);
            const bool is_there = f.has(c.product, line, k);
            return is_there && f.scales.values != nullptr ? f.scale(line, k) : is_there ? 1.0 : 0.0;
        };
        over_lines<1, 1>(f.from.k_stride, groups, of_group,
                         [&](std::uint32_t g, std::uint32_t line, double scale) {
            bits[g * stride + line] = 0;
            scales[g * stride + line] = scale;
            exponents[g * stride + line] = exponent_of(scale, f.scales.emin);
        });
        __syncthreads();
        with_carrier(f.from.carrier, [&](auto of) {
            const auto fetch = [&](std::uint32_t place, std::uint32_t line) {
                const std::uint64_t k = k_of(place);
                return f.has(c.product, line, k)
                           ? number_at<decltype(of)::value, T>(f.from.data, f.place(line, k))
                           : T{0};
            };
            over_lines<32, 4>(f.from.k_stride, steps * c.places, fetch,
                              [&](std::uint32_t place, std::uint32_t line, T x) {
                values[place * stride + line] = x;
                const std::uint32_t s = place / c.places;
                const std::uint32_t within = place - s * c.places;
                if (x != 0)
                    atomicOr(bits + (s * groups_of(c) + within / group) * stride + line,
                             1U << within % group);
            });
        });
    }
    __device__ void load(const unit_call& c, const tile_at& at, std::uint32_t first,
                         std::uint32_t steps) const {
        load_factor(c, factor_a(c, at), first, steps, a, a_scales, a_exponents, a_bits);
        load_factor(c, factor_b(c, at), first, steps, b, b_scales, b_exponents, b_bits);
    }

    template <class V>
    __device__ static void row_of(const V* from, int own, V (&to)[own_side]) {
        const auto g = *reinterpret_cast<const group<V, own_side>*>(from + own_side * own);
#pragma unroll
        for (int i = 0; i < own_side; ++i) to[i] = g.at[i];
    }

    /// Exponents of q of all sums: of groups that have a product which is not zero.
    __device__ void find_exponents(const unit_call& c, const own_place& own, std::uint32_t g,
                                   const double (&sums)[own_side][own_side],
                                   cut_sum<C> (&cut)[own_side][own_side]) const {
        int largest[own_side][own_side];
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j)
                largest[i][j] = max(c.lowest_exponent, exponent_of_sum(sums[i][j]));
        const std::uint32_t end = g + groups_of(c);
        for (; g < end; ++g) {
            int x[own_side];
            int y[own_side];
            std::uint32_t of_x[own_side];
            std::uint32_t of_y[own_side];
            row_of(a_exponents + g * stride, own.row, x);
            row_of(b_exponents + g * stride, own.column, y);
            row_of(a_bits + g * stride, own.row, of_x);
            row_of(b_bits + g * stride, own.column, of_y);
#pragma unroll
            for (int i = 0; i < own_side; ++i)
#pragma unroll
                for (int j = 0; j < own_side; ++j)
                    if ((of_x[i] & of_y[j]) != 0) largest[i][j] = max(largest[i][j], x[i] + y[j]);
        }
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j)
                cut[i][j].begin(min(largest[i][j], special_exponent) - c.unit.fraction_bits);
    }

    __device__ void add_group(const unit_call& c, const own_place& own, std::uint32_t g,
                              std::uint32_t place, cut_sum<C> (&cut)[own_side][own_side]) const {
        T exact[own_side][own_side] = {};
        const std::uint32_t end = place + static_cast<std::uint32_t>(c.unit.group);
#pragma unroll 4
        for (; place < end; ++place) {
            T x[own_side];
            T y[own_side];
            row_of(a + place * stride, own.row, x);
            row_of(b + place * stride, own.column, y);
#pragma unroll
            for (int i = 0; i < own_side; ++i)
#pragma unroll
                for (int j = 0; j < own_side; ++j)
                    if constexpr (sizeof(T) == 4) exact[i][j] = __fmaf_rn(x[i], y[j], exact[i][j]);
                    else exact[i][j] = __fma_rn(x[i], y[j], exact[i][j]);
        }
        double x[own_side];
        double y[own_side];
        row_of(a_scales + g * stride, own.row, x);
        row_of(b_scales + g * stride, own.column, y);
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j)
                cut[i][j].add(static_cast<double>(exact[i][j]) * (x[i] * y[j]), 1.0);
    }

    __device__ void run(const unit_call& c, const own_place& own, std::uint32_t s,
                        double (&sums)[own_side][own_side]) const {
        cut_sum<C> cut[own_side][own_side];
        find_exponents(c, own, s * groups_of(c), sums, cut);
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j) cut[i][j].add(sums[i][j], 1.0);
        for (std::uint32_t g = 0; g < groups_of(c); ++g)
            add_group(c, own, s * groups_of(c) + g,
                      s * c.places + g * static_cast<std::uint32_t>(c.unit.group), cut);
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j) sums[i][j] = result_of(c, cut[i][j].total());
    }
};

}  // namespace

void grouped_sums(group_sums how, const unit_call& c, stream s) {
    using in_float = grouped_step<float, cut::toward_zero>;
    using in_double = grouped_step<double, cut::toward_zero>;
    const bool is_float = how == group_sums::in_float;
    if ((is_float ? in_float::bytes(c) : in_double::bytes(c)) > most_shared) single_unit_sums(c, s);
    else if (is_float) launch_unit<in_float>(c, s);
    else launch_any_unit<in_double>(c, s);
}

}  // namespace lowp::cuda::detail
