// One-hot, slot numbers, paths and Weisfeiler-Lehman labels, against their definitions.
#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "example_families.hpp"
#include "hwnas/one_hot.hpp"
#include "hwnas/path_encoding.hpp"
#include "hwnas/slot_numbers.hpp"
#include "hwnas/weisfeiler_lehman.hpp"

using namespace hwnas;
using namespace hwnas_test;

namespace {

constexpr InstructionSet kSets[] = {InstructionSet::scalar, InstructionSet::avx2,
                                    InstructionSet::avx512};

bool is_there(InstructionSet set) {
    try {
        parse_instruction_set(to_string(set));
    } catch (const std::invalid_argument&) {
        return false;
    }
    return true;
}

void test_one_hot_marks_the_chosen_options() {
    const std::vector<std::vector<std::uint8_t>> spaces = {
        {5, 5, 5, 5, 5, 5}, {1}, {2, 255, 3}, {}, {25, 2, 2, 2, 7, 7, 7, 31, 32}};
    for (const auto& counts : spaces) {
        const OneHot encoding(counts);
        for (std::size_t n : {0, 1, 2, 3, 63, 64, 65, 1000}) {
            const auto population = draw(counts, n, 3);
            std::vector<std::uint8_t> wanted(n * encoding.width(), 0),
                found(n * encoding.width() + 1, 7);
            std::size_t at = 0;
            for (std::size_t i = 0; i < population.size(); ++i) {
                wanted[at + population[i]] = 1;
                at += counts[i % counts.size()];
            }

            encoding.encode(population.data(), n, found.data(), 1);

            CHECK(found.back() == 7);
            found.pop_back();
            CHECK(found == wanted);
        }
    }
}

void test_slot_numbers_are_mixed_radix() {
    const std::vector<std::uint8_t> counts = {25,  3,   2, 7, 4, 4, 4, 4, 9,
                                              200, 255, 3, 3, 3, 3, 3, 3, 2};
    std::vector<std::vector<std::uint32_t>> blocks = {
        {}, {0}, {1, 0, 3}, {9, 10}, {17, 16, 15, 0}};
    for (int copies = 0; copies < 9; ++copies) blocks.push_back({2, 5, 6, 7, 8});
    for (int more = 0; more < 2; ++more) {
        for (InstructionSet set : kSets) {
            if (!is_there(set)) continue;
            const SlotNumbers numbers(counts, blocks, set);
            for (std::size_t n : {0, 1, 2, 5, 700}) {
                const auto population = draw(counts, n, 4);
                std::vector<std::uint16_t> wanted, found(n * blocks.size() + 1, 0xabcd);
                for (std::size_t i = 0; i < n; ++i) {
                    for (const auto& decisions : blocks) {
                        std::uint32_t slot = 0;
                        for (std::uint32_t c : decisions) {
                            slot = slot * counts[c] + population[i * counts.size() + c];
                        }
                        wanted.push_back(static_cast<std::uint16_t>(slot));
                    }
                }
                wanted.push_back(0xabcd);

                numbers.encode(population.data(), n, found.data(), 1);

                CHECK(found == wanted);
            }
        }
        for (int copies = 0; copies < 30; ++copies) blocks.push_back({12, 13});
    }
    CHECK_THROWS(SlotNumbers({255, 255, 2}, {{0, 1, 2}}, InstructionSet::scalar),
                 std::invalid_argument);
    CHECK_THROWS(SlotNumbers({2}, {{1}}, InstructionSet::scalar), std::invalid_argument);
}

void test_encoders_find_options_out_of_range() {
    const std::vector<std::uint8_t> counts(6, 5);
    auto population = draw(counts, 1000, 5);
    population[6 * 400 + 2] = 9;
    std::vector<std::uint8_t> bytes(30000);
    std::vector<std::uint16_t> words(1000);

    CHECK_THROWS(OneHot(counts).encode(population.data(), 1000, bytes.data(), 1),
                 std::invalid_argument);
    for (InstructionSet set : kSets) {
        if (!is_there(set)) continue;
        CHECK_THROWS(
            SlotNumbers(counts, {{0}}, set).encode(population.data(), 1000, words.data(), 1),
            std::invalid_argument);
    }
}

// All paths of a cell of NAS-Bench-201, written out.
std::set<std::uint32_t> paths_of_nasbench201(const std::uint8_t* x) {
    const std::uint32_t a = x[0], b = x[1], c = x[2], d = x[3], e = x[4], f = x[5];
    return {d, 5 + a * 5 + e, 5 + b * 5 + f, 30 + a * 25 + c * 5 + f};
}

void test_paths_of_nasbench201_are_those_of_the_cell() {
    const GraphFamily family(nasbench201());
    const PathEncoding paths(family, 1, 3), cut(family, 1, 2);
    const auto population = enumerate(family.option_counts);
    const std::size_t n = population.size() / 6;
    std::vector<std::uint16_t> columns(n * 4), short_columns(n * 4);
    std::vector<std::uint8_t> dense(n * 155), packed(n * 20);

    paths.columns(population.data(), n, columns.data(), 1);
    cut.columns(population.data(), n, short_columns.data(), 2);
    paths.dense(population.data(), n, dense.data(), 1);
    paths.packed(population.data(), n, packed.data(), 1);

    CHECK(paths.width() == 155 && paths.most_paths() == 4 && cut.width() == 30);
    bool agree = true;
    for (std::size_t i = 0; i < n; ++i) {
        std::vector<std::uint16_t> wanted, wanted_short;
        for (std::uint32_t column : paths_of_nasbench201(population.data() + i * 6)) {
            wanted.push_back(static_cast<std::uint16_t>(column));
            if (column < 30) wanted_short.push_back(static_cast<std::uint16_t>(column));
        }
        for (std::uint16_t column = 0; column < 155; ++column) {
            const bool is_one = std::count(wanted.begin(), wanted.end(), column) != 0;
            agree = agree && dense[i * 155 + column] == is_one &&
                    (packed[i * 20 + column / 8] >> column % 8 & 1) == is_one;
        }
        wanted.resize(4, 0xffff);
        wanted_short.resize(4, 0xffff);
        agree = agree && std::equal(wanted.begin(), wanted.end(), columns.data() + i * 4) &&
                std::equal(wanted_short.begin(), wanted_short.end(), short_columns.data() + i * 4);
    }
    CHECK(agree);
}

// Walks a cell of DARTS from the output backwards.
void spell(const std::uint8_t* cell, int node, std::uint32_t word, std::uint32_t place,
           std::set<std::uint32_t>& words) {
    if (node < 2) {
        words.insert(static_cast<std::uint32_t>(node) * 2801 + word);
        return;
    }
    const std::uint8_t* own = cell + 3 * (node - 2);
    int rank = 0;
    for (int i = 0; i < node; ++i) {
        for (int j = i + 1; j < node; ++j, ++rank) {
            if (rank != own[0]) continue;
            spell(cell, i, word + place * (own[1] + 1U), place * 7, words);
            spell(cell, j, word + place * (own[2] + 1U), place * 7, words);
        }
    }
}

void test_paths_of_darts_are_those_of_both_cells() {
    const GraphFamily family(darts());
    const PathEncoding paths(family, 0, 4), cut(family, 0, 2);
    const std::size_t n = 2000;
    const auto population = draw(family.option_counts, n, 6);
    std::vector<std::uint16_t> columns(n * 36), few(n * 36);
    std::vector<std::uint32_t> wide(n * 36);

    paths.columns(population.data(), n, columns.data(), 2);
    paths.columns(population.data(), n, wide.data(), 1);
    cut.columns(population.data(), n, few.data(), 1);

    CHECK(paths.width() == 11204 && paths.most_paths() == 36 && cut.width() == 4 * 57);
    bool agree = true;
    for (std::size_t i = 0; i < n; ++i) {
        std::vector<std::uint16_t> wanted, wanted_few;
        for (std::uint32_t cell = 0; cell < 2; ++cell) {
            std::set<std::uint32_t> words;
            for (int node = 2; node < 6; ++node) {
                spell(population.data() + i * 24 + cell * 12, node, 0, 1, words);
            }
            for (std::uint32_t word : words) {
                wanted.push_back(static_cast<std::uint16_t>(cell * 5602 + word));
                if (word % 2801 < 57) {
                    wanted_few.push_back(
                        static_cast<std::uint16_t>((cell * 2 + word / 2801) * 57 + word % 2801));
                }
            }
        }
        wanted.resize(36, 0xffff);
        wanted_few.resize(36, 0xffff);
        agree = agree && std::equal(wanted.begin(), wanted.end(), columns.data() + i * 36) &&
                std::equal(wanted_few.begin(), wanted_few.end(), few.data() + i * 36);
        for (std::size_t k = 0; k < 36; ++k) {
            const std::uint32_t column = wide[i * 36 + k];
            agree = agree && (column == 0xffffffffU ? 0xffffU : column) == columns[i * 36 + k];
        }
    }
    CHECK(agree);
}

void test_paths_refuse_what_is_too_large() {
    const GraphFamily family(darts());

    CHECK_THROWS(PathEncoding(family, 2, 1), std::invalid_argument);
    CHECK_THROWS(PathEncoding(family, 0, 12), std::invalid_argument);
}

// Labels are equal exactly where the multisets around nodes are, iteration by iteration.
void test_labels_are_equal_where_neighbourhoods_are() {
    const GraphFamily family(darts());
    const std::size_t n = 200, v = family.n_nodes();
    const int iterations = 3;
    const auto population = draw(family.option_counts, n, 7);
    std::vector<std::uint64_t> hashes(n), labels(n * 4 * v);

    weisfeiler_lehman(family, population.data(), n, iterations, hashes.data(), labels.data(), 1,
                      InstructionSet::scalar);

    using Around =
        std::tuple<std::uint64_t, std::multiset<std::uint64_t>, std::multiset<std::uint64_t>>;
    std::map<Around, std::uint64_t> relabelled;
    std::set<std::uint64_t> distinct;
    bool agree = true;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* row = population.data() + i * 24;
        for (int turn = 0; turn < iterations; ++turn) {
            const std::uint64_t* before = labels.data() + (i * 4 + turn) * v;
            std::vector<std::multiset<std::uint64_t>> in(v), out(v);
            for (const GraphFamily::Graph& graph : family.graphs) {
                for (std::uint32_t e = 0; e < graph.edges; ++e) {
                    const auto& edge = family.edges[graph.edge_begin + e];
                    const std::size_t from = graph.node_begin + family.source(edge, row);
                    const std::size_t to = graph.node_begin + edge.destination;
                    in[to].insert(before[from]);
                    out[from].insert(before[to]);
                }
            }
            for (std::size_t j = 0; j < v; ++j) {
                const std::uint64_t after = before[v + j];
                const auto found = relabelled.insert({{before[j], in[j], out[j]}, after});
                agree = agree && found.first->second == after;
                distinct.insert(after);
            }
        }
    }
    CHECK(agree);
    CHECK(distinct.size() == relabelled.size());
}

