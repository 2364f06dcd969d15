// How the terms of a dot product are added up: an accumulator is data, as a format is.
// `accumulators` names those of processors; any format's name is one, too (see parse_accumulator).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "lowp/formats.hpp"
#include "lowp/rounding.hpp"

namespace lowp {

/// A format and how numbers get into it.
struct rounding_step {
    lowp::format format = float32;
    lowp::projection projection = {};
    friend constexpr bool operator==(const rounding_step&, const rounding_step&) = default;
};

/// The order and the way in which terms meet.
///     sequential  ((c + t0) + t1) + ..., each sum rounded by `addition`
///     pairwise    n terms: the first 2^k, 2^k < n <= 2^(k+1), apart from the others; c is added last
///     kahan       sequential, with Kahan's compensation, each of its operations rounded
///     exact       one sum of everything, rounded once (Kulisch)
///     aligned     a tensor core's: some terms at a time by `unit`, and c among them
/// Source of pairwise and kahan: Higham, Accuracy and Stability of Numerical Algorithms, 4.
enum class summation : std::uint8_t { sequential, pairwise, kahan, exact, aligned };

/// A product that goes exact into the addition (fused), or is rounded before.
enum class products : std::uint8_t { exact, rounded };

/// What alignment cuts off. Source: Fasi, Higham, Mikaitis and Pranesh, PeerJ CS 2021.
enum class cut : std::uint8_t { toward_zero, toward_negative, nearest_ties_to_even };

/// Which terms are aligned to which.
///     together  products and the sum so far, to the largest exponent of all (NVIDIA)
///     apart     products to each other, 24 bits kept; their sum, floored to 32 bits, and c, floored to
///               24, to each other; that sum floored to 31 bits and rounded to nearest (AMD CDNA3)
///     halves    even and odd k apart, each as above; then as apart, without c more than 25 binades
///               below (AMD CDNA3, FP8)
/// Source: Xie et al., MMA-Sim, arXiv 2511.10909.
enum class alignment : std::uint8_t { together, apart, halves };

/// Whether a unit takes the scales of block-scaled factors with them, or plain numbers.
enum class factors : std::uint8_t { plain, block_scaled };

/// A sum of `terms` exact products and the sum so far: each is cut to `fraction_bits` below the largest
/// exponent, exponents of products being sums of their factors' (not renormalised, a subnormal factor
/// counting as its format's emin); those are added exactly and rounded once into `result`, overflow to
/// infinity in every mode. No term: +0. NaN or infinities of both signs: NaN.
struct aligned_unit {
    int terms = 16;
    int fraction_bits = 24;
    lowp::cut cut = lowp::cut::toward_zero;
    lowp::alignment alignment = lowp::alignment::together;
    int lowest_exponent = -133;  ///< to which terms are aligned at least
    lowp::factors factors = lowp::factors::plain;
    /// Terms of a group, summed exactly and scaled by the scales of their block, count as one, with the
    /// exponent of these scales. 1: scales, if there are any, belong to the factors.
    int group = 1;
    /// Neighbours in k that a step takes from each run of a chunk: 0, all it can; 2 of 16 terms in a
    /// chunk of 32: k mod 4 in {0, 1}, then k mod 4 in {2, 3}.
    int run = 0;
    rounding_step result{float32, {.rounding = rounding::toward_zero}};
    friend constexpr bool operator==(const aligned_unit&, const aligned_unit&) = default;
};

struct accumulator {
    summation order = summation::sequential;
    lowp::products products = lowp::products::exact;
    rounding_step product = {};   ///< of products::rounded
    rounding_step addition = {};  ///< of sequential, pairwise, kahan; of exact: the one rounding
    /// 0: one chain over all k, from c on. Else sums of so many terms, each from zero, are added to c in
    /// turn by `promotion`.
    std::size_t chunk = 0;
    rounding_step promotion = {};
    aligned_unit unit = {};
    friend constexpr bool operator==(const accumulator&, const accumulator&) = default;

