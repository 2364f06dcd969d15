// Delayed scaling on a CUDA device: the scale of a tensor, and the history that it follows, stay in the
// device's memory (lowp::delayed_scaling of scale.hpp), so that a cast reads its array once and nobody
// waits.
#pragma once

#include <cstddef>

#include "lowp/block_format.hpp"
#include "lowp/cuda.hpp"
#include "lowp/scale.hpp"

namespace lowp::cuda {

/// What lowp::delayed_scaling remembers, on the device.
struct delayed_memory {
    /// Largest magnitudes of `length` calls, at least one, the latest first.
    float* history = nullptr;
    std::size_t length = 0;
    float* scale = nullptr;  ///< positive and finite, which nobody checks; 1 before the first call
};

/// How the next scale follows; observing::nothing: history and scale stay.
enum class observing : std::uint8_t { nothing, amax };
struct delayed_options : options {
    int margin = 0;
    delayed_scaling::take take = delayed_scaling::take::max;
    observing observes = observing::amax;
    /// delayed_workspace_size bytes of the device, on a boundary of 16.
    void* workspace = nullptr;
};
inline constexpr std::size_t delayed_workspace_size = 64;

/// Whether a format goes this way: one block of the whole tensor, no codebook, no second level, no limits of
/// the scale, and a NaN or an infinity makes all of it NaN.
[[nodiscard]] bool has_delayed(const block_format& f);

/// n values on the element's grid times *m.scale, as cuda::quantize in `f` with that scale given; then the
/// largest magnitude, NaN where there is a NaN, joins m.history and *m.scale becomes the next call's, as
/// by delayed_scaling::observe. x and out: either apart or the same memory. An empty array has the
/// largest magnitude 0. Throws std::invalid_argument where has_delayed is false.
void quantize_delayed(const void* x, void* out, carrier c, const block_format& f, std::size_t n,
                      const delayed_memory& m, const delayed_options& o, stream s = nullptr);

}  // namespace lowp::cuda
