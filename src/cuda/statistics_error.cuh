// The sums behind lowp.error: a run of elements for each thread block, read once where squares fit
// float64 as they are, else once more for the powers of two that make them fit, and again.
#pragma once

#include "statistics.hpp"
#include "statistics_tree.cuh"

namespace lowp::cuda::detail {

/// Accumulators of a thread in a leaf: 16 bytes, or 8 of the carriers of 16 bits.
template <carrier C>
inline constexpr int accumulators = C == carrier::float64 ? 2 : 4;

/// Everything but the sums: counts and maxima of some elements.
struct tally {
    std::uint32_t nans = 0, infinities = 0, nonzero = 0, flushed = 0;
    std::uint32_t overflowed = 0, clipped = 0, subnormal = 0;
    std::uint32_t extremes = 0;  ///< values of float64 whose squares may leave its range
    double absolute = 0, relative = 0, ulp = 0;
    double x = 0, q = 0;  ///< largest magnitudes of what adds to the sums, where there are extremes

    /// Whether all elements so far add to the sums.
    [[nodiscard]] __device__ bool is_whole() const { return nans + infinities + overflowed == 0; }
};

template <class T>
__device__ double value_of(word_of<T> bits) {
    return static_cast<double>(__builtin_bit_cast(T, bits));
}
__device__ inline double magnitude_of(double v) {
    return __longlong_as_double(__double_as_longlong(v) & 0x7FFF'FFFF'FFFF'FFFF);
}
__device__ inline bool is_finite_double(double v) { return magnitude_of(v) < HUGE_VAL; }
__device__ inline double larger(double a, double b) { return b > a ? b : a; }

/// |difference| in ulps of the format at x.
template <class T>
__device__ double in_ulps(const error_call<T>& c, double x, double magnitude) {
    if constexpr (sizeof(T) == 4) {  // normal in float64, and so is every power below
        const int field = static_cast<int>(__double2hiint(x) >> 20 & 0x7FF);
        const int binade = min(max(field - 1023, c.emin), c.emax);
        return magnitude * __hiloint2double((1023 + c.precision - 1 - binade) << 20, 0);
    } else {
        const int binade = x == 0 ? c.emin : min(max(ilogb(x), c.emin), c.emax);
        return ldexp(magnitude, c.precision - 1 - binade);
    }
}

/// Whether a nonzero magnitude is so far from 1 that products of two such may not be normal numbers.
__device__ inline bool is_extreme(double v) {
    const unsigned field = static_cast<unsigned>(__double2hiint(v)) >> 20 & 0x7FFU;
    return (field - (1023U - 480U) > 2U * 480U) & (v != 0);
}

/// One element: its values, and what is made of them.
template <class T>
struct element {
    word_of<T> x_bits, q_bits;
    double x, q, difference, size;  ///< size: |difference|

    __device__ element(word_of<T> xw, word_of<T> qw)
        : x_bits(xw),
          q_bits(qw),
          x(value_of<T>(xw)),
          q(value_of<T>(qw)),
          difference(q - x),
          size(magnitude_of(difference)) {}

    /// Counts that finite x have; without a format none is beyond it. Without a branch, as what follows:
    /// every element comes here.
    __device__ void count(const error_call<T>& c, tally& t) const {
        const word_of<T> x_size = x_bits & magnitude_bits<T>;
        const word_of<T> q_size = q_bits & magnitude_bits<T>;
        const T value = __builtin_bit_cast(T, x_bits);
        const bool is_finite = x_size < infinity_bits<T>;
        const bool is_number = is_finite & (x_size != 0);
        const bool is_outside = (value < c.lowest) | (value > c.max);
        const bool is_small = (q_size != 0) & (__builtin_bit_cast(T, q_size) < c.normal);
        t.nonzero += is_number ? 1U : 0U;
        t.flushed += is_number & (q_size == 0) ? 1U : 0U;
        t.clipped += is_finite & is_outside ? 1U : 0U;
        t.subnormal += is_finite & is_small ? 1U : 0U;
        if constexpr (sizeof(T) == 8)
            t.extremes += is_extreme(x) | is_extreme(q) | is_extreme(difference) ? 1U : 0U;
    }

    /// Whether it has nothing but its counts and sums to add: it is finite, and no error of its is the
    /// largest. A quotient is above another one where the product is below, with no rounding between;
    /// where that could underflow, also where both are equal.
    __device__ bool is_ordinary(const tally& t) const {
        if constexpr (sizeof(T) == 4)
            return (size <= t.absolute) & !(__fma_rn(t.relative, magnitude_of(x), -size) < 0);
        return (size <= t.absolute) & ((size == 0) | !(size >= t.relative * magnitude_of(x)));
    }

    /// What makes it extraordinary.
    __device__ void judge(const error_call<T>& c, tally& t) const {
        const word_of<T> x_size = x_bits & magnitude_bits<T>;
        if (x_size >= infinity_bits<T>) {
            if (x_size > infinity_bits<T>) ++t.nans;
            else ++t.infinities;
            return;
        }
        if (!(size < HUGE_VAL)) {
            ++t.overflowed;
            return;
        }
        t.absolute = larger(t.absolute, size);
        if (size > 0) t.relative = larger(t.relative, size / magnitude_of(x));
        if (c.in_ulps) t.ulp = larger(t.ulp, in_ulps(c, x, size));
    }
};

__device__ inline double largest_of_warp(double v) {
    for (unsigned bit = 1; bit < 32; bit *= 2) v = larger(v, __shfl_xor_sync(all_lanes, v, bit));
    return v;
}

/// Adds N elements a lane, of which those of some lanes may not be there. The maxima of a warp are kept
/// in all of its lanes: so few elements are above them that the rest costs next to nothing.
template <int N, class T>
__device__ void count_elements(const error_call<T>& c, const element<T> (&all)[N], tally& t) {
    bool ordinary = true;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        all[j].count(c, t);
        ordinary &= all[j].is_ordinary(t);
    }
    if (c.in_ulps)
#pragma unroll
        for (int j = 0; j < N; ++j) ordinary &= in_ulps(c, all[j].x, all[j].size) <= t.ulp;
    const unsigned here = __activemask();
    if (__all_sync(here, ordinary)) return;
    for (int j = 0; j < N; ++j) all[j].judge(c, t);
    if (here != all_lanes) return;
    t.absolute = largest_of_warp(t.absolute);
    t.relative = largest_of_warp(t.relative);
    t.ulp = largest_of_warp(t.ulp);
}

/// A run of two arrays.
template <carrier C>
struct run_of {
    using T = worker_t<C>;
    using word = word_of<T>;
    const error_call<T>& call;
    std::uint64_t first;
    std::uint32_t count;
    bool moves_groups;
    bool is_scaled = false;
    int x_exponent = 0, q_exponent = 0, error_exponent = 0;

