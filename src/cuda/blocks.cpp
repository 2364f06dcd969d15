// The verbs of cuda_block.hpp as the host sees them: arguments checked, workspace divided, kernels called.
#include <optional>
#include <string>

#include "block_calls.hpp"

namespace lowp::cuda {

using detail::check_format;
using detail::fail;
using detail::finds_scales_first;
using detail::make_call;
using detail::outer_count;
using detail::turn;
using detail::walked;

namespace {

constexpr std::size_t rounded_up(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

bool is_huge(const block_layout& l) { return l.block_rows * l.block_columns > detail::huge_from; }

/// Whether encode closes codes up while it writes them, whichever kernel it takes.
bool packs_at_once(const block_format& f, const block_layout& l) {
    return f.element_bits() == 4 && detail::follows_itself(walked(l), detail::small_step) &&
           l.columns * 4 % 8 == 0;
}

/// Whether encode down columns closes codes up while it writes them: two columns' make a byte, which
/// only the quick kernel has in one thread. c: with the memory that it would write to.
template <carrier C>
bool closes_columns(const detail::block_call<detail::worker_t<C>>& c) {
    return c.is_dense && c.code_bits == 4 && c.layout.columns % 2 == 0 &&
           detail::stands_in_words<C, detail::block_verb::encode>(c);
}

/// Whether the kernels of a call transform runs on their way: quick ones, of values in strips of eight or
/// in the columns that a thread holds.
template <carrier C>
bool turns_on_the_way(const detail::block_call<detail::worker_t<C>>& c, const block_format& f,
                      std::size_t size, detail::block_verb v) {
    if (C == carrier::float64 || c.way == detail::quick_elements::none || finds_scales_first(f) ||
        f.outer.per == granularity::row)
        return false;
    const block_layout& l = c.layout;
    if (l.block_columns == 1)
        return detail::stands_in_columns(l, 2 * (4 / bytes_of(C))) && size <= l.block_rows &&
               (v == detail::block_verb::quantize || c.way == detail::quick_elements::nearest);
    return detail::follows_itself(l, 8) && l.block_columns >= 16;
}

void check_turn(const char* verb, const block_format& f, const block_layout& l, std::size_t size,
                const hadamard_options& h = {}) {
    if (size == 0) return;
    if (size < 2 || size > 256 || !std::has_single_bit(size))
        fail(verb, "hadamard_size must be a power of two from 2 to 256, or 0; got " +
                       std::to_string(size));
    if (f.shape.rows != 1)
        fail(verb, "a transform goes along the axis of {1, k} blocks; got blocks of " +
                       std::to_string(f.shape.rows) + " rows");
    const std::size_t axis = l.is_upright ? l.rows : l.columns;
    if (axis % size != 0)
        fail(verb, "the axis must be a multiple of hadamard_size " + std::to_string(size) +
                       "; got " + std::to_string(axis) + ": pad with zeros");
    if (h.source && h.signs != nullptr) fail(verb, "give signs or a source of them, not both");
    if (h.is_inverse)
        fail(verb, "values go through no inverse transform on their way; call hadamard first");
}

/// The parts of a workspace.
struct parts {
    std::size_t outer = 0, blocks = 0, known = 0, turned = 0, loose = 0;

    /// verb: the one that works, or none where either may.
    parts(carrier c, const block_format& f, const block_layout& l, packing how,
          std::size_t hadamard_size, std::optional<detail::block_verb> verb = {}) {
        bool at_once = false;
        detail::with_carrier(c, [&](auto of) {
            constexpr carrier C = decltype(of)::value;
            using T = detail::worker_t<C>;
            outer = rounded_up(outer_count(f, l) * sizeof(detail::outer_line<T>));
            if (finds_scales_first(f))
                known = rounded_up(l.blocks() * sizeof(detail::known_scale<T>));
            else if (l.size() > 0 && is_huge(walked(l)))
                blocks = rounded_up(l.blocks() * sizeof(detail::huge_block<T>));
            at_once = packs_at_once(f, l);
            const auto bytes = static_cast<std::size_t>(bytes_of(C));
            const auto is_buffered = [&](detail::block_verb v) {
                return (!verb || *verb == v) &&
                       !turns_on_the_way<C>(make_call<T>(f, l, {}), f, hadamard_size, v);
            };
            if (hadamard_size > 0 && l.size() > 0 &&
                (is_buffered(detail::block_verb::quantize) ||
                 is_buffered(detail::block_verb::encode)))
                turned = rounded_up(l.size() * bytes);
        });
        if (how == packing::dense && f.element_bits() < 8)
            loose = rounded_up(at_once ? 0 : l.size());
    }
    /// decode has its scales.
    static parts of_decode(carrier c, const block_format& f, const block_layout& l) {
        parts p(c, f, l, packing::loose, 0);
        p.blocks = p.known = 0;
        return p;
    }
    [[nodiscard]] std::size_t size() const { return outer + blocks + known + turned + loose; }
};

void check_done_here(const char* verb, const block_layout& l) {
    if (l.size() >> 31 != 0 && l.block_rows * l.block_columns >> 31 != 0)
        fail(verb, "blocks of 2^31 elements or more are not done on the device; cut the array");
}

void check_outer(const char* verb, const block_format& f, const block_layout& l,
                 const double* outer, std::size_t given) {
    const std::size_t wanted = outer_count(f, l);
    if (wanted > 0 && outer != nullptr && given != 1 && given != wanted)
        fail(verb, "outer scales given must be 1 or " + std::to_string(wanted) + "; got " +
                       std::to_string(given));
}

/// What is left of a workspace once a call has its own.
struct memory_left {
    std::uint8_t* turned;  ///< nullptr where the kernels transform on their way
    std::uint8_t* loose;
};

template <carrier C>
memory_left divide(const char* verb, detail::block_call<detail::worker_t<C>>& c, const parts& p,
                   const block_options& o) {
    if (p.size() > 0 && o.workspace == nullptr)
        fail(verb, "needs a workspace of " + std::to_string(p.size()) +
                       " bytes (workspace_size); got nullptr");
    if (reinterpret_cast<std::uintptr_t>(o.workspace) % 16 != 0)
        fail(verb, "the workspace must lie on a boundary of 16 bytes");
    auto* at = static_cast<std::uint8_t*>(o.workspace);
    using T = detail::worker_t<C>;
    c.lines = reinterpret_cast<detail::outer_line<T>*>(at);
    at += p.outer;
    c.blocks = reinterpret_cast<detail::huge_block<T>*>(at);
    at += p.blocks;
    if (p.known > 0) c.known = reinterpret_cast<detail::known_scale<T>*>(at);
    at += p.known;
    return {p.turned > 0 ? at : nullptr, at + p.turned};
}

template <carrier C>
void find_outer(const detail::block_call<detail::worker_t<C>>& c, stream s) {
    if (c.line_count > 0) detail::block_kernels<C>::find_outer(c, s);
}

/// Scales that are worked out before the elements, which a search rounds to nearest even.
template <carrier C>
void find_scales(const detail::block_call<detail::worker_t<C>>& c, const block_format& f,
                 stream s) {
    if (c.known == nullptr) return;
    using T = detail::worker_t<C>;
    auto nearest = c;
    nearest.element_projection = projection{.saturation = saturation::finite};
    nearest.element =
        converter<T>(c.book != nullptr ? float8_e4m3fn : f.element, nearest.element_projection)
            .plan();
    nearest.search = lowp::detail::make_search_plan(f);
    detail::block_kernels<C>::find_scales(nearest, s);
}

}  // namespace

std::size_t workspace_size(carrier c, const block_format& f, const block_layout& l, packing how,
                           std::size_t hadamard_size) {
    check_turn("workspace_size", f, l, hadamard_size);
    return parts(c, f, l, how, hadamard_size).size();
}

void quantize(const void* x, void* out, carrier c, const block_format& f, const block_layout& l,
              const block_options& o, stream s) {
    if (l.size() > 0 && (x == nullptr || out == nullptr))
        fail("quantize", "x and out must not be null where there are elements");
    check_outer("quantize", f, l, o.outer, o.outer_given);
    detail::with_carrier(c, [&](auto of) {
        constexpr carrier C = decltype(of)::value;
        check_format<C>("quantize", f, l);
        check_done_here("quantize", l);
        detail::check_random("quantize", f.element_projection(), o);
        check_turn("quantize", f, l, o.hadamard_size, o.hadamard);
        if (l.size() == 0) return;
        auto call = make_call<detail::worker_t<C>>(f, l, o);
        call.failures = o.failures;
        call.has_nan_code = call.scale_has_nan = true;  // values stand for every NaN
        call.from = x;
        call.to = out;
        const parts p(c, f, l, packing::loose, o.hadamard_size, detail::block_verb::quantize);
        turn<C>("quantize", call, o, divide<C>("quantize", call, p, o).turned, s);
        find_outer<C>(call, s);
        find_scales<C>(call, f, s);
        detail::block_elements<C, detail::block_verb::quantize>::work(call, s);
    });
}

void encode(const void* x, carrier c, const block_memory& to, const block_format& f,
            const block_layout& l, const block_options& o, stream s) {
    const int bits = f.element_bits();
    if (l.size() > 0 && (x == nullptr || to.codes == nullptr || to.scales == nullptr))
        fail("encode", "x, codes and scales must not be null where there are elements");
    if (to.packing == packing::dense && bits > 8)
        fail("encode", "packed codes have up to 8 bits; got " + std::to_string(bits));
    if (o.nan_code && *o.nan_code >> bits != 0)
        fail("encode", "nan_code must be a code of " + std::to_string(bits) + " bits; got " +
                           std::to_string(*o.nan_code));
    check_outer("encode", f, l, o.outer, o.outer_given);
    detail::with_carrier(c, [&](auto of) {
        constexpr carrier C = decltype(of)::value;
        using T = detail::worker_t<C>;
        lowp::detail::check_blocks<T>("encode", f, l, l.size(), {});
        check_done_here("encode", l);
        detail::check_random("encode", f.element_projection(), o);
        check_turn("encode", f, l, o.hadamard_size, o.hadamard);
        auto call = make_call<T>(f, l, o);
        const bool block_is_lost =
            (call.nan == nan_policy::block || call.infinity == infinity_policy::nan) &&
            !call.scale_has_nan;
        const bool element_is_lost = call.nan == nan_policy::element && !call.has_nan_code;
        if ((block_is_lost || element_is_lost) && o.failures == nullptr)
            fail("encode",
                 "neither scale nor element has a code for every NaN: say where to report "
                 "one (options::failures)");
        if (outer_count(f, l) > 0 && to.outer == nullptr)
            fail("encode", "the format has outer scales: block_memory::outer must not be null");
        call.failures = o.failures;
        call.from = x;
        call.scale_codes = to.scales;
        call.outer_codes = to.outer;
        const parts p(c, f, l, to.packing, o.hadamard_size, detail::block_verb::encode);
        const memory_left left = divide<C>("encode", call, p, o);
        const void* const read = left.turned != nullptr ? left.turned : x;
        call.from = read;
        call.to = to.codes;
        call.is_dense = to.packing == packing::dense && bits < 8;
        const bool packs_after = p.loose > 0 && !closes_columns<C>(call);
        if (packs_after) {
            call.to = left.loose;
            call.is_dense = false;
        }
        if (l.size() > 0 && call.is_dense && p.loose == 0 &&
            (!detail::is_aligned(read, bytes_of(C), detail::small_step) ||
             !detail::is_aligned(to.codes, 1, detail::small_step)))
            fail("encode",
                 "packed codes of 4 bits need x and codes on boundaries of 16 "
                 "bytes; copy x, or encode loose");
        call.from = x;
        turn<C>("encode", call, o, left.turned, s);
        find_outer<C>(call, s);
        if (l.size() == 0) return;
        find_scales<C>(call, f, s);
        detail::block_elements<C, detail::block_verb::encode>::work(call, s);
        if (packs_after)
            detail::pack_lines(left.loose, l.count * l.rows, l.columns, bits, to.codes, s);
    });
}

void decode(const block_memory& from, void* out, carrier c, const block_format& f,
            const block_layout& l, const block_options& o, stream s) {
    if (l.size() > 0 && (out == nullptr || from.codes == nullptr || from.scales == nullptr))
        fail("decode", "codes, scales and out must not be null where there are elements");
    if (outer_count(f, l) > 0 && from.outer == nullptr)
        fail("decode", "the format has outer scales: block_memory::outer must not be null");
    if (from.packing == packing::dense && f.element_bits() > 8)
        fail("decode", "packed codes have up to 8 bits; got " + std::to_string(f.element_bits()));
    if (o.outer != nullptr || o.ideals != nullptr || o.random != nullptr || o.hadamard_size != 0)
        fail("decode",
             "takes no random bits, ideal scales or transform, and outer scales as "
             "block_memory::outer");
    check_outer("decode", f, l, from.outer, o.outer_given > 0 ? o.outer_given : outer_count(f, l));
    detail::with_carrier(c, [&](auto of) {
        constexpr carrier C = decltype(of)::value;
        check_format<C>("decode", f, l);
        if (l.size() == 0) return;
        auto call = make_call<detail::worker_t<C>>(f, l, o);
        call.failures = o.failures;
        call.outer_given = from.outer;
        call.outer_count = o.outer_given > 0 ? o.outer_given : outer_count(f, l);
        call.from = from.codes;
        call.to = out;
        call.scale_codes = from.scales;
        call.is_dense = from.packing == packing::dense && f.element_bits() < 8;
        const auto bits = static_cast<std::size_t>(f.element_bits());
        const bool goes_on = l.columns * bits % 8 == 0;
        call.line_codes = goes_on ? l.size() : l.columns;
        call.line_bytes = packed_size(goes_on ? l.size() : l.columns, f.element_bits());
        divide<C>("decode", call, parts::of_decode(c, f, l), o);
        find_outer<C>(call, s);
        detail::block_kernels<C>::decode(call, s);
    });
}

}  // namespace lowp::cuda
