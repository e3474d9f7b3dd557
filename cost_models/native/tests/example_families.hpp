// Families of graphs that the native tests share: the cells of NAS-Bench-201 and of DARTS.
#pragma once

#include <random>
#include <vector>

#include "hwnas/graph_family.hpp"

namespace hwnas_test {

using namespace hwnas;

inline Chosen<std::uint16_t> always(std::uint16_t label) { return {{}, {label}}; }
inline FamilyEdge edge(std::uint16_t from, std::uint16_t to) {
    return {to, 0, {{}, {static_cast<std::int16_t>(from)}}};
}

// Options none, skip_connect, 1x1, 3x3, pool on the edges 0>1, 0>2, 1>2, 0>3, 1>3, 2>3, which are
// nodes 1 to 6 of a graph with one input.
inline FamilyDescription nasbench201() {
    FamilyDescription family;
    family.option_counts.assign(6, 5);
    family.labels = {{101, LabelKind::zero, 0},
                     {102, LabelKind::identity, 1},
                     {103, LabelKind::operation, 2},
                     {104, LabelKind::operation, 3},
                     {105, LabelKind::operation, 4},
                     {106, LabelKind::structure, kNoSymbol},
                     {107, LabelKind::structure, kNoSymbol}};
    family.symbols = 5;
    FamilyGraph graph{1, {always(5)}, {}};
    for (std::uint32_t e = 0; e < 6; ++e) graph.nodes.push_back({{e}, {0, 1, 2, 3, 4}});
    graph.nodes.push_back(always(6));
    graph.edges = {edge(0, 1), edge(0, 2), edge(1, 3), edge(0, 4), edge(1, 5),
                   edge(2, 6), edge(3, 6), edge(4, 7), edge(5, 7), edge(6, 7)};
    family.graphs = {graph};
    return family;
}

// Per node: pair of inputs, operation on each; two cells. Node 2 + 3k and 3 + 3k of a graph are
// operations, 4 + 3k their sum.
inline FamilyDescription darts() {
    FamilyDescription family;
    for (std::uint16_t o = 0; o < 7; ++o) {
        const auto kind = o == 2 ? LabelKind::identity : LabelKind::operation;
        family.labels.push_back({201u + o, kind, o});
    }
    for (std::uint64_t hash : {301u, 302u, 303u}) {
        family.labels.push_back({hash, LabelKind::structure, kNoSymbol});
    }
    family.symbols = 7;
    for (int cell = 0; cell < 2; ++cell) {
        FamilyGraph graph{2, {always(7), always(7)}, {}};
        std::vector<std::int16_t> results = {0, 1};
        for (std::uint16_t node = 0; node < 4; ++node) {
            const auto first = static_cast<std::uint32_t>(family.option_counts.size());
            Chosen<std::int16_t> low{{first}, {}}, high{{first}, {}};
            for (std::size_t i = 0; i < results.size(); ++i) {
                for (std::size_t j = i + 1; j < results.size(); ++j) {
                    low.values.push_back(results[i]);
                    high.values.push_back(results[j]);
                }
            }
            family.option_counts.push_back(static_cast<std::uint8_t>(low.values.size()));
            family.option_counts.push_back(7);
            family.option_counts.push_back(7);
            const auto at = static_cast<std::uint16_t>(graph.nodes.size());
            graph.nodes.push_back({{first + 1}, {0, 1, 2, 3, 4, 5, 6}});
            graph.nodes.push_back({{first + 2}, {0, 1, 2, 3, 4, 5, 6}});
            graph.nodes.push_back(always(8));
            graph.edges.push_back({at, 0, low});
            graph.edges.push_back({static_cast<std::uint16_t>(at + 1), 0, high});
            graph.edges.push_back(edge(at, at + 2));
            graph.edges.push_back(edge(at + 1, at + 2));
            results.push_back(static_cast<std::int16_t>(at + 2));
        }
        const auto output = static_cast<std::uint16_t>(graph.nodes.size());
        graph.nodes.push_back(always(9));
        for (std::size_t i = 2; i < results.size(); ++i) {
            graph.edges.push_back(edge(static_cast<std::uint16_t>(results[i]), output));
        }
        family.graphs.push_back(graph);
    }
    return family;
}

inline std::vector<std::uint8_t> draw(const std::vector<std::uint8_t>& option_counts,
                                      std::size_t n, unsigned seed) {
    std::mt19937 rng(seed);
    std::vector<std::uint8_t> population;
    population.reserve(n * option_counts.size());
    for (std::size_t i = 0; i < n; ++i) {
        for (std::uint8_t count : option_counts) {
            population.push_back(static_cast<std::uint8_t>(rng() % count));
        }
    }
    return population;
}

// All rows of a space, the first decision most significant.
inline std::vector<std::uint8_t> enumerate(const std::vector<std::uint8_t>& option_counts) {
    std::size_t n = 1;
    for (std::uint8_t count : option_counts) n *= count;
    std::vector<std::uint8_t> population(n * option_counts.size());
    for (std::size_t i = 0; i < n; ++i) {
        std::size_t rest = i;
        for (std::size_t c = option_counts.size(); c-- > 0;) {
            population[i * option_counts.size() + c] =
                static_cast<std::uint8_t>(rest % option_counts[c]);
            rest /= option_counts[c];
        }
    }
    return population;
}

}  // namespace hwnas_test