    template <int N>
    __device__ void load(std::uint32_t k, word (&x)[N], word (&q)[N]) const {
        if constexpr (N > 1) {
            if (!moves_groups) {
#pragma unroll
                for (int j = 0; j < N; ++j) {
                    word one[1];
                    load_values<C>(call.x, first + k + j, one);
                    x[j] = one[0];
                    load_values<C>(call.q, first + k + j, one);
                    q[j] = one[0];
                }
                return;
            }
        }
        load_values<C>(call.x, first + k, x);
        load_values<C>(call.q, first + k, q);
    }
    __device__ element<T> at(std::uint32_t k) const {
        word x[1];
        word q[1];
        load(k, x, q);
        return {x[0], q[0]};
    }
    __device__ void add(const element<T>& e, four_sums& sums) const {
        if constexpr (sizeof(T) == 4) {
            sums.add_floats(e.x, e.q, e.difference);
        } else if (!is_scaled) {
            sums.add(e.x, e.q, e.difference);
        } else {
            sums.add(ldexp(e.x, -x_exponent), ldexp(e.q, -q_exponent),
                     ldexp(e.difference, -error_exponent));
        }
    }
    __device__ bool adds(std::uint32_t k) const {
        const element<T> e = at(k);
        return is_finite_double(e.x) && e.size < HUGE_VAL;
    }
};

/// What one thread block shares.
template <int V>
struct shared_error {
    four_sums subtrees[most_subtrees<V>];
    tally tallies[block_threads / 32];
    chosen good;
};

/// t of all threads, in every thread.
template <int V>
__device__ tally merged(tally t, shared_error<V>& shared) {
    const auto add = [](std::uint32_t n) { return __reduce_add_sync(all_lanes, n); };
    t.nans = add(t.nans);
    t.infinities = add(t.infinities);
    t.nonzero = add(t.nonzero);
    t.flushed = add(t.flushed);
    t.overflowed = add(t.overflowed);
    t.clipped = add(t.clipped);
    t.subnormal = add(t.subnormal);
    t.extremes = add(t.extremes);
    for (double* const v : {&t.absolute, &t.relative, &t.ulp, &t.x, &t.q}) *v = largest_of_warp(*v);
    if (threadIdx.x % 32 == 0) shared.tallies[threadIdx.x / 32] = t;
    __syncthreads();
    tally all;
    for (const tally& one : shared.tallies) {
        all.nans += one.nans;
        all.infinities += one.infinities;
        all.nonzero += one.nonzero;
        all.flushed += one.flushed;
        all.overflowed += one.overflowed;
        all.clipped += one.clipped;
        all.subnormal += one.subnormal;
        all.extremes += one.extremes;
        all.absolute = larger(all.absolute, one.absolute);
        all.relative = larger(all.relative, one.relative);
        all.ulp = larger(all.ulp, one.ulp);
        all.x = larger(all.x, one.x);
        all.q = larger(all.q, one.q);
    }
    __syncthreads();  // before others come to the memory
    return all;
}

/// The sums of the elements that add to them, where not all do: those left lie as if side by side.
template <carrier C, int V = accumulators<C>>
__device__ void sum_chosen(const run_of<C>& run, shared_error<V>& shared) {
    choose(shared.good, run.count, [&](std::uint32_t k) { return run.adds(k); });
    sum_of_run<V>(shared.good.total, shared.subtrees,
                  [&](auto n, std::uint32_t k, four_sums* sums) {
        for (int j = 0; j < decltype(n)::value; ++j)
            run.add(run.at(place_of_chosen(shared.good, k + j)), sums[j]);
    });
}

/// f(N, elements, sums) for all elements of a run, N at a time, and the sums of what it adds.
template <carrier C, class F, int V = accumulators<C>>
__device__ void sum_all(const run_of<C>& run, shared_error<V>& shared, const F& f) {
    using T = worker_t<C>;
    sum_of_run<V>(run.count, shared.subtrees, [&](auto n, std::uint32_t k, four_sums* sums) {
        constexpr int N = decltype(n)::value;
        word_of<T> x[N];
        word_of<T> q[N];
        run.load(k, x, q);
        if constexpr (N == 1) {
            const element<T> all[1] = {{x[0], q[0]}};
            f(all, sums);
        } else if constexpr (N == 2) {
            const element<T> all[2] = {{x[0], q[0]}, {x[1], q[1]}};
            f(all, sums);
        } else {
            const element<T> all[4] = {{x[0], q[0]}, {x[1], q[1]}, {x[2], q[2]}, {x[3], q[3]}};
            f(all, sums);
        }
    });
}

__device__ inline int exponent_above(double v) {
    int e = 0;
    frexp(v, &e);
    return e;
}

/// The powers of two above what adds to the sums: values divided by them have squares that do not leave
/// the range of float64, or leave it at the lower end, where they are nothing beside the largest.
template <carrier C, int V = accumulators<C>>
__device__ void scale_run(run_of<C>& run, shared_error<V>& shared, const tally& counted) {
    tally t;
    for (std::uint32_t k = threadIdx.x; k < run.count; k += blockDim.x) {
        const auto e = run.at(k);
        if (!is_finite_double(e.x) || !(e.size < HUGE_VAL)) continue;
        t.x = larger(t.x, magnitude_of(e.x));
        t.q = larger(t.q, magnitude_of(e.q));
    }
    t = merged(t, shared);
    run.is_scaled = true;
    run.x_exponent = exponent_above(t.x);
    run.q_exponent = exponent_above(t.q);
    run.error_exponent = exponent_above(counted.absolute);
}

template <class T>
__device__ error_sums result_of(const error_call<T>& c, const four_sums& sums, const tally& t) {
    error_sums r{};
    r.signal = sums.at[0];
    r.noise = sums.at[1];
    r.product = sums.at[2];
    r.result = sums.at[3];
    const bool over = t.overflowed > 0;
    r.max_absolute = over ? HUGE_VAL : t.absolute;
    r.max_relative = over ? HUGE_VAL : t.relative;
    if (c.has_format) r.max_ulp = over ? HUGE_VAL : c.quantum > 0 ? t.absolute / c.quantum : t.ulp;
    r.nans = t.nans;
    r.infinities = t.infinities;
    r.nonzero = t.nonzero;
    r.flushed = t.flushed;
    r.overflowed = t.overflowed;
    r.clipped = t.clipped;
    r.subnormal = t.subnormal;
    return r;
}

template <carrier C, class T = worker_t<C>>
__global__ void __launch_bounds__(block_threads, 2)
    measure_runs(const __grid_constant__ error_call<T> c, bool moves_groups) {
    constexpr int V = accumulators<C>;
    // As bytes, since what is shared has no initial values.
    __shared__ alignas(16) unsigned char memory[sizeof(shared_error<V>)];
    auto& shared = *reinterpret_cast<shared_error<V>*>(memory);
    for (std::uint64_t r = blockIdx.x; r < error_runs(c.size); r += gridDim.x) {
        const std::uint64_t first = r * error_run;
        const auto count =
            static_cast<std::uint32_t>(c.size - first < error_run ? c.size - first : error_run);
        run_of<C> run{c, first, count, moves_groups};
        tally t;
        sum_all(run, shared, [&](const auto& all, four_sums* sums) {
            for (int j = 0; const element<T>& e : all) run.add(e, sums[j++]);
            count_elements(c, all, t);
        });
        t = merged(t, shared);
        if constexpr (C == carrier::float64) {
            if (t.extremes > 0) {
                scale_run(run, shared, t);
                if (t.is_whole())
                    sum_all(run, shared, [&](const auto& all, four_sums* sums) {
                        for (int j = 0; const element<T>& e : all) run.add(e, sums[j++]);
                    });
            }
        }
        if (!t.is_whole()) sum_chosen(run, shared);
        if (threadIdx.x == 0) {
            error_sums out = result_of(c, shared.subtrees[0], t);
            out.x_exponent = run.x_exponent;
            out.q_exponent = run.q_exponent;
            out.error_exponent = run.error_exponent;
            out.count = count;
            c.out[r] = out;
        }
        __syncthreads();  // before the next run takes the memory
    }
}

}  // namespace lowp::cuda::detail
