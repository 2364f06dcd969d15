// quantize, encode and decode of arrays of float16 and bfloat16: spans of minifloat<float16> and
// minifloat<bfloat16>, which are the 16 bits of a code. They become float32, which holds them, a panel
// at a time in the cache, go through the loops of array.hpp and block.hpp, and go back.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lowp/array.hpp"
#include "lowp/block.hpp"
#include "lowp/formats.hpp"
#include "lowp/minifloat.hpp"

namespace lowp {

/// Formats of 16 bits in IEEE 754's layout that float32 holds: float16, bfloat16 and those between.
[[nodiscard]] constexpr bool is_half(const format& f) {
    return f.bits() == 16 && f == format::ieee(f.exponent_bits, f.mantissa_bits) && f.fits<float>();
}

/// The number types of arrays of such floats. Memory that holds 16-bit floats of another library is
/// read as one of these, by reinterpret_cast of its pointer.
template <class T>
concept half_float = std::same_as<T, minifloat<T::format>> && is_half(T::format) && sizeof(T) == 2;

namespace detail {

/// Values that are float32 at a time, on the stack.
inline constexpr std::size_t half_panel = 2048;
/// The same in block formats, where panels are of whole blocks. Larger ones take an array of float32.
inline constexpr std::size_t half_block_panel = 8192;

/// Halves as float32 and back, both by the loops; back means nearest even, infinity beyond the largest,
/// and for every NaN the quiet one.
template <half_float T, class Isa>
class half_converter {
public:
    explicit half_converter(const loop_table& table)
        : converter_(T::format), loops_(table.of_float) {}

    void widen(const T* halves, float* x, std::size_t n) const {
        loops_.decode(converter_.plan(), halves, sizeof(T), x, n);
    }
    void narrow(const float* x, T* halves, std::size_t n) const {
        loops_.encode(converter_.plan(), x, halves, sizeof(T), nullptr, n);
    }

private:
    converter<float> converter_;
    const carrier_loops<float>& loops_;
};

/// work(begin, count) over panels of [0, n), each of up to half_panel, on threads.
template <class Work>
void for_half_panels(std::size_t n, int threads, const Work& work) {
    for_ranges(n, threads, half_panel, [&](std::size_t begin, std::size_t end) {
        const default_environment environment;
        for (std::size_t i = begin; i < end; i += half_panel)
            work(i, std::min(half_panel, end - i));
    });
}

/// work(panel, i, count, words) over x as float32, where `panel` holds the values from i on.
template <half_float T, class Isa, class Work>
void for_widened(std::span<const T> x, const projection& p, const options& o,
                 const loop_table& table, const half_converter<T, Isa>& halves, const Work& work) {
    for_chunks(x.size(), p, o, table,
               [&](std::size_t begin, std::size_t n, const std::uint32_t* random) {
        float panel[half_panel];
        for (std::size_t k = 0; k < n; k += half_panel) {
            const std::size_t count = std::min(half_panel, n - k);
            halves.widen(x.data() + begin + k, panel, count);
            work(panel, begin + k, count, random == nullptr ? nullptr : random + k);
        }
    });
}

template <half_float T>
void check_half_holds(const char* verb, const format& f) {
    f.validate();
    if (!T::format.holds(f))
        fail(std::string("lowp::") + verb + ": " + name(T::format) +
             " does not hold every value of " + name(f) + "; use float or double arrays");
}

// ---- blocks -------------------------------------------------------------------------------------

/// What encode reads (see plain_elements).
template <half_float T, class Isa>
struct half_elements {
    std::span<const T> x;
    half_converter<T, Isa> halves;

    const float* operator()(std::size_t begin, std::size_t n, float* buffer) const {
        halves.widen(x.data() + begin, buffer, n);
        return buffer;
    }
    template <class Work>
    void visit(const panel& p, const Work& work) const {
        float buffer[half_block_panel];
        for (std::size_t r = 0; r < p.rows; ++r)
            halves.widen(x.data() + p.first + r * p.stride, buffer + r * p.width, p.width);
        work(buffer, p.alone());
    }
};

/// What decode writes (see plain_result).
template <half_float T, class Isa>
struct half_result {
    std::span<T> y;
    half_converter<T, Isa> halves;

