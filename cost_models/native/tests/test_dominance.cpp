#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "hwnas/dominance.hpp"

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<std::int32_t> sorted(const std::vector<double>& objectives, std::size_t m,
                                 const std::vector<double>& violation = {}) {
    std::vector<std::int32_t> ranks(objectives.size() / m);
    hwnas::non_dominated_sort(objectives.data(), violation.empty() ? nullptr : violation.data(),
                              ranks.size(), m, ranks.data());
    return ranks;
}

// Ranks from the definition: peel off what nothing left dominates.
std::vector<std::int32_t> peeled(const std::vector<double>& objectives, std::size_t m) {
    const std::size_t n = objectives.size() / m;
    std::vector<std::int32_t> ranks(n, -1);
    for (std::int32_t rank = 0, left = static_cast<std::int32_t>(n); left > 0; ++rank) {
        std::vector<std::size_t> front;
        for (std::size_t i = 0; i < n; ++i) {
            bool dominated = ranks[i] >= 0;
            for (std::size_t k = 0; k < n && !dominated; ++k) {
                bool no_worse = ranks[k] < 0;
                bool better = false;
                for (std::size_t j = 0; j < m; ++j) {
                    no_worse = no_worse && objectives[k * m + j] <= objectives[i * m + j];
                    better = better || objectives[k * m + j] < objectives[i * m + j];
                }
                dominated = no_worse && better;
            }
            if (!dominated) {
                front.push_back(i);
            }
        }
        for (const std::size_t i : front) {
            ranks[i] = rank;
            --left;
        }
    }
    return ranks;
}

// Small integers, so that ties and duplicates are common.
std::vector<double> grid(std::size_t count, std::uint32_t seed) {
    std::vector<double> values(count);
    for (double& value : values) {
        seed = seed * 1664525U + 1013904223U;
        value = static_cast<double>(seed >> 29);
    }
    return values;
}

void ranks_follow_the_definition() {
    for (std::size_t m = 1; m <= 5; ++m) {
        for (std::uint32_t seed = 0; seed < 20; ++seed) {
            const std::vector<double> objectives = grid(60 * m, seed);
            CHECK(sorted(objectives, m) == peeled(objectives, m));
        }
    }
}

void feasible_rows_come_first() {
    using Ranks = std::vector<std::int32_t>;
    const std::vector<double> objectives = {9, 9, 0, 0, 1, 1, kNan, kNan};
    CHECK((sorted(objectives, 2, {0, 2, 1, 1}) == Ranks{0, 2, 1, 1}));
    CHECK((sorted(objectives, 2, {-1, kNan, 0.5, 0}) == Ranks{0, 2, 1, 2}));
}

void crowding_is_the_gap_over_the_range() {
    const std::vector<double> objectives = {0, 4, 1, 2, 4, 0, 1, 2, 5, 5};
    const std::vector<std::int32_t> ranks = {0, 0, 0, 0, 1};
    std::vector<double> distance(5);
    hwnas::crowding_distance(objectives.data(), ranks.data(), 5, 2, distance.data());
    CHECK((distance == std::vector<double>{kInfinity, 2.0, kInfinity, 0.0, kInfinity}));
}

void survivors_keep_the_boundary() {
    const std::vector<double> objectives = {0, 4, 1, 3, 1.1, 2.9, 4, 0, 9, 9};
    const hwnas::Survivors kept = hwnas::nsga2_survive(objectives.data(), nullptr, 5, 2, 3);
    CHECK((kept.indices == std::vector<std::int32_t>{0, 3, 2}));
    CHECK((kept.ranks == std::vector<std::int32_t>{0, 0, 0}));
    CHECK(hwnas::nsga2_survive(objectives.data(), nullptr, 5, 2, 50).indices.size() == 5);
    CHECK(hwnas::nsga2_survive(objectives.data(), nullptr, 0, 2, 3).indices.empty());
}

void no_objectives_is_an_error() {
    std::int32_t rank = 0;
    CHECK_THROWS(hwnas::non_dominated_sort(nullptr, nullptr, 1, 0, &rank), std::invalid_argument);
}

}  // namespace

int main() {
    ranks_follow_the_definition();
    feasible_rows_come_first();
    crowding_is_the_gap_over_the_range();
    survivors_keep_the_boundary();
    no_objectives_is_an_error();
    return REPORT();
}
