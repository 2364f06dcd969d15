// Arrays whose neighbours in the source and in the result lie along different axes, as in a transpose:
// tiles of both axes go through shared memory, so that a warp reads and writes neighbours.
#pragma once

#include "device.cuh"
#include "walk.hpp"

namespace lowp::cuda::detail {

/// Elements of a tile along either axis.
inline constexpr int turned_side = 64;

/// The axis along which the source has its neighbours, where the result has them along another, and
/// both are long enough; else -1.
[[nodiscard]] inline int axis_of_source(const walk& w) {
    const auto is_one = [](std::int64_t stride) { return stride == 1 || stride == -1; };
    if (w.count < 2) return -1;
    const walk::axis& inner = w.axes[static_cast<std::size_t>(w.count - 1)];
    if (!is_one(inner.to) || is_one(inner.from) || inner.from == 0) return -1;
    for (int a = 0; a < w.count - 1; ++a) {
        const walk::axis& at = w.axes[static_cast<std::size_t>(a)];
        if (is_one(at.from))
            return at.length >= turned_side / 2 && inner.length >= turned_side / 2 ? a : -1;
    }
    return -1;
}

/// Tiles of a walk over two axes: `along`, of the source, and the last.
[[nodiscard]] constexpr std::uint64_t tiles_along(const walk::axis& a) {
    return (a.length + turned_side - 1) / turned_side;
}
[[nodiscard]] inline std::uint64_t tiles_of(const walk& w, int along) {
    std::uint64_t tiles = 1;
    for (int a = 0; a < w.count; ++a) {
        const walk::axis& at = w.axes[static_cast<std::size_t>(a)];
        tiles *= a == along || a == w.count - 1 ? tiles_along(at) : at.length;
    }
    return tiles;
}

/// Where a tile begins, and how much of it there is: by rows along the last axis.
struct tile_place {
    std::int64_t from = 0, to = 0, index = 0;
    int rows = 0, columns = 0;  ///< of them along the source's axis, and elements along the last
};
__device__ inline tile_place place_of_tile(const walk& w, int along, std::uint64_t tile) {
    tile_place p;
    for (int a = w.count - 1; a >= 0; --a) {
        const walk::axis& at = w.axes[a];
        const bool is_cut = a == along || a == w.count - 1;
        const std::uint64_t steps = is_cut ? tiles_along(at) : at.length;
        const std::uint64_t over = tile / steps;
        const std::uint64_t k = (tile - over * steps) * (is_cut ? turned_side : 1);
        tile = over;
        p.from += static_cast<std::int64_t>(k) * at.from;
        p.to += static_cast<std::int64_t>(k) * at.to;
        p.index += static_cast<std::int64_t>(k) * at.index;
        const std::uint64_t left = at.length - k;
        const int here = left < turned_side ? static_cast<int>(left) : turned_side;
        if (a == along) p.rows = here;
        if (a == w.count - 1) p.columns = here;
    }
    return p;
}

/// Elements converted at once, which are no neighbours: random bits go one by one, by their places.
template <class Verb>
inline constexpr int at_once = Verb::takes_random ? 1 : 2;

/// A tile of the walk a thread block and step.
template <class Verb>
__global__ void __launch_bounds__(block_threads)
    convert_tiles(const __grid_constant__ call<typename Verb::T> c, const __grid_constant__ walk w,
                  int along, std::uint64_t tiles) {
    using word = typename Verb::word;
    constexpr int warps = block_threads / 32;
    constexpr int steps = turned_side / warps;
    constexpr int N = at_once<Verb>;
    static_assert(turned_side % (32 * N) == 0);
    __shared__ word held[turned_side][turned_side + 1];  // one more: no two lanes meet in a bank
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int warp = static_cast<int>(threadIdx.x / 32);
    const walk::axis rows = w.axes[static_cast<std::size_t>(along)];
    const walk::axis columns = w.axes[static_cast<std::size_t>(w.count - 1)];
    for (std::uint64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const tile_place p = place_of_tile(w, along, tile);
        // Lanes go down the rows: neighbours in the source.
        for (int i = lane; i < p.rows; i += 32) {
            const std::int64_t from = p.from + i * rows.from;
            word v[steps][1] = {};
#pragma unroll
            for (int s = 0; s < steps; ++s) {
                const int j = warp + s * warps;
                if (j < p.columns)
                    Verb::load(c, static_cast<std::uint64_t>(from + j * columns.from), v[s]);
            }
#pragma unroll
            for (int s = 0; s < steps; ++s) held[i][warp + s * warps] = v[s][0];
        }
        __syncthreads();
        // Lanes go along the columns: neighbours in the result.
        for (int i = warp; i < p.rows; i += warps) {
            const std::int64_t to = p.to + i * rows.to;
            const std::int64_t index = p.index + i * rows.index;
#pragma unroll
            for (int first = 0; first < turned_side; first += 32 * N) {
                const int j = first + lane;
                word v[N] = {};
#pragma unroll
                for (int k = 0; k < N; ++k)
                    if (j + 32 * k < p.columns) v[k] = held[i][j + 32 * k];
                if constexpr (Verb::takes_random)  // the caller's bits are those of elements
                    if (j >= p.columns) continue;
                Verb::convert(
                    c, w.first_index + static_cast<std::uint64_t>(index + j * columns.index), v);
#pragma unroll
                for (int k = 0; k < N; ++k) {
                    const word one[1] = {v[k]};
                    if (j + 32 * k < p.columns)
                        Verb::store(c, static_cast<std::uint64_t>(to + (j + 32 * k) * columns.to),
                                    one);
                }
            }
        }
        __syncthreads();
    }
}

}  // namespace lowp::cuda::detail
