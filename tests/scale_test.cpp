// Scale rules are data with names; delayed scaling follows the amaxes of past steps.
#include "lowp/scale.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <set>

using namespace lowp;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

template <class Call>
void refuses(const Call& call, const char* message) {
    CHECK_THROWS_WITH_AS(call(), doctest::Contains(message), std::invalid_argument);
}

}  // namespace

TEST_CASE("every rule has one name, a source, and is valid") {
    std::set<std::string_view> names;
    for (const named_rule& r : scale_rules) {
        INFO(r.name);
        CHECK_NOTHROW(r.rule.validate());
        CHECK(find_rule(r.name) == r.rule);
        CHECK_FALSE(r.source.empty());
        names.insert(r.name);
    }
    CHECK(names.size() == scale_rules.size());
    for (const named_rule& a : scale_rules)
        for (const named_rule& b : scale_rules) CHECK((a.rule == b.rule) == (a.name == b.name));
}

TEST_CASE("rules are what their names say") {
    static_assert(scale_rules[0].rule.power_of_two == power_of_two::floor);
    CHECK(find_rule("amax") == scale_rule{});
    CHECK(find_rule("rceil") == scale_rule{.power_of_two = power_of_two::rceil});
    CHECK(find_rule("mse").search == search::all);
    CHECK(find_rule("mse").error_norm == error_norm::squared);
    CHECK(find_rule("shrink").error_norm == error_norm::power_2_4);
    CHECK(find_rule("std").statistic == statistic::rms);
    CHECK(find_rule("std").gain == 2.92247856);  // Quartet's constant for E2M1
    CHECK(find_rule("mean_abs").statistic == statistic::mean_abs);
    CHECK(find_rule("three_quarters").post_gain == 4.0 / 3);
    CHECK(find_rule("three_quarters").power_of_two == power_of_two::floor);
}

TEST_CASE("an unknown rule is refused with all names") {
    refuses([] { (void)find_rule("flor"); }, "unknown scale rule \"flor\"; known: floor ceil even");
    refuses([] { (void)find_rule(""); }, "three_quarters");
    refuses([] { (void)find_rule("floor "); }, "\"floor \"");
}

TEST_CASE("contradicting rules are refused with the field") {
    constexpr double largest = std::numeric_limits<double>::max();
    CHECK_NOTHROW(scale_rule{.gain = largest}.validate());
    for (const double bad : {0.0, -1.0, -0.0, double{infinity}, double{nan_value}}) {
        refuses([&] { scale_rule{.gain = bad}.validate(); }, "gain must be positive and finite");
        refuses([&] { scale_rule{.post_gain = bad}.validate(); },
                "post_gain must be positive and finite");
    }
    refuses([] { scale_rule{.gain = -2}.validate(); }, "got -2");
    refuses(
        [] {
        scale_rule{.statistic = statistic::none, .power_of_two = power_of_two::floor}.validate();
        },
        "a fixed scale has no statistic");
}

// ---- delayed scaling ------------------------------------------------------------------------------

TEST_CASE("a delayed scale is 1 before the first amax, then the largest of the history over max") {
    delayed_scaling d(448, 3);
    CHECK(d.scale() == 1);
    CHECK(d.history() == std::vector<float>{0, 0, 0});
    d.observe(896);
    CHECK(d.scale() == 2);
    d.observe(448);
    CHECK(d.scale() == 2);
    d.observe(224);
    CHECK(d.history() == std::vector<float>{224, 448, 896});
    CHECK(d.scale() == 2);
    d.observe(112);  // 896 leaves
    CHECK(d.history() == std::vector<float>{112, 224, 448});
    CHECK(d.scale() == 1);
    d.observe(112);
    d.observe(112);
    CHECK(d.scale() == 0.25F);
}

TEST_CASE("the most recent amax alone counts where that is wanted") {
    delayed_scaling d(6, 4, 0, delayed_scaling::take::most_recent);
    d.observe(60);
    CHECK(d.scale() == 10);
    d.observe(3);
    CHECK(d.scale() == 0.5F);
}

TEST_CASE("a margin multiplies the scale by its power of two") {
    for (const int margin : {-3, 0, 1, 5}) {
        delayed_scaling d(448, 2, margin);
        CHECK(d.scale() == 1);
        d.observe(448);
        CHECK(d.scale() == std::ldexp(1.0F, margin));
    }
}

TEST_CASE("an amax of zero, infinity or NaN leaves the scale as it is") {
    for (const auto take : {delayed_scaling::take::max, delayed_scaling::take::most_recent})
        for (const float bad : {0.0F, infinity, nan_value}) {
            CAPTURE(bad);
            delayed_scaling fresh(448, 1, 0, take);
            fresh.observe(bad);
            CHECK(fresh.scale() == 1);
            delayed_scaling d(448, 1, 0, take);
            d.observe(896);
            d.observe(bad);
            CHECK(d.scale() == 2);
            d.observe(448);
            CHECK(d.scale() == 1);
        }
    delayed_scaling d(448, 3);  // a zero does not count beside other steps
    d.observe(896);
    d.observe(0);
    CHECK(d.scale() == 2);
}

TEST_CASE("a checkpoint's history and scale go on as the original") {
    delayed_scaling a(448, 4);
    for (const float amax : {1.0F, 7.0F, 300.0F, 2.0F, 9.0F}) a.observe(amax);
    delayed_scaling b(448, 4);
    b.restore(a.history(), a.scale());
    CHECK(b.scale() == a.scale());
    for (const float amax : {3.0F, 1.0F, 0.5F, 4.0F, 2.0F}) {
        a.observe(amax);
        b.observe(amax);
        CHECK(a.scale() == b.scale());
        CHECK(a.history() == b.history());
    }
}

TEST_CASE("what delayed scaling cannot do is refused with what was got") {
    refuses([] { delayed_scaling(0); }, "max must be positive and finite; got 0");
    refuses([] { delayed_scaling(double{infinity}); }, "max must be positive and finite");
    refuses([] { delayed_scaling(double{nan_value}); }, "max must be positive and finite");
    refuses([] { delayed_scaling(448, 0); }, "history must be at least 1; got 0");
    delayed_scaling d(448, 3);
    refuses([&] { d.restore({1, 2}, 1); }, "history must have 3 entries; got 2");
    CHECK(d.history() == std::vector<float>{0, 0, 0});
}
