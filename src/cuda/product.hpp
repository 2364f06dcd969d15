// What the host hands to the kernels of matrix products, and the kernels' names. Plain C++: the host's
// checks and plans are in products.cpp, the kernels in product_*.cuh.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lowp/accumulator.hpp"
#include "lowp/codec.hpp"
#include "lowp/cuda_product.hpp"
#include "lowp/detail/product_kernel.hpp"
#include "lowp/random.hpp"

namespace lowp::cuda::detail {

/// The lines of a factor, rows of a or columns of b, along k. Strides in elements.
struct lines {
    const void* data = nullptr;
    cuda::carrier carrier = carrier::float32;
    std::int64_t line_stride = 0, k_stride = 0;
    std::array<std::int64_t, layout::max_axes> batch{};  ///< strides of the leading axes
};

struct matrices {
    void* data = nullptr;
    cuda::carrier carrier = carrier::float32;
    std::int64_t row_stride = 0, column_stride = 0;
    std::array<std::int64_t, layout::max_axes> batch{};
};

/// Sums of chunks added up: the promotion, and where its random bits come from.
struct promotion {
    lowp::detail::plan<double> plan;
    std::uint64_t chunk = 0;   ///< terms of a chunk, 0: one chain
    bool is_float_add = true;  ///< what float32's own addition does
};

/// What all kernels of a product need; they read it from constant memory.
struct product_call {
    std::uint64_t m = 0, n = 0, k = 0;
    std::uint64_t batches = 1, tiles_down = 0, tiles_across = 0;
    int axes = 0;  ///< leading ones
    std::array<std::uint64_t, layout::max_axes> lengths{};
    lines a, b;
    matrices c, out;  ///< c.data: nullptr, +0
    detail::promotion promotion;
    random_source source = {};
    const std::uint64_t* stream_offset = nullptr;
    std::uint64_t first_index = 0, batch_index = 0;  ///< a batch's first index less the one before
    const double *a_outer = nullptr, *b_outer = nullptr;  ///< multiply the result, where not null
    double scale = 1;
    lowp::detail::plan<double> last;  ///< of finished sums, where rounds_last
    bool rounds_last = false;
    std::uint32_t nan = 0;  ///< float32 bits of results that are NaN
};

/// A chain acc = project(acc + a b).
template <class T>
struct chain_call {
    product_call product;
    lowp::detail::plan<T> addition, separate;  ///< separate: of products that are rounded
    lowp::products products = products::exact;
};

/// How a b + acc is rounded before it is rounded to the format.
enum class fused_by : std::uint8_t {
    nearest,  ///< as float32 does: where no second rounding can go wrong
    odd,      ///< to odd: anywhere
};

/// Scales of blocks along k: [batch][line][block].
struct line_scales {
    const double* values = nullptr;
    std::uint64_t block = 1, blocks = 0;
    int emin = 0;
};

/// Sums of a matrix unit. A step is `terms` places, one more where that is odd; a chunk is some steps.
struct unit_call {
    product_call product;
    lowp::detail::aligned_plan unit;
    line_scales a_scales, b_scales;
    int a_emin = -126, b_emin = -126, lowest_exponent = -133;
    std::uint32_t places = 0, terms = 0, stage_steps = 1;
    std::uint64_t chunk_steps = 0, steps = 0;
    std::uint32_t run = 0, turns = 1;
    bool is_dense = false;  ///< places follow k without a gap
    // Results whose upper half is in [normal, normal + span) are cut by `kept` alone.
    std::uint32_t normal = 0, span = 0;
    std::uint64_t kept = ~std::uint64_t{0};

    /// Terms are below 2^(fraction_bits + this) quanta: two numbers below 2, and as many scales.
    [[nodiscard]] int carries_of_terms() const {
        return a_scales.values != nullptr || b_scales.values != nullptr ? 4 : 2;
    }
};

/// Exponents of zeros: below all others, as their sums are.
inline constexpr int zero_exponent = -8192;

// Choices, of products whose arguments were checked: product_..._choice.cpp.

/// A format that the numbers of an array are in: the one given, or what a carrier of 16 bits holds.
[[nodiscard]] std::optional<format> known_format(const std::optional<format>& given, carrier c);
/// Whether a rounding is to nearest even with infinities.
[[nodiscard]] bool is_nearest(const rounding_step& s);
[[nodiscard]] bool has_promotion(const accumulator& how, carrier out);
[[nodiscard]] bool has_unit_kernel(const accumulator& how, carrier out);
void run_chain(const product_call& p, const accumulator& how, const product_options& o, stream s);
void run_single(const product_call& p, const accumulator& how, stream s);
void run_unit(const product_call& p, const accumulator& how, const product_options& o, stream s);

// One .cu file each.
void plain_chain(const chain_call<float>& c, stream s);
void plain_chain(const chain_call<double>& c, stream s);
/// To nearest even with infinities into float16 or bfloat16, by the device's conversions.
void half_chain(carrier half, fused_by how, const chain_call<float>& c, stream s);
/// To nearest even along path::plain_sum or path::plain_aligned.
void nearest_chain(const chain_call<float>& c, stream s);
/// Any mode without random bits along path::sum, in float also path::aligned.
void any_chain(const chain_call<float>& c, stream s);
void any_chain(const chain_call<double>& c, stream s);
void random_chain(const chain_call<double>& c, stream s);  ///< the modes with
void slow_chain(const chain_call<double>& c, stream s);    ///< whatever the plans say
/// Pairwise, Kahan's and exact sums. c.separate: of products that stand alone.
enum class numbers_of : std::uint8_t { float32, float64 };
void single_sums(summation order, numbers_of what, const chain_call<double>& c, stream s);
void unit_sums(const unit_call& c, stream s);
enum class group_sums : std::uint8_t { in_float, in_double };
void grouped_sums(group_sums how, const unit_call& c, stream s);
/// Any unit, a sum a thread; up to `most_unit_terms` terms.
inline constexpr int most_unit_terms = 256;
void single_unit_sums(const unit_call& c, stream s);

}  // namespace lowp::cuda::detail
