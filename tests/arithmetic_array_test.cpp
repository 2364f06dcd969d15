// Arrays give the bits of single values on every instruction set, whatever the route.
#include "lowp/arithmetic_array.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "all_isas.hpp"
#include "arithmetic_check.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

TEST_CASE_TEMPLATE("arrays give the bits of single values on every instruction set", T, float,
                   double) {
    dice d(sizeof(T));
    std::vector<format> formats = random_formats(100, 77);
    for (const format& f : registered_formats()) formats.push_back(f);
    for (const format& f : {format::ieee(8, 7), format::fn(4, 3), format::ieee(8, 23),
                            format::ieee(11, 52), format::ieee(5, 10)})
        formats.push_back(f);
    for (const format& f : formats) {
        if (!f.fits<T>()) continue;
        for (const trial& t : trials(d)) {
            if (d.below(scale()) != 0) continue;
            const converter<T> c(f, t.how);
            const std::size_t n = 1 + d.below(700);
            const bool is_tame =
                d.coin();  // no exponents that float64 lanes leave to single values
            const auto number = [&]() -> T {
                const auto any = std::bit_cast<T>(static_cast<word_of<T>>(d()));
                const T of_format = c.decode(d() & f.code_mask());
                const T moved = of_format * static_cast<T>(std::ldexp(1.0, -d.between(0, 30)));
                const T x = d.pick({any, of_format, moved, T{0}, -T{0}});
                const bool is_far = std::isfinite(x) && x != 0 && std::abs(std::ilogb(x)) > 300;
                return is_tame && is_far ? T{1} : x;
            };
            std::vector<T> x(n);
            std::vector<T> y(n);
            std::vector<T> z(n);
            std::vector<std::uint32_t> random(n);
            for (std::size_t i = 0; i < n; ++i) {
                x[i] = number();
                y[i] = d.below(8) == 0 ? x[i] : number();
                z[i] = d.below(8) == 0 ? -(x[i] * y[i]) : number();
                random[i] =
                    static_cast<std::uint32_t>(d.below(std::uint64_t{1} << t.how.random_bits));
            }
            for (int which = 0; which <= static_cast<int>(operation::maximum_number); ++which) {
                const auto o = static_cast<operation>(which);
                std::vector<T> wanted(n);
                for (std::size_t i = 0; i < n; ++i)
                    wanted[i] = detail::compute(o, x[i], y[i], z[i], c,
                                                random[i] << (32 - t.how.random_bits));
                for (const std::string_view isa : isas()) {
                    std::vector<T> out(n);
                    options opts{.random = random, .threads = 1, .loops = &dispatch::loops(isa)};
                    run(o, x, y, z, out, c, opts);
                    for (std::size_t i = 0; i < n; ++i)
                        if (bits_of(out[i]) != bits_of(wanted[i]))
                            FAIL_CHECK(
                                (shown(o, x[i], y[i], z[i], f, t) + " on " + std::string(isa)));
                }
            }
        }
    }
}

TEST_CASE("one value stands for all, results may overwrite operands, threads change nothing") {
    const converter<float> c(format::ieee(5, 10), {rounding::stochastic_a});
    const std::size_t n = 100000;
    dice d(3);
    std::vector<float> x(n);
    for (float& v : x) v = static_cast<float>(d.between(-1000, 1000)) / 7;
    const std::vector<float> three(n, 3.0F);
    const float one_three[] = {3.0F};
    std::vector<float> wanted(n);
    options opts = dispatch::options();
    opts.threads = 1;
    opts.source.seed = 5;
    div(std::span<const float>(x), std::span<const float>(three), std::span<float>(wanted), c,
        opts);
    for (std::size_t i = 0; i < n; i += 1000)
        CHECK(wanted[i] == div(x[i], 3.0F, c, opts.source(i)));
    std::vector<float> out = x;
    opts.threads = 3;
    div(std::span<const float>(out), std::span<const float>(one_three), std::span<float>(out), c,
        opts);
    CHECK(out == wanted);
    div(std::span<const float>(), std::span<const float>(one_three), std::span<float>(), c, opts);
}

TEST_CASE("lengths that do not fit are refused with both") {
    const converter<float> c(format::fn(4, 3));
    const std::vector<float> x(3);
    const std::vector<float> y(4);
    std::vector<float> out(3);
    CHECK_THROWS_WITH_AS(
        add(std::span<const float>(x), std::span<const float>(y), std::span<float>(out), c),
        "lowp::add: y must have one value or as many as out, 3; got 4", std::invalid_argument);
}
