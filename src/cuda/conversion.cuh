// The kernels that convert element by element. Templates are what costs instructions in the loop:
// carrier, path, and whether a mode takes random bits; the mode itself is a branch that all threads
// take alike, once for some elements, and the width of codes another.
#pragma once

#include "conversion_draws.cuh"
#include "conversion_tiles.cuh"
#include "conversion_ways.cuh"
#include "device.cuh"

namespace lowp::cuda::detail {

using lowp::detail::path;

/// Elements of a thread and step: 16 bytes, at least four.
template <carrier C>
inline constexpr int step_of = bytes_of(C) == 2 ? 8 : 4;

/// The path of a kernel: one, or whatever the plan says.
template <path P>
struct one_path {
    template <class T, class F>
    __device__ static void with(path, F&& f) {
        f(std::integral_constant<path, P>{});
    }
};
struct any_path {
    template <class T, class F>
    __device__ static void with(path p, F&& f) {
        switch (p) {
            case path::sum: return f(std::integral_constant<path, path::sum>{});
            case path::plain_sum: return f(std::integral_constant<path, path::plain_sum>{});
            case path::aligned: return f(std::integral_constant<path, path::aligned>{});
            case path::plain_aligned: return f(std::integral_constant<path, path::plain_aligned>{});
            case path::renormalized: return f(std::integral_constant<path, path::renormalized>{});
            case path::shifted: return f(std::integral_constant<path, path::shifted>{});
        }
    }
};

/// body(mode) for the plan's mode, among those of one kind.
template <chance Chance, class F>
__device__ void with_mode(rounding r, F&& body) {
    lowp::detail::with_rounding(r, [&](auto mode) {
        constexpr bool wanted = Chance == chance::random;
        if constexpr (is_stochastic(decltype(mode)::value) == wanted) body(mode);
    });
}

/// The verbs as kernels see them: how N elements are loaded, converted and stored.
template <carrier C, chance Chance, class Paths>
struct quantize_verb {
    using T = worker_t<C>;
    using word = word_of<T>;
    static constexpr int step = step_of<C>;
    static constexpr bool takes_random = Chance == chance::random;
    static constexpr bool encodes = false;

    template <int N>
    __device__ static void load(const call<T>& c, std::uint64_t i, word (&v)[N]) {
        load_values<C>(c.from, i, v);
    }
    template <int N>
    __device__ static void store(const call<T>& c, std::uint64_t i, const word (&v)[N]) {
        store_values<C>(c.to, i, v);
    }
    template <int N>
    __device__ static void convert(const call<T>& c, std::uint64_t index, word (&v)[N]) {
        std::uint32_t random[N] = {};
        words_of_step<Chance>(c, index, random);
        Paths::template with<T>(c.plan.path, [&](auto way) {
            with_mode<Chance>(c.plan.rounding, [&](auto mode) {
#pragma unroll
                for (int j = 0; j < N; ++j)
                    v[j] =
                        lowp::detail::quantize_lanes<lanes<T>, decltype(mode)::value,
                                                     decltype(way)::value>(c.plan, v[j], random[j]);
            });
        });
    }
};

template <carrier C, chance Chance, class Paths>
struct encode_verb {
    using T = worker_t<C>;
    using word = word_of<T>;
    static constexpr int step = step_of<C>;
    static constexpr bool takes_random = Chance == chance::random;
    static constexpr bool encodes = true;

    template <int N>
    __device__ static void load(const call<T>& c, std::uint64_t i, word (&v)[N]) {
        load_values<C>(c.from, i, v);
    }
    template <int N>
    __device__ static void store(const call<T>& c, std::uint64_t i, const word (&v)[N]) {
        store_codes(c.to, c.code_bytes, i, v);
    }
    template <int N>
    __device__ static void convert(const call<T>& c, std::uint64_t index, word (&v)[N]) {
        std::uint32_t random[N] = {};
        words_of_step<Chance>(c, index, random);
        bool met_nan = false;
#pragma unroll
        for (int j = 0; j < N; ++j) met_nan |= is_nan_word<T>(v[j]);
        if (c.refuses_nan && met_nan) atomicOr(c.failures, nan_without_code);
        Paths::template with<T>(c.plan.encode_path, [&](auto way) {
            constexpr path wanted = decltype(way)::value;
            // plain_aligned is a path of quantize alone.
            constexpr path P =
                wanted == path::plain_sum ? wanted : lowp::detail::without_plain(wanted);
            with_mode<Chance>(c.plan.rounding, [&](auto mode) {
#pragma unroll
                for (int j = 0; j < N; ++j)
                    v[j] = lowp::detail::encode_lanes<lanes<T>, decltype(mode)::value, P>(
                        c.plan, v[j], random[j]);
            });
        });
    }
};

template <carrier C>
struct decode_verb {
    using T = worker_t<C>;
    using word = word_of<T>;
    static constexpr int step = step_of<C>;
    static constexpr bool takes_random = false;

