// Pairwise, Kahan's and exact sums: a thread a sum, 16 by 16 of them a block, in float64.
#include "lowp/detail/kulisch_sum.hpp"
#include "product_tiles.cuh"

namespace lowp::cuda::detail {

namespace {

constexpr int side = 16;
constexpr int places = 32;

/// Numbers of both factors: [place][line].
struct sums_tile {
    double a[places][side + 1], b[places][side + 1];
};

__device__ void load_lines(const lines& from, std::int64_t offset, std::uint64_t count,
                           std::uint64_t first, std::uint64_t k0, std::uint64_t k,
                           double (&to)[places][side + 1]) {
    for (std::uint32_t t = threadIdx.x; t < places * side; t += block_threads) {
        const bool along_k = from.k_stride == 1;
        const std::uint32_t place = along_k ? t % places : t / side;
        const std::uint32_t line = along_k ? t / places : t % side;
        double x = 0;
        if (first + line < count && k0 + place < k)
            x = load_number<double>(from.data, from.carrier,
                                    offset +
                                        static_cast<std::int64_t>(first + line) * from.line_stride +
                                        static_cast<std::int64_t>(k0 + place) * from.k_stride);
        to[place][line] = x;
    }
}

/// The rounded operations of one sum, each with random bits of its place.
struct operations {
    const chain_call<double>& c;
    const sum_at& at;

    __device__ std::uint32_t random(const lowp::detail::plan<double>& to, std::uint64_t stream,
                                    std::uint64_t place) const {
        return is_stochastic(to.rounding) ? at.random(c.product, stream, place) : 0;
    }
    __device__ double product(double x, double y, std::uint64_t k) const {
        return projected_product(c.separate, x, y, random(c.separate, product_stream, k));
    }
    __device__ double sum(double x, double y, std::uint64_t place) const {
        return projected(c.addition, x, 1.0, y, random(c.addition, 0, place));
    }
};

/// Sums of a chunk, term by term; k0: its first place. See detail/product_rows.hpp.
struct kahan_sum {
    double lost = 0;
    __device__ void add(const operations& o, double x, double y, std::uint64_t k, double& sum) {
        const double term = o.sum(o.product(x, y, k), -lost, 4 * k);
        const double next = o.sum(sum, term, 4 * k + 1);
        lost = o.sum(next, -sum, 4 * k + 2);
        lost = o.sum(lost, -term, 4 * k + 3);
        sum = next;
    }
    __device__ double finish(const operations&, std::uint64_t, std::uint64_t, double sum) {
        return sum;
    }
};

/// Sums of 2^n terms wait for as many; the n-th bit of `count` says whether there is one.
struct pairwise_sum {
    static constexpr int most = 40;
    double waiting[most];
    std::uint64_t count = 0;
    std::uint64_t first = 0;

    __device__ void add(const operations& o, double x, double y, std::uint64_t k, double&) {
        if (count == 0) first = k;
        double sum = o.product(x, y, k);
        int n = 0;
        for (; (count >> n & 1) != 0; ++n)
            sum = o.sum(waiting[n], sum, first + count + 1 - (std::uint64_t{1} << n));
        waiting[n] = sum;
        ++count;
    }
    __device__ double finish(const operations& o, std::uint64_t, std::uint64_t end, double sum) {
        double terms = 0;
        std::uint64_t right = 0;  // terms in `terms`
        for (int n = 0; n < most; ++n) {
            if ((count >> n & 1) == 0) continue;
            terms = right == 0 ? waiting[n] : o.sum(waiting[n], terms, first + count - right);
            right += std::uint64_t{1} << n;
        }
        return o.sum(sum, terms, end);
    }
};

template <class Digits>
struct exact_sum {
    Digits digits;
    __device__ void add(const operations&, double x, double y, std::uint64_t, double&) {
        digits.add_product(x, y);
    }
    __device__ double finish(const operations& o, std::uint64_t turn, std::uint64_t, double sum) {
        digits.add(sum);
        return quantized(o.c.addition, digits.rounded_to_odd(), o.random(o.c.addition, 0, turn));
    }
};

template <class Sum>
__global__ void __launch_bounds__(block_threads)
    sum_by_sum(const __grid_constant__ chain_call<double> c) {
    __shared__ sums_tile tile;
    const product_call& p = c.product;
    const tile_at at(p, blockIdx.x, side);
    const int row = static_cast<int>(threadIdx.x) / side;
    const int column = static_cast<int>(threadIdx.x) % side;
    const sum_at here(p, at, row, column);
    const operations o{c, here};
    const bool is_whole = p.promotion.chunk == 0;
    const std::uint64_t chunk = is_whole ? p.k : p.promotion.chunk;
    const double begin = load_c<double>(p, at, here);
    double sum = is_whole ? begin : 0;
    double total = begin;
    Sum so_far{};
    std::uint64_t turn = 0;
    std::uint64_t in_chunk = 0;
    for (std::uint64_t k0 = 0; k0 < p.k; k0 += places) {
        __syncthreads();
        load_lines(p.a, at.a, p.m, at.row, k0, p.k, tile.a);
        load_lines(p.b, at.b, p.n, at.column, k0, p.k, tile.b);
        __syncthreads();
        for (int i = 0; i < places && k0 + i < p.k; ++i) {
            const std::uint64_t k = k0 + i;
            so_far.add(o, tile.a[i][row], tile.b[i][column], k, sum);
            if (++in_chunk < chunk && k + 1 < p.k) continue;
            sum = so_far.finish(o, turn, k + 1, sum);
            if (!is_whole) {
                total = promote<promoted::by_plan>(p, here, turn, total, sum);
                sum = 0;
            }
            ++turn;
            in_chunk = 0;
            so_far = {};
        }
    }
    store_sum(p, at, here, is_whole ? sum : total);
}

}  // namespace

void single_sums(summation order, numbers_of what, const chain_call<double>& c, stream s) {
    using namespace lowp::detail;
    if (order == summation::pairwise) return launch_tiles(&sum_by_sum<pairwise_sum>, c, side, 0, s);
    if (order == summation::kahan) return launch_tiles(&sum_by_sum<kahan_sum>, c, side, 0, s);
    if (what == numbers_of::float32)
        return launch_tiles(&sum_by_sum<exact_sum<kulisch_float_sum>>, c, side, 0, s);
    launch_tiles(&sum_by_sum<exact_sum<kulisch_sum>>, c, side, 0, s);
}

}  // namespace lowp::cuda::detail