    constexpr void validate() const;
};

namespace detail {

/// The result of Hopper's and Ada's FP8 unit: 13 stored bits, exponents of float32.
inline constexpr rounding_step fp8_unit_result{format::ieee(8, 13),
                                               {.rounding = rounding::toward_zero}};

/// NVIDIA's: exponents go down to `lowest`.
[[nodiscard]] constexpr accumulator tensor_core(int terms, int fraction_bits, int lowest = -133) {
    accumulator a;
    a.order = summation::aligned;
    a.unit.terms = terms;
    a.unit.fraction_bits = fraction_bits;
    a.unit.lowest_exponent = lowest;
    return a;
}

/// FP8 units whose sums have 13 bits; in chunks, where not 0, added up in float32.
[[nodiscard]] constexpr accumulator fp8_unit(int terms, int lowest, std::size_t promoted_at = 0) {
    accumulator a = tensor_core(terms, 13, lowest);
    a.unit.result = fp8_unit_result;
    a.chunk = promoted_at;
    return a;
}

/// Sums of `terms` terms from zero, added to c by float32 additions.
[[nodiscard]] constexpr accumulator in_chunks(accumulator a, std::size_t terms, int run = 0) {
    a.chunk = terms;
    a.unit.run = run;
    return a;
}

/// Block-scaled factors; group: 1, or terms that are summed exactly and scaled.
[[nodiscard]] constexpr accumulator block_scaled(accumulator a, int group) {
    a.unit.factors = factors::block_scaled;
    a.unit.group = group;
    return a;
}

/// Groups of one step that there is room for.
inline constexpr int most_groups = 64;

/// AMD's CDNA3.
[[nodiscard]] constexpr accumulator matrix_core(int terms, alignment how) {
    accumulator a = tensor_core(terms, 24);
    a.unit.alignment = how;
    a.unit.result.projection.rounding = rounding::nearest_ties_to_even;
    return a;
}

}  // namespace detail

struct named_accumulator {
    std::string_view name;
    lowp::accumulator accumulator;
    std::string_view inputs;  ///< formats that the hardware multiplies so
    std::string_view source;
};

// clang-format off
/// Matrix units. Sources: recordings of an H100 (tests/data/products); Khattak and Mikaitis, arXiv
/// 2512.07004, whose data the tests compare with; Xie et al., MMA-Sim, arXiv 2511.10909.
inline constexpr std::array accumulators{
    named_accumulator{"v100", detail::tensor_core(4, 23, -131), "float16", "arXiv 2512.07004"},
    named_accumulator{"a100", detail::tensor_core(8, 24, -132), "float16 bfloat16", "arXiv 2512.07004"},
    named_accumulator{"a100_tf32", detail::tensor_core(4, 24, -132), "tensorfloat32", "arXiv 2512.07004"},
    named_accumulator{"ada", detail::tensor_core(8, 24, -132), "float16 bfloat16", "arXiv 2512.07004"},
    named_accumulator{"ada_tf32", detail::tensor_core(4, 24, -132), "tensorfloat32", "arXiv 2512.07004"},
    named_accumulator{"ada_fp8", detail::fp8_unit(16, -132), "float8_e4m3fn float8_e5m2", "arXiv 2512.07004"},
    named_accumulator{"h100", detail::tensor_core(16, 25), "float16 bfloat16", "recorded: mma.m16n8k16"},
    named_accumulator{"h100_tf32", detail::tensor_core(8, 25), "tensorfloat32", "recorded: mma.m16n8k8"},
    named_accumulator{"h100_fp8", detail::fp8_unit(32, -133), "float8_e4m3fn float8_e5m2", "recorded: wgmma, fast accumulation"},
    named_accumulator{"h100_fp8_promoted", detail::fp8_unit(32, -133, 128), "float8_e4m3fn float8_e5m2", "recorded: wgmma, slow accumulation; arXiv 2412.19437"},
    named_accumulator{"h100_fp8_mma", detail::in_chunks(detail::tensor_core(16, 25), 32, 2), "float8_e4m3fn float8_e5m2", "recorded: mma.m16n8k32"},
    named_accumulator{"b200", detail::tensor_core(16, 25), "float16 bfloat16", "arXiv 2512.07004"},
    named_accumulator{"b200_tf32", detail::tensor_core(8, 25), "tensorfloat32", "arXiv 2511.10909"},
    named_accumulator{"b200_fp8", detail::in_chunks(detail::tensor_core(32, 25), 32), "float8_e4m3fn float8_e5m2", "arXiv 2512.07004: mma, c added last"},
    named_accumulator{"b200_fp8_tcgen05", detail::tensor_core(32, 25), "float8_e4m3fn float8_e5m2 float6_e3m2fn float6_e2m3fn float4_e2m1fn", "arXiv 2511.10909"},
    named_accumulator{"b200_mxf8", detail::block_scaled(detail::tensor_core(32, 25), 1), "mxfp8_e4m3 mxfp8_e5m2 mxfp6_e3m2 mxfp6_e2m3", "arXiv 2511.10909"},
    named_accumulator{"b200_mxf4", detail::block_scaled(detail::tensor_core(64, 35, -139), 16), "mxfp4", "arXiv 2511.10909"},
    named_accumulator{"b200_nvfp4", detail::block_scaled(detail::tensor_core(64, 35, -139), 16), "nvfp4", "arXiv 2511.10909"},
    named_accumulator{"mi300", detail::matrix_core(8, alignment::apart), "float16 bfloat16", "arXiv 2511.10909"},
    named_accumulator{"mi300_xf32", detail::matrix_core(4, alignment::apart), "tensorfloat32", "arXiv 2511.10909"},
    named_accumulator{"mi300_fp8", detail::matrix_core(16, alignment::halves), "float8_e4m3fnuz float8_e5m2fnuz", "arXiv 2511.10909"},
};
// clang-format on

namespace detail {

[[noreturn]] inline void fail_accumulator(const std::string& what) {
    throw std::invalid_argument("accumulator: " + what);
}

constexpr void validate_unit(const accumulator& a) {
    const aligned_unit& u = a.unit;
    const auto refuse = [](bool wrong, const char* what) {
        if (wrong) fail_accumulator(what);
    };
    if (u.terms < 1 || u.terms > 1024)
        fail_accumulator("terms must be between 1 and 1024; got " + std::to_string(u.terms));
    if (u.fraction_bits < 1 || u.fraction_bits > 40)
        fail_accumulator("fraction_bits must be between 1 and 40; got " +
                         std::to_string(u.fraction_bits));
    if (u.lowest_exponent < -600 || u.lowest_exponent > 127)
        fail_accumulator("lowest_exponent must be between -600 and 127; got " +
                         std::to_string(u.lowest_exponent));
    if (u.group < 1 || u.terms % u.group != 0)
        fail_accumulator("group must divide terms; got " + std::to_string(u.group) + " and " +
                         std::to_string(u.terms));
    const rounding r = u.result.projection.rounding;
    refuse(r != rounding::nearest_ties_to_even && r != rounding::toward_zero,
           "result_rounding must be nearest_ties_to_even or toward_zero");
    refuse(u.result.projection.saturation != saturation::none,
           "result_saturation must be none: overflow is infinite");
    refuse(!u.result.format.has_inf || !u.result.format.fits<float>(),
           "result must be a format with infinity that float32 holds");
    const auto group = static_cast<std::size_t>(u.group);
    refuse(u.group > 1 && (u.terms / u.group > most_groups || u.run != 0 || a.chunk % group != 0 ||
                           u.factors == factors::plain),
           "groups need block_scaled factors, at most 64 of them a step, no run, and chunks of "
           "whole groups");
    const aligned_unit plain;
    refuse(u.alignment != alignment::together &&
               (u.group != 1 || u.fraction_bits != 24 || u.cut != plain.cut ||
                u.lowest_exponent != plain.lowest_exponent || u.factors != plain.factors),
           "alignment apart and halves have 24 fraction_bits, and no other cut, lowest_exponent, "
           "group or factors");
    const auto terms = static_cast<std::size_t>(u.terms);
    if (u.run < 0 || (u.run > 0 && (a.chunk == 0 || a.chunk % terms != 0 ||
                                    terms % static_cast<std::size_t>(u.run) != 0)))
        fail_accumulator("run must divide terms, and terms the chunk; got " +
                         std::to_string(u.run) + ", " + std::to_string(u.terms) + " and " +
                         std::to_string(a.chunk));
}

}  // namespace detail

/// Throws std::invalid_argument for what contradicts, and for a field that the order does not use.
constexpr void accumulator::validate() const {
    const auto refuse = [](bool wrong, const char* what) {
        if (wrong) detail::fail_accumulator(what);
    };
    for (const rounding_step& s : {product, addition, promotion, unit.result}) {
        s.format.validate();
        s.projection.validate();
    }
    const rounding_step unused;
    refuse(lowp::products::exact == products && product != unused,
           "product is set, but products are exact; make them rounded");
    refuse(chunk == 0 && promotion != unused, "promotion is set, but there is no chunk");
    if (order != summation::aligned) {
        refuse(unit != aligned_unit{},
               "terms, fraction_bits, result and others are of matrix units: of order aligned");
        refuse(order == summation::exact && products == lowp::products::rounded,
               "an exact sum has exact products");
        return;
    }
    refuse(products == lowp::products::rounded, "a matrix unit has exact products");
    refuse(addition != unused, "a matrix unit rounds by result, result_rounding; not by addition");
    detail::validate_unit(*this);
}

}  // namespace lowp