    template <int N>
    __device__ static void load(const call<T>& c, std::uint64_t i, word (&v)[N]) {
        // Integers may be wider than the float, formats are not.
        std::uint64_t above = load_codes(c.from, c.code_bytes, i, v);
#pragma unroll
        for (int j = 0; j < N; ++j) above |= v[j] & ~c.plan.code_mask;
        if (above != 0 && c.failures != nullptr) atomicOr(c.failures, code_too_wide);
    }
    template <int N>
    __device__ static void store(const call<T>& c, std::uint64_t i, const word (&v)[N]) {
        store_values<C>(c.to, i, v);
    }
    template <int N>
    __device__ static void convert(const call<T>& c, std::uint64_t /*index*/, word (&v)[N]) {
        lowp::detail::with_integer_path(c.plan.path, [&](auto way) {
#pragma unroll
            for (int j = 0; j < N; ++j)
                v[j] = lowp::detail::decode_lanes<lanes<T>, decltype(way)::value>(c.plan, v[j]);
        });
    }
};

/// Over one dense run, some neighbours a thread and step; what is left over at the end, one a thread.
template <class Verb>
__global__ void __launch_bounds__(block_threads)
    convert_run(const __grid_constant__ call<typename Verb::T> c, std::uint64_t first_index,
                std::uint64_t n) {
    constexpr int N = Verb::step;
    const std::uint64_t thread = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    for (std::uint64_t g = thread; g < n / N; g += threads) {
        typename Verb::word v[N];
        Verb::load(c, g * N, v);
        Verb::convert(c, first_index + g * N, v);
        Verb::store(c, g * N, v);
    }
    if (thread >= n % N) return;
    const std::uint64_t i = n / N * N + thread;
    typename Verb::word v[1];
    Verb::load(c, i, v);
    Verb::convert(c, first_index + i, v);
    Verb::store(c, i, v);
}

/// Over arrays of any strides, one element a thread and step, neighbours in the result side by side.
template <class Verb>
__global__ void __launch_bounds__(block_threads)
    convert_walk(const __grid_constant__ call<typename Verb::T> c, const __grid_constant__ walk w) {
    const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
    const bool is_small = w.size >> 32 == 0;
    for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < w.size;
         i += threads) {
        std::uint64_t left = i;
        std::int64_t from = 0;
        std::int64_t to = 0;
        std::int64_t index = 0;
        for (int a = w.count - 1; a >= 0; --a) {
            const walk::axis& at = w.axes[a];
            // Division of 32 bits is several times faster.
            const std::uint64_t over =
                is_small ? static_cast<std::uint32_t>(left) / static_cast<std::uint32_t>(at.length)
                         : left / at.length;
            const auto k = static_cast<std::int64_t>(left - over * at.length);
            from += k * at.from;
            to += k * at.to;
            index += k * at.index;
            left = over;
        }
        typename Verb::word v[1];
        Verb::load(c, static_cast<std::uint64_t>(from), v);
        Verb::convert(c, w.first_index + static_cast<std::uint64_t>(index), v);
        Verb::store(c, static_cast<std::uint64_t>(to), v);
    }
}

/// Whether the arrays of a call are one dense run each, in the same order.
template <class T>
bool is_run(const call<T>& c, const walk& w) {
    return w.is_flat() || (c.ignores_index && w.is_dense());
}

/// Whether they are, and lie on boundaries of a thread's step.
template <class Verb, class T>
bool goes_in_steps(const call<T>& c, const walk& w, int from_bytes, int to_bytes) {
    return is_run(c, w) && is_aligned(c.from, from_bytes, Verb::step) &&
           is_aligned(c.to, to_bytes, Verb::step);
}
template <class Verb>
unsigned blocks_of_run(const walk& w) {
    return blocks_for(w.size / Verb::step + w.size % Verb::step);
}

