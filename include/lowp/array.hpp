// quantize, encode and decode over contiguous arrays: the only element-wise loops of the library.
// The same bits as codec.hpp, element by element, for any instruction set and number of threads.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include "lowp/codec.hpp"
#include "lowp/detail/environment.hpp"
#include "lowp/detail/loops.hpp"
#include "lowp/detail/threads.hpp"
#include "lowp/random.hpp"

namespace lowp {

/// How an array is worked on. Nothing here but `source`, `random` and `nan_code` changes a result.
struct options {
    random_source source = {};      ///< random bits of the stochastic modes
    std::uint64_t first_index = 0;  ///< index of x[0] in the source, for parts of an array
    std::optional<std::span<const std::uint32_t>> random =
        {};                                     ///< R itself, one an element, instead of `source`
    std::optional<code_type> nan_code = {};     ///< what encode makes of a NaN input
    int threads = 0;                            ///< 0: all cores for large arrays
    const detail::loop_table* loops = nullptr;  ///< nullptr: those of the including file's target
};

template <class Code>
concept code_integer = std::same_as<Code, std::uint8_t> || std::same_as<Code, std::uint16_t> ||
    std::same_as<Code, std::uint32_t> || std::same_as<Code, std::uint64_t>;

namespace detail {

// The instruction set is in the name of what depends on it: where files compiled for different ones
// are linked together, each keeps its own loops.
template <class Isa>
inline constexpr loop_table native_loops = make_loops<native_lanes>("native");

template <class Isa>
[[nodiscard]] const loop_table& loops_of(const options& o) {
    return o.loops != nullptr ? *o.loops : native_loops<Isa>;
}

[[noreturn]] inline void fail(const std::string& message) { throw std::invalid_argument(message); }

inline void check_sizes(const char* verb, std::size_t in, std::size_t out) {
    if (in != out)
        fail(std::string("lowp::") + verb + ": input and output must have one length; got " +
             std::to_string(in) + " and " + std::to_string(out));
}

inline void check_random(const char* verb, const projection& p, const options& o, std::size_t n) {
    const std::string where = std::string("lowp::") + verb + ": random must ";
    if (o.random->size() != n)
        fail(where + "have one integer an element, " + std::to_string(n) + "; got " +
             std::to_string(o.random->size()));
    if (p.random_bits == 32) return;
    const std::uint32_t end = std::uint32_t{1} << p.random_bits;
    for (const std::uint32_t r : *o.random)
        if (r >= end)
            fail(where + "be below 2^random_bits = " + std::to_string(end) + "; got " +
                 std::to_string(r));
}

inline void check_options(const char* verb, const projection& p, const options& o, std::size_t n) {
    if (o.threads < 0 || o.threads > 1024)
        fail(std::string("lowp::") + verb +
             ": threads must be between 0 (all cores) and 1024; got " + std::to_string(o.threads));
    if (o.random && is_stochastic(p.rounding)) check_random(verb, p, o, n);
}

template <class Code>
void check_code_width(const char* verb, const format& f) {
    if (f.bits() > static_cast<int>(8 * sizeof(Code)))
        fail(std::string("lowp::") + verb + ": codes of " + std::to_string(f.bits()) +
             " bits do not fit uint" + std::to_string(8 * sizeof(Code)) + "; use a wider integer");
}

/// The random words of elements [begin, end) of a call, a chunk at a time.
class random_words {
public:
    random_words(const projection& p, const options& o, const loop_table& loops)
        : loops_(loops),
          options_(o),
          shift_(32 - p.random_bits),
          used_(is_stochastic(p.rounding)) {}

    /// Words of `count` elements from `begin` on, or nullptr in deterministic modes.
    const std::uint32_t* get(std::size_t begin, std::size_t count, std::uint32_t* buffer) const {
        if (!used_) return nullptr;
        if (!options_.random)
            loops_.random(options_.source, options_.first_index + begin, buffer, count);
        else
            for (std::size_t i = 0; i < count; ++i)
                buffer[i] = (*options_.random)[begin + i] << shift_;
        return buffer;
    }

