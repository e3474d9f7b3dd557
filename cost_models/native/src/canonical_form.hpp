// The canonical form of one small labelled multigraph.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "graph_hash.hpp"
#include "hwnas/isomorphism_key.hpp"

namespace hwnas {

// A graph of up to kMostKeyedNodes nodes. An entry of `joins` counts the edges of each colour in
// 16 bits a colour.
struct SmallGraph {
    std::size_t nodes = 0;
    std::array<std::uint64_t, kMostKeyedNodes> labels;
    std::array<std::array<std::uint64_t, kMostKeyedNodes>, kMostKeyedNodes> joins;  // [to][from]
};

// Digest of the canonical form. Throws std::length_error for a graph that is too regular.
GraphHash::Digest canonical_form(const SmallGraph& graph);

}  // namespace hwnas
