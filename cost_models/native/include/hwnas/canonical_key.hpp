// A 128-bit key of a labelled directed acyclic graph.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace hwnas {

// The value of `source` enters `destination` at input `slot`.
struct GraphEdge {
    std::int32_t source;
    std::int32_t destination;
    std::int32_t slot;
};

using GraphKey = std::array<std::uint8_t, 16>;

// Key of the graph with one label a node and the given outputs, in order. Isomorphic graphs (same
// labels, same wiring slot by slot, same outputs in order) have equal keys whatever the order of
// nodes and edges; other graphs differ but for collisions of the 128-bit hash.
//
// Live part: because the inputs of a node are ordered, walking from the outputs in slot order
// numbers every node that reaches an output in one way only. The key covers the list of labels and
// numbered inputs in that order, which describes the live part completely; a shared sub-expression
// and two copies of it give different lists.
//
// Dead nodes (from which no output is reached) have no such order. Each connected piece of them is
// refined by colours: the colour of a node takes in the colours of its inputs by slot and of its
// users as a multiset, until no colour splits any more; in pieces of up to 256 nodes this is
// repeated with each node of a shared colour marked in turn. This tells all practical pieces
// apart; constructed pairs of large regular pieces may share a key.
//
// The hash is fixed by this library (see src/graph_hash.hpp): it depends neither on
// the platform nor on its byte order. It does not resist an adversary who looks for collisions.
//
// Throws std::invalid_argument naming the node for an index out of range, a negative slot, two
// edges into one slot of a node, and a cycle.
GraphKey canonical_key(const std::vector<std::string_view>& labels,
                       const std::vector<GraphEdge>& edges,
                       const std::vector<std::int32_t>& outputs);

}  // namespace hwnas