    [[nodiscard]] bool used() const { return used_; }

private:
    const loop_table& loops_;
    const options& options_;
    int shift_;
    bool used_;
};

/// work(begin, count, words) over [0, n): whole ranges in deterministic modes, else chunks with
/// their random words, each thread in the default floating-point environment.
template <class Work>
void for_chunks(std::size_t n, const projection& p, const options& o, const loop_table& loops,
                const Work& work) {
    const random_words words(p, o, loops);
    for_ranges(n, o.threads, chunk, [&](std::size_t begin, std::size_t end) {
        const default_environment environment;
        if (!words.used()) return work(begin, end - begin, nullptr);
        std::uint32_t buffer[chunk];
        for (std::size_t i = begin; i < end; i += chunk) {
            const std::size_t count = std::min(chunk, end - i);
            work(i, count, words.get(i, count, buffer));
        }
    });
}

/// encode of the parts of an array, in any order and on any thread.
template <class T, class Isa>
class part_encoder {
public:
    part_encoder(const converter<T>& c, const options& o, const carrier_loops<T>& loops)
        : plan_(c.plan()), loops_(loops), refuses_nan_(!c.format().has_nan() && !o.nan_code) {
        if (!o.nan_code) return;
        const format& f = c.format();
        if ((*o.nan_code & ~f.code_mask()) != 0)
            fail("lowp::encode: nan_code must be a code of " + std::to_string(f.bits()) +
                 " bits; got " + std::to_string(*o.nan_code));
        plan_.nan_code = static_cast<typename plan<T>::word>(*o.nan_code);
    }

    void operator()(const T* x, void* codes, int code_bytes, const std::uint32_t* random,
                    std::size_t n) {
        if (!refuses_nan_) return loops_.encode(plan_, x, codes, code_bytes, random, n);
        // By chunks: what any_nan reads is in the cache when encode wants it.
        for (std::size_t i = 0; i < n; i += chunk) {
            const std::size_t count = std::min(chunk, n - i);
            if (loops_.any_nan(x + i, count)) met_nan_ = true;
            loops_.encode(
                plan_, x + i,
                static_cast<unsigned char*>(codes) + i * static_cast<std::size_t>(code_bytes),
                code_bytes, random == nullptr ? nullptr : random + i, count);
        }
    }

    /// After all parts. Throws where a NaN was met that has no code.
    void finish() const {
        if (met_nan_)
            fail(
                "lowp::encode: the input has NaN and the format has none; choose what a NaN "
                "becomes (options::nan_code; nan= in Python)");
    }

private:
    plan<T> plan_;
    const carrier_loops<T>& loops_;
    bool refuses_nan_;
    std::atomic<bool> met_nan_{false};
};

/// decode of the parts of an array, in any order and on any thread.
template <class T, class Isa>
class part_decoder {
public:
    part_decoder(const converter<T>& c, int code_bytes, const loop_table& table)
        : converter_(c),
          table_(table),
          code_bytes_(code_bytes),
          may_be_wide_(c.format().bits() < 8 * code_bytes) {}

    void operator()(const void* codes, T* y, std::size_t n) {
        const code_type mask = converter_.format().code_mask();
        if (may_be_wide_ && table_.any_above(codes, code_bytes_, mask, n)) met_wide_ = true;
        table_.of<T>().decode(converter_.plan(), codes, code_bytes_, y, n);
    }

