#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "hwnas/hypervolume.hpp"

namespace {

double of(const std::vector<double>& points, const std::vector<double>& reference) {
    return hwnas::hypervolume(points.data(), points.size() / reference.size(), reference.size(),
                              reference.data());
}

void known_answers() {
    CHECK_NEAR(of({}, {1, 1}), 0.0, 0.0);
    CHECK_NEAR(of({0.25}, {1}), 0.75, 0.0);
    CHECK_NEAR(of({0, 0}, {1, 1}), 1.0, 0.0);
    CHECK_NEAR(of({0.25, 0.75, 0.5, 0.5, 0.75, 0.25}, {1, 1}), 0.375, 1e-15);
    CHECK_NEAR(of({0, 0, 0}, {2, 3, 4}), 24.0, 0.0);
    CHECK_NEAR(of({1, 0, 0, 0, 1, 0, 0, 0, 1}, {2, 2, 2}), 7.0, 1e-15);
    CHECK_NEAR(of({1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, {2, 2, 2, 2}), 15.0, 1e-14);
}

void what_is_outside_dominated_or_repeated_adds_nothing() {
    CHECK_NEAR(of({0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 2, -9, 1, 0}, {1, 1}), 0.25, 1e-15);
    CHECK_NEAR(of({0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 2, -9, -9}, {1, 1, 1}), 0.125,
               1e-15);
}

// Volume on the integer grid, cell by cell.
double counted(const std::vector<double>& points, std::size_t m, int side) {
    std::size_t cells = 1;
    for (std::size_t j = 0; j < m; ++j) {
        cells *= static_cast<std::size_t>(side);
    }
    double total = 0;
    for (std::size_t cell = 0; cell < cells; ++cell) {
        bool covered = false;
        for (std::size_t i = 0; i < points.size() / m && !covered; ++i) {
            std::size_t rest = cell;
            bool inside = true;
            for (std::size_t j = 0; j < m; ++j, rest /= side) {
                inside = inside && points[i * m + j] <= static_cast<double>(rest % side);
            }
            covered = inside;
        }
        total += covered ? 1 : 0;
    }
    return total;
}

void every_dimension_counts_the_same_cells() {
    std::uint32_t seed = 7;
    for (std::size_t m = 1; m <= 5; ++m) {
        for (int repeat = 0; repeat < 20; ++repeat) {
            std::vector<double> points(12 * m);
            for (double& value : points) {
                seed = seed * 1664525U + 1013904223U;
                value = static_cast<double>((seed >> 16) % 6);
            }
            CHECK_NEAR(of(points, std::vector<double>(m, 5.0)), counted(points, m, 5), 1e-9);
        }
    }
}

void bad_values_are_errors() {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK_THROWS(of({nan, 0}, {1, 1}), std::invalid_argument);
    CHECK_THROWS(of({0, 0}, {1, infinity}), std::invalid_argument);
    CHECK_THROWS(hwnas::hypervolume(nullptr, 0, 0, nullptr), std::invalid_argument);
}

}  // namespace

int main() {
    known_answers();
    what_is_outside_dominated_or_repeated_adds_nothing();
    every_dimension_counts_the_same_cells();
    bad_values_are_errors();
    return REPORT();
}
