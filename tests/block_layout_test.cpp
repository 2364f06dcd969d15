// Blocks of any size and shape, along any axis, in any number of threads, are what the definition
// says, and packed codes lie where they should.
#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "block_check.hpp"
#include "lowp/block.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

constexpr std::size_t block_sizes[] = {1,  2,  3,   5,   8,   16,   17,   31,   32,   33,
                                       64, 65, 100, 128, 600, 1024, 1025, 2048, 2049, 5000};

/// Elements of three, four, six, eight and sixteen bits, of the kernel and of a codebook.
const std::vector<const char*>& some_names() {
    static const std::vector<const char*> names{
        "mxfp4",
        "float4_e2m1fn/32/float8_e4m3fn/amax/outer=tensor",
        "float6_e3m2fn/32/float32/amax/rounding=stochastic_a",
        "float8_e4m3fn/32/bfloat16/amax/outer=row",
        "float16/32/float8_e8m0fnu/rceil",
        "{-1,-0.5,0,0.5,1}/32/ue5m3/amax/rounding=toward_negative"};
    return names;
}

template <class T>
void check_shape(block_format f, const block_shape& shape, const std::vector<std::size_t>& sizes,
                 int axis, dice& d, int threads = 1) {
    f.shape = shape;
    const block_map map(shape, sizes, axis);
    std::vector<T> x = block_values<T>(map.size(), d);
    if (!x.empty() && d.coin()) x[d.below(x.size())] = std::numeric_limits<T>::quiet_NaN();
    block_options o;
    o.source = {d(), d()};
    o.first_index = d.below(64);
    o.threads = threads;
    block_check<T>(f, map, x, o).run();
}

template <class T>
std::vector<word_of<T>> bits_of_all(const std::vector<T>& x) {
    std::vector<word_of<T>> bits(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) bits[i] = bits_of(x[i]);
    return bits;
}

/// All that a call gives, to compare calls with each other.
template <class T>
struct everything {
    std::vector<word_of<T>> values, back;
    std::vector<std::uint8_t> codes, scales;
    std::vector<double> outer;

    everything(const block_format& f, const block_layout& l, const std::vector<T>& x,
               const block_options& o) {
        std::vector<T> y(x.size());
        quantize(std::span<const T>(x), std::span(y), f, l, o);
        values = bits_of_all(y);
        const block_tensor t = encode(std::span<const T>(x), f, l, o);
        codes = t.codes;
        scales = t.scales;
        outer = t.outer;
        decode(t, std::span(y), o);
        back = bits_of_all(y);
    }
    friend bool operator==(const everything&, const everything&) = default;
};

}  // namespace

TEST_CASE_TEMPLATE("blocks of every size along a row", T, float, double) {
    dice d(1);
    for (const char* text : some_names())
        for (const std::size_t k : block_sizes) {
            if (k > 600 && sizeof(T) == 8 && scale() > 1) continue;
            const block_format f = parse_block_format(text);
            const bool is_row = f.outer.per == granularity::row;
            // Whole blocks, then one short one, then less than one; several rows.
            for (const std::size_t n : {k * 2, k * (k < 300 ? 9 : 2) + k / 2 + 1, (k + 1) / 2}) {
                check_shape<T>(f, {1, k}, {n}, -1, d);
                if (n < 3000) check_shape<T>(f, {1, k}, {is_row ? 5U : 3U, n}, -1, d);
            }
        }
}

TEST_CASE_TEMPLATE("blocks of every size that stand along another axis", T, float, double) {
    dice d(2);
    for (const char* text : some_names())
        for (const std::size_t k :
             std::initializer_list<std::size_t>{1, 2, 3, 5, 8, 16, 17, 32, 33, 64, 100}) {
            const block_format f = parse_block_format(text);
            check_shape<T>(f, {1, k}, {k + k / 2 + 1, 21}, 0, d);
            check_shape<T>(f, {1, k}, {2, k + 1, 7}, 1, d);
            check_shape<T>(f, {1, k}, {k, 3, 5}, 0, d);
            check_shape<T>(f, {1, k}, {2, 3, 2 * k + 1}, -1, d);
            check_shape<T>(f, {1, k}, {2, k + 2, 1}, -2, d);
        }
    check_shape<T>(mxfp4, {1, 32}, {3, 40, 2100}, 1, d);  // wider than a panel
    check_shape<T>(mxfp4, {1, 2000}, {2100, 9}, 0, d);    // taller than a panel
}

