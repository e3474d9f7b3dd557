// Keys of graphs without an order of edges, against permutations and against counts that are
// known.
#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "example_families.hpp"
#include "hwnas/isomorphism_key.hpp"

using namespace hwnas;
using namespace hwnas_test;

namespace {

struct Graph {
    std::vector<std::uint64_t> labels;
    std::vector<ColouredEdge> edges;

    GraphKey key() const { return isomorphism_key(labels, edges); }
};

Graph shuffled(const Graph& graph, std::mt19937& rng) {
    std::vector<std::uint8_t> place(graph.labels.size());
    std::iota(place.begin(), place.end(), std::uint8_t{0});
    std::shuffle(place.begin(), place.end(), rng);
    Graph other{std::vector<std::uint64_t>(place.size()), {}};
    for (std::size_t v = 0; v < place.size(); ++v) other.labels[place[v]] = graph.labels[v];
    for (const ColouredEdge& e : graph.edges) {
        other.edges.push_back({place[e.source], place[e.destination], e.colour});
    }
    std::shuffle(other.edges.begin(), other.edges.end(), rng);
    return other;
}

Graph cycle_of(std::size_t nodes, std::size_t cycles) {
    Graph graph{std::vector<std::uint64_t>(nodes, 1), {}};
    const std::size_t length = nodes / cycles;
    for (std::size_t v = 0; v < nodes; ++v) {
        const std::size_t next = v / length * length + (v + 1) % length;
        graph.edges.push_back({static_cast<std::uint8_t>(v), static_cast<std::uint8_t>(next), 0});
        graph.edges.push_back({static_cast<std::uint8_t>(next), static_cast<std::uint8_t>(v), 0});
    }
    return graph;
}

void test_a_key_outlasts_shuffling() {
    std::mt19937 rng(1);
    for (int turn = 0; turn < 300; ++turn) {
        const std::size_t nodes = 1 + rng() % 20;
        Graph graph{std::vector<std::uint64_t>(nodes), {}};
        for (auto& label : graph.labels) label = rng() % 2;
        for (std::size_t e = rng() % (2 * nodes); e-- > 0;) {
            graph.edges.push_back({static_cast<std::uint8_t>(rng() % nodes),
                                   static_cast<std::uint8_t>(rng() % nodes),
                                   static_cast<std::uint8_t>(rng() % 2)});
        }

        CHECK(graph.key() == shuffled(graph, rng).key());
    }
}

// Colour refinement alone cannot tell these apart.
void test_regular_graphs_are_told_apart() {
    std::mt19937 rng(2);
    const Graph one = cycle_of(12, 1), two = cycle_of(12, 2), four = cycle_of(12, 4);

    CHECK(one.key() != two.key());
    CHECK(two.key() != four.key());
    CHECK(two.key() == shuffled(two, rng).key());
    CHECK(cycle_of(60, 12).key() == shuffled(cycle_of(60, 12), rng).key());
    CHECK(cycle_of(60, 12).key() != cycle_of(60, 15).key());
}

void test_a_large_set_of_equal_nodes_is_keyed() {
    const Graph empty{std::vector<std::uint64_t>(64, 3), {}};
    Graph other = empty;
    other.edges.push_back({5, 9, 0});

    CHECK(empty.key() != other.key());
    CHECK_THROWS(isomorphism_key(std::vector<std::uint64_t>(65, 3), {}), std::invalid_argument);
    CHECK_THROWS(isomorphism_key({1}, {{0, 1, 0}}), std::invalid_argument);
    CHECK_THROWS(isomorphism_key({1}, {{0, 0, 4}}), std::invalid_argument);
}

std::set<GraphKey> keys_of(const GraphFamily& family, const std::vector<std::uint8_t>& population,
                           int threads) {
    const std::size_t n = population.size() / family.n_decisions();
    std::vector<std::uint8_t> bytes(n * 16);
    isomorphism_keys(family, population.data(), n, bytes.data(), threads);
    std::set<GraphKey> keys;
    for (std::size_t i = 0; i < n; ++i) {
        GraphKey key;
        std::copy_n(bytes.data() + 16 * i, 16, key.begin());
        keys.insert(key);
    }
    return keys;
}

// 5,425 was counted with networkx.is_isomorphic on the same reduction (docs/encoding.md).
void test_cells_of_nasbench201_fall_into_their_classes() {
    const GraphFamily family(nasbench201());
    const auto population = enumerate(family.option_counts);

    const std::set<GraphKey> one = keys_of(family, population, 1);

    CHECK(one.size() == 5425);
    CHECK(one == keys_of(family, population, 3));
}

// All graphs on n nodes in topological order, 2^21 of them for seven; classes of directed acyclic
// graphs without labels: 1, 2, 6, 31, 302, 5984, 243668 (OEIS A003087).
void test_acyclic_graphs_are_counted_right() {
    const std::size_t known[] = {1, 2, 6, 31, 302, 5984, 243668};
#if defined(__SANITIZE_ADDRESS__)
    constexpr std::size_t kMostNodes = 6;  // seven take minutes under sanitizers
#else
    constexpr std::size_t kMostNodes = 7;
#endif
    for (std::size_t nodes = 1; nodes <= kMostNodes; ++nodes) {
        const std::size_t pairs = nodes * (nodes - 1) / 2;
        std::set<GraphKey> keys;
        for (std::size_t bits = 0; bits < std::size_t{1} << pairs; ++bits) {
            Graph graph{std::vector<std::uint64_t>(nodes, 1), {}};
            std::size_t bit = 0;
            for (std::uint8_t i = 0; i < nodes; ++i) {
                for (std::uint8_t j = static_cast<std::uint8_t>(i + 1); j < nodes; ++j, ++bit) {
                    if (bits >> bit & 1) graph.edges.push_back({i, j, 0});
                }
            }
            keys.insert(graph.key());
        }
        CHECK(keys.size() == known[nodes - 1]);
    }
}

}  // namespace

int main() {
    test_a_key_outlasts_shuffling();
    test_regular_graphs_are_told_apart();
    test_a_large_set_of_equal_nodes_is_keyed();
    test_cells_of_nasbench201_fall_into_their_classes();
    test_acyclic_graphs_are_counted_right();
    return REPORT();
}