void test_hashes_do_not_depend_on_instructions_or_threads() {
    for (const FamilyDescription& description : {nasbench201(), darts()}) {
        const GraphFamily family(description);
        const std::size_t n = 10001;
        const auto population = draw(family.option_counts, n, 8);
        std::vector<std::uint64_t> wanted(n);
        weisfeiler_lehman(family, population.data(), n, 3, wanted.data(), nullptr, 1,
                          InstructionSet::scalar);
        for (InstructionSet set : kSets) {
            if (!is_there(set)) continue;
            for (int threads : {1, 2, 5}) {
                std::vector<std::uint64_t> found(n);

                weisfeiler_lehman(family, population.data(), n, 3, found.data(), nullptr, threads,
                                  set);

                CHECK(found == wanted);
            }
        }
    }
}

void test_the_first_bad_row_is_named_whatever_the_threads() {
    const GraphFamily family(nasbench201());
    const std::size_t n = 20000;
    auto population = draw(family.option_counts, n, 9);
    population[6 * 15000] = 77;
    population[6 * 9000 + 1] = 66;
    std::vector<std::uint64_t> hashes(n);
    for (int threads : {1, 4}) {
        std::string text;
        try {
            weisfeiler_lehman(family, population.data(), n, 1, hashes.data(), nullptr, threads,
                              InstructionSet::scalar);
        } catch (const std::invalid_argument& error) {
            text = error.what();
        }
        CHECK(text.find("row 9000, column 1: 66") != std::string::npos);
    }
    CHECK_THROWS(weisfeiler_lehman(family, population.data(), 1, 65, hashes.data(), nullptr, 1,
                                   InstructionSet::scalar),
                 std::invalid_argument);
    CHECK_THROWS(weisfeiler_lehman(family, population.data(), 1, 1, hashes.data(), nullptr, 0,
                                   InstructionSet::scalar),
                 std::invalid_argument);
}

void test_a_histogram_counts_every_node_in_every_turn() {
    const GraphFamily family(nasbench201());
    const auto population = draw(family.option_counts, 50, 10);
    std::vector<std::uint16_t> counts(50 * 3 * 16, 9);

    weisfeiler_lehman_histogram(family, population.data(), 50, 2, 16, counts.data(), 1,
                                InstructionSet::scalar);

    bool full = true;
    for (std::size_t i = 0; i < 150; ++i) {
        int sum = 0;
        for (std::size_t b = 0; b < 16; ++b) sum += counts[i * 16 + b];
        full = full && sum == 8;
    }
    CHECK(full);
}

}  // namespace

int main() {
    test_one_hot_marks_the_chosen_options();
    test_slot_numbers_are_mixed_radix();
    test_encoders_find_options_out_of_range();
    test_paths_of_nasbench201_are_those_of_the_cell();
    test_paths_of_darts_are_those_of_both_cells();
    test_paths_refuse_what_is_too_large();
    test_labels_are_equal_where_neighbourhoods_are();
    test_hashes_do_not_depend_on_instructions_or_threads();
    test_the_first_bad_row_is_named_whatever_the_threads();
    test_a_histogram_counts_every_node_in_every_turn();
    return REPORT();
}