TEST_CASE_TEMPLATE("tiles, whole axes and the whole array", T, float, double) {
    dice d(3);
    for (const char* text : some_names()) {
        block_format f = parse_block_format(text);
        if (f.outer.per == granularity::row) f.outer.per = granularity::tensor;
        for (const block_shape& s :
             {block_shape{2, 2}, block_shape{3, 5}, block_shape{16, 16}, block_shape{4, 33},
              block_shape{33, 4}, block_shape{7, 1}, block_shape{128, 128}, block_shape{2, 1100},
              block_shape{0, 0}, block_shape{0, 1}, block_shape{1, 0}}) {
            check_shape<T>(f, s, {1, 1}, -1, d);
            check_shape<T>(f, s, {37, 50}, -1, d);
            check_shape<T>(f, s, {2, 17, 35}, -1, d);
            check_shape<T>(f, s, {32, 64}, -1, d);
            check_shape<T>(f, s, {1, 3, 2200}, -1, d);
        }
        check_shape<T>(f, {128, 128}, {130, 260}, -1, d);
        check_shape<T>(f, {0, 0}, {3, 4, 500}, -1, d);
    }
}

TEST_CASE("packed lines of an odd number of codes are closed up to whole bytes") {
    dice d(4);
    for (const char* text : {"mxfp4", "mxfp6_e2m3", "msfp12", "int2/32", "mxfp8_e4m3", "e2m2f/32",
                             "{-1,0,1}/32", "{0,1}/8"})
        for (const std::size_t columns :
             std::initializer_list<std::size_t>{1, 2, 3, 7, 8, 9, 31, 33, 35, 64, 257})
            check_shape<float>(parse_block_format(text), {1, 32}, {6, columns}, -1, d);
}

TEST_CASE_TEMPLATE("any number of threads gives the same bits", T, float, double) {
    dice d(5);
    for (const char* text : some_names())
        for (const block_shape& s : {block_shape{1, 32}, block_shape{1, 37}, block_shape{16, 16},
                                     block_shape{0, 0}, block_shape{1, 0}, block_shape{0, 1}}) {
            block_format f = parse_block_format(text);
            f.shape = s;
            if (f.outer.per == granularity::row && s.rows != 1) f.outer.per = granularity::tensor;
            const std::size_t sizes[] = {67, 301};
            const block_layout l = layout_of(s, sizes);
            const std::vector<T> x = block_values<T>(l.size(), d);
            block_options o;
            o.source = {8, 9};
            o.loops = &dispatch::loops();
            o.threads = 1;
            const everything<T> wanted(f, l, x, o);
            for (const int threads : {0, 2, 3, 5}) {
                o.threads = threads;
                INFO(std::string(text) << " threads " << threads);
                const bool equal = everything<T>(f, l, x, o) == wanted;
                CHECK(equal);
            }
        }
}

TEST_CASE("huge blocks, which threads share, give the same bits") {
    dice d(6);
    const std::size_t n = detail::parallel_from + 4321;
    std::vector<float> x = block_values<float>(n, d);
    for (const char* text :
         {"fp8_tensor", "fp8_tensor/std", "mxfp4/tensor/rounding=stochastic_a",
          "float4_e2m1fn/tensor/float32/four_six", "nf4/tensor", "float6_e2m3fn/tensor"}) {
        const block_format f = parse_block_format(text);
        for (const std::vector<std::size_t>& sizes :
             {std::vector<std::size_t>{n}, std::vector<std::size_t>{3, n / 3}}) {
            const block_layout l = layout_of(f.shape, sizes);
            const std::vector<float> part(x.begin(),
                                          x.begin() + static_cast<std::ptrdiff_t>(l.size()));
            block_options o;
            o.source = {8, 9};
            o.loops = &dispatch::loops();
            o.threads = 1;
            const everything<float> wanted(f, l, part, o);
            for (const int threads : {0, 2, 3, 5}) {
                o.threads = threads;
                INFO(std::string(text) << " threads " << threads);
                const bool equal = everything<float>(f, l, part, o) == wanted;
                CHECK(equal);
            }
        }
    }
    // Rows that are huge, several of them; and many small blocks that take all cores.
    for (const char* text : {"fp8_row", "nvfp4", "mxfp4/column"}) {
        const block_format f = parse_block_format(text);
        const std::size_t sizes[] = {std::size_t{3}, n / 3};
        const block_layout l = layout_of(f.shape, sizes);
        const std::vector<float> part(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(l.size()));
        block_options o;
        o.loops = &dispatch::loops();
        o.threads = 1;
        const everything<float> wanted(f, l, part, o);
        for (const int threads : {0, 2, 5}) {
            o.threads = threads;
            const bool equal = everything<float>(f, l, part, o) == wanted;
            CHECK(equal);
        }
    }
}

