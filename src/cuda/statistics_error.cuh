// The sums behind lowp.error: a run of elements for each thread block, read once where the carrier's
// squares fit float64 as they are, else twice: first for the powers of two that make them fit.
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
    double absolute = 0, relative = 0, ulp = 0;
    double x = 0, q = 0;  ///< largest magnitudes of what adds to the sums

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

/// Adds what one element counts for; x and q are its words.
template <class T>
__device__ void count_element(const error_call<T>& c, word_of<T> xw, word_of<T> qw, tally& t) {
    using word = word_of<T>;
    const word x_size = xw & magnitude_bits<T>;
    const word q_size = qw & magnitude_bits<T>;
    if (x_size >= infinity_bits<T>) {
        if (x_size > infinity_bits<T>) ++t.nans;
        else ++t.infinities;
        return;
    }
    t.nonzero += x_size != 0 ? 1U : 0U;
    t.flushed += x_size != 0 && q_size == 0 ? 1U : 0U;
    if (c.has_format) {
        const T x = __builtin_bit_cast(T, xw);
        t.clipped += x < c.lowest || x > c.max ? 1U : 0U;
        t.subnormal += q_size != 0 && __builtin_bit_cast(T, q_size) < c.normal ? 1U : 0U;
    }
    const double x = value_of<T>(xw);
    const double q = value_of<T>(qw);
    const double difference = magnitude_of(q - x);
    if (!(difference < HUGE_VAL)) {
        ++t.overflowed;
        return;
    }
    t.absolute = larger(t.absolute, difference);
    // A quotient is above the largest one only where this product is not above the difference: few
    // are divided.
    if (difference > 0 && difference >= t.relative * magnitude_of(x))
        t.relative = larger(t.relative, difference / magnitude_of(x));
    if (c.has_format && c.quantum == 0) t.ulp = larger(t.ulp, in_ulps(c, x, difference));
    if constexpr (sizeof(T) == 8) {
        t.x = larger(t.x, magnitude_of(x));
        t.q = larger(t.q, magnitude_of(q));
    }
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
    __device__ void add(word xw, word qw, four_sums& sums) const {
        const double x = value_of<T>(xw);
        const double q = value_of<T>(qw);
        if constexpr (sizeof(T) == 4) sums.add(x, q, q - x);
        else sums.add(ldexp(x, -x_exponent), ldexp(q, -q_exponent), ldexp(q - x, -error_exponent));
    }
    __device__ bool adds(std::uint32_t k) const {
        word x[1];
        word q[1];
        load(k, x, q);
        const double value = value_of<T>(x[0]);
        return is_finite_double(value) && is_finite_double(value_of<T>(q[0]) - value);
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
    const auto largest = [](double v) {
        for (unsigned bit = 1; bit < 32; bit *= 2)
            v = larger(v, __shfl_xor_sync(all_lanes, v, bit));
        return v;
    };
    t = {add(t.nans),         add(t.infinities), add(t.nonzero),   add(t.flushed),
         add(t.overflowed),   add(t.clipped),    add(t.subnormal), largest(t.absolute),
         largest(t.relative), largest(t.ulp),    largest(t.x),     largest(t.q)};
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
        all.absolute = larger(all.absolute, one.absolute);
        all.relative = larger(all.relative, one.relative);
        all.ulp = larger(all.ulp, one.ulp);
        all.x = larger(all.x, one.x);
        all.q = larger(all.q, one.q);
    }
    return all;
}

/// The sums of the elements that add to them, where not all do: those left lie as if side by side.
template <carrier C, int V = accumulators<C>>
__device__ void sum_chosen(const run_of<C>& run, shared_error<V>& shared) {
    using word = typename run_of<C>::word;
    choose(shared.good, run.count, [&](std::uint32_t k) { return run.adds(k); });
    sum_of_run<V>(shared.good.total, shared.subtrees,
                  [&](auto n, std::uint32_t k, four_sums* sums) {
        for (int j = 0; j < decltype(n)::value; ++j) {
            word x[1];
            word q[1];
            run.load(place_of_chosen(shared.good, k + j), x, q);
            run.add(x[0], q[0], sums[j]);
        }
    });
}

/// The sums of all elements, and their tally where that is not known yet.
template <bool Counts, carrier C, int V = accumulators<C>>
__device__ void sum_all(const run_of<C>& run, shared_error<V>& shared, tally& t) {
    using word = typename run_of<C>::word;
    sum_of_run<V>(run.count, shared.subtrees, [&](auto n, std::uint32_t k, four_sums* sums) {
        constexpr int N = decltype(n)::value;
        word x[N];
        word q[N];
        run.load(k, x, q);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            run.add(x[j], q[j], sums[j]);
            if constexpr (Counts) count_element(run.call, x[j], q[j], t);
        }
    });
}

__device__ inline int exponent_above(double v) {
    int e = 0;
    frexp(v, &e);
    return e;
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
    __shared__ shared_error<V> shared;
    for (std::uint64_t r = blockIdx.x; r < error_runs(c.size); r += gridDim.x) {
        const std::uint64_t first = r * error_run;
        const auto count =
            static_cast<std::uint32_t>(c.size - first < error_run ? c.size - first : error_run);
        run_of<C> run{c, first, count, moves_groups};
        tally t;
        if constexpr (C == carrier::float64) {
            for (std::uint32_t k = threadIdx.x; k < count; k += blockDim.x) {
                word_of<T> x[1];
                word_of<T> q[1];
                run.load(k, x, q);
                count_element(c, x[0], q[0], t);
            }
            t = merged(t, shared);
            run.x_exponent = exponent_above(t.x);
            run.q_exponent = exponent_above(t.q);
            run.error_exponent = exponent_above(t.absolute);
            if (t.is_whole()) sum_all<false>(run, shared, t);
        } else {
            sum_all<true>(run, shared, t);
            t = merged(t, shared);
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
