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
                        e += exponent_of(scale, f.scales.emin);
                        e = min(max(e, zero_exponent), infinite_exponent);
                        x *= scale;
                        // Zero times infinity or NaN: the exponents' sum may be a number's.
                        if (exponent_of(x, f.emin) == infinite_exponent) e = infinite_exponent;
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

    /// f(i, j, the exponent of the largest term) for all sums.
    template <class F>
    __device__ void find_exponents(const unit_call& c, const own_place& own, std::uint32_t pair,
                                   const double (&sums)[own_side][own_side], const F& f) const {
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
                f(i, j, max(of_products, exponent_of_sum(sums[i][j])));
            }
    }

    /// The thread's numbers of a place.
    __device__ static void own_numbers(const double* from, int own, double (&x)[own_side]) {
        const auto* const at = reinterpret_cast<const double2*>(from + 2 * own);
        const double2 first = at[0];
        const double2 second = at[half / 2];
        x[0] = first.x;
        x[1] = first.y;
        x[2] = second.x;
        x[3] = second.y;
    }

    __device__ void run(const unit_call& c, const own_place& own, std::uint32_t s,
                        double (&sums)[own_side][own_side]) const {
        cut_sum<C> cut[own_side][own_side];
        find_exponents(c, own, s * c.places / 2, sums, [&](int i, int j, int e) {
            cut[i][j].begin(min(e, special_exponent) - c.unit.fraction_bits);
            cut[i][j].add(sums[i][j], 1.0);
        });
        const std::uint32_t end = (s + 1) * c.places;
#pragma unroll 2
        for (std::uint32_t place = s * c.places; place < end; ++place) {
            double rows[own_side];
            double columns[own_side];
            own_numbers(a + place * stride, own.row, rows);
            own_numbers(b + place * stride, own.column, columns);
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

/// The same where a step's sum fits 32 bits: fma(|a|, |b|, 2^52 q) toward zero has the multiple of q as its
/// lower half. Magnitudes of negative products are added as their complements, one too few each: so many
/// that the signs of both lines differ in. Infinities and NaN go the other way.
struct integer_step : plain_step<cut::toward_zero> {
    using base = plain_step<cut::toward_zero>;
    int *a_signs, *b_signs;                  ///< [place][line]: 0, or all bits of a negative number
    std::uint32_t *a_negative, *b_negative;  ///< [step][line]: which places are

    __device__ integer_step(const unit_call& c, double2* memory) : base(c, memory) {
        const std::uint32_t places = c.stage_steps * c.places;
        a_signs = reinterpret_cast<int*>(b_exponents + places / 2 * stride);
        b_signs = a_signs + places * stride;
        a_negative = reinterpret_cast<std::uint32_t*>(b_signs + places * stride);
        b_negative = a_negative + c.stage_steps * stride;
    }
    static std::size_t bytes(const unit_call& c) {
        return base::bytes(c) +
               std::size_t{c.stage_steps} * (c.places + 1) * stride * 2 * sizeof(int);
    }
    /// Whether the sums of steps fit 31 bits.
    static bool takes(const unit_call& c) {
        const int bits_of_term = c.unit.fraction_bits + c.carries_of_terms();
        return c.places <= 32 && bits_of_term <= 31 &&
               (std::uint64_t{c.terms} << bits_of_term) <= std::uint64_t{1} << 31;
    }

    __device__ void load(const unit_call& c, const tile_at& at, std::uint32_t first,
                         std::uint32_t steps) const {
        base::load(c, at, first, steps);
        __syncthreads();
        const std::uint32_t all = 2 * steps * tile_side;
        for (std::uint32_t t = threadIdx.x; t < all; t += block_threads) {
            const bool is_a = t < all / 2;
            const std::uint32_t line = t % tile_side;
            const std::uint32_t s = t / tile_side - (is_a ? 0 : steps);
            std::uint32_t negative = 0;
            for (std::uint32_t i = 0; i < c.places; ++i) {
                const std::uint32_t at_place = (s * c.places + i) * stride + line;
                const int sign = __double2hiint((is_a ? a : b)[at_place]) >> 31;
                (is_a ? a_signs : b_signs)[at_place] = sign;
                negative |= static_cast<std::uint32_t>(sign & 1) << i;
            }
            (is_a ? a_negative : b_negative)[s * stride + line] = negative;
        }
    }

    /// Terms that are not finite, or far out. Without `this`: what others see of it has to be in memory.
    static __device__ __noinline__ void run_slowly(const unit_call& c, base step, own_place own,
                                                   std::uint32_t s,
                                                   double (&sums)[own_side][own_side]) {
        step.run(c, own, s, sums);
    }

    template <class V>
    __device__ static void own_words(const V* from, int own, V (&x)[own_side]) {
        using two = group<V, 2>;
        const two first = *reinterpret_cast<const two*>(from + 2 * own);
        const two second = *reinterpret_cast<const two*>(from + 2 * own + half);
        x[0] = first.at[0];
        x[1] = first.at[1];
        x[2] = second.at[0];
        x[3] = second.at[1];
    }

    __device__ void run(const unit_call& c, const own_place& own, std::uint32_t s,
                        double (&sums)[own_side][own_side]) const {
        double from[own_side][own_side];   // 2^52 q
        float so_far[own_side][own_side];  // half the registers: results are float32's
        bool is_common = true;
        find_exponents(c, own, s * c.places / 2, sums, [&](int i, int j, int e) {
            so_far[i][j] = static_cast<float>(sums[i][j]);
            is_common = is_common && e < special_exponent && so_far[i][j] == sums[i][j];
            from[i][j] = __hiloint2double((e - c.unit.fraction_bits + 52 + 1023) << 20, 0);
        });
        if (!is_common) {
            double copies[own_side][own_side];
#pragma unroll
            for (int i = 0; i < own_side; ++i)
#pragma unroll
                for (int j = 0; j < own_side; ++j) copies[i][j] = sums[i][j];
            run_slowly(c, *this, own, s, copies);
#pragma unroll
            for (int i = 0; i < own_side; ++i)
#pragma unroll
                for (int j = 0; j < own_side; ++j) sums[i][j] = copies[i][j];
            return;
        }
        int integers[own_side][own_side] = {};
        const std::uint32_t end = (s + 1) * c.places;
#pragma unroll 1
        for (std::uint32_t place = s * c.places; place < end; ++place) {
            double rows[own_side];
            double columns[own_side];
            int of_rows[own_side];
            int of_columns[own_side];
            own_numbers(a + place * stride, own.row, rows);
            own_numbers(b + place * stride, own.column, columns);
            own_words(a_signs + place * stride, own.row, of_rows);
            own_words(b_signs + place * stride, own.column, of_columns);
#pragma unroll
            for (int i = 0; i < own_side; ++i)
#pragma unroll
                for (int j = 0; j < own_side; ++j) {
                    const int size =
                        __double2loint(__fma_rz(fabs(rows[i]), fabs(columns[j]), from[i][j]));
                    integers[i][j] += size ^ of_rows[i] ^ of_columns[j];
                }
        }
        std::uint32_t rows[own_side];
        std::uint32_t columns[own_side];
        own_words(a_negative + s * stride, own.row, rows);
        own_words(b_negative + s * stride, own.column, columns);
#pragma unroll
        for (int i = 0; i < own_side; ++i)
#pragma unroll
            for (int j = 0; j < own_side; ++j) {
                const int anchor = __double2hiint(from[i][j]);
                cut_sum<cut::toward_zero> of_c{0, anchor};
                of_c.add(so_far[i][j], 1.0);
                const int integer = integers[i][j] + __popc(rows[i] ^ columns[j]);
                const double q = __hiloint2double(anchor - (52 << 20), 0);
                sums[i][j] = result_of(c, __fma_rn(static_cast<double>(integer), q, of_c.sum));
            }
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
    if (integer_step::takes(c)) return launch_unit<integer_step>(c, s);
    launch_unit<plain_step<cut::toward_zero>>(c, s);
}

}  // namespace lowp::cuda::detail
