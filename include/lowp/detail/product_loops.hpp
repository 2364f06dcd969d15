// The loops of matrix products, one set an instruction set: tiles of `tile_rows` rows by a register.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "lowp/codec.hpp"
#include "lowp/detail/product_kernel.hpp"

namespace lowp::detail {

/// Rows of a tile: accumulators that wait for themselves alone, enough to fill the pipelines.
inline constexpr std::size_t tile_rows = 8;

/// A chain acc = project(acc + a b) over k as loops need it.
template <class T>
struct chain_plan {
    plan<T> addition, product;
    lowp::products products = products::exact;
};

/// Loops of one carrier. a: [k][tile_rows], b: [k][columns], acc: [tile_rows][columns].
template <class T>
struct carrier_products {
    std::size_t columns;  ///< of a tile: lanes of a register
    void (*chain)(const chain_plan<T>&, const T* a, const T* b, std::size_t k, T* acc);
    /// acc += a b by the carrier's own fused operation.
    void (*plain)(const T* a, const T* b, std::size_t k, T* acc);
    /// sums = project(sums + x), under the conditions of `chain`; n: a multiple of columns.
    void (*add)(const plan<T>&, const T* x, T* sums, std::size_t n);
};

struct product_loops {
    carrier_products<float> of_float;
    carrier_products<double> of_double;
    /// One row of aligned sums over k; acc: of_double.columns values.
    void (*aligned)(const aligned_plan&, const aligned_factors&, std::size_t k, double* acc);

    template <class T>
    [[nodiscard]] constexpr const carrier_products<T>& of() const {
        if constexpr (sizeof(T) == sizeof(float)) return of_float;
        else return of_double;
    }
};

/// Whether `chain` of T has the mode and the path: float64 all that round by sums, float32 two modes.
template <class T>
[[nodiscard]] constexpr bool has_chain(const plan<T>& p) {
    if (is_stochastic(p.rounding)) return false;
    if constexpr (sizeof(T) == sizeof(double)) return without_plain(p.path) == path::sum;
    const bool is_common =
        p.rounding == rounding::nearest_ties_to_even || p.rounding == rounding::toward_zero;
    return is_common && without_plain(p.path) == path::sum;
}

template <class L>
struct over_products {
    using T = typename L::element;
    using word = typename L::word;
    static constexpr std::size_t rows = tile_rows;

    [[gnu::always_inline]] static word broadcast(T x) {
        return L::set(__builtin_bit_cast(typename carrier<T>::word, x));
    }

    /// acc = step(acc, a, b) over k, the accumulators in registers.
    template <class Step>
    [[gnu::always_inline]] static void tile(const T* a, const T* b, std::size_t k, T* acc,
                                            const Step& step) {
        word s[rows];
        for (std::size_t r = 0; r < rows; ++r) s[r] = L::load_bits(acc + r * L::width);
        for (std::size_t t = 0; t < k; ++t) {
            const word column = L::load_bits(b + t * L::width);
#pragma GCC unroll 8
            for (std::size_t r = 0; r < rows; ++r)
                s[r] = step(s[r], broadcast(a[t * rows + r]), column);
        }
        for (std::size_t r = 0; r < rows; ++r) L::store_bits(acc + r * L::width, s[r]);
    }

    static void plain(const T* a, const T* b, std::size_t k, T* acc) {
        tile(
            a, b, k, acc, [](word s, word x, word y) __attribute__((always_inline)) {
                return L::fused(x, y, s);
            });
    }

    template <rounding R, path P>
    static void fused_chain(plan<T> c, const T* a, const T* b, std::size_t k, T* acc) {
        tile(
            a, b, k, acc, [c](word s, word x, word y) __attribute__((always_inline)) {
                return quantize_lanes<L, R, P>(c, fused_to_odd<L, R>(x, y, s), L::set(0));
            });
    }
    /// Products rounded by a mode and format of their own.
    template <rounding R, path P>
    static void separate_chain(plan<T> c, plan<T> of_product, const T* a, const T* b, std::size_t k,
                               T* acc) {
        const auto one = broadcast(1);
        tile(
            a, b, k, acc, [&](word s, word x, word y) __attribute__((always_inline)) {
                const word p =
                    quantize_lanes<L, R, without_plain(P)>(of_product, L::product(x, y), L::set(0));
                return quantize_lanes<L, R, P>(c, fused_to_odd<L, R>(p, one, s), L::set(0));
            });
    }

