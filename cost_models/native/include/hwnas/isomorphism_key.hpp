// 128-bit keys of graphs whose nodes sum what enters them: equal for isomorphic graphs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hwnas/canonical_key.hpp"
#include "hwnas/graph_family.hpp"

namespace hwnas {

constexpr std::size_t kMostKeyedNodes = 64;

// One edge of a graph; `colour` is below kEdgeColours.
struct ColouredEdge {
    std::uint8_t source;
    std::uint8_t destination;
    std::uint8_t colour;
};

// Key of a labelled directed multigraph without order among the edges of a node: equal exactly for
// isomorphic graphs, but for collisions of the 128-bit hash. (Graphs whose edges have an order are
// keyed by canonical_key.)
//
// Colours are refined until they are stable; where several nodes still share one, each of them is
// set apart in turn, and of the graphs numbered that way the one with the least digest is the
// canonical form (McKay and Piperno, Practical graph isomorphism II, J. Symbolic Computation
// 2014). Automorphisms found on the way spare equivalent branches.
//
// Throws std::invalid_argument naming the edge for a node or colour that does not exist, and for
// more than kMostKeyedNodes nodes; std::length_error for a graph that is so regular that
// kMostForms numberings do not settle it (strongly regular graphs, not cells).
constexpr std::size_t kMostForms = 20000;
GraphKey isomorphism_key(const std::vector<std::uint64_t>& labels,
                         const std::vector<ColouredEdge>& edges);

// Writes keys (n, 16 bytes) of the architectures of a population: what their graphs compute. Nodes
// of kind `identity` are contracted into their readers, nodes of kind `zero` and nodes that only
// zero enters vanish, and so does what does not reach the output. Each graph is keyed by itself;
// the key of the architecture takes them in order.
//
// Throws std::invalid_argument naming row, column and value of the first option index out of
// range, for a graph with more than kMostKeyedNodes nodes, or when threads < 1; std::length_error
// naming the row for a graph that is too regular, or where more than 65535 equal paths join two
// nodes.
void isomorphism_keys(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                      std::uint8_t* keys, int threads);

}  // namespace hwnas
