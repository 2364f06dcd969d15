// Lanes: the few operations of which every kernel is made, for one value or for a SIMD register.
// The only file that knows xsimd and intrinsics; `kernel.hpp` is one text over these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "lowp/detail/scalar_lanes.hpp"

#if !defined(LOWP_NO_XSIMD) && __has_include(<xsimd/xsimd.hpp>) && \
    (defined(__AVX2__) || defined(__aarch64__))
#define LOWP_DETAIL_XSIMD 1
#include <xsimd/xsimd.hpp>
#endif

namespace lowp::detail {

// What this translation unit is compiled for.
namespace isa {
struct baseline;
struct avx2;
struct avx512;
struct neon;
}  // namespace isa

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
using native_isa = isa::avx512;
#elif defined(__AVX2__)
using native_isa = isa::avx2;
#elif defined(LOWP_DETAIL_XSIMD)
using native_isa = isa::neon;
#else
using native_isa = isa::baseline;
#endif

#ifdef LOWP_DETAIL_XSIMD

/// A register of Arch a step. Words are signed in xsimd, as signed comparison is what AVX2 has.
template <class T, class Arch>
struct vector_lanes {
    using element = T;
    using lane = typename carrier<T>::signed_word;
    using unsigned_lane = typename carrier<T>::word;
    using word = xsimd::batch<lane, Arch>;
    using unsigned_word = xsimd::batch<unsigned_lane, Arch>;
    using real = xsimd::batch<T, Arch>;
    using mask = xsimd::batch_bool<lane, Arch>;
    static constexpr std::size_t width = word::size;

    [[gnu::always_inline]] static word set(unsigned_lane w) { return word(static_cast<lane>(w)); }
    [[gnu::always_inline]] static word load_bits(const T* p) {
        return as_word(real::load_unaligned(p));
    }
    [[gnu::always_inline]] static void store_bits(T* p, word w) { as_real(w).store_unaligned(p); }
    /// Past the caches, in parts of 16 bytes; p: a multiple of 16 bytes. `finish_streams` puts such stores
    /// in order with those that follow.
#if defined(__AVX2__)
    static constexpr bool has_streams = true;
    [[gnu::always_inline]] static void stream_bits(T* p, word w) {
        stream(reinterpret_cast<__m128i*>(p), w);
    }
    [[gnu::always_inline]] static void finish_streams() { _mm_sfence(); }
#else
    static constexpr bool has_streams = false;
#endif
    [[gnu::always_inline]] static word load_words(const unsigned_lane* p) {
        return cast<word, lane>(unsigned_word::load_unaligned(p));
    }
    [[gnu::always_inline]] static void store_words(unsigned_lane* p, word w) {
        as_unsigned(w).store_unaligned(p);
    }
    [[gnu::always_inline]] static word load_random(const std::uint32_t* p) {
        if constexpr (sizeof(lane) == 4) {
            return load_words(p);
#if defined(__AVX512F__)
        } else if constexpr (sizeof(word) == 64) {
            return _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#endif
#if defined(__AVX2__)
        } else if constexpr (sizeof(word) == 32) {
            return _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#endif
        } else {
            unsigned_lane wide[width];
            for (std::size_t i = 0; i < width; ++i) wide[i] = p[i];
            return load_words(wide);
        }
    }

    /// Bytes as words.
    [[gnu::always_inline]] static word load_bytes(const std::uint8_t* p) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64 && sizeof(lane) == 4)
            return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        else if constexpr (sizeof(word) == 64)
            return _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32 && sizeof(lane) == 4)
            return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#endif
        unsigned_lane wide[width];
        for (std::size_t i = 0; i < width; ++i) wide[i] = p[i];
        return load_words(wide);
    }
    /// The lowest byte of each word.
    [[gnu::always_inline]] static void store_bytes(std::uint8_t* p, word w) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64 && sizeof(lane) == 4)
            return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(w));
        else if constexpr (sizeof(word) == 64)
            return _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm512_cvtepi64_epi8(w));
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32 && sizeof(lane) == 4) {
            const __m256i lowest =
                _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                 -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1);
            const __m256i apart = _mm256_shuffle_epi8(w, lowest);
            return _mm_storel_epi64(
                reinterpret_cast<__m128i*>(p),
                _mm_or_si128(_mm256_castsi256_si128(apart), _mm256_extracti128_si256(apart, 1)));
        }
