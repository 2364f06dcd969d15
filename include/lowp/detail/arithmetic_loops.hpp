// The loops of arithmetic on arrays, one set an instruction set: operations to odd in float64 lanes
// (odd_kernel.hpp), from where the element loops of loops.hpp project; and what needs no more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lowp/codec.hpp"
#include "lowp/detail/kernel.hpp"
#include "lowp/detail/odd_kernel.hpp"

namespace lowp::detail {

/// An operation as loops take it. Operands that it does not have are those of the first.
template <class T>
struct arithmetic_operands {
    const T* a = nullptr;
    const T* b = nullptr;
    const T* c = nullptr;
};

struct arithmetic_loops {
    /// Results to odd, one NaN. float64: operands within what `any_outside` asks.
    void (*odd_of_float)(operation, zero_sum, const arithmetic_operands<float>&, double* out,
                         std::size_t n);
    void (*odd_of_double)(operation, zero_sum, const arithmetic_operands<double>&, double* out,
                          std::size_t n);
    /// Projected too: nearest even where the plan has path::plain_sum, in one pass.
    void (*nearest_of_float)(operation, const plan<double>&, const arithmetic_operands<float>&,
                             float* out, std::size_t n);
    void (*nearest_of_double)(operation, const plan<double>&, const arithmetic_operands<double>&,
                              double* out, std::size_t n);
    /// add, sub and mul: nearest even on path::plain_sum or plain_aligned of float32 itself.
    void (*in_place_of_float)(operation, const plan<float>&, const arithmetic_operands<float>&,
                              float* out, std::size_t n);
    /// The machine's own operation, and one NaN: for the carrier's own format.
    void (*native_of_float)(operation, const arithmetic_operands<float>&, float* out,
                            std::size_t n);
    void (*native_of_double)(operation, const arithmetic_operands<double>&, double* out,
                             std::size_t n);
    /// The operand that minimum and its kin take.
    void (*chosen_of_float)(operation, const arithmetic_operands<float>&, float* out,
                            std::size_t n);
    void (*chosen_of_double)(operation, const arithmetic_operands<double>&, double* out,
                             std::size_t n);
    /// float64 that float32 holds, as float32.
    void (*narrow)(const double* x, float* out, std::size_t n);
    /// Whether a finite x other than zero has a magnitude below `low` or from `high` on, as bits; low > 0.
    bool (*any_outside)(const double* x, std::uint64_t low, std::uint64_t high, std::size_t n);
};

template <class L, class T>
[[gnu::always_inline]] inline typename L::word load_lanes(const T* p) {
    if constexpr (sizeof(T) == sizeof(typename L::element)) return L::load_bits(p);
    else return L::load_floats(p);
}
template <class L, class T>
[[gnu::always_inline]] inline void store_lanes(T* p, typename L::word w) {
    if constexpr (sizeof(T) == sizeof(typename L::element)) L::store_bits(p, w);
    else L::store_floats(p, w);
}

[[nodiscard]] constexpr int operand_count(operation o) {
    return o == operation::sqrt ? 1 : o == operation::fma ? 3 : 2;
}

/// f of one register of operands; f is a struct, as compilers do not inline every lambda.
template <class L, class F, class T, class Out>
[[gnu::always_inline]] inline void step(const F& f, const T* a, const T* b, const T* c, Out* out) {
    const auto first = load_lanes<L>(a);
    auto second = first;
    auto third = first;
    if constexpr (F::count > 1) second = load_lanes<L>(b);
    if constexpr (F::count > 2) third = load_lanes<L>(c);
    store_lanes<L>(out, f(first, second, third));
}

/// out[i] = f(a[i], b[i], c[i]) over lanes; the last few by way of padded copies.
template <class L, class F, class T, class Out>
void over_lanes(F f, arithmetic_operands<T> x, Out* out, std::size_t n) {
    std::size_t i = 0;
    for (; i + L::width <= n; i += L::width) step<L>(f, x.a + i, x.b + i, x.c + i, out + i);
    if (i == n) return;
    T padded[3][L::width] = {};
    Out results[L::width];
    const T* const from[3] = {x.a, x.b, x.c};
    for (int k = 0; k < F::count; ++k)
        __builtin_memcpy(padded[k], from[k] + i, (n - i) * sizeof(T));
    step<L>(f, padded[0], padded[1], padded[2], results);
    __builtin_memcpy(out + i, results, (n - i) * sizeof(Out));
}

/// An operation to odd in float64 lanes, on operands that were T.
template <class L, operation O, zero_sum Z, class T>
struct odd_step {
    using word = typename L::word;
    static constexpr int count = operand_count(O);

