// What scale rules and searches do without a library's logarithm and power: the same as with them, and
// the same everywhere.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lowp/detail/block_kernel.hpp"
#include "lowp/detail/lanes.hpp"
#include "lowp/detail/power_2_4.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

/// The rule's own words: floor(log2 t) - emax or ceil(log2(t / M)) of the library's logarithm, rounded to T.
template <class T>
T library_power(const lowp::detail::scale_plan<T>& c, T t) {
    const bool goes_up = c.power_of_two == power_of_two::rceil;
    const auto of = static_cast<double>(goes_up ? t / c.divisor : t);
    const auto log = static_cast<double>(static_cast<T>(std::log2(of)));
    const auto emax = static_cast<typename lowp::detail::carrier<T>::signed_word>(c.emax);
    const double e = goes_up ? std::ceil(log) : std::floor(log) - static_cast<double>(emax);
    return std::clamp(static_cast<T>(std::exp2(e)), c.smallest, c.largest);
}

}  // namespace

TEST_CASE_TEMPLATE("exponents by logarithm are a library's next to every power of two", T, float,
                   double) {
    using lowp::detail::native_lanes;
    using lowp::detail::power_by_logarithm;
    using limits = std::numeric_limits<T>;
    std::size_t wrong = 0;
    for (const auto rule : {power_of_two::floor, power_of_two::rceil}) {
        lowp::detail::scale_plan<T> c;
        c.power_of_two = rule;
        c.emax = rule == power_of_two::rceil ? 0 : 2;
        for (int e = limits::min_exponent - limits::digits; e < limits::max_exponent; ++e) {
            T below = std::ldexp(T{1}, e);
            T above = below;
            for (int step = 0; step < 600 && below > 0; ++step) {
                for (const T t : {below, above})
                    wrong += power_by_logarithm<native_lanes<T>>(c, t) != library_power(c, t);
                below = std::nextafter(below, T{0});
                above = std::nextafter(above, limits::max());
            }
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("the 2.4th power is near the library's, and the same in eight at once") {
    using lowp::detail::power_2_4;
    dice d(71);
    std::size_t wrong = 0;
    for (int i = 0; i < 20000; ++i) {
        lowp::detail::eight_doubles eight;
        double each[8];
        for (int j = 0; j < 8; ++j)
            eight[j] = each[j] =
                std::ldexp(1 + static_cast<double>(d() >> 11) * 0x1p-53, d.between(-370, 420));
        lowp::detail::raise_to_2_4(eight);
        for (int j = 0; j < 8; ++j) {
            const double one = power_2_4(each[j]);
            // pow's exponent is the double next to 2.4, which far from 1 is worth some last digits.
            wrong += one != eight[j] || std::fabs(one / std::pow(each[j], 2.4) - 1) > 1e-13;
        }
    }
    CHECK(wrong == 0);
    CHECK(power_2_4(0) == 0);
    CHECK(power_2_4(1) == 1);
    CHECK(power_2_4(32) == 4096);
    CHECK(power_2_4(std::numeric_limits<double>::denorm_min()) == 0);
    CHECK(std::isinf(power_2_4(std::numeric_limits<double>::infinity())));
    CHECK(std::isnan(power_2_4(std::numeric_limits<double>::quiet_NaN())));
}
