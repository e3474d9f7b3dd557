// SlotTable against the definition of its result, on every instruction set of this machine.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "hwnas/slot_table.hpp"

using namespace hwnas;

namespace {

std::vector<InstructionSet> available_sets() {
    std::vector<InstructionSet> sets;
    for (const char* name : {"scalar", "avx2", "avx512"}) {
        try {
            sets.push_back(parse_instruction_set(name));
        } catch (const std::invalid_argument&) {
        }
    }
    return sets;
}

// The population without a byte to spare behind it, so that a sanitizer sees a read beyond the
// end.
struct Population {
    std::size_t n;
    std::vector<std::uint8_t> options;
};

Population sample(const std::vector<std::uint8_t>& counts, std::size_t n, std::mt19937& rng) {
    Population population{n, {}};
    for (std::size_t i = 0; i < n; ++i) {
        for (std::uint8_t count : counts) {
            population.options.push_back(static_cast<std::uint8_t>(rng() % count));
        }
    }
    population.options.shrink_to_fit();
    return population;
}

SlotCosts random_costs(std::vector<std::uint8_t> counts,
                       std::vector<std::vector<std::uint32_t>> blocks,
                       std::vector<Reduction> reductions, double lowest, std::mt19937& rng) {
    SlotCosts costs;
    std::uniform_real_distribution<double> draw(lowest, 1.0);
    for (const auto& decisions : blocks) {
        std::size_t slots = 1;
        for (std::uint32_t decision : decisions) slots *= counts[decision];
        std::vector<double> block(slots * reductions.size());
        for (double& value : block) value = draw(rng);
        costs.block_costs.push_back(block);
    }
    for (std::size_t j = 0; j < reductions.size(); ++j) costs.constant.push_back(draw(rng));
    costs.option_counts = std::move(counts);
    costs.block_decisions = std::move(blocks);
    costs.reductions = std::move(reductions);
    return costs;
}

double expected(const SlotCosts& costs, const std::uint8_t* x, std::size_t metric) {
    const std::size_t m = costs.constant.size();
    double value = costs.constant[metric];
    for (std::size_t b = 0; b < costs.block_costs.size(); ++b) {
        std::size_t slot = 0;
        for (std::uint32_t decision : costs.block_decisions[b]) {
            slot = slot * costs.option_counts[decision] + x[decision];
        }
        const double cost = costs.block_costs[b][slot * m + metric];
        if (costs.reductions[metric] == Reduction::sum) {
            value += cost;
        } else if (std::isnan(cost) || std::isnan(value)) {
            value = std::numeric_limits<double>::quiet_NaN();
        } else {
            value = std::fmax(value, cost);
        }
    }
    return value;
}

// Every instruction set and thread count gives the same bits, and these are right.
void check_costs(const SlotCosts& costs, const Population& population) {
    const std::size_t d = costs.option_counts.size(), m = costs.constant.size();
    std::vector<float> first;
    for (InstructionSet set : available_sets()) {
        const SlotTable table(costs, set);
        for (int threads : {1, 2, 3}) {
            std::vector<float> out(population.n * m, -1.0f);
            table.cost(population.options.data(), population.n, out.data(), threads);
            if (first.empty()) first = out;
            CHECK(out.empty() || std::memcmp(out.data(), first.data(), out.size() * 4) == 0);
        }
    }
    for (std::size_t i = 0; i < population.n; ++i) {
        for (std::size_t j = 0; j < m; ++j) {
            const double wanted = expected(costs, population.options.data() + i * d, j);
            if (std::isnan(wanted)) {
                CHECK(std::isnan(first[i * m + j]));
            } else {
                CHECK_NEAR(first[i * m + j], wanted, 1e-6 * std::fabs(wanted) + 1e-6);
            }
        }
    }
}

std::vector<std::vector<std::uint32_t>> one_block_each(std::uint32_t d) {
    std::vector<std::vector<std::uint32_t>> blocks;
    for (std::uint32_t c = 0; c < d; ++c) blocks.push_back({c});
    return blocks;
}

void test_chain_of_single_decisions() {
    std::mt19937 rng(1);
    std::vector<std::uint8_t> counts(21, 7);
    counts[4] = 6;
    for (std::size_t m = 1; m <= 8; ++m) {
        const auto costs = random_costs(counts, one_block_each(21),
                                        std::vector<Reduction>(m, Reduction::sum), 0, rng);
        check_costs(costs, sample(counts, 333, rng));
    }
}

void test_blocks_that_share_a_decision() {
    std::mt19937 rng(2);
    std::vector<std::uint8_t> counts(46, 3);
    counts[0] = 25;
    std::vector<std::vector<std::uint32_t>> blocks = {{0}};
    for (std::uint32_t unit = 0; unit < 5; ++unit) {
        for (std::uint32_t b = 0; b < 4; ++b) {
            const std::uint32_t kernel = 6 + 8 * unit + 2 * b;
            if (b < 2)
                blocks.push_back({0, kernel, kernel + 1});
            else
                blocks.push_back({0, 1 + unit, kernel, kernel + 1});
        }
    }
    const auto costs = random_costs(counts, blocks, {Reduction::sum, Reduction::sum}, 0, rng);
    const SlotTable table(costs, detect_instruction_set());
    CHECK(table.n_groups() < blocks.size());
    CHECK(table.n_blocks() == blocks.size());
    CHECK(table.n_decisions() == 46);
    CHECK(table.n_metrics() == 2);
    check_costs(costs, sample(counts, 20000, rng));
}

void test_random_spaces() {
    std::mt19937 rng(3);
    for (int trial = 0; trial < 200; ++trial) {
        const std::uint32_t d = rng() % 5 == 0 ? 60 + rng() % 240 : rng() % 24;
        std::vector<std::uint8_t> counts;
        for (std::uint32_t c = 0; c < d; ++c) {
            counts.push_back(static_cast<std::uint8_t>(rng() % 20 == 0 ? 255 : 1 + rng() % 9));
        }
        std::vector<std::vector<std::uint32_t>> blocks;
        for (std::uint32_t b = rng() % 40; b > 0; --b) {
            std::vector<std::uint32_t> decisions;
            std::size_t slots = 1;
            for (std::uint32_t k = d == 0 ? 0 : rng() % 6; k > 0; --k) {
                const std::uint32_t c = rng() % d;
                bool seen = false;
                for (std::uint32_t other : decisions) seen = seen || other == c;
                if (seen || slots * counts[c] > 5000) continue;
                slots *= counts[c];
                decisions.push_back(c);
            }
            blocks.push_back(decisions);
        }
        std::vector<Reduction> reductions;
        for (std::size_t m = 1 + rng() % 8; m > 0; --m) {
            reductions.push_back(rng() % 3 ? Reduction::sum : Reduction::max);
        }
        auto costs = random_costs(counts, blocks, reductions, trial % 2 ? -1.0 : 0.0, rng);
        if (trial % 5 == 0) {
            for (auto& block : costs.block_costs) {
                block[rng() % block.size()] = std::numeric_limits<double>::quiet_NaN();
            }
        }
        check_costs(costs, sample(counts, rng() % 200, rng));
    }
}

void test_large_block() {
    std::mt19937 rng(4);
    const std::vector<std::uint8_t> counts = {10, 10, 10, 10, 2, 2, 2, 7};
    const auto costs =
        random_costs(counts, {{0, 1, 2, 3, 4, 5, 6}, {7}, {4, 7}, {}}, {Reduction::sum}, 0, rng);
    check_costs(costs, sample(counts, 1000, rng));
}

void test_no_block_and_no_decision() {
    std::mt19937 rng(5);
    const auto costs = random_costs({}, {}, {Reduction::sum, Reduction::max}, 0, rng);
    check_costs(costs, Population{5, {}});
    check_costs(costs, Population{0, {}});
}

void test_option_out_of_range_is_named() {
    std::mt19937 rng(6);
    const std::vector<std::uint8_t> counts(70, 5);
    const auto costs =
        random_costs(counts, one_block_each(70), {Reduction::sum, Reduction::sum}, 0, rng);
    for (InstructionSet set : available_sets()) {
        const SlotTable table(costs, set);
        for (std::size_t row : {0u, 17u, 63u, 64u, 999u}) {
            Population population = sample(counts, 1000, rng);
            population.options[row * 70 + 69] = 5;
            std::vector<float> out(2000);
            std::string message;
            try {
                table.cost(population.options.data(), 1000, out.data(), 1);
            } catch (const std::invalid_argument& error) {
                message = error.what();
            }
            CHECK(message.find("row " + std::to_string(row) + ", column 69: 5,") !=
                  std::string::npos);
            std::vector<std::uint32_t> slots(70000);
            CHECK_THROWS(table.slots(population.options.data(), 1000, slots.data()),
                         std::invalid_argument);
        }
    }
}

void test_slots_are_in_c_order() {
    const SlotCosts costs = {{2, 3},
                             {{0, 1}, {1, 0}, {}},
                             {std::vector<double>(6), std::vector<double>(6), {0}},
                             {0},
                             {Reduction::sum}};
    const SlotTable table(costs, InstructionSet::scalar);
    const std::uint8_t population[] = {1, 0, 1, 2};
    std::uint32_t slots[6];
    table.slots(population, 2, slots);
    const std::uint32_t wanted[] = {3, 1, 0, 5, 5, 0};
    CHECK(std::memcmp(slots, wanted, sizeof slots) == 0);
}

void test_bad_parts_are_rejected() {
    const auto scalar = InstructionSet::scalar;
    const std::vector<Reduction> sum = {Reduction::sum};
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK_THROWS(SlotTable({{2}, {{1}}, {{0, 0}}, {0}, sum}, scalar), std::invalid_argument);
    CHECK_THROWS(SlotTable({{2}, {{0}}, {{0}}, {0}, sum}, scalar), std::invalid_argument);
    CHECK_THROWS(SlotTable({{2}, {{0, 0}}, {{0, 0, 0, 0}}, {0}, sum}, scalar),
                 std::invalid_argument);
    CHECK_THROWS(SlotTable({{0}, {}, {}, {0}, sum}, scalar), std::invalid_argument);
    CHECK_THROWS(SlotTable({{2}, {}, {{0, 0}}, {0}, sum}, scalar), std::invalid_argument);
    CHECK_THROWS(SlotTable({{2}, {}, {}, {}, {}}, scalar), std::invalid_argument);
    CHECK_THROWS(SlotTable({{2}, {}, {}, {0}, {}}, scalar), std::invalid_argument);
    CHECK_THROWS(SlotTable({{2}, {{0}}, {{0, infinity}}, {0}, sum}, scalar),
                 std::invalid_argument);
    CHECK_THROWS(SlotTable({{2}, {{0}}, {{0, 1e300}}, {0}, sum}, scalar), std::invalid_argument);
    const std::vector<std::uint8_t> wide(40, 255);
    std::vector<std::uint32_t> all;
    for (std::uint32_t c = 0; c < 40; ++c) all.push_back(c);
    CHECK_THROWS(SlotTable({wide, {all}, {{0}}, {0}, sum}, scalar), std::invalid_argument);
    CHECK_THROWS(parse_instruction_set("neon"), std::invalid_argument);
    const SlotTable table({{2}, {}, {}, {0}, sum}, scalar);
    CHECK_THROWS(table.cost(nullptr, 0, nullptr, 0), std::invalid_argument);
}

}  // namespace

int main() {
    test_chain_of_single_decisions();
    test_blocks_that_share_a_decision();
    test_random_spaces();
    test_large_block();
    test_no_block_and_no_decision();
    test_option_out_of_range_is_named();
    test_slots_are_in_c_order();
    test_bad_parts_are_rejected();
    return REPORT();
}