/// Run: of one path; Walk: of any. from_bytes, to_bytes: of an element in memory.
template <class Run, class Walk, class T>
void launch_over(const call<T>& c, const walk& w, int from_bytes, int to_bytes, stream s) {
    if (goes_in_steps<Run>(c, w, from_bytes, to_bytes))
        return launch(&convert_run<Run>, blocks_of_run<Run>(w), s, c, w.first_index, w.size);
    const int along = axis_of_source(w);
    if (along < 0) return launch(&convert_walk<Walk>, blocks_for(w.size), s, c, w);
    const std::uint64_t tiles = tiles_of(w, along);
    launch(&convert_tiles<Walk>, blocks_for(tiles * block_threads), s, c, w, along, tiles);
}

/// Whether draw_run did it.
template <carrier C, class Verb, class T>
bool draws_run(const call<T>& c, const walk& w, int from_bytes, int to_bytes, stream s) {
    if constexpr (sizeof(T) == sizeof(float)) {
        if (!c.draws_in_sums || !goes_in_steps<Verb>(c, w, from_bytes, to_bytes)) return false;
        launch(&draw_run<C, Verb>, blocks_of_run<Verb>(w), s, c, c, w.first_index, w.size);
        return true;
    }
    return false;
}

template <class F>
void with_chance(rounding r, F&& f) {
    if (is_stochastic(r)) f(std::integral_constant<chance, chance::random>{});
    else f(std::integral_constant<chance, chance::none>{});
}
template <class F>
void with_path(path p, F&& f) {
    switch (p) {
        case path::sum: return f(std::integral_constant<path, path::sum>{});
        case path::plain_sum: return f(std::integral_constant<path, path::plain_sum>{});
        case path::aligned: return f(std::integral_constant<path, path::aligned>{});
        case path::plain_aligned: return f(std::integral_constant<path, path::plain_aligned>{});
        case path::renormalized: return f(std::integral_constant<path, path::renormalized>{});
        case path::shifted: return f(std::integral_constant<path, path::shifted>{});
    }
}

template <carrier C>
void conversions<C>::quantize(const call<T>& c, const walk& w, stream s) {
    using in_sums = quantize_verb<C, chance::random, one_path<path::sum>>;
    if (draws_run<C, in_sums>(c, w, bytes_of(C), bytes_of(C), s)) return;
    with_chance(c.plan.rounding, [&](auto kind) {
        constexpr chance K = decltype(kind)::value;
        with_path(c.plan.path, [&](auto way) {
            launch_over<quantize_verb<C, K, one_path<decltype(way)::value>>,
                        quantize_verb<C, K, any_path>>(c, w, bytes_of(C), bytes_of(C), s);
        });
    });
}

template <carrier C>
void conversions<C>::encode(const call<T>& c, const walk& w, stream s) {
    if constexpr (C == carrier::bfloat16) {
        constexpr int N = 2 * pair_words;
        const bool are_aligned = is_aligned(c.from, bytes_of(C), N) && is_aligned(c.to, 1, N);
        if (c.encodes_pairs && is_run(c, w) && are_aligned) {
            call<T> halves = c;
            halves.plan = halved(c.plan);
            auto* const kernel = c.drops_sign ? &encode_pairs<overflow_sign::dropped>
                                              : &encode_pairs<overflow_sign::kept>;
            return launch(kernel, blocks_for(w.size / N + w.size % N), s, halves, w.size);
        }
    }
    using in_sums = encode_verb<C, chance::random, one_path<path::sum>>;
    if (draws_run<C, in_sums>(c, w, bytes_of(C), c.code_bytes, s)) return;
    with_chance(c.plan.rounding, [&](auto kind) {
        constexpr chance K = decltype(kind)::value;
        with_path(c.plan.encode_path, [&](auto way) {
            constexpr path wanted = decltype(way)::value;
            constexpr path P = wanted == path::plain_aligned ? path::aligned : wanted;
            launch_over<encode_verb<C, K, one_path<P>>, encode_verb<C, K, any_path>>(
                c, w, bytes_of(C), c.code_bytes, s);
        });
    });
}

template <carrier C>
void conversions<C>::decode(const call<T>& c, const walk& w, stream s) {
    if constexpr (bytes_of(C) == 2) {  // wider values are worked out as fast as they are looked up
        constexpr int N = byte_step;
        const bool are_bytes = c.code_bytes == 1 && is_aligned(c.from, 1, N);
        if (is_run(c, w) && are_bytes && is_aligned(c.to, bytes_of(C), N))
            return launch(&decode_bytes<C>, blocks_for(w.size / N + w.size % N, many_times), s, c,
                          w.size);
    }
    launch_over<decode_verb<C>, decode_verb<C>>(c, w, c.code_bytes, bytes_of(C), s);
}

}  // namespace lowp::cuda::detail