    void store(const float* buffer, const panel& p) const {
        for (std::size_t r = 0; r < p.rows; ++r)
            halves.narrow(buffer + r * p.width, y.data() + p.first + r * p.stride, p.width);
    }
    template <class Work>
    void visit(const panel& p, const Work& work) const {
        float buffer[half_block_panel];
        work(buffer, p.alone());
        store(buffer, p);
    }
};

/// The one place that decides between panels and a float32 array.
[[nodiscard]] inline bool goes_by_panels(const block_layout& l) {
    return panels(l).most_elements() <= half_block_panel;
}

template <half_float T, class Isa>
[[nodiscard]] std::vector<float> widened(std::span<const T> x, const options& o) {
    const half_converter<T, Isa> halves(loops_of<Isa>(o));
    std::vector<float> wide(x.size());
    for_half_panels(x.size(), o.threads, [&](std::size_t i, std::size_t n) {
        halves.widen(x.data() + i, wide.data() + i, n);
    });
    return wide;
}

template <half_float T, class Isa>
void narrow_all(std::span<const float> wide, std::span<T> out, const options& o) {
    const half_converter<T, Isa> halves(loops_of<Isa>(o));
    for_half_panels(out.size(), o.threads, [&](std::size_t i, std::size_t n) {
        halves.narrow(wide.data() + i, out.data() + i, n);
    });
}

template <half_float T>
void check_half_blocks(const char* verb, const block_format& f, const block_layout& l,
                       std::size_t elements, const block_options& o) {
    check_blocks<float>(verb, f, l, elements, o);
    if (f.element_max() > T::format.max())
        fail(std::string("lowp::") + verb + ": " + name(T::format) +
             " does not hold every element of the block format; use float or double arrays");
}

}  // namespace detail

/// Each x on the grid of a format, written to `out`: x itself, or memory that x and options::random
/// have no part in. All as for arrays of float (array.hpp), but that every NaN becomes the quiet one
/// of T. Throws std::invalid_argument where T does not hold a value of the format, too.
template <half_float T, class Isa = detail::native_isa>
void quantize(std::span<const T> x, std::span<T> out, const converter<float>& c,
              const options& o = {}) {
    detail::check_sizes("quantize", x.size(), out.size());
    detail::check_half_holds<T>("quantize", c.format());
    detail::check_options("quantize", c.projection(), o, x.size());
    const detail::loop_table& table = detail::loops_of<Isa>(o);
    const detail::half_converter<T, Isa> halves(table);
    detail::for_widened(
        x, c.projection(), o, table, halves,
        [&](float* panel, std::size_t i, std::size_t n, const std::uint32_t* random) {
        table.of_float.quantize(c.plan(), panel, panel, random, n);
        halves.narrow(panel, out.data() + i, n);
        });
}

/// The same from the format itself.
template <half_float T, class Isa = detail::native_isa>
void quantize(std::span<const T> x, std::span<T> out, const format& f, const projection& p = {},
              const options& o = {}) {
    detail::check_half_holds<T>("quantize", f);
    quantize<T, Isa>(x, out, converter<float>(f, p), o);
}

/// In place.
template <half_float T, std::size_t Extent, class Isa = detail::native_isa>
void quantize(std::span<T, Extent> x, const format& f, const projection& p = {},
              const options& o = {}) {
    quantize<T, Isa>(std::span<const T>(x), std::span<T>(x), f, p, o);
}

/// The code of each x in any format that float32 holds. All as for arrays of float.
template <half_float T, code_integer Code, class Isa = detail::native_isa>
void encode(std::span<const T> x, std::span<Code> out, const format& f, const projection& p = {},
            const options& o = {}) {
    const converter<float> c(f, p);
    detail::check_sizes("encode", x.size(), out.size());
    detail::check_code_width<Code>("encode", f);
    detail::check_options("encode", p, o, x.size());
    const detail::loop_table& table = detail::loops_of<Isa>(o);
    const detail::half_converter<T, Isa> halves(table);
    detail::part_encoder<float, Isa> encode_part(c, o, table.of_float);
    detail::for_widened(
        x, p, o, table, halves,
        [&](float* panel, std::size_t i, std::size_t n, const std::uint32_t* random) {
        encode_part(panel, out.data() + i, sizeof(Code), random, n);
        });
    encode_part.finish();
}

/// The value of each code. All as for arrays of float; throws std::invalid_argument where T does not
/// hold a value of the format, too.
template <half_float T, code_integer Code, class Isa = detail::native_isa>
void decode(std::span<const Code> codes, std::span<T> out, const format& f, const options& o = {}) {
    detail::check_half_holds<T>("decode", f);
    detail::check_sizes("decode", codes.size(), out.size());
    detail::check_options("decode", {}, o, codes.size());
    const converter<float> c(f);
    const detail::loop_table& table = detail::loops_of<Isa>(o);
    const detail::half_converter<T, Isa> halves(table);
    detail::part_decoder<float, Isa> decode_part(c, sizeof(Code), table);
    detail::for_half_panels(codes.size(), o.threads, [&](std::size_t i, std::size_t n) {
        float panel[detail::half_panel];
        decode_part(codes.data() + i, panel, n);
        halves.narrow(panel, out.data() + i, n);
    });
    decode_part.finish();
}

/// x on the grid of its blocks: the float32 result (block.hpp) rounded to T, to nearest even. That is
/// exact where T has the digits of element times scale; beyond T's largest value it is infinite. Throws
/// std::invalid_argument where T does not hold an element, too.
template <half_float T, class Isa = detail::native_isa>
void quantize(std::span<const T> x, std::span<T> out, const block_format& f, const block_layout& l,
              const block_options& o = {}) {
    detail::check_sizes("quantize", x.size(), out.size());
    detail::check_half_blocks<T>("quantize", f, l, x.size(), o);
    if (!detail::goes_by_panels(l)) {
        std::vector<float> wide = detail::widened<T, Isa>(x, o);
        quantize<float, Isa>(std::span<const float>(wide), std::span(wide), f, l, o);
        return detail::narrow_all<T, Isa>(wide, out, o);
    }
    const detail::loop_table& table = detail::loops_of<Isa>(o);
    const detail::half_converter<T, Isa> halves(table);
    const detail::half_elements<T, Isa> elements{x, halves};
    const detail::half_result<T, Isa> result{out, halves};
    const detail::block_engine<float, Isa> engine(f, l, o, table, o.given);
    const auto outer = engine.outer_scales(elements);
    engine.for_panels(detail::panels(l), [&](const detail::panel& p, auto& scales, int threads) {
        elements.visit(p, [&](float* buffer, const detail::panel& alone) {
            engine.find_scales(buffer, alone, outer, scales, threads);
            engine.quantize(buffer, buffer, alone, scales, threads);
            result.store(buffer, p);
        });
    });
}

/// Codes and scales of x, those of the same values as float. See block.hpp.
template <half_float T, class Isa = detail::native_isa>
std::vector<double> encode(std::span<const T> x, const block_memory& to, const block_format& f,
                           const block_layout& l, const block_options& o = {}) {
    detail::check_blocks<float>("encode", f, l, x.size(), o);
    if (!detail::goes_by_panels(l))
        return encode<float, Isa>(std::span<const float>(detail::widened<T, Isa>(x, o)), to, f, l,
                                  o);
    const detail::half_converter<T, Isa> halves(detail::loops_of<Isa>(o));
    return detail::encode_blocks<float, Isa>(detail::half_elements<T, Isa>{x, halves}, to, f, l, o);
}

/// Values of codes and scales, rounded from float to T as in quantize. See block.hpp.
template <half_float T, class Isa = detail::native_isa>
void decode(const block_memory& from, std::span<const double> outer, std::span<T> out,
            const block_format& f, const block_layout& l, const block_options& o = {}) {
    const block_options with = detail::with_outer(o, f, outer);
    detail::check_half_blocks<T>("decode", f, l, out.size(), with);
    if (!detail::goes_by_panels(l)) {
        std::vector<float> wide(out.size());
        decode<float, Isa>(from, outer, std::span(wide), f, l, o);
        return detail::narrow_all<T, Isa>(wide, out, o);
    }
    const detail::half_converter<T, Isa> halves(detail::loops_of<Isa>(o));
    detail::decode_blocks<float, Isa>(from, detail::half_result<T, Isa>{out, halves}, f, l, with);
}

}  // namespace lowp
