// Conditional decisions: chains, errors, idempotence.
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "hwnas/canonicalise.hpp"

using namespace hwnas;

namespace {

void test_an_inactive_decision_becomes_zero() {
    const std::vector<std::uint8_t> counts = {2, 3};
    std::vector<std::uint8_t> active(2 * kActiveOptions, 0);
    active[kActiveOptions + 1] = 1;
    std::vector<std::uint8_t> population = {0, 2, 1, 2, 0, 0};

    canonicalise(population.data(), 3, counts, {-1, 0}, active.data());

    CHECK((population == std::vector<std::uint8_t>{0, 0, 1, 2, 0, 0}));
}

void test_a_child_of_an_inactive_decision_is_inactive() {
    // Option 0 of column 1 activates column 2, but column 1 itself is inactive under option 0 of
    // column 0.
    const std::vector<std::uint8_t> counts = {2, 2, 2};
    std::vector<std::uint8_t> active(3 * kActiveOptions, 0);
    active[kActiveOptions + 1] = 1;
    active[2 * kActiveOptions + 0] = 1;
    std::vector<std::uint8_t> population = {0, 1, 1, 1, 0, 1, 1, 1, 1};

    canonicalise(population.data(), 3, counts, {-1, 0, 1}, active.data());

    CHECK((population == std::vector<std::uint8_t>{0, 0, 0, 1, 0, 1, 1, 1, 0}));
}

void test_a_second_call_changes_nothing() {
    std::mt19937 rng(1);
    for (int trial = 0; trial < 50; ++trial) {
        const std::size_t d = rng() % 80, n = rng() % 200;
        std::vector<std::uint8_t> counts, population;
        std::vector<std::int32_t> parents;
        for (std::size_t c = 0; c < d; ++c) {
            counts.push_back(static_cast<std::uint8_t>(1 + rng() % 255));
            parents.push_back(static_cast<std::int32_t>(rng() % (c + 1)) - 1);
        }
        std::vector<std::uint8_t> active(d * kActiveOptions);
        for (auto& value : active) value = static_cast<std::uint8_t>(rng() % 3);
        for (std::size_t i = 0; i < n * d; ++i) {
            population.push_back(static_cast<std::uint8_t>(rng() % counts[i % d]));
        }

        canonicalise(population.data(), n, counts, parents, active.data());
        const auto once = population;
        canonicalise(population.data(), n, counts, parents, active.data());

        CHECK(population == once);
    }
}

void test_errors_name_the_place() {
    std::vector<std::uint8_t> active(2 * kActiveOptions, 1);
    std::vector<std::uint8_t> population(2 * 100, 0);
    CHECK_THROWS(canonicalise(population.data(), 100, {2, 2}, {1, -1}, active.data()),
                 std::invalid_argument);
    CHECK_THROWS(canonicalise(population.data(), 100, {2, 2}, {-1, -2}, active.data()),
                 std::invalid_argument);
    CHECK_THROWS(canonicalise(population.data(), 100, {2, 0}, {-1, 0}, active.data()),
                 std::invalid_argument);
    CHECK_THROWS(canonicalise(population.data(), 100, {2, 2}, {-1}, active.data()),
                 std::invalid_argument);
    population[2 * 99 + 1] = 2;
    std::string message;
    try {
        canonicalise(population.data(), 100, {2, 2}, {-1, 0}, active.data());
    } catch (const std::invalid_argument& error) {
        message = error.what();
    }
    CHECK(message.find("row 99, column 1: 2,") != std::string::npos);
}

}  // namespace

int main() {
    test_an_inactive_decision_becomes_zero();
    test_a_child_of_an_inactive_decision_is_inactive();
    test_a_second_call_changes_nothing();
    test_errors_name_the_place();
    return REPORT();
}