    [[gnu::always_inline]] word operator()(word a, word b, word c) const {
        constexpr bool is_float = sizeof(T) == sizeof(float);
        const auto sign = L::set(odd_constants<L>::sign);
        if constexpr (O == operation::add) return with_one_nan<L>(odd_sum<L, Z>(a, b));
        if constexpr (O == operation::sub) return with_one_nan<L>(odd_sum<L, Z>(a, b ^ sign));
        // Two float32 have a product of 48 bits.
        if constexpr (O == operation::mul && is_float) return with_one_nan<L>(L::product(a, b));
        if constexpr (O == operation::mul) return with_one_nan<L>(odd_product<L>(a, b));
        if constexpr (O == operation::div) return with_one_nan<L>(odd_quotient<L>(a, b));
        if constexpr (O == operation::sqrt) return with_one_nan<L>(odd_root<L>(a));
        if constexpr (O == operation::fma && is_float)
            return with_one_nan<L>(odd_sum<L, Z>(L::product(a, b), c));
        if constexpr (O == operation::fma) return with_one_nan<L>(odd_fused<L, Z>(a, b, c));
    }
};

/// The same, projected: nearest even on path::plain_sum.
template <class L, operation O, class T>
struct nearest_step {
    using word = typename L::word;
    static constexpr int count = operand_count(O);
    plan<double> constants;

    [[gnu::always_inline]] word operator()(word a, word b, word c) const {
        constexpr odd_step<L, O, zero_sum::positive, T> odd;
        return quantize_lanes<L, rounding::nearest_ties_to_even, path::plain_sum>(
            constants, odd(a, b, c), L::set(0));
    }
};

/// Sums and products of float32, to odd and projected without leaving float32.
template <class L, operation O, path P>
struct in_place_step {
    using word = typename L::word;
    static constexpr int count = 2;
    plan<float> constants;

    [[gnu::always_inline]] word operator()(word a, word b, word /*unused*/) const {
        const auto sign = L::set(odd_constants<L>::sign);
        word odd{};
        if constexpr (O == operation::add) odd = odd_sum_in_place<L>(a, b);
        if constexpr (O == operation::sub) odd = odd_sum_in_place<L>(a, b ^ sign);
        if constexpr (O == operation::mul) odd = odd_product<L>(a, b);
        return quantize_lanes<L, rounding::nearest_ties_to_even, P>(constants, with_one_nan<L>(odd),
                                                                    L::set(0));
    }
};

/// The machine's operation.
template <class L, operation O>
struct native_step {
    using word = typename L::word;
    static constexpr int count = operand_count(O);

    [[gnu::always_inline]] word operator()(word a, word b, word c) const {
        const auto sign = L::set(odd_constants<L>::sign);
        if constexpr (O == operation::add) return with_one_nan<L>(L::sum(a, b));
        if constexpr (O == operation::sub) return with_one_nan<L>(L::sum(a, b ^ sign));
        if constexpr (O == operation::mul) return with_one_nan<L>(L::product(a, b));
        if constexpr (O == operation::div) return with_one_nan<L>(L::quotient(a, b));
        if constexpr (O == operation::sqrt) return with_one_nan<L>(L::root(a));
        if constexpr (O == operation::fma) return with_one_nan<L>(L::fused(a, b, c));
    }
};

template <class L, operation O>
struct choice_step {
    using word = typename L::word;
    static constexpr int count = 2;

    [[gnu::always_inline]] word operator()(word a, word b, word /*unused*/) const {
        return chosen<L, O>(a, b);
    }
};

template <class L>
struct copy_step {
    using word = typename L::word;
    static constexpr int count = 1;

