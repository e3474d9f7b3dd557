// Graph keys: what must agree, what must differ, and a fixed value.
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "hwnas/canonical_key.hpp"

using namespace hwnas;

namespace {

struct Graph {
    std::vector<std::string> labels;
    std::vector<GraphEdge> edges;
    std::vector<std::int32_t> outputs;
};

GraphKey key(const Graph& graph) {
    return canonical_key({graph.labels.begin(), graph.labels.end()}, graph.edges, graph.outputs);
}

Graph shuffle(const Graph& graph, std::mt19937& rng) {
    std::vector<std::int32_t> to(graph.labels.size());
    std::iota(to.begin(), to.end(), 0);
    std::shuffle(to.begin(), to.end(), rng);
    Graph shuffled{std::vector<std::string>(to.size()), {}, {}};
    for (std::size_t v = 0; v < to.size(); ++v) {
        shuffled.labels[static_cast<std::size_t>(to[v])] = graph.labels[v];
    }
    const auto map = [&to](std::int32_t v) { return to[static_cast<std::size_t>(v)]; };
    for (const GraphEdge& e : graph.edges) {
        shuffled.edges.push_back({map(e.source), map(e.destination), e.slot});
    }
    std::shuffle(shuffled.edges.begin(), shuffled.edges.end(), rng);
    for (std::int32_t output : graph.outputs) shuffled.outputs.push_back(map(output));
    return shuffled;
}

void test_node_and_edge_order_do_not_matter() {
    std::mt19937 rng(1);
    for (int trial = 0; trial < 200; ++trial) {
        Graph graph;
        const auto nodes = static_cast<std::int32_t>(1 + rng() % 30);
        for (std::int32_t v = 0; v < nodes; ++v) {
            graph.labels.push_back(rng() % 2 ? "Add" : "a convolution with a long label");
            for (std::int32_t slot = 0; v > 0 && slot < static_cast<std::int32_t>(rng() % 3);
                 ++slot) {
                graph.edges.push_back(
                    {static_cast<std::int32_t>(rng() % static_cast<unsigned>(v)), v, slot});
            }
        }
        graph.outputs.push_back(static_cast<std::int32_t>(rng() % static_cast<unsigned>(nodes)));

        CHECK(key(graph) == key(shuffle(graph, rng)));
    }
}

void test_each_difference_shows() {
    const Graph base{{"x", "y", "Sub", "Relu"}, {{0, 2, 0}, {1, 2, 1}, {2, 3, 0}}, {3, 2}};
    std::vector<Graph> graphs = {base};
    graphs.push_back({{"x", "y", "Add", "Relu"}, base.edges, base.outputs});
    graphs.push_back({base.labels, {{1, 2, 0}, {0, 2, 1}, {2, 3, 0}}, base.outputs});
    graphs.push_back({base.labels, {{0, 2, 0}, {1, 2, 2}, {2, 3, 0}}, base.outputs});
    graphs.push_back({base.labels, {{0, 2, 0}, {1, 2, 1}, {1, 3, 0}}, base.outputs});
    graphs.push_back({base.labels, base.edges, {2, 3}});
    graphs.push_back({base.labels, base.edges, {3}});
    graphs.push_back({{"x", "y", "Sub", "Relu", "Dead"}, base.edges, base.outputs});
    graphs.push_back({{"x", "y", "Sub", "Relu", "Dead", "Dead"}, base.edges, base.outputs});
    graphs.push_back({{"x", "y", "Sub", "Relu", "Dead"},
                      {{0, 2, 0}, {1, 2, 1}, {2, 3, 0}, {0, 4, 0}},
                      base.outputs});
    // x shared by both inputs of Add, or present twice.
    graphs.push_back({{"x", "Add"}, {{0, 1, 0}, {0, 1, 1}}, {1}});
    graphs.push_back({{"x", "x", "Add"}, {{0, 2, 0}, {1, 2, 1}}, {2}});
    graphs.push_back({{}, {}, {}});
    for (std::size_t i = 0; i < graphs.size(); ++i) {
        for (std::size_t k = 0; k < i; ++k) CHECK(key(graphs[i]) != key(graphs[k]));
    }
}

// Dead regular pieces that colour refinement alone confuses: one ring of six pairs, and two rings
// of three.
void test_dead_rings_of_different_length_differ() {
    const auto rings = [](std::int32_t count, std::int32_t length) {
        Graph graph;
        for (std::int32_t r = 0; r < count; ++r) {
            const std::int32_t first = 2 * r * length;
            for (std::int32_t i = 0; i < length; ++i) {
                graph.labels.insert(graph.labels.end(), {"x", "Add"});
                graph.edges.push_back({first + 2 * i, first + 2 * i + 1, 0});
                graph.edges.push_back({first + 2 * ((i + 1) % length), first + 2 * i + 1, 1});
            }
        }
        // A source that all sinks read keeps the rings in one piece.
        const auto tie = static_cast<std::int32_t>(graph.labels.size());
        graph.labels.push_back("shared");
        for (std::int32_t v = 1; v < tie; v += 2) graph.edges.push_back({tie, v, 2});
        return graph;
    };
    CHECK(key(rings(1, 6)) != key(rings(2, 3)));
    std::mt19937 rng(2);
    CHECK(key(rings(2, 3)) == key(shuffle(rings(2, 3), rng)));
}

void test_bad_graphs_are_rejected() {
    const auto message = [](const Graph& graph) {
        try {
            key(graph);
        } catch (const std::invalid_argument& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    const std::vector<std::string> labels = {"a", "b", "c"};
    CHECK(message({labels, {{0, 3, 0}}, {}}).find("node 3") != std::string::npos);
    CHECK(message({labels, {{-1, 0, 0}}, {}}).find("node -1") != std::string::npos);
    CHECK(message({labels, {}, {7}}).find("node 7") != std::string::npos);
    CHECK(message({labels, {{0, 1, -1}}, {}}).find("node 1") != std::string::npos);
    CHECK(message({labels, {{0, 2, 0}, {1, 2, 0}}, {}}).find("node 2") != std::string::npos);
    CHECK(message({labels, {{1, 1, 0}}, {}}).find("node 1") != std::string::npos);
    const std::string cycle = message({labels, {{0, 1, 0}, {1, 2, 0}, {2, 1, 1}}, {2}});
    CHECK(cycle.find("node 1") != std::string::npos || cycle.find("node 2") != std::string::npos);
}

// Keys are stored in cost tables: a change of this value makes every stored table useless.
void test_the_key_of_a_known_graph_never_changes() {
    const Graph graph{
        {"x", "Conv 3x3 float32", "Relu", "Dead"}, {{0, 1, 0}, {1, 2, 0}, {1, 3, 0}}, {2}};
    std::string text;
    for (std::uint8_t byte : key(graph)) {
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02x", byte);
        text += digits;
    }
    CHECK(text == "869ef8394d41af7c2810d73f6354cf17");
}

}  // namespace

int main() {
    test_node_and_edge_order_do_not_matter();
    test_each_difference_shows();
    test_dead_rings_of_different_length_differ();
    test_bad_graphs_are_rejected();
    test_the_key_of_a_known_graph_never_changes();
    return REPORT();
}
