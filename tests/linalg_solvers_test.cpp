#include <doctest/doctest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "linalg_matrices.hpp"
#include "lowp/formats.hpp"
#include "lowp/linalg.hpp"

namespace {

using lowp::minifloat;
using lowp::real;
using lowp::use_format;
using namespace lowp::linalg;
using namespace lowp::test;

// ---- Krylov methods ------------------------------------------------------------------------------

template <class S>
void check_krylov(const matrix<double>& wide, double tolerance) {
    const matrix<S> a = in_scalar<S>(wide);
    const vector<S> b = in_scalar<S>(ones(a.rows()));
    const solution<S> cg = conjugate_gradients<S>(a, b, {.tolerance = tolerance});
    CHECK(cg.outcome == outcome::converged);
    CHECK(cg.backward_errors.size() == static_cast<std::size_t>(cg.iterations) + 1);
    CHECK(cg.backward_errors.front() == 1);
    CHECK(cg.backward_errors.back() <= tolerance);
    CHECK(cg.backward_errors.back() == backward_error(a, cg.x, b));
    const solution<S> g = gmres<S>(a, b, {{.tolerance = tolerance}});
    CHECK(g.outcome == outcome::converged);
    CHECK(g.backward_errors.back() <= tolerance);
}

TEST_CASE("conjugate gradients and GMRES reach a few units roundoff in every scalar") {
    for (const matrix<double>& a : {poisson(5), random_spd(30, 26)}) {
        check_krylov<half>(a, 4 * 0x1p-11);
        check_krylov<bfloat>(a, 4 * 0x1p-8);
        check_krylov<single>(a, 4 * 0x1p-24);
        check_krylov<double>(a, 4 * 0x1p-53);
        const use_format scope(lowp::format::ieee(6, 5));
        check_krylov<real>(a, 4 * 0x1p-6);
    }
}

TEST_CASE("GMRES solves what is not symmetric, restarted or not, and history ends where it stops") {
    const Index n = 24;
    const matrix<double> wide = random_matrix(n, n, 27) + 6 * matrix<double>::Identity(n, n);
    const matrix<half> a = in_scalar<half>(wide);
    const vector<half> b = in_scalar<half>(vector<double>(random_matrix(n, 1, 28)));
    for (const int restart : {3, 8, 30}) {
        const auto s = gmres(a, b, {{.tolerance = 4 * 0x1p-11}, restart});
        CHECK(s.outcome == outcome::converged);
        CHECK(s.backward_errors.back() <= 4 * 0x1p-11);
    }
    const auto none = gmres(a, b, {{.max_iterations = 0}});
    CHECK(none.outcome == outcome::iteration_limit);
    CHECK(none.backward_errors == std::vector<double>{1.0});
}

TEST_CASE("b = 0 gives x = 0 at once, and an indefinite matrix breaks conjugate gradients down") {
    const matrix<half> a = in_scalar<half>(poisson(3));
    const vector<half> zero = in_scalar<half>(vector<double>(vector<double>::Zero(9)));
    CHECK(conjugate_gradients(a, zero).outcome == outcome::converged);
    CHECK(gmres(a, zero).iterations == 0);
    const auto s = conjugate_gradients(matrix<half>(-a), in_scalar<half>(ones(9)));
    CHECK(s.outcome == outcome::breakdown);
    CHECK_THROWS_AS(static_cast<void>(conjugate_gradients(a, vector<half>(3))),
                    std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(conjugate_gradients(a, zero, {.max_iterations = -1})),
                    std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(gmres(a, zero, {{}, 0})), std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(gmres(a, zero, {{.truth = ones(3)}})), std::invalid_argument);
}

TEST_CASE("the forward error is measured where the solution is given") {
    const matrix<double> a = random_spd(20, 29);
    const vector<double> truth = ones(20);
    const vector<double> b = a * truth;
    iteration_options o;
    o.truth = truth;
    const auto s = conjugate_gradients(in_scalar<single>(a), in_scalar<single>(b), o);
    REQUIRE(s.forward_errors.size() == s.backward_errors.size());
    CHECK(s.forward_errors.front() == 1);
    CHECK(s.forward_errors.back() < 1e-5);
}

// ---- scaling and refinement ----------------------------------------------------------------------

TEST_CASE(
    "two-sided scaling brings rows and columns to 1 and the matrix below theta max, exactly") {
    matrix<double> a = random_matrix(12, 12, 30);
    for (Index i = 0; i < 12; ++i) {
        a.row(i) *= std::ldexp(1.0, static_cast<int>(4 * i) - 20);
        a.col(i) *= std::ldexp(1.0, 30 - static_cast<int>(5 * i));
    }
    const scaling s = two_sided_scaling(a, 65504, 0.1);
    const matrix<double> b = scaled(a, s, in<double>{});
    const double factor = std::ldexp(1.0, s.both);
    CHECK(factor <= 6550.4);
    CHECK(2 * factor > 6550.4);
    CHECK(b.cwiseAbs().maxCoeff() <= factor);
    for (Index j = 0; j < 12; ++j) {
        CHECK(b.col(j).cwiseAbs().maxCoeff() > factor / 2);
        for (Index i = 0; i < 12; ++i) CHECK(std::ldexp(b(i, j), -s.exponent(i, j)) == a(i, j));
    }
    CHECK_THROWS_AS(static_cast<void>(two_sided_scaling(matrix<double>::Zero(2, 2), 448)),
                    std::invalid_argument);
    CHECK_THROWS_AS(static_cast<void>(two_sided_scaling(a, 448, 2)), std::invalid_argument);
}

TEST_CASE("refinement of half factors reaches the unit of float32 at the rate of the theory") {
    const matrix<double> a = random_spd(30, 31);
    const vector<double> truth = random_matrix(30, 1, 32), b = a * truth;
    refinement_options o;
    o.truth = truth;
    const auto s = refine(a, b, in<half>{}, in<single>{}, in<double>{}, o);
    CHECK(s.outcome == outcome::converged);
    CHECK(s.iterations <= 4);
    CHECK(s.backward_errors.back() <= 0x1p-24);
    CHECK(s.forward_errors.back() <= 1e-6);
    // Carson and Higham: a factor of about 3 n kappa u_f an iteration, until the limit.
    const double kappa = row_sum_norm(a) * row_sum_norm(matrix<double>(a.inverse()));
    const double rate = 3 * 30 * kappa * 0x1p-11;
    CHECK(s.forward_errors.at(1) <= rate * s.forward_errors.at(0));
}

TEST_CASE(
    "FP8 and bfloat16 factors refine to float32's and float64's unit, in run-time formats too") {
    const matrix<double> a = poisson(5);
    const vector<double> b = ones(25);
    const auto check = [&](const auto& s, double unit) {
        CHECK(s.outcome == outcome::converged);
        CHECK(s.backward_errors.back() <= unit);
    };
    check(refine(a, b, in<minifloat<lowp::float8_e4m3fn>>{}, in<single>{}, in<double>{}), 0x1p-24);
    check(refine(a, b, in<bfloat>{}, in<double>{}, in<double>{}), 0x1p-53);
    const auto fixed = refine(a, b, in<bfloat>{}, in<single>{}, in<double>{});
    const auto run =
        refine(a, b, in<real>{lowp::context(lowp::bfloat16)},
               in<real>{lowp::context(lowp::float32)}, in<real>{lowp::context(lowp::float64)});
    CHECK(run.backward_errors == fixed.backward_errors);
    CHECK(identical(run.x, fixed.x));
    CHECK(lowp::current_context() == lowp::context());
}

TEST_CASE("shadows go along through all three scalars of refinement, scaled or not") {
    const matrix<double> a = random_spd(12, 35);
    const vector<double> b = ones(12), truth = a.partialPivLu().solve(b);
    refinement_options o;
    for (const scaling_rule rule : {scaling_rule::none, scaling_rule::two_sided}) {
        o.scaling = rule;
        const auto plain = refine(a, b, in<half>{}, in<single>{}, in<double>{}, o);
        const auto s = refine(a, b, in<lowp::shadowed<half>>{}, in<lowp::shadowed<single>>{},
                              in<lowp::shadowed<double>>{}, o);
        CHECK(s.backward_errors == plain.backward_errors);
        for (Index i = 0; i < 12; ++i) CHECK(std::abs(s.x(i).shadow() - truth(i)) < 1e-13);
    }
}

TEST_CASE("GMRES-IR converges where triangular corrections do not") {
    // Condition 10^5 and more: beyond 1 / u of half and bfloat16, within that of float32.
    const matrix<double> a = hilbert(5);
    const vector<double> b = ones(5);
    refinement_options o;
    o.max_iterations = 15;
    const auto plain = refine(a, b, in<bfloat>{}, in<single>{}, in<double>{}, o);
    CHECK(plain.outcome != outcome::converged);
    o.correction = correction::gmres;
    const auto krylov = refine(a, b, in<bfloat>{}, in<single>{}, in<double>{}, o);
    CHECK(krylov.outcome == outcome::converged);
    CHECK(krylov.backward_errors.back() <= 0x1p-24);
}

TEST_CASE("a matrix beyond the range of half is factored after scaling only") {
    matrix<double> a = random_spd(16, 33) * 1e6;
    a.row(3) *= 1e-9;
    const vector<double> b = ones(16);
    refinement_options o;
    CHECK_THROWS_WITH_AS(static_cast<void>(refine(a, b, in<half>{}, in<single>{}, in<double>{}, o)),
                         doctest::Contains("two_sided_scaling"), std::invalid_argument);
    o.scaling = scaling_rule::two_sided;
    for (const correction c : {correction::triangular, correction::gmres}) {
        o.correction = c;
        const auto s = refine(a, b, in<half>{}, in<single>{}, in<double>{}, o);
        CHECK(s.outcome == outcome::converged);
        CHECK(s.backward_errors.back() <= 0x1p-24);
    }
}

TEST_CASE("refinement with every operation in one format does not get below its unit") {
    const matrix<double> a = random_spd(20, 34);
    refinement_options o;
    o.tolerance = 0;
    o.max_iterations = 10;
    const auto s = refine(a, ones(20), in<half>{}, in<half>{}, in<half>{}, o);
    CHECK(s.outcome == outcome::iteration_limit);
    CHECK(s.backward_errors.back() <= 20 * 0x1p-11);
    CHECK(s.backward_errors.back() >= 0x1p-16);
    CHECK_THROWS_AS(static_cast<void>(refine(a, ones(3), in<half>{}, in<single>{}, in<double>{})),
                    std::invalid_argument);
}

// ---- measures ------------------------------------------------------------------------------------

TEST_CASE("residuals are measured with twice float64's precision") {
    matrix<double> a(1, 3);
    a << 1e16, 1, -1e16;
    vector<double> x(3), b(1);
    x << 1, 0.5, 1;
    b << 0;
    CHECK(exact_residual(a, x, b)(0) == -0.5);
    a << 1 + 0x1p-52, 1, 0;
    x << 1 - 0x1p-53, -1, 0;
    CHECK(exact_residual(a, x, b)(0) == -(0x1p-53 - 0x1p-105));
}

TEST_CASE("errors of zero, NaN and infinity are 0 or NaN") {
    const matrix<double> zero = matrix<double>::Zero(2, 2);
    CHECK(backward_error(zero, vector<double>(vector<double>::Zero(2)),
                         vector<double>(vector<double>::Zero(2))) == 0);
    const vector<double> bad = ones(2) * std::nan("");
    CHECK(std::isnan(backward_error(poisson(1), vector<double>(bad.head(1)), ones(1))));
    CHECK(forward_error(ones(2), ones(2)) == 0);
}

}  // namespace
