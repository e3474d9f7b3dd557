// The graphs of whole populations as arrays for graph networks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hwnas/graph_family.hpp"

namespace hwnas {

// Nodes and edges are those of all graphs of the family, one after another: node numbers count on
// from graph to graph. Every function throws std::invalid_argument naming row, column and value of
// the first option index out of range, or when threads < 1.

// Number of the label of each node, out (n, nodes).
void node_labels(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                 std::uint16_t* out, int threads);

// One-hot labels, out (n, nodes, labels).
void node_one_hot(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                  std::uint8_t* out, int threads);

// How many edges lead from a node to another, out (n, nodes, nodes): [i, destination, source].
void adjacency(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
               std::uint8_t* out, int threads);

// Source and destination of each edge, out (n, edges, 2) sorted by destination; the edges that
// there are come first, -1 fills the rest.
void padded_edges(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                  std::int32_t* out, int threads);

// Number of edges that lead to each node, out (n, nodes).
void in_degrees(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                std::int32_t* out, int threads);

// Compressed sparse rows of the whole batch as one graph, in which node j of architecture i has
// the number i * nodes + j: `begins` (n * nodes + 1) counts the in_degrees up, `sources`
// (begins[n * nodes]) receives the sources of the edges to each node. Throws
// std::invalid_argument, too, when begins does not fit the population, or nodes exceed int64.
void sparse_sources(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                    const std::int64_t* begins, std::int64_t* sources, int threads);

}  // namespace hwnas
