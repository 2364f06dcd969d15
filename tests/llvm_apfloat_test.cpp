// LLVM's arbitrary-precision floats convert to the same bits. Of lowp's formats LLVM 14 has float16,
// bfloat16, float32 and float64, with the five rounding modes of IEEE 754.
#include <doctest/doctest.h>
#include <llvm/ADT/APFloat.h>
#include <llvm/ADT/APInt.h>

#include <cmath>
#include <limits>

#include "all_isas.hpp"
#include "lowp/formats.hpp"
#include "support.hpp"

using namespace lowp;
using namespace lowp::test;
using llvm::APFloat;
using llvm::RoundingMode;

namespace {

struct mode {
    rounding ours;
    RoundingMode theirs;
};
constexpr mode modes[] = {{rounding::nearest_ties_to_even, RoundingMode::NearestTiesToEven},
                          {rounding::nearest_ties_to_away, RoundingMode::NearestTiesToAway},
                          {rounding::toward_zero, RoundingMode::TowardZero},
                          {rounding::toward_positive, RoundingMode::TowardPositive},
                          {rounding::toward_negative, RoundingMode::TowardNegative}};

template <class T>
std::vector<T> inputs(const format& f, std::size_t count) {
    dice d(41);
    std::vector<T> x{0,
                     1,
                     std::numeric_limits<T>::infinity(),
                     std::numeric_limits<T>::max(),
                     std::numeric_limits<T>::denorm_min(),
                     std::numeric_limits<T>::min()};
    const auto range = static_cast<std::uint64_t>(f.max_code());
    while (x.size() < count) {
        const code_type c = d.below(8) == 0 ? range - d.below(8) : d.below(range);
        const double low = f.magnitude_value(c);
        const double high = f.magnitude_value(std::min(c + 1, f.max_code()));
        const T at = static_cast<T>(low + (high - low) * d.pick({0.0, 0.25, 0.5, 0.5, 0.75}));
        x.insert(x.end(), {at, std::nextafter(at, T{0}),
                           std::nextafter(at, std::numeric_limits<T>::infinity())});
        x.push_back(std::bit_cast<T>(static_cast<word_of<T>>(d())));
    }
    const std::size_t positive = x.size();
    for (std::size_t i = 0; i < positive; ++i) x.push_back(-x[i]);
    return x;
}

template <class T>
void compare(const format& f, const llvm::fltSemantics& semantics, rounding ours,
             RoundingMode theirs) {
    const std::vector<T> x = inputs<T>(f, 20000 / scale());
    std::vector<code_type> codes(x.size());
    for (const std::string_view isa : isas()) {
        options o;
        o.loops = &dispatch::loops(isa);
        encode<T, code_type>(x, codes, f, {ours}, o);
        std::size_t different = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            APFloat value(x[i]);
            bool loses = false;
            value.convert(semantics, theirs, &loses);
            if (std::isnan(x[i])) {
                if (codes[i] != f.nan_code() || !value.isNaN()) ++different;
                continue;
            }
            if (codes[i] == value.bitcastToAPInt().getZExtValue()) continue;
            if (different++ < 3)
                MESSAGE(name(f) << " " << name(ours) << std::hexfloat << " x=" << x[i] << ": got "
                                << codes[i] << ", LLVM " << value.bitcastToAPInt().getZExtValue());
        }
        CAPTURE(isa);
        CHECK(different == 0);
    }
}

}  // namespace

TEST_CASE_TEMPLATE("conversions are those of LLVM's APFloat", T, float, double) {
    for (const mode& m : modes) {
        INFO(name(m.ours));
        compare<T>(float16, APFloat::IEEEhalf(), m.ours, m.theirs);
        compare<T>(bfloat16, APFloat::BFloat(), m.ours, m.theirs);
        compare<T>(float32, APFloat::IEEEsingle(), m.ours, m.theirs);
        if constexpr (sizeof(T) == 8) compare<T>(float64, APFloat::IEEEdouble(), m.ours, m.theirs);
    }
}

TEST_CASE("every code of float16 and bfloat16 has LLVM's value") {
    for (std::uint64_t c = 0; c < 65536; ++c)
        for (const bool is_half : {true, false}) {
            APFloat value(is_half ? APFloat::IEEEhalf() : APFloat::BFloat(), llvm::APInt(16, c));
            bool loses = false;
            value.convert(APFloat::IEEEdouble(), RoundingMode::NearestTiesToEven, &loses);
            const double wanted = value.convertToDouble();
            const auto got = decode<double>(c, is_half ? float16 : bfloat16);
            const bool equal =
                std::isnan(wanted) ? std::isnan(got) : bits_of(got) == bits_of(wanted);
            CHECK(equal);
        }
}
