#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "hwnas/schedule.hpp"

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Every layer of a case is a row of the costs of its own, every sub-accelerator a column.
struct Case {
    std::size_t networks;
    std::size_t length;
    std::size_t subs;
    std::vector<double> cycles;
    std::vector<double> energy;
    std::vector<std::int32_t> layers;
    std::vector<std::int32_t> points;
};

struct Result {
    std::vector<std::int8_t> assignment;
    std::vector<double> start;
    double makespan = 0.0, energy = 0.0, makespan_bound = 0.0, energy_bound = 0.0;
};

Case random_case(std::mt19937& random, std::size_t networks, std::size_t length,
                 std::size_t subs) {
    Case made{networks, length, subs, {}, {}, {}, {}};
    std::uniform_int_distribution<int> cost(1, 20), kind(0, 9);
    for (std::size_t i = 0; i < networks * length; ++i) {
        made.layers.push_back(kind(random) == 0 ? -1 : static_cast<std::int32_t>(i));
        for (std::size_t s = 0; s < subs; ++s) {
            const bool runs = s == 0 || kind(random) > 0;
            made.cycles.push_back(runs ? cost(random) : kInfinity);
            made.energy.push_back(runs ? cost(random) : kInfinity);
        }
    }
    for (std::size_t s = 0; s < subs; ++s) {
        made.points.push_back(static_cast<std::int32_t>(s));
    }
    return made;
}

Result solved(const Case& c, double limit, std::size_t exact_labels, std::size_t threads = 1) {
    Result r;
    r.assignment.resize(c.layers.size());
    r.start.resize(c.layers.size());
    hwnas::ScheduleOptions options;
    options.limit = limit;
    options.exact_labels = exact_labels;
    options.threads = threads;
    hwnas::schedule({c.cycles.data(), c.energy.data(), c.layers.size(), c.subs},
                    {c.layers.data(), c.points.data(), 1, c.networks, c.length, c.subs}, options,
                    {r.assignment.data(), r.start.data(), &r.makespan, &r.energy,
                     &r.makespan_bound, &r.energy_bound});
    return r;
}

void check_is_a_schedule(const Case& c, const Result& r) {
    double makespan = 0.0, energy = 0.0;
    for (std::size_t i = 0; i < c.layers.size(); ++i) {
        if (c.layers[i] < 0) {
            CHECK(r.assignment[i] == -1 && std::isnan(r.start[i]));
            continue;
        }
        const auto sub = static_cast<std::size_t>(r.assignment[i]);
        const double end = r.start[i] + c.cycles[i * c.subs + sub];
        makespan = std::max(makespan, end);
        energy += c.energy[i * c.subs + sub];
        for (std::size_t j = 0; j < i; ++j) {
            if (c.layers[j] < 0) {
                continue;
            }
            const double other_end =
                r.start[j] + c.cycles[j * c.subs + static_cast<std::size_t>(r.assignment[j])];
            if (i / c.length == j / c.length) {
                CHECK(r.start[i] >= other_end);
            } else if (r.assignment[i] == r.assignment[j]) {
                CHECK(r.start[i] >= other_end || r.start[j] >= end);
            }
        }
    }
    CHECK(makespan == r.makespan);
    CHECK_NEAR(energy, r.energy, 1e-9);
}

void schedules_keep_order_and_do_not_overlap() {
    std::mt19937 random(1);
    for (int i = 0; i < 300; ++i) {
        const Case c = random_case(random, 1 + i % 3, 1 + i % 7, 1 + i % 4);
        for (const double limit : {kInfinity, 60.0, 25.0, 1.0}) {
            const Result r = solved(c, limit, i % 2 == 0 ? 0 : 2000);
            check_is_a_schedule(c, r);
            CHECK(r.makespan_bound <= r.makespan);
            CHECK(r.makespan > limit || r.energy_bound <= r.energy);
        }
    }
}

void the_heuristic_is_never_better_than_what_is_proved() {
    std::mt19937 random(2);
    int proved = 0, equal = 0;
    for (int i = 0; i < 200; ++i) {
        const Case c = random_case(random, 2, 5, 2);
        const double limit = 30.0 + i % 40;
        const Result quick = solved(c, limit, 0);
        const Result exact = solved(c, limit, 200000);
        check_is_a_schedule(c, exact);
        CHECK((quick.makespan <= limit) <= (exact.makespan <= limit));
        if (exact.makespan <= limit) {
            CHECK(exact.energy_bound == exact.energy);
            CHECK(quick.makespan > limit || quick.energy >= exact.energy);
            CHECK(quick.energy_bound <= exact.energy * (1 + 1e-12));
            ++proved;
            equal += quick.makespan <= limit && quick.energy == exact.energy ? 1 : 0;
        } else {
            CHECK(exact.makespan_bound == exact.makespan);
            CHECK(exact.energy_bound == kInfinity);
            CHECK(quick.makespan >= exact.makespan);
        }
    }
    CHECK(proved > 100);
    CHECK(equal > proved / 2);
}

void what_cannot_run_has_no_schedule() {
    Case c{1, 2, 1, {1.0, kInfinity}, {1.0, 1.0}, {0, 1}, {0}};
    Result r = solved(c, 10.0, 0);
    CHECK(r.makespan == kInfinity && r.energy == kInfinity && r.assignment[0] == -1);
    c.points[0] = -1;
    c.cycles[1] = 1.0;
    r = solved(c, 10.0, 0);
    CHECK(r.makespan == kInfinity);
    c.layers = {-1, -1};
    r = solved(c, 10.0, 100);
    CHECK(r.makespan == 0.0 && r.energy == 0.0);
}

void bad_arguments_are_errors() {
    Case c{1, 1, 1, {1.0}, {1.0}, {0}, {0}};
    CHECK_THROWS(solved(c, 0.0, 0), std::invalid_argument);
    CHECK_THROWS(solved(c, std::nan(""), 0), std::invalid_argument);
    c.points[0] = 1;
    CHECK_THROWS(solved(c, 1.0, 0), std::invalid_argument);
    c.points[0] = 0;
    c.layers[0] = 1;
    CHECK_THROWS(solved(c, 1.0, 0), std::invalid_argument);
    c.layers[0] = 0;
    c.cycles[0] = -1.0;
    CHECK_THROWS(solved(c, 1.0, 0), std::invalid_argument);
}

}  // namespace

int main() {
    schedules_keep_order_and_do_not_overlap();
    the_heuristic_is_never_better_than_what_is_proved();
    what_cannot_run_has_no_schedule();
    bad_arguments_are_errors();
    return REPORT();
}
