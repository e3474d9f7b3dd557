#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "hwnas/row_set.hpp"
#include "hwnas/variation.hpp"

namespace {

using Rows = std::vector<std::uint8_t>;
constexpr std::array<std::uint64_t, 4> kSeed = {1, 2, 3, 4};

Rows varied(const Rows& population, std::size_t d, const std::vector<std::int32_t>& ranks,
            const Rows& option_counts, const hwnas::Variation& variation, std::size_t count) {
    const std::vector<double> crowding(ranks.size(), 1.0);
    Rows children(count * d);
    hwnas::vary(population.data(), ranks.data(), crowding.data(), ranks.size(), d,
                option_counts.data(), kSeed, variation, count, children.data());
    return children;
}

void random_words_are_those_of_the_reference() {
    // First outputs of the authors' xoshiro256starstar.c for the state 1, 2, 3, 4.
    hwnas::RandomWords words(kSeed);
    CHECK(words.next() == 11520ULL);
    CHECK(words.next() == 0ULL);
    CHECK(words.next() == 1509978240ULL);
    CHECK(words.next() == 1215971899390074240ULL);
    CHECK_THROWS(hwnas::RandomWords({0, 0, 0, 0}), std::invalid_argument);
}

void without_crossover_and_mutation_children_copy_parents() {
    hwnas::Variation variation;
    variation.crossover_probability = 0;
    const Rows children = varied({0, 1, 1, 0}, 2, {0, 5}, {2, 2}, variation, 200);
    int of_the_better = 0;
    for (std::size_t i = 0; i < 200; ++i) {
        CHECK(children[2 * i] != children[2 * i + 1]);
        of_the_better += children[2 * i] == 0 ? 1 : 0;
    }
    // Expected 3 of 4, standard deviation 6.
    CHECK(of_the_better > 120 && of_the_better < 180);
}

void certain_mutation_changes_every_decision_that_has_a_choice() {
    hwnas::Variation variation;
    variation.mutation_probability = 1;
    const Rows children = varied({3, 0, 1}, 3, {0}, {255, 1, 2}, variation, 500);
    for (std::size_t i = 0; i < 500; ++i) {
        CHECK(children[3 * i] != 3 && children[3 * i] < 255);
        CHECK(children[3 * i + 1] == 0);
        CHECK(children[3 * i + 2] == 0);
    }
}

void no_child_equals_its_only_parent_unless_mutation_is_off() {
    hwnas::Variation variation;
    variation.mutation_probability = 1e-9;
    const Rows children = varied({3, 0, 1}, 3, {0}, {5, 1, 2}, variation, 500);
    for (std::size_t i = 0; i < 500; ++i) {
        CHECK((children[3 * i] != 3) != (children[3 * i + 2] != 1));
    }
    CHECK(varied({0}, 1, {0}, {1}, variation, 1) == Rows{0});
}

void two_point_crossover_takes_one_stretch() {
    hwnas::Variation variation;
    variation.crossover = hwnas::Crossover::kTwoPoint;
    variation.crossover_probability = 1;
    constexpr std::size_t d = 70;
    Rows population(2 * d, 0);
    std::fill(population.begin() + d, population.end(), std::uint8_t{1});
    const Rows children = varied(population, d, {0, 0}, Rows(d, 2), variation, 300);
    for (std::size_t i = 0; i < 300; ++i) {
        int changes = 0;
        for (std::size_t j = 1; j < d; ++j) {
            changes += children[i * d + j] != children[i * d + j - 1] ? 1 : 0;
        }
        CHECK(changes <= 2);
    }
}

void bad_arguments_are_errors() {
    hwnas::Variation variation;
    CHECK_THROWS(varied({}, 2, {}, {2, 2}, variation, 1), std::invalid_argument);
    CHECK_THROWS(varied({0, 0}, 2, {0}, {2, 0}, variation, 1), std::invalid_argument);
    variation.mutation_probability = 1.5;
    CHECK_THROWS(varied({0, 0}, 2, {0}, {2, 2}, variation, 1), std::invalid_argument);
}

void a_row_set_holds_each_row_once_and_in_order() {
    for (const std::size_t width : {1, 7, 8, 9, 21}) {
        hwnas::RowSet set(width);
        Rows row(width, 0);
        CHECK(set.find(row.data()) == -1);
        for (int value = 0; value < 200; ++value) {
            row[width - 1] = static_cast<std::uint8_t>(value);
            CHECK(set.insert(row.data()));
            CHECK(!set.insert(row.data()));
            CHECK(set.find(row.data()) == value);
        }
        CHECK(set.size() == 200);
        CHECK(set.data()[width - 1] == 0 && set.data()[199 * width + width - 1] == 199);
    }
    hwnas::RowSet set(2);
    const Rows rows = {1, 1, 1, 1, 2, 2, 3, 3, 4, 4};
    std::vector<bool> fresh;
    const auto note = [&fresh](std::size_t, bool added) { fresh.push_back(added); };
    set.insert(rows.data(), 5, 2, note);
    CHECK((fresh == std::vector<bool>{true, false, true}));
    set.insert(rows.data(), 5, 0, note);
    set.insert(rows.data(), 0, 5, note);
    CHECK(set.size() == 2 && fresh.size() == 3);
    CHECK_THROWS(hwnas::RowSet(0), std::invalid_argument);
}

}  // namespace

int main() {
    random_words_are_those_of_the_reference();
    without_crossover_and_mutation_children_copy_parents();
    certain_mutation_changes_every_decision_that_has_a_choice();
    no_child_equals_its_only_parent_unless_mutation_is_off();
    two_point_crossover_takes_one_stretch();
    bad_arguments_are_errors();
    a_row_set_holds_each_row_once_and_in_order();
    return REPORT();
}
