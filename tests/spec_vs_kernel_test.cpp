// The kernel gives what the definition says: every mode, saturation and carrier, on every
// instruction set of this machine, at and around every place where a result can change.
#include "all_isas.hpp"
#include "definition_check.hpp"
#include "lowp/codec.hpp"

using namespace lowp;
using namespace lowp::test;

namespace {

/// Runs a case by the loops of every instruction set, and by single values, another text over one lane.
struct on_every_isa {
    template <class T>
    void operator()(const conversion_case<T>& c, tally& t) const {
        options o;
        o.random = c.random;
        o.threads = 1;
        o.nan_code = c.nan_code;
        const converter<T> convert(c.f, c.p);
        std::vector<T> values(c.x.size());
        std::vector<code_type> codes(c.x.size());
        for (const std::string_view isa : isas()) {
            o.loops = &dispatch::loops(isa);
            quantize<T>(c.x, values, convert, o);
            encode<T, code_type>(c.x, codes, convert, o);
            c.compare(isa, values, codes, t);
        }
        for (std::size_t i = 0; i < c.x.size(); i += 3) {
            const T x = c.x[i];
            const std::uint32_t r = c.random_of(i);
            const std::uint32_t upper = r << (32 - c.p.random_bits);
            const T value = convert.quantize(x, upper);
            t.compare("quantize", "converter", c.f, c.p, x, r, bits_of(value), c.wanted.values[i]);
            if (std::isnan(x) && !c.f.has_nan()) continue;
            const code_type code = convert.encode(x, upper);
            t.compare("encode", "converter", c.f, c.p, x, r, code, c.wanted.codes[i]);
        }
    }

    template <class T>
    void operator()(const decoding_case<T>& c, tally& t) const {
        const converter<T> convert(c.f);
        std::vector<T> values(c.codes.size());
        for (const std::string_view isa : isas()) {
            options o;
            o.loops = &dispatch::loops(isa);
            decode<T, code_type>(c.codes, values, convert, o);
            c.compare(isa, values, t);
        }
        for (std::size_t i = 0; i < c.codes.size(); ++i) values[i] = convert.decode(c.codes[i]);
        c.compare("converter", values, t);
        for (std::size_t i = 0; i < c.codes.size(); ++i)
            values[i] = static_cast<T>(c.f.value(c.codes[i]));
        c.compare("format::value", values, t);
    }
};

}  // namespace

TEST_CASE("the kernel equals the definition for every registered format") {
    compare_with_definition(registered_formats(), 6000, 1, on_every_isa{});
}
TEST_CASE("the kernel equals the definition for every P3109 format of 3 to 8 bits") {
    compare_with_definition(p3109_formats(), 1600, 2, on_every_isa{});
}
TEST_CASE("the kernel equals the definition for random descriptors") {
    compare_with_definition(random_formats(400 / scale(), 3), 1600, 4, on_every_isa{});
}

TEST_CASE("the definition's quantize is its encode, decoded") {
    dice d(5);
    for (const format& f : registered_formats())
        for (const rounding r : all_roundings()) {
            const projection p{r, saturation::none, 8};
            for (const double x : points_of<double>(f, 400, d)) {
                const auto random = static_cast<std::uint32_t>(d.below(256));
                const double value = spec::quantize(x, f, p, random);
                CHECK(
                    std::isnan(value) ==
                    (std::isnan(x) || std::isnan(spec::decode(spec::encode(x, f, p, random), f))));
                if (!std::isnan(value))
                    CHECK(bits_of(value) ==
                          bits_of(spec::decode(spec::encode(x, f, p, random), f)));
            }
        }
}
