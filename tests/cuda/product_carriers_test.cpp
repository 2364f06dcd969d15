// Products whose arrays have carriers of their own, or share memory, against the CPU's in float64.
#include <utility>

#include "product_check.hpp"

namespace lowp::test {
namespace {

using cuda::carrier;

constexpr carrier carriers[] = {carrier::float32, carrier::float64, carrier::float16,
                                carrier::bfloat16};

const format& grid_of(carrier c) {
    if (c == carrier::float64) return float64;
    if (c == carrier::float32) return float32;
    return c == carrier::float16 ? float16 : bfloat16;
}
carrier any_carrier_of(const format& f, dice& roll) {
    carrier c = carriers[roll.below(std::size(carriers))];
    while (!grid_of(c).holds(f)) c = carriers[roll.below(std::size(carriers))];
    return c;
}

enum class addend : std::uint8_t { apart, in_place };

/// Numbers near the products', of all bits that c's carrier has; aligned sums take float32's.
void draw_c(stack& c, carrier in, const accumulator& how, dice& roll) {
    for (double& x : c.values)
        x = std::ldexp(static_cast<double>(roll() >> 11), roll.between(-58, -46)) *
            (roll.coin() ? 1 : -1);
    const auto round_to = [&](const format& f) {
        quantize<double>(std::span<const double>(c.values), std::span<double>(c.values), f);
    };
    if (how.order == summation::aligned) round_to(float32);
    round_to(grid_of(in));
}

/// Bytes of results that differ from the CPU's in float64, rounded to out's carrier, which holds them.
std::size_t mixed_differences(const product_case& p, carrier of_c, carrier of_out, addend where,
                              const accumulator& how, dice& roll) {
    stack a(p.batches, p.m, p.k, p.a_turned, p.gap);
    stack b(p.batches, p.k, p.n, p.b_turned, p.gap);
    stack c(p.batches, p.m, p.n, p.out_turned, p.gap);
    draw(a, p.a, false, roll);
    draw(b, p.b, false, roll);
    draw_c(c, of_c, how, roll);
    const bool is_in_place = where == addend::in_place;
    std::vector<double> wanted = is_in_place ? c.values : std::vector<double>(c.values.size());
    const device_array<std::uint8_t> there_a(bytes_in(p.a_carrier, a.values));
    const device_array<std::uint8_t> there_b(bytes_in(p.b_carrier, b.values));
    const device_array<std::uint8_t> there_c(bytes_in(of_c, c.values));
    const device_array<std::uint8_t> apart(bytes_in(of_out, wanted));
    const device_array<std::uint8_t>& there_out = is_in_place ? there_c : apart;
    for (std::size_t i = 0; i < p.batches; ++i) {
        product_options<double> o;
        static_cast<options&>(o) =
            host_options(p.source, p.first_index + i * 4 * (p.k + 1) * p.m * p.n);
        o.a_format = p.a;
        o.b_format = p.b;
        o.c = c.view(std::as_const(c.values).data(), i);
        matmul<double>(a.view(std::as_const(a.values).data(), i),
                       b.view(std::as_const(b.values).data(), i), c.view(wanted.data(), i), how, o);
    }
    cuda::product_options o;
    o.source = p.source;
    o.first_index = p.first_index;
    o.a_format = p.a;
    o.b_format = p.b;
    o.c = {there_c.data(), of_c, c.layout()};
    cuda::matmul({there_a.data(), p.a_carrier, a.layout()},
                 {there_b.data(), p.b_carrier, b.layout()}, {there_out.data(), of_out, c.layout()},
                 how, o);
    return differences(there_out.host(), bytes_in(of_out, wanted),
                       "matmul " + name(how) + " with c of " + name(grid_of(of_c)) +
                           " and out of " + name(grid_of(of_out)));
}

/// Every pair of carriers of c and out, factors of any.
void check_carriers(const std::string& text, const format& results, const format& factors,
                    dice& roll) {
    const accumulator how = parse_accumulator(text);
    for (const carrier of_out : carriers) {
        if (!grid_of(of_out).holds(results)) continue;
        for (const carrier of_c : carriers) {
            product_case p = random_case(factors, factors, roll);
            p.a_carrier = any_carrier_of(factors, roll);
            p.b_carrier = any_carrier_of(factors, roll);
            p.m = roll.pick<std::size_t>({1, 17, 65});
            p.n = roll.pick<std::size_t>({1, 18, 66});
            p.k = roll.pick<std::size_t>({1, 3, 33, 70});
            p.broadcasts_b = false;
            CHECK(mixed_differences(p, of_c, of_out, addend::apart, how, roll) == 0);
            if (of_c != of_out) continue;
            CHECK(mixed_differences(p, of_c, of_out, addend::in_place, how, roll) == 0);
        }
    }
}

/// One number on the device and a view of it.
template <class T>
struct one_number {
    device_array<T> memory;
    explicit one_number(T x) : memory(std::vector<T>{x}) {}
    [[nodiscard]] cuda::values view() const {
        return {memory.data(), carrier_of<T>, cuda::layout::of({1, 1})};
    }
};

}  // namespace

TEST_CASE("a, b, c and out may have any carriers, c in place of out, too") {
    dice roll(1);
    for (const format& factors : {float4_e2m1fn, float8_e4m3fn, float16}) {
        for (const char* const text :
             {"float32", "tensorfloat32/rounding=toward_zero", "float32/chunk=5",
              "float32/pairwise", "float32/kahan", "exact", "float16/chunk=7", "h100",
              "h100_fp8_promoted", "b200_fp8", "mi300", "h100/terms=256"})
            check_carriers(text, float32, factors, roll);
        for (const char* const text :
             {"float16", "float16/rounding=stochastic_a", "float16/separate", "float16/exact",
              "float16/chunk=7/promotion=float16",
              "h100/result=float16/result_rounding=nearest_ties_to_even"})
            check_carriers(text, float16, factors, roll);
        for (const char* const text : {"bfloat16", "bfloat16/rounding=toward_positive",
                                       "bfloat16/pairwise", "float32/chunk=4/promotion=bfloat16"})
            check_carriers(text, bfloat16, factors, roll);
    }
}

TEST_CASE("float32 sums begin with every bit of a c of float64") {
    const one_number<float> plus(1);
    const one_number<float> minus(-1);
    const one_number<double> c(1 + 0x1p-30);
    for (const char* const text : {"float32", "float32/chunk=4", "float32/pairwise", "exact"}) {
        const one_number<float> out(0);
        cuda::product_options o;
        o.c = c.view();
        cuda::matmul(plus.view(), minus.view(), out.view(), parse_accumulator(text), o);
        CHECK_MESSAGE(out.memory.host()[0] == 0x1p-30F, text);
    }
}

TEST_CASE("an empty k gives c where out holds it") {
    const auto none = cuda::layout::of({1, 0});
    const auto turned = cuda::layout::of({0, 1});
    const accumulator how = parse_accumulator("float16");
    const auto run = [&](const cuda::values& c, const cuda::values& out,
                         const std::optional<rounding_step>& last = {}) {
        cuda::product_options o;
        o.c = c;
        o.out = last;
        cuda::matmul({nullptr, carrier::float32, none}, {nullptr, carrier::float32, turned}, out,
                     how, o);
    };
    const one_number<double> wide(1.0 / 3);
    const one_number<float> single(1.0F / 3);
    const one_number<f16> half(f16(1.0F / 3));
    const one_number<float> in_float(0);
    const one_number<f16> in_half(f16(0.0F));
    run(half.view(), in_float.view());
    CHECK(in_float.memory.host()[0] == static_cast<float>(half.memory.host()[0]));
    run(single.view(), in_half.view(), rounding_step{float16, {}});
    CHECK(in_half.memory.host()[0] == half.memory.host()[0]);
    CHECK_THROWS_AS(run(wide.view(), in_float.view()), std::invalid_argument);
    CHECK_THROWS_AS(run(single.view(), in_half.view()), std::invalid_argument);
    CHECK_THROWS_AS(run(wide.view(), in_half.view(), rounding_step{float16, {}}),
                    std::invalid_argument);
}

TEST_CASE("c at the place of out has its strides and the size of its elements") {
    const device_array<float> x(std::vector<float>(16, 1));
    const std::size_t shape[] = {4, 4};
    const std::ptrdiff_t turned[] = {1, 4};
    const std::ptrdiff_t broadcast[] = {0, 1};
    const auto square = cuda::layout::of({4, 4});
    const device_array<float> sums(std::vector<float>(16, 1));
    const cuda::values out{sums.data(), carrier::float32, square};
    const cuda::const_values a{x.data(), carrier::float32, square};
    const auto run = [&](carrier of_c, const cuda::layout& l, const void* at) {
        cuda::product_options o;
        o.c = {at, of_c, l};
        cuda::matmul(a, a, out, parse_accumulator("float32"), o);
    };
    for (const auto& l : {cuda::layout::of(shape, turned), cuda::layout::of(shape, broadcast)})
        CHECK_THROWS_AS(run(carrier::float32, l, sums.data()), std::invalid_argument);
    CHECK_THROWS_AS(run(carrier::bfloat16, square, sums.data()), std::invalid_argument);
    CHECK_THROWS_AS(run(carrier::float32, square, nullptr), std::invalid_argument);
    run(carrier::float32, square, sums.data());
    for (const float y : sums.host()) CHECK(y == 5);
}

}  // namespace lowp::test