    static void chain(const chain_plan<T>& p, const T* a, const T* b, std::size_t k, T* acc) {
        const bool is_fused = p.products == products::exact;
        const path way = is_fused || p.product.path == p.addition.path
                             ? p.addition.path
                             : without_plain(p.addition.path);
        with_chain(p.addition.rounding, way, [&](auto mode, auto path_) {
            constexpr rounding R = decltype(mode)::value;
            constexpr path P = decltype(path_)::value;
            if (is_fused) fused_chain<R, P>(p.addition, a, b, k, acc);
            else separate_chain<R, P>(p.addition, p.product, a, b, k, acc);
        });
    }

    template <rounding R, path P>
    static void add_rows(plan<T> c, const T* x, T* sums, std::size_t n) {
        const auto one = broadcast(1);
        for (std::size_t i = 0; i < n; i += L::width)
            L::store_bits(
                sums + i,
                quantize_lanes<L, R, P>(
                    c, fused_to_odd<L, R>(L::load_bits(x + i), one, L::load_bits(sums + i)),
                    L::set(0)));
    }
    static void add(const plan<T>& c, const T* x, T* sums, std::size_t n) {
        with_chain(c.rounding, c.path, [&](auto mode, auto path_) {
            add_rows<decltype(mode)::value, decltype(path_)::value>(c, x, sums, n);
        });
    }

    /// Calls f with mode and path as types, of those that has_chain admits.
    template <class F>
    static void with_chain(rounding r, path p, const F& f) {
        const auto with_path = [&](auto mode) {
            if (p == path::plain_sum) return f(mode, constant<path::plain_sum>{});
            f(mode, constant<path::sum>{});
        };
        with_rounding(r, [&](auto mode) {
            constexpr rounding R = decltype(mode)::value;
            constexpr bool is_common =
                R == rounding::nearest_ties_to_even || R == rounding::toward_zero;
            if constexpr (is_common || (sizeof(T) == sizeof(double) && !is_stochastic(R)))
                with_path(mode);
        });
    }

    static void aligned(const aligned_plan& u, const aligned_factors& f, std::size_t k,
                        double* acc) requires(sizeof(T) == sizeof(double)) {
        with_unit_rounding(u.result.rounding, [&](auto mode) {
            [[maybe_unused]] constexpr rounding R = decltype(mode)::value;
            using sum = aligned_lanes<L>;
            if (u.alignment != alignment::together)
                return steps(
                    u, f, k, acc, [](const auto&... all) __attribute__((always_inline)) {
                        return sum::template apart<R>(all...);
                    });
            with_cut(u.cut, [&](auto cut_) {
                [[maybe_unused]] constexpr cut C = decltype(cut_)::value;
                if (u.group > 1)
                    steps(
                        u, f, k, acc, [](const auto&... all) __attribute__((always_inline)) {
                            return sum::template grouped<R, C>(all...);
                        });
                else
                    steps(
                        u, f, k, acc, [](const auto&... all) __attribute__((always_inline)) {
                            return sum::template together<R, C>(all...);
                        });
            });
        });
    }

    static constexpr carrier_products<T> table() { return {L::width, &chain, &plain, &add}; }

private:
    template <auto Value>
    using constant = std::integral_constant<decltype(Value), Value>;

    template <class F>
    static void with_unit_rounding(rounding r, const F& f) {
        if (r == rounding::nearest_ties_to_even)
            return f(constant<rounding::nearest_ties_to_even>{});
        f(constant<rounding::toward_zero>{});
    }
    template <class F>
    static void with_cut(cut c, const F& f) {
        if (c == cut::toward_negative) return f(constant<cut::toward_negative>{});
        if (c == cut::nearest_ties_to_even) return f(constant<cut::nearest_ties_to_even>{});
        f(constant<cut::toward_zero>{});
    }

    /// acc = step(acc, the next terms) over k.
    template <class Step>
    [[gnu::always_inline]] static void steps(const aligned_plan& u, const aligned_factors& f,
                                             std::size_t k, double* acc, const Step& step) {
        auto c = L::load_bits(acc);
        for (std::size_t t = 0; t < k; t += u.terms) {
            const std::size_t terms = k - t < u.terms ? k - t : u.terms;
            const std::size_t s = t / u.group;
            const auto* const a_scales = u.group > 1 ? f.a_scales + s : nullptr;
            const auto* const b_scales = u.group > 1 ? f.b_scales + s * L::width : nullptr;
            c = step(u,
                     aligned_factors{f.a + t, f.a_powers + s, a_scales, f.b + t * L::width,
                                     f.b_powers + s * L::width, b_scales},
                     terms, c);
        }
        L::store_bits(acc, c);
    }
};

template <template <class> class Lanes>
constexpr product_loops make_product_loops() {
    return {over_products<Lanes<float>>::table(), over_products<Lanes<double>>::table(),
            &over_products<Lanes<double>>::aligned};
}

}  // namespace lowp::detail