#endif
        unsigned_lane wide[width];
        store_words(wide, w);
        for (std::size_t i = 0; i < width; ++i) p[i] = static_cast<std::uint8_t>(wide[i]);
    }

    [[gnu::always_inline]] static word sum(word a, word b) {
        return as_word(as_real(a) + as_real(b));
    }
    [[gnu::always_inline]] static word difference(word a, word b) {
        return as_word(as_real(a) - as_real(b));
    }
    [[gnu::always_inline]] static word product(word a, word b) {
        return as_word(as_real(a) * as_real(b));
    }
    [[gnu::always_inline]] static word quotient(word a, word b) {
#if defined(__aarch64__)
        // xsimd 8 divides floats by an estimate, one off in the last bit.
        if constexpr (sizeof(lane) == 4) return as_word(real(vdivq_f32(as_real(a), as_real(b))));
#endif
        return as_word(as_real(a) / as_real(b));
    }
    [[gnu::always_inline]] static word fused(word a, word b, word c) {
#if defined(__AVX512F__)
        // xsimd 8's own is a product and a sum there.
        if constexpr (sizeof(word) == 64 && sizeof(lane) == 4)
            return as_word(real(_mm512_fmadd_ps(as_real(a), as_real(b), as_real(c))));
        else if constexpr (sizeof(word) == 64)
            return as_word(real(_mm512_fmadd_pd(as_real(a), as_real(b), as_real(c))));
#endif
#if defined(__FMA__)
        if constexpr (sizeof(word) == 32 && sizeof(lane) == 4)
            return as_word(real(_mm256_fmadd_ps(as_real(a), as_real(b), as_real(c))));
        else if constexpr (sizeof(word) == 32)
            return as_word(real(_mm256_fmadd_pd(as_real(a), as_real(b), as_real(c))));
#endif
#if defined(__aarch64__)
        if constexpr (sizeof(lane) == 4)
            return as_word(real(vfmaq_f32(as_real(c), as_real(a), as_real(b))));
        else return as_word(real(vfmaq_f64(as_real(c), as_real(a), as_real(b))));
#endif
        unsigned_lane x[width];
        unsigned_lane y[width];
        unsigned_lane z[width];
        store_words(x, a);
        store_words(y, b);
        store_words(z, c);
        for (std::size_t i = 0; i < width; ++i)
            z[i] = scalar_lanes<T, Arch>::fused(x[i], y[i], z[i]);
        return load_words(z);
    }
    /// a * b + c rounded downward and upward, where the instruction set has that.
#if defined(__AVX512F__)
    static constexpr bool has_directed = sizeof(word) == 64;
#else
    static constexpr bool has_directed = false;
