// Units whose terms are products: numbers and their exponents in shared memory, the exponents in pairs.
#include "product_units.cuh"

namespace lowp::cuda::detail {

namespace {

/// Places: [place][line] numbers; [pair of places][line] exponents, 16 bits each. A thread's lines are two
/// neighbours in each half of the tile.
template <lowp::cut C>
struct plain_step {
    static constexpr int blocks_at_once = 2;
    static constexpr int stride = tile_side + 2;  // even: two numbers are one access
    static constexpr int half = tile_side / 2;
    double *a, *b;
    std::uint32_t *a_exponents, *b_exponents;

    __device__ plain_step(const unit_call& c, double2* memory)
        : a(reinterpret_cast<double*>(memory)), b(a + c.stage_steps * c.places * stride) {
        a_exponents = reinterpret_cast<std::uint32_t*>(b + c.stage_steps * c.places * stride);
        b_exponents = a_exponents + c.stage_steps * c.places / 2 * stride;
    }
    static std::size_t bytes(const unit_call& c) {
        return std::size_t{c.stage_steps} * c.places * stride * 2 *
               (sizeof(double) + sizeof(std::uint32_t) / 2);
    }
    __device__ static int line_of(int own, int i) { return 2 * own + i % 2 + i / 2 * half; }

    static __device__ __noinline__ void load_factor(const unit_call& c, const factor& f,
                                                    std::uint32_t first, std::uint32_t steps,
                                                    double* values, std::uint32_t* exponents) {
        const std::uint64_t dense = std::uint64_t{first} * c.terms;
        const auto k_of = [&](std::uint32_t place) {
            if (c.is_dense) return dense + place;
            const std::uint32_t s = place / c.places;
            return k_at(c, first + s, place - s * c.places);
        };
        with_carrier(f.from.carrier, [&](auto of) {
            constexpr carrier From = decltype(of)::value;
            using two = group<worker_t<From>, 2>;
            const auto fetch = [&](std::uint32_t pair, std::uint32_t line) {
                two read{};
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    const std::uint64_t k = k_of(2 * pair + h);
                    if (f.has(c.product, line, k))
                        read.at[h] = number_at<From, worker_t<From>>(f.from.data, f.place(line, k));
                }
                return read;
            };
            const auto put = [&](std::uint32_t pair, std::uint32_t line, const two& read) {
                std::uint32_t both = 0;
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    double x = read.at[h];
                    int e = exponent_of(x, f.emin);
                    const std::uint64_t k = k_of(2 * pair + h);
                    if (f.scales.values != nullptr && f.has(c.product, line, k)) {
                        const double scale = f.scale(line, k);
                        e = max(e + exponent_of(scale, f.scales.emin), zero_exponent);
                        x *= scale;
                    }
                    values[(2 * pair + h) * stride + line] = x;
                    both |= (static_cast<std::uint32_t>(e) & 0xFFFF) << (16 * h);
                }
                exponents[pair * stride + line] = both;
            };
            over_lines<16, 4>(f.from.k_stride, steps * c.places / 2, fetch, put);
        });
    }
    __device__ void load(const unit_call& c, const tile_at& at, std::uint32_t first,
                         std::uint32_t steps) const {
        load_factor(c, factor_a(c, at), first, steps, a, a_exponents);
        load_factor(c, factor_b(c, at), first, steps, b, b_exponents);
    }

    /// Exponents of q of all sums.
    __device__ void find_exponents(const unit_call& c, const own_place& own, std::uint32_t pair,
                                   const double (&sums)[own_side][own_side],
                                   cut_sum<C> (&cut)[own_side][own_side]) const {
        const auto lowest = static_cast<std::uint32_t>(c.lowest_exponent) & 0xFFFF;
        unsigned largest[own_side][own_side];
#pragma unroll
        for (auto& row : largest)
#pragma unroll
            for (auto& e : row) e = lowest << 16 | lowest;
        const std::uint32_t end = pair + c.places / 2;
#pragma unroll 2
        for (; pair < end; ++pair) {
            using two = group<std::uint32_t, 2>;
            const auto* const x = a_exponents + pair * stride + 2 * own.row;
            const auto* const y = b_exponents + pair * stride + 2 * own.column;
            const two x0 = *reinterpret_cast<const two*>(x);
            const two x1 = *reinterpret_cast<const two*>(x + half);
            const two y0 = *reinterpret_cast<const two*>(y);
            const two y1 = *reinterpret_cast<const two*>(y + half);
            const std::uint32_t rows[own_side] = {x0.at[0], x0.at[1], x1.at[0], x1.at[1]};
            const std::uint32_t columns[own_side] = {y0.at[0], y0.at[1], y1.at[0], y1.at[1]};
#pragma unroll
            for (int i = 0; i < own_side; ++i)
#pragma unroll
                for (int j = 0; j < own_side; ++j)
                    largest[i][j] = __viaddmax_s16x2(rows[i], columns[j], largest[i][j]);
        }
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j) {
                const auto e = static_cast<int>(largest[i][j]);
                const int of_products =
                    max(e >> 16, static_cast<int>(static_cast<std::int16_t>(e)));
                cut[i][j].begin(max(of_products, exponent_of_sum(sums[i][j])) -
                                c.unit.fraction_bits);
            }
    }

    __device__ void run(const unit_call& c, const own_place& own, std::uint32_t s,
                        double (&sums)[own_side][own_side]) const {
        cut_sum<C> cut[own_side][own_side];
        find_exponents(c, own, s * c.places / 2, sums, cut);
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j) cut[i][j].add(sums[i][j], 1.0);
        const std::uint32_t end = (s + 1) * c.places;
#pragma unroll 2
        for (std::uint32_t place = s * c.places; place < end; ++place) {
            const auto* const x =
                reinterpret_cast<const double2*>(a + place * stride + 2 * own.row);
            const auto* const y =
                reinterpret_cast<const double2*>(b + place * stride + 2 * own.column);
            const double2 x0 = x[0], x1 = x[half / 2], y0 = y[0], y1 = y[half / 2];
            const double rows[own_side] = {x0.x, x0.y, x1.x, x1.y};
            const double columns[own_side] = {y0.x, y0.y, y1.x, y1.y};
#pragma unroll
            for (int i = 0; i < own_side; ++i)
#pragma unroll
                for (int j = 0; j < own_side; ++j) cut[i][j].add(rows[i], columns[j]);
        }
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j) sums[i][j] = result_of(c, cut[i][j].total());
    }
};

}  // namespace

void unit_sums(const unit_call& c, stream s) {
    switch (c.unit.cut) {
        case cut::toward_negative: return launch_any_unit<plain_step<cut::toward_negative>>(c, s);
        case cut::nearest_ties_to_even:
            return launch_any_unit<plain_step<cut::nearest_ties_to_even>>(c, s);
        case cut::toward_zero: break;
    }
    launch_unit<plain_step<cut::toward_zero>>(c, s);
}

}  // namespace lowp::cuda::detail