    /// After all parts. Throws where a code was met that is none of the format.
    void finish() const {
        if (met_wide_)
            fail("lowp::decode: a code has bits above the format's " +
                 std::to_string(converter_.format().bits()) + "; unpack dense codes first");
    }

private:
    const converter<T>& converter_;
    const loop_table& table_;
    int code_bytes_;
    bool may_be_wide_;
    std::atomic<bool> met_wide_{false};
};

}  // namespace detail

/// Each x on the grid of a format, written to `out`: x itself, or memory that x and
/// options::random have no part in. Any length, 0 included.
/// NaN stays the NaN it is; overflow and infinity as the saturation says; -0 stays where the format
/// has one. Throws std::invalid_argument for lengths or options that contradict.
/// Source: IEEE P3109, Project.
template <carrier_float T, class Isa = detail::native_isa>
void quantize(std::span<const T> x, std::span<T> out, const converter<T>& c,
              const options& o = {}) {
    detail::check_sizes("quantize", x.size(), out.size());
    detail::check_options("quantize", c.projection(), o, x.size());
    const detail::loop_table& loops = detail::loops_of<Isa>(o);
    const auto loop = loops.template of<T>().quantize;
    detail::for_chunks(x.size(), c.projection(), o, loops,
                       [&](std::size_t i, std::size_t n, const std::uint32_t* random) {
        loop(c.plan(), x.data() + i, out.data() + i, random, n);
    });
}

/// The same from the format itself. f: valid and held by T exactly, else std::invalid_argument.
template <carrier_float T, class Isa = detail::native_isa>
void quantize(std::span<const T> x, std::span<T> out, const format& f, const projection& p = {},
              const options& o = {}) {
    quantize<T, Isa>(x, out, converter<T>(f, p), o);
}

/// In place.
template <carrier_float T, std::size_t Extent, class Isa = detail::native_isa>
void quantize(std::span<T, Extent> x, const format& f, const projection& p = {},
              const options& o = {}) {
    quantize<T, Isa>(std::span<const T>(x), std::span<T>(x), converter<T>(f, p), o);
}

/// The code of each x, right-aligned in an unsigned integer of any width that holds it. A NaN
/// input gives `options::nan_code`; if that is not set, the format's NaN, or std::invalid_argument
/// where it has none (`out` is then partly written). Otherwise as quantize. Source: IEEE P3109, Encode.
template <carrier_float T, code_integer Code, class Isa = detail::native_isa>
void encode(std::span<const T> x, std::span<Code> out, const converter<T>& c,
            const options& o = {}) {
    detail::check_sizes("encode", x.size(), out.size());
    detail::check_code_width<Code>("encode", c.format());
    detail::check_options("encode", c.projection(), o, x.size());
    const detail::loop_table& table = detail::loops_of<Isa>(o);
    detail::part_encoder<T, Isa> encode_part(c, o, table.template of<T>());
    detail::for_chunks(x.size(), c.projection(), o, table,
                       [&](std::size_t i, std::size_t n, const std::uint32_t* random) {
        encode_part(x.data() + i, out.data() + i, sizeof(Code), random, n);
    });
    encode_part.finish();
}

template <carrier_float T, code_integer Code, class Isa = detail::native_isa>
void encode(std::span<const T> x, std::span<Code> out, const format& f, const projection& p = {},
            const options& o = {}) {
    encode<T, Code, Isa>(x, out, converter<T>(f, p), o);
}

/// The value of each code. A NaN code gives a quiet NaN. Throws std::invalid_argument for a code
/// with bits above the format's (`out` is then partly written).
template <carrier_float T, code_integer Code, class Isa = detail::native_isa>
void decode(std::span<const Code> codes, std::span<T> out, const converter<T>& c,
            const options& o = {}) {
    detail::check_sizes("decode", codes.size(), out.size());
    detail::check_options("decode", {}, o, codes.size());
    detail::part_decoder<T, Isa> decode_part(c, sizeof(Code), detail::loops_of<Isa>(o));
    detail::for_ranges(codes.size(), o.threads, detail::chunk,
                       [&](std::size_t begin, std::size_t end) {
        const detail::default_environment environment;
        for (std::size_t i = begin; i < end; i += detail::chunk)
            decode_part(codes.data() + i, out.data() + i, std::min(detail::chunk, end - i));
    });
    decode_part.finish();
}

template <carrier_float T, code_integer Code, class Isa = detail::native_isa>
void decode(std::span<const Code> codes, std::span<T> out, const format& f, const options& o = {}) {
    decode<T, Code, Isa>(codes, out, converter<T>(f), o);
}

}  // namespace lowp