#endif
    [[gnu::always_inline]] static word fused_down([[maybe_unused]] word a, [[maybe_unused]] word b,
                                                  [[maybe_unused]] word c) requires(has_directed) {
#if defined(__AVX512F__)
        constexpr int down = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
        if constexpr (sizeof(lane) == 4)
            return as_word(real(_mm512_fmadd_round_ps(as_real(a), as_real(b), as_real(c), down)));
        else return as_word(real(_mm512_fmadd_round_pd(as_real(a), as_real(b), as_real(c), down)));
#endif
    }
    [[gnu::always_inline]] static word fused_up([[maybe_unused]] word a, [[maybe_unused]] word b,
                                                [[maybe_unused]] word c) requires(has_directed) {
#if defined(__AVX512F__)
        constexpr int up = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC;
        if constexpr (sizeof(lane) == 4)
            return as_word(real(_mm512_fmadd_round_ps(as_real(a), as_real(b), as_real(c), up)));
        else return as_word(real(_mm512_fmadd_round_pd(as_real(a), as_real(b), as_real(c), up)));
#endif
    }
    [[gnu::always_inline]] static word root(word a) {
#if defined(__aarch64__)
        if constexpr (sizeof(lane) == 4) return as_word(real(vsqrtq_f32(as_real(a))));
#endif
        return as_word(xsimd::sqrt(as_real(a)));
    }
    [[gnu::always_inline]] static word truncated(word a) {
#if defined(__AVX512F__)
        constexpr int toward_zero = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
        if constexpr (sizeof(word) == 64 && sizeof(lane) == 4)
            return as_word(real(_mm512_roundscale_ps(as_real(a), toward_zero)));
        else if constexpr (sizeof(word) == 64)
            return as_word(real(_mm512_roundscale_pd(as_real(a), toward_zero)));
#endif
        return as_word(xsimd::trunc(as_real(a)));
    }
    [[gnu::always_inline]] static word load_floats(const float* p) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64) return as_word(real(_mm512_cvtps_pd(_mm256_loadu_ps(p))));
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32) return as_word(real(_mm256_cvtps_pd(_mm_loadu_ps(p))));
#endif
        T wide[width];
        for (std::size_t i = 0; i < width; ++i) wide[i] = static_cast<T>(p[i]);
        return load_bits(wide);
    }
    [[gnu::always_inline]] static void store_floats(float* p, word w) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64) return _mm256_storeu_ps(p, _mm512_cvtpd_ps(as_real(w)));
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32) return _mm_storeu_ps(p, _mm256_cvtpd_ps(as_real(w)));
#endif
        T wide[width];
        store_bits(wide, w);
        for (std::size_t i = 0; i < width; ++i) p[i] = static_cast<float>(wide[i]);
    }
    [[gnu::always_inline]] static word on_grid_of(word power, word fraction) {
        return difference(fraction + power, power);
    }
    [[gnu::always_inline]] static word lookup(const unsigned_lane* table, word index) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64 && sizeof(lane) == 4)
            return _mm512_permutexvar_epi32(index, load_words(table));
        else if constexpr (sizeof(word) == 64)
            return _mm512_permutex2var_epi64(load_words(table), index, load_words(table + 8));
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32 && sizeof(lane) == 4) {
            const __m256 low =
                _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(load_words(table), index));
            const __m256 high =
                _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(load_words(table + 8), index));
            const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
            return _mm256_castps_si256(_mm256_blendv_ps(low, high, upper));
        }
#endif
        unsigned_lane at[width];
        store_words(at, index);
        for (std::size_t i = 0; i < width; ++i) at[i] = table[at[i] & 15];
        return load_words(at);
    }
    [[gnu::always_inline]] static mask less(word a, word b) { return a < b; }
    [[gnu::always_inline]] static mask equal(word a, word b) { return a == b; }
    [[gnu::always_inline]] static mask both(mask a, mask b) { return a & b; }
    [[gnu::always_inline]] static mask either(mask a, mask b) { return a | b; }
    [[gnu::always_inline]] static word select(mask m, word yes, word no) {
        return xsimd::select(m, yes, no);
    }
    [[gnu::always_inline]] static word smaller(word a, word b) { return xsimd::min(a, b); }
    [[gnu::always_inline]] static word larger(word a, word b) { return xsimd::max(a, b); }
    [[gnu::always_inline]] static mask carries(word a, word b) {
#if defined(__AVX512F__)
        using bits = typename mask::register_type;
        if constexpr (sizeof(word) == 64 && sizeof(lane) == 4)
            return bits(_mm512_cmplt_epu32_mask(a + b, b));
        else if constexpr (sizeof(word) == 64) return bits(_mm512_cmplt_epu64_mask(a + b, b));
#endif
        const word top(std::numeric_limits<lane>::min());  // a > ~b, with the order made signed
        return ((b ^ word(lane{-1})) ^ top) < (a ^ top);
    }
    [[gnu::always_inline]] static word shift_left(word a, int n) { return a << n; }
    [[gnu::always_inline]] static word shift_right(word a, int n) {
        return cast<word, lane>(as_unsigned(a) >> n);
    }
    [[gnu::always_inline]] static word shift_left_each(word a, word n) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64)
            return sizeof(lane) == 4 ? word(_mm512_sllv_epi32(a, n))
                                     : word(_mm512_sllv_epi64(a, n));
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32)
            return sizeof(lane) == 4 ? word(_mm256_sllv_epi32(a, n))
                                     : word(_mm256_sllv_epi64(a, n));