    [[gnu::always_inline]] word operator()(word a, word /*unused*/, word /*unused*/) const {
        return a;
    }
};

/// Calls f with the operation as a template argument, where it is one of Some.
template <operation... Some, class F>
[[gnu::always_inline]] inline void with_operation(operation o, const F& f) {
    ((o == Some ? f.template operator()<Some>() : void()), ...);
}

/// Calls f with an operation that is rounded in lanes.
template <class F>
[[gnu::always_inline]] inline void with_rounded_operation(operation o, const F& f) {
    using enum operation;
    with_operation<add, sub, mul, div, sqrt, fma>(o, f);
}

/// The loops over lanes of T. What names a loop must name its lanes, and so its instruction set: no
/// template parameter here is a template.
template <class L>
struct over_operands {
    using T = typename L::element;
    using operands = arithmetic_operands<T>;

    static void native(operation o, const operands& x, T* out, std::size_t n) {
        with_rounded_operation(
            o, [&]<operation O>() { over_lanes<L>(native_step<L, O>{}, x, out, n); });
    }
    static void in_place(operation o, const plan<T>& c, const operands& x, T* out, std::size_t n) {
        using enum operation;
        with_operation<add, sub, mul>(o, [&]<operation O>() {
            if (c.path == path::plain_sum)
                over_lanes<L>(in_place_step<L, O, path::plain_sum>{c}, x, out, n);
            else over_lanes<L>(in_place_step<L, O, path::plain_aligned>{c}, x, out, n);
        });
    }
    static void choose(operation o, const operands& x, T* out, std::size_t n) {
        using enum operation;
        with_operation<minimum, maximum, minimum_number, maximum_number>(
            o, [&]<operation O>() { over_lanes<L>(choice_step<L, O>{}, x, out, n); });
    }
};

/// The loops in float64 lanes.
template <class L>
struct in_float64 {
    template <class T>
    static void odd(operation o, zero_sum z, const arithmetic_operands<T>& x, double* out,
                    std::size_t n) {
        with_rounded_operation(o, [&]<operation O>() {
            if (z == zero_sum::positive)
                over_lanes<L>(odd_step<L, O, zero_sum::positive, T>{}, x, out, n);
            else over_lanes<L>(odd_step<L, O, zero_sum::negative, T>{}, x, out, n);
        });
    }

    template <class T>
    static void nearest(operation o, const plan<double>& c, const arithmetic_operands<T>& x, T* out,
                        std::size_t n) {
        with_rounded_operation(
            o, [&]<operation O>() { over_lanes<L>(nearest_step<L, O, T>{c}, x, out, n); });
    }

    static void narrow(const double* x, float* out, std::size_t n) {
        over_lanes<L>(copy_step<L>{}, arithmetic_operands<double>{x, x, x}, out, n);
    }

    static bool any_outside(const double* x, std::uint64_t low, std::uint64_t high, std::size_t n) {
        constexpr std::uint64_t infinity = odd_constants<L>::infinity;
        std::uint64_t found = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const auto magnitude = __builtin_bit_cast(std::uint64_t, x[i]) & ~std::uint64_t{0} >> 1;
            // As sums without borrow into the top bit: zero wraps to the largest.
            const bool is_small = magnitude - 1 < low - 1;
            const bool is_large = magnitude - high < infinity - high;
            found |= static_cast<std::uint64_t>(is_small) | static_cast<std::uint64_t>(is_large);
        }
        return found != 0;
    }
};

template <template <class> class Lanes>
constexpr arithmetic_loops make_arithmetic_loops() {
    using floats = over_operands<Lanes<float>>;
    using doubles = over_operands<Lanes<double>>;
    using in_wide = in_float64<Lanes<double>>;
    return {&in_wide::template odd<float>,
            &in_wide::template odd<double>,
            &in_wide::template nearest<float>,
            &in_wide::template nearest<double>,
            &floats::in_place,
            &floats::native,
            &doubles::native,
            &floats::choose,
            &doubles::choose,
            &in_wide::narrow,
            &in_wide::any_outside};
}

}  // namespace lowp::detail
