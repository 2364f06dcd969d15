// Matrix products on the device against the CPU's, bit for bit.
#include "product_check.hpp"

namespace lowp::test {
namespace {

constexpr format drawn[] = {float8_e4m3fn, float8_e5m2,   float4_e2m1fn, float16,
                            bfloat16,      tensorfloat32, float32,       float8_e4m3fnuz};

const format& any_format(dice& roll) { return drawn[roll.below(std::size(drawn))]; }

template <class T>
void check_chains(const std::vector<std::string>& names, std::size_t each, std::uint64_t seed) {
    dice roll(seed);
    for (const std::string& text : names) {
        const accumulator how = parse_accumulator(text);
        REQUIRE_MESSAGE(cuda::has_kernels(how, carrier_of<T>), text);
        for (std::size_t i = 0; i < each; ++i) {
            product_case p = random_case(any_format(roll), any_format(roll), roll);
            p.names_formats = roll.coin();
            CHECK(product_differences<T>(p, how, roll) == 0);
        }
    }
}

}  // namespace

TEST_CASE("a sequential product on the device rounds every step as the CPU does, in every mode") {
    std::vector<std::string> names{"float32"};
    for (const char* const f : {"float16", "bfloat16", "float8_e5m2", "float8_e4m3fn",
                                "tensorfloat32", "float4_e2m1fn", "float8_e4m3fnuz", "e5m7"})
        for (const rounding r : all_roundings())
            for (const saturation s : all_saturations) {
                if (is_stochastic(r) && s != saturation::none) continue;
                names.push_back(std::string(f) + "/rounding=" + std::string(name(r)) +
                                "/saturation=" + std::string(name(s)));
            }
    check_chains<float>(names, 3, 1);
    check_chains<double>({"float64", "float16", "float32", "bfloat16/rounding=toward_negative",
                          "float16/rounding=stochastic_a", "float32/rounding=toward_zero", "e8m40"},
                         6, 2);
}

TEST_CASE("half precision sums of every pair of formats are the CPU's") {
    dice roll(3);
    for (const char* const text : {"float16", "bfloat16"})
        for (const format& a : drawn)
            for (const format& b : drawn) {
                product_case p = random_case(a, b, roll);
                p.k = 300;
                CHECK(product_differences<float>(p, parse_accumulator(text), roll) == 0);
            }
}

TEST_CASE(
    "products that are rounded, and chunks and their promotion, are the CPU's on the device") {
    check_chains<float>(
        {"float16/separate", "bfloat16/separate/rounding=toward_negative",
         "float16/product=bfloat16", "bfloat16/product=float16/product_rounding=toward_zero",
         "float8_e5m2/separate/rounding=stochastic_a", "float16/chunk=4", "float16/chunk=32",
         "float16/chunk=100", "float32/chunk=7", "float8_e4m3fn/chunk=3/promotion=bfloat16",
         "bfloat16/chunk=64/promotion=float16/promotion_rounding=stochastic_b",
         "float32/chunk=8/promotion=float16/promotion_rounding=toward_zero",
         "float16/rounding=stochastic_c/chunk=33"},
        8, 4);
}

TEST_CASE("pairwise, Kahan's and exact sums are the CPU's on the device") {
    check_chains<float>(
        {"float16/pairwise", "float32/pairwise", "float16/kahan", "float32/kahan", "exact",
         "float16/exact", "bfloat16/pairwise/chunk=5/promotion=float16",
         "float16/pairwise/separate/rounding=toward_positive",
         "float16/kahan/rounding=stochastic_a", "float16/pairwise/rounding=stochastic_c",
         "bfloat16/exact/rounding=stochastic_a", "bfloat16/exact/chunk=9",
         "float8_e5m2/exact/rounding=toward_negative"},
        6, 8);
    check_chains<double>({"float16/pairwise", "float32/kahan", "exact", "float16/exact/chunk=50"},
                         6, 9);
}

TEST_CASE("every matrix unit gives on the device what it gives on the CPU") {
    dice roll(5);
    for (const named_accumulator& unit : accumulators)
        for (int i = 0; i < 12; ++i) {
            const bool is_scaled = unit.accumulator.unit.factors == factors::block_scaled;
            const bool is_grouped = unit.accumulator.unit.group > 1;
            format a = is_grouped ? float4_e2m1fn : any_format(roll);
            format b = is_grouped ? float4_e2m1fn : any_format(roll);
            product_case p = random_case(a, b, roll);
            if (is_scaled) p.block = roll.pick<std::size_t>({0, 16, 32});
            CHECK(product_differences<float>(p, unit.accumulator, roll) == 0);
            if (i % 4 == 0) CHECK(product_differences<double>(p, unit.accumulator, roll) == 0);
        }
}

TEST_CASE("units that no hardware has give on the device what they give on the CPU") {
    dice roll(6);
    for (const char* const text : {"h100/terms=5",
                                   "h100/terms=64",
                                   "h100/terms=100",
                                   "h100/terms=197",
                                   "h100/terms=198",
                                   "h100/terms=256",
                                   "mi300/terms=256",
                                   "h100/terms=256/chunk=512",
                                   "h100/cut=toward_negative",
                                   "h100/cut=nearest_ties_to_even",
                                   "h100/fraction_bits=40",
                                   "h100/fraction_bits=1",
                                   "h100/result=float16/result_rounding=nearest_ties_to_even",
                                   "h100_fp8/chunk=48",
                                   "h100_fp8/chunk=100/promotion=bfloat16",
                                   "h100/lowest_exponent=-20",
                                   "v100/chunk=6",
                                   "h100_fp8_promoted/lowest_exponent=-149",
                                   "h100/chunk=64/promotion=float16/"
                                   "promotion_rounding=stochastic_a",
                                   "h100/cut=toward_negative/chunk=32"})
        for (int i = 0; i < 8; ++i) {
            const product_case p = random_case(any_format(roll), any_format(roll), roll);
            CHECK(product_differences<float>(p, parse_accumulator(text), roll) == 0);
        }
    for (const char* const text :
         {"b200_nvfp4/fraction_bits=20", "b200_nvfp4/cut=nearest_ties_to_even",
          "b200_nvfp4/group=64", "b200_nvfp4/terms=16", "b200_nvfp4/chunk=32", "b200_nvfp4/group=2",
          "b200_nvfp4/terms=128/group=2/fraction_bits=20",
          "b200_nvfp4/terms=256/group=4/fraction_bits=20", "b200_nvfp4/terms=256/fraction_bits=20"})
        for (int i = 0; i < 8; ++i) {
            product_case p = random_case(float4_e2m1fn, float4_e2m1fn, roll);
            p.block = 64;
            CHECK(product_differences<float>(p, parse_accumulator(text), roll) == 0);
        }
    for (const char* const text :
         {"b200_nvfp4/fraction_bits=20", "b200_nvfp4/group=4/fraction_bits=20"})
        for (int i = 0; i < 8; ++i) {
            product_case p = random_case(float8_e4m3fn, float8_e4m3fn, roll);
            p.block = 16;
            CHECK(product_differences<float>(p, parse_accumulator(text), roll) == 0);
        }
    for (const char* const text : {"b200_mxf8/terms=16", "b200_mxf8/fraction_bits=24",
                                   "b200_mxf8/fraction_bits=22", "b200_mxf8/terms=5"})
        for (int i = 0; i < 8; ++i) {
            product_case p = random_case(any_format(roll), any_format(roll), roll);
            p.block = 16;
            CHECK(product_differences<float>(p, parse_accumulator(text), roll) == 0);
        }
}

TEST_CASE("terms that their scales make as large as can be have room in a step's sum") {
    dice roll(11);
    for (const char* const text :
         {"b200_mxf8", "b200_mxf8/terms=16", "b200_mxf8/terms=8", "b200_mxf8/terms=64",
          "b200_mxf8/fraction_bits=22", "b200_mxf8/fraction_bits=23", "b200_mxf8/fraction_bits=24",
          "b200_mxf8/terms=64/fraction_bits=40", "b200_mxf8/cut=toward_negative"})
        for (const double number : {1.75, -1.875}) {
            product_case p;
            p.m = p.n = 3;
            p.k = 64;
            p.a = p.b = float8_e4m3fn;
            p.has_c = false;
            p.block = 16;
            p.number = number;
            p.of_scales = std::abs(number);
            CHECK(product_differences<float>(p, parse_accumulator(text), roll) == 0);
        }
}

TEST_CASE("a scale that is NaN makes NaN of zeros on the device as on the CPU") {
    dice roll(12);
    for (const char* const text : {"b200_mxf8", "b200_mxf8/terms=16", "b200_nvfp4"})
        for (const bool has_c : {false, true}) {
            product_case p;
            p.k = 32;
            p.a = p.b = float4_e2m1fn;
            p.has_c = has_c;
            p.block = 16;
            p.number = 0;
            p.of_scales = std::numeric_limits<double>::quiet_NaN();
            CHECK(product_differences<float>(p, parse_accumulator(text), roll) == 0);
        }
}

TEST_CASE("finished sums are scaled and rounded once more as on the CPU") {
    dice roll(7);
    for (const char* const text : {"float16", "h100", "b200_nvfp4"})
        for (const rounding r : all_roundings()) {
            product_case p = random_case(float4_e2m1fn, float4_e2m1fn, roll);
            p.out = rounding_step{float8_e5m2, {.rounding = r}};
            p.scale = roll.coin() ? 1 : 0.7;
            CHECK(product_differences<float>(p, parse_accumulator(text), roll) == 0);
        }
}

TEST_CASE("arrays of 16 bits take the results that they hold, and no others") {
    dice roll(10);
    const std::size_t m = 33;
    const std::size_t k = 70;
    std::vector<float> x;
    while (x.size() < m * k)
        x.push_back(static_cast<float>(float8_e4m3fn.value(roll() & 0x7E)) * 0x1p-4F);
    x[5] = std::numeric_limits<float>::quiet_NaN();
    const device_array<float> a(x);
    const device_array<float> wide(m * m);
    const device_array<f16> narrow(m * m);
    const std::size_t shape[] = {k, m};
    const std::ptrdiff_t turned[] = {1, static_cast<std::ptrdiff_t>(k)};
    const cuda::const_values rows{a.data(), cuda::carrier::float32, cuda::layout::of({m, k})};
    const cuda::const_values columns{a.data(), cuda::carrier::float32,
                                     cuda::layout::of(shape, turned)};
    const cuda::values in_float{wide.data(), cuda::carrier::float32, cuda::layout::of({m, m})};
    const cuda::values in_half{narrow.data(), cuda::carrier::float16, cuda::layout::of({m, m})};
    const accumulator how = parse_accumulator("float16");
    cuda::matmul(rows, columns, in_float, how);
    cuda::matmul(rows, columns, in_half, how);
    std::vector<f16> wanted;
    for (const float y : wide.host()) wanted.emplace_back(y);
    CHECK(differences(narrow.host(), wanted, "float16 results") == 0);
    CHECK_THROWS_AS(cuda::matmul(rows, columns, in_half, parse_accumulator("float32")),
                    std::invalid_argument);
}

TEST_CASE("what the device has no kernels for is refused, and so are shapes that do not meet") {
    for (const char* const text : {"float32/rounding=stochastic_a", "h100/terms=512", "float64",
                                   "float32/exact/rounding=stochastic_a"})
        CHECK(!cuda::has_kernels(parse_accumulator(text), cuda::carrier::float32));
    const device_array<float> x(std::vector<float>(64));
    const auto view = [&](std::size_t rows, std::size_t columns) {
        return cuda::values{x.data(), cuda::carrier::float32, cuda::layout::of({rows, columns})};
    };
    const accumulator how = parse_accumulator("float16");
    CHECK_THROWS_AS(cuda::matmul(view(2, 3), view(4, 5), view(2, 5), how), std::invalid_argument);
    CHECK_THROWS_AS(cuda::matmul(view(2, 3), view(3, 5), view(5, 2), how), std::invalid_argument);
    CHECK_THROWS_AS(cuda::matmul(view(2, 3), view(3, 5), view(2, 5), parse_accumulator("float64")),
                    std::invalid_argument);
    CHECK_THROWS_AS(
        cuda::matmul(view(2, 3), view(3, 5), view(2, 5), parse_accumulator("b200_nvfp4")),
        std::invalid_argument);
    const device_array<double> ones(std::vector<double>(8, 1.0));
    cuda::product_options scaled;
    scaled.b_scales = {ones.data(), 16, -6};
    for (const char* const text : {"float16", "float32", "exact", "float16/pairwise", "h100"})
        CHECK_THROWS_AS(
            cuda::matmul(view(2, 3), view(3, 5), view(2, 5), parse_accumulator(text), scaled),
            std::invalid_argument);
}

}  // namespace lowp::test
