// The graphs of a search space: which nodes and edges each row of option indices stands for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hwnas {

// A value that depends on decisions: values[slot], slots in C order, the first decision most
// significant. Without decisions there is one value.
template <typename Value>
struct Chosen {
    std::vector<std::uint32_t> decisions;
    std::vector<Value> values;
};

// What a node does with the sum of what enters it.
enum class LabelKind : std::uint8_t {
    structure,  // it only holds the graph together: an input, a sum, the output
    operation,
    identity,  // hands it through
    zero       // hands nothing through
};

constexpr std::uint16_t kNoSymbol = 0xffff;

struct NodeLabel {
    std::uint64_t hash;    // of all that tells this label from others
    LabelKind kind;        // of its nodes
    std::uint16_t symbol;  // letter of paths through its nodes, or kNoSymbol
};

constexpr std::size_t kEdgeColours = 4;

struct FamilyEdge {
    std::uint16_t destination;
    std::uint8_t colour;          // tells inputs apart whose order matters; below kEdgeColours
    Chosen<std::int16_t> source;  // node, or -1: no edge
};

// One graph of an architecture: a cell, or the whole network. The first `inputs` nodes are its
// inputs, the last one is its output. Edges lead to nodes of higher number.
struct FamilyGraph {
    std::uint16_t inputs;
    std::vector<Chosen<std::uint16_t>> nodes;  // number of the label
    std::vector<FamilyEdge> edges;
};

struct FamilyDescription {
    std::vector<std::uint8_t> option_counts;  // (d,)
    std::vector<NodeLabel> labels;
    std::uint16_t symbols;  // letters of the alphabet of paths
    std::vector<FamilyGraph> graphs;
};

// A description that has been checked and laid out for reading row by row.
class GraphFamily {
  public:
    static constexpr std::size_t kMostNodes = 4096;  // of one graph
    static constexpr std::size_t kMostEdges = 65536;

    // Throws std::invalid_argument naming the graph and node for a decision, label, node, colour
    // or symbol that does not exist, an edge that leads to a node of lower number (so that there
    // can be no cycle), a table of values of the wrong length, and sizes beyond the limits.
    explicit GraphFamily(const FamilyDescription& description);

    struct Term {
        std::uint32_t decision;
        std::uint32_t stride;
    };
    struct Choice {
        std::uint32_t term_begin;
        std::uint32_t term_end;
        std::uint32_t value_begin;
        std::uint32_t last_decision;
    };
    struct Edge {
        Choice source;  // into `sources`
        std::uint16_t destination;
        std::uint8_t colour;
    };
    // Edges are sorted by destination.
    struct Graph {
        std::uint32_t node_begin;  // into `nodes`
        std::uint32_t nodes;
        std::uint32_t edge_begin;  // into `edges`
        std::uint32_t edges;
        std::uint32_t inputs;
    };

    std::vector<std::uint8_t> option_counts;
    std::vector<NodeLabel> labels;  // hashes spread over all bits
    std::uint16_t symbols;
    std::vector<Term> terms;
    std::vector<Choice> nodes;                 // of all graphs, into label_numbers
    std::vector<std::uint16_t> label_numbers;  // values of nodes
    std::vector<Edge> edges;
    std::vector<std::int16_t> sources;  // values of edges
    std::vector<Graph> graphs;

    std::size_t n_decisions() const { return option_counts.size(); }
    std::size_t n_nodes() const { return nodes.size(); }
    std::size_t n_edges() const { return edges.size(); }

    std::uint32_t slot(const Choice& choice, const std::uint8_t* row) const {
        if (choice.term_begin == choice.term_end) return choice.value_begin;
        // The least significant decision has stride 1; mostly it is the only one.
        std::uint32_t slot = choice.value_begin + row[choice.last_decision];
        for (std::uint32_t t = choice.term_begin; t + 1 < choice.term_end; ++t) {
            slot += row[terms[t].decision] * terms[t].stride;
        }
        return slot;
    }
    std::uint16_t label(const Choice& node, const std::uint8_t* row) const {
        return label_numbers[slot(node, row)];
    }
    std::int16_t source(const Edge& edge, const std::uint8_t* row) const {
        return sources[slot(edge.source, row)];
    }

  private:
    Choice lay_out(const std::vector<std::uint32_t>& decisions, std::size_t values,
                   std::size_t value_begin);
};

// Numbers of the nodes in an order in which every edge leads to a later one; of those that could
// come next, the lowest number does. Rows of `edges` are (source, destination).
//
// Throws std::invalid_argument naming the node for an edge to a node that does not exist and for
// a cycle, and the count for more than kMostGraphNodes.
constexpr std::size_t kMostGraphNodes = std::size_t{1} << 24;
std::vector<std::int32_t> topological_order(std::size_t nodes, const std::int32_t* edges,
                                            std::size_t n_edges);

}  // namespace hwnas