#endif
        return each(a, n, [](unsigned_lane x, unsigned_lane k) { return x << k; });
    }
    [[gnu::always_inline]] static word shift_right_each(word a, word n) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64)
            return sizeof(lane) == 4 ? word(_mm512_srlv_epi32(a, n))
                                     : word(_mm512_srlv_epi64(a, n));
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32)
            return sizeof(lane) == 4 ? word(_mm256_srlv_epi32(a, n))
                                     : word(_mm256_srlv_epi64(a, n));
#endif
        return each(a, n, [](unsigned_lane x, unsigned_lane k) { return x >> k; });
    }
    [[gnu::always_inline]] static word multiply_low_halves(word a, word b) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64) return _mm512_mul_epu32(a, b);
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32) return _mm256_mul_epu32(a, b);
#endif
#if defined(__aarch64__)
        return vreinterpretq_s64_u64(
            vmull_u32(vmovn_u64(vreinterpretq_u64_s64(a)), vmovn_u64(vreinterpretq_u64_s64(b))));
#endif
    }
    [[gnu::always_inline]] static void store_interleaved(std::uint32_t* p, word a, word b) {
        // Unaligned stores; the machines that have vectors here store the low half first.
        auto* const out = reinterpret_cast<lane*>(p);
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64) {
            const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            const __m512i second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
            word(_mm512_permutex2var_epi64(a, first, b)).store_unaligned(out);
            word(_mm512_permutex2var_epi64(a, second, b)).store_unaligned(out + width);
            return;
        }
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32) {
            const __m256i even = _mm256_unpacklo_epi64(a, b);
            const __m256i odd = _mm256_unpackhi_epi64(a, b);
            word(_mm256_permute2x128_si256(even, odd, 0x20)).store_unaligned(out);
            word(_mm256_permute2x128_si256(even, odd, 0x31)).store_unaligned(out + width);
            return;
        }
#endif
        xsimd::zip_lo(a, b).store_unaligned(out);
        xsimd::zip_hi(a, b).store_unaligned(out + width);
    }
    /// a[0] b[0] a[1] b[1] ...: the lower half of both, lane by lane.
    [[gnu::always_inline]] static word interleave_low(word a, word b) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64 && sizeof(lane) == 4)
            return _mm512_permutex2var_epi32(
                a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
        else if constexpr (sizeof(word) == 64)
            return _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
#endif
#if defined(__AVX2__)
        // xsimd 8's own interleaves the halves of a 256-bit register apart.
        if constexpr (sizeof(word) == 32)
            return _mm256_permute2x128_si256(unpack_low(a, b), unpack_high(a, b), 0x20);
#endif
        return xsimd::zip_lo(a, b);
    }
    /// The same of the upper halves.
    [[gnu::always_inline]] static word interleave_high(word a, word b) {
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64 && sizeof(lane) == 4)
            return _mm512_permutex2var_epi32(
                a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31),
                b);
        else if constexpr (sizeof(word) == 64)
            return _mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32)
            return _mm256_permute2x128_si256(unpack_low(a, b), unpack_high(a, b), 0x31);