TEST_CASE("a huge block is what the definition says") {
    dice d(7);
    const std::size_t n = detail::parallel_from / scale() + 777;
    const block_map map({0, 0}, {n});
    const std::vector<float> x = block_values<float>(n, d);
    const block_format f = parse_block_format("fp8_tensor");
    block_options o;
    o.threads = 3;
    block_check<float>(f, map, x, o).run();
}

TEST_CASE("the loops of the including file's own target give the same bits") {
    dice d(8);
    const std::vector<double> x = block_values<double>(2000, d);
    for (const char* text : some_names()) {
        const block_format f = parse_block_format(text);
        const std::size_t sizes[] = {20, 100};
        const block_layout l = layout_of(f.shape, sizes);
        block_options o;
        const everything<double> here(f, l, x, o);
        o.loops = &dispatch::loops();
        const bool equal = everything<double>(f, l, x, o) == here;
        CHECK(equal);
    }
}

TEST_CASE("results that are written past the caches are the same bits") {
    // As many as streams_from takes, and some more; a place that is no multiple of 16 bytes takes none.
    constexpr std::size_t n = detail::streams_from / (2 * sizeof(float)) + 2048 * 3 + 17;
    std::vector<float> x(n);
    for (std::size_t i = 0; i < n; ++i)
        x[i] = static_cast<float>(static_cast<std::int32_t>(i * 2654435761U)) * 0x1p-31F;
    x[5000] = x[n - 1] = std::numeric_limits<float>::quiet_NaN();
    x[70000] = std::numeric_limits<float>::infinity();
    std::vector<float> in_place(n);
    std::vector<float> streamed(n + 1);
    block_options o;
    for (const std::string_view isa : isas())
        for (const char* const name : {"mxfp4", "nvfp4", "float6_e3m2fn/24/float32/amax"}) {
            const block_format f = parse_block_format(name);
            o.loops = &dispatch::loops(isa);
            in_place = x;
            quantize<float>(std::span<const float>(in_place), in_place, f, o);
            for (const int threads : {1, 2})
                for (const std::size_t offset : {0U, 1U}) {
                    CAPTURE(isa);
                    CAPTURE(name);
                    CAPTURE(threads);
                    CAPTURE(offset);
                    o.threads = threads;
                    const std::span<float> out = std::span(streamed).subspan(offset, n);
                    quantize<float>(std::span<const float>(x), out, f, o);
                    CHECK(std::memcmp(out.data(), in_place.data(), n * sizeof(float)) == 0);
                }
        }
}

TEST_CASE("a call without a layout is one row of blocks") {
    dice d(9);
    const std::vector<float> x = block_values<float>(1234, d);
    std::vector<float> a(x.size());
    std::vector<float> b(x.size());
    const std::size_t sizes[] = {x.size()};
    quantize(std::span<const float>(x), std::span(a), nvfp4);
    quantize(std::span<const float>(x), std::span(b), nvfp4, layout_of(nvfp4.shape, sizes));
    CHECK(bits_of_all(a) == bits_of_all(b));
}

TEST_CASE("calls from many threads at once give the same bits") {
    dice d(10);
    const std::vector<float> x = block_values<float>(20000, d);
    const std::size_t sizes[] = {100, 200};
    const block_layout l = layout_of(nvfp4.shape, sizes);
    block_options o;
    o.loops = &dispatch::loops();
    o.threads = 4;
    const everything<float> wanted(nvfp4, l, x, o);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 5; ++i)
        threads.emplace_back([&] {
            for (int round = 0; round < 5; ++round)
                wrong += everything<float>(nvfp4, l, x, o) == wanted ? 0 : 1;
        });
    for (std::thread& t : threads) t.join();
    CHECK(wrong == 0);
}
