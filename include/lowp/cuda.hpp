// The verbs on arrays in the memory of a CUDA device: the kernels of codec.hpp, compiled for it, with
// the bits of the CPU. Needs the compiled library lowp::cuda; no header of CUDA's is needed to use it.
//
// All calls check their arguments at once, put their work on a stream and return: they wait for
// nothing, allocate nothing and may be captured in a graph. Pointers are those of the device (or of
// memory that it can reach), on a boundary of their elements, and must stay valid until the stream has
// done the work. The current device must be the stream's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>

#include "lowp/format.hpp"
#include "lowp/random.hpp"
#include "lowp/rounding.hpp"

struct CUstream_st;  // what CUDA's cudaStream_t and CUstream point to

namespace lowp::cuda {

using stream = CUstream_st*;  ///< nullptr: the default stream

/// What the values of an array are stored as. Those of 16 bits are widened to float32, which holds
/// them, and their results rounded back to nearest even: exact wherever the result is on a grid that
/// they hold. Every NaN of theirs becomes the quiet one, as in halves.hpp.
enum class carrier : std::uint8_t { float32, float64, float16, bfloat16 };

[[nodiscard]] constexpr int bytes_of(carrier c) {
    return c == carrier::float64 ? 8 : c == carrier::float32 ? 4 : 2;
}

/// Where the elements of an array lie: lengths of its axes and, in elements, the strides between
/// neighbours, which may be 0 or negative in arrays that are only read.
struct layout {
    static constexpr int max_axes = 8;
    int axes = 0;
    std::array<std::size_t, max_axes> shape{};
    std::array<std::ptrdiff_t, max_axes> strides{};

    /// Throws std::invalid_argument for more than max_axes axes, or shape and strides of different lengths.
    [[nodiscard]] static layout of(std::span<const std::size_t> shape,
                                   std::span<const std::ptrdiff_t> strides);
    /// C order without gaps.
    [[nodiscard]] static layout of(std::span<const std::size_t> shape);
    [[nodiscard]] static layout of(std::initializer_list<std::size_t> shape) {
        return of(std::span(shape.begin(), shape.size()));
    }
    [[nodiscard]] constexpr std::size_t size() const {
        std::size_t n = 1;
        for (int a = 0; a < axes; ++a) n *= shape[static_cast<std::size_t>(a)];
        return n;
    }
};

/// An array of floats to read.
struct const_values {
    const void* data = nullptr;
    cuda::carrier carrier = carrier::float32;
    cuda::layout layout = {};
};
/// An array of floats to write; no two elements at one place.
struct values {
    void* data = nullptr;
    cuda::carrier carrier = carrier::float32;
    cuda::layout layout = {};

    operator const_values() const { return {data, carrier, layout}; }  // NOLINT: a view of a view
};
/// Arrays of codes, right-aligned in unsigned integers of `bytes` bytes: 1, 2, 4 or 8.
struct const_codes {
    const void* data = nullptr;
    int bytes = 1;
    cuda::layout layout = {};
};
struct codes {
    void* data = nullptr;
    int bytes = 1;
    cuda::layout layout = {};

    operator const_codes() const { return {data, bytes, layout}; }  // NOLINT: a view of a view
};

/// What kernels report: bits of the word options::failures, which they set and nobody clears.
enum failure : std::uint32_t {
    nan_without_code = 1,  ///< encode met a NaN that no code can stand for, and wrote code 0
    code_too_wide = 2,     ///< decode or pack met bits above the format's, and left them out
    random_too_wide = 4,   ///< options::random has bits above projection::random_bits, left out
};

struct options {
    random_source source = {};      ///< random bits of the stochastic modes, as on the CPU
    std::uint64_t first_index = 0;  ///< index of the first element in the source
    /// Random bits on the device instead of the source's: R of each element in C order, below
    /// 2^random_bits. With fewer than 32 bits `failures` must be there. As lowp::options::random.
    const std::uint32_t* random = nullptr;
    /// A word on the device that is added to source.stream when the kernel runs, or nullptr: what
    /// makes replays of a graph differ.
    const std::uint64_t* stream_offset = nullptr;
    std::optional<code_type> nan_code = {};  ///< what encode makes of a NaN input
    /// A word on the device for what only the data can tell, or nullptr. Calls that may have to report
    /// something refuse nullptr: nothing is lost in silence.
    std::uint32_t* failures = nullptr;
};

/// Each x on the grid of f, as lowp::quantize: x and out of one shape and one carrier, either apart or
/// the same memory with the same strides. NaN, infinity, overflow and -0 as there; empty arrays are no
/// work. Random bits go by the element's index in C order, whatever the strides. Throws
/// std::invalid_argument where the carrier does not hold every value of f, or arguments contradict;
/// std::runtime_error where CUDA reports an error. Source: IEEE P3109, Project.
void quantize(const const_values& x, const values& out, const format& f, const projection& p = {},
              const options& o = {}, stream s = nullptr);

/// The code of each x, as lowp::encode. A NaN gets options::nan_code, else the format's NaN; where
/// there is neither, options::failures must be there to say so. x and out apart.
void encode(const const_values& x, const codes& out, const format& f, const projection& p = {},
            const options& o = {}, stream s = nullptr);

/// The value of each code, as lowp::decode. A NaN code gives a quiet NaN. Integers wider than the
/// format's codes need options::failures, which tells of bits above them. codes and out apart.
void decode(const const_codes& codes, const values& out, const format& f, const options& o = {},
            stream s = nullptr);

/// Codes of `bits` bits, 1 to 8, one a byte, to packed_size(count, bits) dense bytes, as lowp::pack.
/// Fewer bits than 8 need options::failures.
void pack(const std::uint8_t* codes, std::size_t count, int bits, std::uint8_t* bytes,
          const options& o, stream s = nullptr);

/// Dense bytes to codes, one a byte, as lowp::unpack.
void unpack(const std::uint8_t* bytes, int bits, std::uint8_t* codes, std::size_t count,
            stream s = nullptr);

/// The same of `lines` lines of `count` codes each, every one closed up to whole bytes by itself, as a
/// block tensor's dense codes are.
void pack_lines(const std::uint8_t* codes, std::size_t lines, std::size_t count, int bits,
                std::uint8_t* bytes, const options& o, stream s = nullptr);
void unpack_lines(const std::uint8_t* bytes, std::size_t lines, std::size_t count, int bits,
                  std::uint8_t* codes, stream s = nullptr);

}  // namespace lowp::cuda