#endif
        return xsimd::zip_hi(a, b);
    }
    /// Lane i gets lane i ^ Distance; Distance: a power of two below the width.
    template <std::size_t Distance>
    [[gnu::always_inline]] static word exchange(word a) {
        [[maybe_unused]] constexpr std::size_t bytes = Distance * sizeof(lane);
#if defined(__AVX512F__)
        if constexpr (sizeof(word) == 64) {
            if constexpr (bytes == 4) return _mm512_shuffle_epi32(a, _MM_PERM_CDAB);
            if constexpr (bytes == 8) return _mm512_shuffle_epi32(a, _MM_PERM_BADC);
            if constexpr (bytes == 16) return _mm512_shuffle_i64x2(a, a, 0xB1);
            if constexpr (bytes == 32) return _mm512_shuffle_i64x2(a, a, 0x4E);
        }
#endif
#if defined(__AVX2__)
        if constexpr (sizeof(word) == 32) {
            if constexpr (bytes == 4) return _mm256_shuffle_epi32(a, 0xB1);
            if constexpr (bytes == 8) return _mm256_shuffle_epi32(a, 0x4E);
            if constexpr (bytes == 16) return _mm256_permute2x128_si256(a, a, 0x01);
        }
#endif
        if constexpr (sizeof(word) == 16) {
            unsigned_lane x[width];
            unsigned_lane y[width];
            store_words(x, a);
            for (std::size_t i = 0; i < width; ++i) y[i] = x[i ^ Distance];
            return load_words(y);
        }
    }

private:
#if defined(__AVX512F__)
    [[gnu::always_inline]] static void stream(__m128i* p, __m512i w) {
        _mm_stream_si128(p, _mm512_castsi512_si128(w));
        _mm_stream_si128(p + 1, _mm512_extracti32x4_epi32(w, 1));
        _mm_stream_si128(p + 2, _mm512_extracti32x4_epi32(w, 2));
        _mm_stream_si128(p + 3, _mm512_extracti32x4_epi32(w, 3));
    }
#endif
#if defined(__AVX2__)
    [[gnu::always_inline]] static void stream(__m128i* p, __m256i w) {
        _mm_stream_si128(p, _mm256_castsi256_si128(w));
        _mm_stream_si128(p + 1, _mm256_extracti128_si256(w, 1));
    }
    [[gnu::always_inline]] static __m256i unpack_low(__m256i a, __m256i b) {
        return sizeof(lane) == 4 ? _mm256_unpacklo_epi32(a, b) : _mm256_unpacklo_epi64(a, b);
    }
    [[gnu::always_inline]] static __m256i unpack_high(__m256i a, __m256i b) {
        return sizeof(lane) == 4 ? _mm256_unpackhi_epi32(a, b) : _mm256_unpackhi_epi64(a, b);
    }
#endif
    // xsimd 8 names the target of bitwise_cast by its batch, later versions by its element.
    template <class To, class ToElement, class From>
    [[gnu::always_inline]] static To cast(From from) {
#if XSIMD_VERSION_MAJOR < 9
        return xsimd::bitwise_cast<To>(from);
#else
        return xsimd::bitwise_cast<ToElement>(from);
#endif
    }
    [[gnu::always_inline]] static word as_word(real r) { return cast<word, lane>(r); }
    [[gnu::always_inline]] static real as_real(word w) { return cast<real, T>(w); }
    [[gnu::always_inline]] static unsigned_word as_unsigned(word w) {
        return cast<unsigned_word, unsigned_lane>(w);
    }
    template <class Shift>
    [[gnu::always_inline]] static word each(word a, word n, Shift shift) {
        unsigned_lane x[width];
        unsigned_lane k[width];
        store_words(x, a);
        store_words(k, n);
        for (std::size_t i = 0; i < width; ++i)
            x[i] = k[i] < carrier<T>::width ? shift(x[i], k[i]) : 0;
        return load_words(x);
    }
};

#endif  // LOWP_DETAIL_XSIMD

#if defined(LOWP_DETAIL_XSIMD) && defined(__AVX512F__) && defined(__AVX512DQ__) && \
    defined(__AVX512BW__)
template <class T>
using native_lanes = vector_lanes<T, xsimd::avx512bw>;
#elif defined(LOWP_DETAIL_XSIMD) && defined(__AVX2__)
template <class T>
using native_lanes = vector_lanes<T, xsimd::avx2>;
#elif defined(LOWP_DETAIL_XSIMD)
template <class T>
using native_lanes = vector_lanes<T, xsimd::neon64>;
#else
// SSE2 has no shift lane by lane: the baseline of x86 is the scalar text, which compilers vectorise
// as far as it goes. So it is wherever there is no xsimd.
template <class T>
using native_lanes = scalar_lanes<T, native_isa>;
#endif

}  // namespace lowp::detail
