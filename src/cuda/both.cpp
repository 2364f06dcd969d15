// quantize_both of cuda_block.hpp as the host sees it.
#include "both.hpp"

#include <array>

#include "block_calls.hpp"

namespace lowp::cuda {

using detail::fail;
using detail::finds_scales_first;
using detail::make_call;
using detail::turn;

namespace {

/// Whether a format's blocks are quick, of `size` elements along an axis, and know no other edges.
bool is_common_both(const block_format& f, int size) {
    const auto call = make_call<float>(f, {}, {});
    const bool has_size = f.shape.rows == 1 && f.shape.columns == static_cast<std::size_t>(size);
    return call.way != detail::quick_elements::none && has_size && !finds_scales_first(f) &&
           !is_stochastic(f.scale_rounding) && f.outer.per != granularity::row &&
           f.edges.nan == nan_policy::block && f.edges.infinity == infinity_policy::nan;
}

block_layout layout_both(const block_format& f, std::size_t rows, std::size_t columns, int axis) {
    const std::array<std::size_t, 2> shape{rows, columns};
    return layout_of(f.shape, shape, axis);
}

}  // namespace

bool has_both(carrier c, const block_format& of_rows, const block_format& of_columns,
              std::size_t rows, std::size_t columns, std::size_t hadamard_size) {
    constexpr std::size_t most = 1U << 31;
    const auto size = static_cast<int>(of_rows.shape.columns);
    if (c != carrier::bfloat16 || (size != 16 && size != 32) || rows > most || columns > most)
        return false;
    if (hadamard_size != 0 && (hadamard_size != 16 || size != 16)) return false;
    if (rows % static_cast<std::size_t>(size) != 0 || columns % static_cast<std::size_t>(size) != 0)
        return false;
    if (!is_common_both(of_rows, size) || !is_common_both(of_columns, size)) return false;
    const auto a = make_call<float>(of_rows, {}, {}), b = make_call<float>(of_columns, {}, {});
    return a.way == b.way && a.fits_pairs == b.fits_pairs;
}

void quantize_both(const void* x, void* by_rows, void* by_columns, carrier c,
                   const block_format& of_rows, const block_format& of_columns, std::size_t rows,
                   std::size_t columns, const both_options& o, stream s) {
    if (!has_both(c, of_rows, of_columns, rows, columns, o.by_columns.hadamard_size))
        fail("quantize_both", "no kernel works both ways here (has_both); call quantize twice");
    if (rows == 0 || columns == 0) return;
    if (x == nullptr || by_rows == nullptr || by_columns == nullptr)
        fail("quantize_both", "x and results must not be null where there are elements");
    for (const block_options* way : {&o.by_rows, &o.by_columns})
        if (way->random != nullptr || way->ideals != nullptr || way->outer != nullptr)
            fail("quantize_both", "random bits and scales are not given here; call quantize twice");
    if (o.by_rows.hadamard_size != 0 || o.by_columns.hadamard.is_inverse)
        fail("quantize_both", "columns alone are transformed, and not inversely");
    const auto on_boundary = [](const void* p) { return detail::is_aligned(p, 2, 8); };
    if (!on_boundary(x) || !on_boundary(by_rows) || !on_boundary(by_columns))
        fail("quantize_both", "x and results must lie on boundaries of 16 bytes");
    const auto row_blocks = layout_both(of_rows, rows, columns, 1);
    const auto column_blocks = layout_both(of_columns, rows, columns, 0);
    detail::both_call call;
    call.by_rows = make_call<float>(of_rows, row_blocks, o.by_rows);
    call.by_columns = make_call<float>(of_columns, column_blocks, o.by_columns);
    call.rows = static_cast<std::uint32_t>(rows);
    call.columns = static_cast<std::uint32_t>(columns);
    call.size = static_cast<int>(of_rows.shape.columns);
    call.by_rows.from = call.by_columns.from = x;
    call.by_rows.to = by_rows;
    call.by_columns.to = by_columns;
    turn<carrier::bfloat16>("quantize_both", call.by_columns, o.by_columns, nullptr, s);
    if (call.by_rows.line_count + call.by_columns.line_count > 0) {
        auto* const at = static_cast<std::uint8_t*>(o.by_rows.workspace);
        if (at == nullptr || reinterpret_cast<std::uintptr_t>(at) % 16 != 0)
            fail("quantize_both",
                 "needs a workspace of both_workspace_size bytes on a boundary of 16");
        call.by_rows.lines = reinterpret_cast<detail::outer_line<float>*>(at);
        call.by_columns.lines = reinterpret_cast<detail::outer_line<float>*>(at + 128);
    }
    detail::block_both<carrier::bfloat16>::work(call, s);
}

}  // namespace lowp::cuda
