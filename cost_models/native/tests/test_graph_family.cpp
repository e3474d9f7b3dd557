// Families of graphs: what is refused, tensors, topological order, heaviest paths.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "example_families.hpp"
#include "hwnas/graph_tensors.hpp"
#include "hwnas/longest_paths.hpp"

using namespace hwnas;
using namespace hwnas_test;

namespace {

template <typename Call>
std::string message_of(const Call& call) {
    try {
        call();
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "";
}

bool mentions(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

void test_faults_name_graph_and_node() {
    FamilyDescription backwards = nasbench201();
    backwards.graphs[0].edges.push_back(edge(5, 5));
    FamilyDescription unlabelled = nasbench201();
    unlabelled.graphs[0].nodes[2].values[1] = 7;
    FamilyDescription short_table = nasbench201();
    short_table.graphs[0].nodes[2].values.pop_back();
    FamilyDescription coloured = nasbench201();
    coloured.graphs[0].edges[0].colour = 4;
    FamilyDescription entered = nasbench201();
    entered.graphs[0].edges.push_back({0, 0, {{}, {-1}}});

    CHECK(mentions(message_of([&] { GraphFamily family(backwards); }), "node 5 of graph 0"));
    CHECK(mentions(message_of([&] { GraphFamily family(unlabelled); }), "label 7 of 7"));
    CHECK(mentions(message_of([&] { GraphFamily family(short_table); }), "node 2 of graph 0"));
    CHECK(mentions(message_of([&] { GraphFamily family(coloured); }), "colour 4"));
    CHECK(mentions(message_of([&] { GraphFamily family(entered); }), "an input"));
}

void test_an_option_out_of_range_names_its_row() {
    const GraphFamily family(nasbench201());
    std::vector<std::uint8_t> population = draw(family.option_counts, 100, 1);
    population[77 * 6 + 3] = 5;
    std::vector<std::uint16_t> out(100 * family.n_nodes());

    const std::string text =
        message_of([&] { node_labels(family, population.data(), 100, out.data(), 1); });

    CHECK(mentions(text, "row 77, column 3"));
}

void test_tensors_agree_with_each_other() {
    const GraphFamily family(darts());
    const std::size_t n = 300, v = family.n_nodes(), e = family.n_edges();
    const auto population = draw(family.option_counts, n, 2);
    std::vector<std::uint8_t> matrix(n * v * v);
    std::vector<std::int32_t> edges(n * e * 2), degrees(n * v);

    adjacency(family, population.data(), n, matrix.data(), 3);
    padded_edges(family, population.data(), n, edges.data(), 2);
    in_degrees(family, population.data(), n, degrees.data(), 1);
    std::vector<std::int64_t> begins(n * v + 1, 0);
    for (std::size_t i = 0; i < n * v; ++i) begins[i + 1] = begins[i] + degrees[i];
    std::vector<std::int64_t> sources(static_cast<std::size_t>(begins.back()));
    sparse_sources(family, population.data(), n, begins.data(), sources.data(), 1);

    std::vector<std::uint8_t> from_edges(n * v * v, 0), from_sources(n * v * v, 0);
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t k = 0; k < e; ++k) {
            const std::int32_t* pair = edges.data() + (i * e + k) * 2;
            if (pair[0] >= 0) ++from_edges[(i * v + pair[1]) * v + pair[0]];
        }
        for (std::size_t j = 0; j < v; ++j) {
            for (std::int64_t s = begins[i * v + j]; s < begins[i * v + j + 1]; ++s) {
                ++from_sources[(i * v + j) * v + sources[s] - i * v];
            }
        }
    }
    CHECK(matrix == from_edges);
    CHECK(matrix == from_sources);
}

void test_begins_that_do_not_fit_are_refused() {
    const GraphFamily family(nasbench201());
    const std::vector<std::uint8_t> row(6, 1);
    std::vector<std::int64_t> begins(9, 0), sources(10);

    CHECK_THROWS(sparse_sources(family, row.data(), 1, begins.data(), sources.data(), 1),
                 std::invalid_argument);
}

void test_the_topological_order_takes_the_lowest_number_first() {
    const std::vector<std::int32_t> edges = {3, 1, 2, 1, 1, 0};

    CHECK((topological_order(5, edges.data(), 3) == std::vector<std::int32_t>{2, 3, 1, 0, 4}));
}

void test_a_cycle_is_named() {
    const std::vector<std::int32_t> edges = {0, 1, 1, 2, 2, 1, 2, 3};

    const std::string text = message_of([&] { topological_order(4, edges.data(), 4); });

    CHECK(mentions(text, "cycle through node 1") || mentions(text, "cycle through node 2"));
    CHECK_THROWS(topological_order(1, edges.data(), 1), std::invalid_argument);
}

void test_the_heaviest_path_skips_what_is_not_read() {
    const double never = -std::numeric_limits<double>::infinity();
    const LongestPaths paths({2},
                             {{{}, {}, {0}}, {{}, {0}, {5}}, {{0}, {0, 1}, {1, never, never, 2}}});
    const std::uint8_t population[] = {0, 1};
    double out[2];

    paths.weigh(population, 2, out, 1);

    CHECK_NEAR(out[0], 1.0, 0);
    CHECK_NEAR(out[1], 7.0, 0);
    CHECK_THROWS(LongestPaths({2}, {{{}, {0}, {1}}}), std::invalid_argument);
    CHECK_THROWS(LongestPaths({2}, {{{0}, {}, {1}}}), std::invalid_argument);
    CHECK_THROWS(LongestPaths({2}, {{{}, {}, {std::nan("")}}}), std::invalid_argument);
}

}  // namespace

int main() {
    test_faults_name_graph_and_node();
    test_an_option_out_of_range_names_its_row();
    test_tensors_agree_with_each_other();
    test_begins_that_do_not_fit_are_refused();
    test_the_topological_order_takes_the_lowest_number_first();
    test_a_cycle_is_named();
    test_the_heaviest_path_skips_what_is_not_read();
    return REPORT();
}
