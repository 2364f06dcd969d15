// quantize_delayed of cuda_delayed.hpp as the host sees it.
#include "delayed.hpp"

#include <array>
#include <limits>

#include "block_calls.hpp"
#include "lowp/block_formats.hpp"

namespace lowp::cuda {

using detail::fail;

bool has_delayed(const block_format& f) {
    return f.shape.rows == 0 && f.shape.columns == 0 && f.elements.empty() &&
           f.outer.per == granularity::none && f.edges.nan == nan_policy::block &&
           f.edges.infinity == infinity_policy::nan && f.edges.min_scale == 0 &&
           f.edges.max_scale == std::numeric_limits<double>::infinity() &&
           !is_stochastic(f.scale_rounding);
}

void quantize_delayed(const void* x, void* out, carrier c, const block_format& f, std::size_t n,
                      const delayed_memory& m, const delayed_options& o, stream s) {
    constexpr const char* verb = "quantize_delayed";
    if (!has_delayed(f))
        fail(verb,
             "the format must be one block of the whole tensor that a NaN makes NaN, without "
             "codebook or second level; got " +
                 name(f));
    if (n > 0 && (x == nullptr || out == nullptr))
        fail(verb, "x and out must not be null where there are elements");
    if (m.scale == nullptr || m.history == nullptr || m.length == 0)
        fail(verb, "needs a scale and a history of at least one call in the device's memory");
    if (o.workspace == nullptr || reinterpret_cast<std::uintptr_t>(o.workspace) % 16 != 0)
        fail(verb, "needs a workspace of delayed_workspace_size bytes on a boundary of 16");
    detail::check_random(verb, f.element_projection(), o);
    const std::array<std::size_t, 1> shape{n};
    const block_layout l = layout_of(f.shape, shape);
    detail::with_carrier(c, [&](auto of) {
        constexpr carrier C = decltype(of)::value;
        using T = detail::worker_t<C>;
        detail::check_format<C>(verb, f, l);
        block_options with;
        static_cast<options&>(with) = o;
        auto call = detail::make_call<T>(f, l, with);
        call.is_on_grid = false;  // the scale is given
        call.failures = o.failures;
        call.from = x;
        call.to = out;
        static_assert(sizeof(*call.blocks) <= delayed_workspace_size);
        call.blocks = static_cast<detail::huge_block<T>*>(o.workspace);
        const detail::delayed_step step{m, f.element.max(), o.margin, o.take, o.observes};
        detail::delayed_kernels<C>::work(call, step, n, s);
    });
}

}  // namespace lowp::cuda
