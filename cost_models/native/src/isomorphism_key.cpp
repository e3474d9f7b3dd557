#include "hwnas/isomorphism_key.hpp"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>

#include "canonical_form.hpp"
#include "option_range.hpp"
#include "row_parts.hpp"

namespace hwnas {
namespace {

using Digest = GraphHash::Digest;

constexpr std::size_t kFewestRowsPerThread = 512;
constexpr std::size_t kTileRows = 64;
constexpr std::uint64_t kArchitectureDomain = 17;
constexpr std::uint64_t kMostJoins = 0xffff;

std::uint64_t mask_of(std::size_t node) { return std::uint64_t{1} << node; }

GraphKey key_of(const Digest& digest) {
    GraphKey key;
    for (std::size_t i = 0; i < 8; ++i) {
        key[i] = static_cast<std::uint8_t>(digest.a >> (8 * i));
        key[8 + i] = static_cast<std::uint8_t>(digest.b >> (8 * i));
    }
    return key;
}

// Entries of `joins` are counted in 16 bits a colour.
void add_joins(std::uint64_t& entry, std::uint64_t count, std::uint8_t colour) {
    const unsigned shift = 16U * colour;
    if ((entry >> shift & kMostJoins) + count > kMostJoins) {
        throw std::length_error("more than 65535 equal paths join two nodes");
    }
    entry += count << shift;
}

// The graph of one row, reduced to what it computes.
class Reduction {
  public:
    void reduce(const GraphFamily& family, const GraphFamily::Graph& graph,
                const std::uint8_t* row, SmallGraph& small) {
        const std::size_t v = graph.nodes;
        std::uint64_t kept = 0;
        for (std::size_t i = 0; i < v; ++i) {
            std::fill_n(hands_on_[i].begin(), v, std::uint16_t{0});
            std::fill_n(enters_[i].begin(), v, std::uint64_t{0});
        }
        const GraphFamily::Edge* edges = family.edges.data() + graph.edge_begin;
        std::uint32_t e = 0;
        for (std::size_t i = 0; i < v; ++i) {
            const NodeLabel& label =
                family.labels[family.label(family.nodes[graph.node_begin + i], row)];
            labels_[i] = label.hash;
            bool is_reached = i < graph.inputs || i + 1 == v;
            for (; e < graph.edges && edges[e].destination == i; ++e) {
                const std::int16_t from = family.source(edges[e], row);
                if (from < 0 || label.kind == LabelKind::zero) continue;
                for (std::size_t u = 0; u < i; ++u) {
                    const std::uint16_t count = hands_on_[static_cast<std::size_t>(from)][u];
                    if (count == 0) continue;
                    is_reached = true;
                    if (label.kind == LabelKind::identity) {
                        const std::uint64_t sum = std::uint64_t{hands_on_[i][u]} + count;
                        if (sum > kMostJoins) {
                            throw std::length_error("more than 65535 equal paths join two nodes");
                        }
                        hands_on_[i][u] = static_cast<std::uint16_t>(sum);
                    } else {
                        add_joins(enters_[i][u], count, edges[e].colour);
                    }
                }
            }
            if (label.kind == LabelKind::zero || label.kind == LabelKind::identity) continue;
            if (is_reached) {
                kept |= mask_of(i);
                hands_on_[i][i] = 1;
            }
        }
        std::uint64_t live = kept & mask_of(v - 1);
        for (std::size_t i = v; i-- > 0;) {
            if ((live & mask_of(i)) == 0) continue;
            for (std::size_t u = 0; u < i; ++u) {
                if (enters_[i][u] != 0) live |= mask_of(u);
            }
        }
        // The inputs have an order, and only inputs and the output say which graph this is.
        small.nodes = 0;
        for (std::size_t i = 0; i < v; ++i) {
            if ((live & mask_of(i)) == 0) continue;
            number_[i] = small.nodes;
            small.labels[small.nodes] =
                i < graph.inputs ? mix_bits(labels_[i] + i + 1) : labels_[i];
            auto& entries = small.joins[small.nodes];
            for (std::size_t u = 0; u < i; ++u) {
                if ((live & mask_of(u)) != 0) entries[number_[u]] = enters_[i][u];
            }
            for (std::size_t u = small.nodes; u < v; ++u) entries[u] = 0;
            ++small.nodes;
        }
    }

  private:
    template <typename Entry>
    using Square = std::array<std::array<Entry, kMostKeyedNodes>, kMostKeyedNodes>;

    Square<std::uint16_t> hands_on_;  // [node][kept node]: how often its result adds that one
    Square<std::uint64_t> enters_;    // [node][kept node], as SmallGraph::joins
    std::array<std::uint64_t, kMostKeyedNodes> labels_;
    std::array<std::size_t, kMostKeyedNodes> number_;
};

}  // namespace

GraphKey isomorphism_key(const std::vector<std::uint64_t>& labels,
                         const std::vector<ColouredEdge>& edges) {
    if (labels.size() > kMostKeyedNodes) {
        throw std::invalid_argument("the graph has " + std::to_string(labels.size()) +
                                    " nodes, at most " + std::to_string(kMostKeyedNodes) +
                                    " are keyed without an order of edges");
    }
    auto graph = std::make_unique<SmallGraph>();
    graph->nodes = labels.size();
    std::copy(labels.begin(), labels.end(), graph->labels.begin());
    for (auto& entries : graph->joins) entries.fill(0);
    for (std::size_t e = 0; e < edges.size(); ++e) {
        const ColouredEdge& edge = edges[e];
        if (edge.source >= labels.size() || edge.destination >= labels.size() ||
            edge.colour >= kEdgeColours) {
            throw std::invalid_argument(
                "edge " + std::to_string(e) + " is of colour " + std::to_string(edge.colour) +
                " from node " + std::to_string(edge.source) + " to node " +
                std::to_string(edge.destination) + " of " + std::to_string(labels.size()));
        }
        add_joins(graph->joins[edge.destination][edge.source], 1, edge.colour);
    }
    return key_of(canonical_form(*graph));
}

void isomorphism_keys(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                      std::uint8_t* keys, int threads) {
    for (std::size_t g = 0; g < family.graphs.size(); ++g) {
        if (family.graphs[g].nodes > kMostKeyedNodes) {
            throw std::invalid_argument(
                "graph " + std::to_string(g) + " has " + std::to_string(family.graphs[g].nodes) +
                " nodes, at most " + std::to_string(kMostKeyedNodes) + " are keyed");
        }
    }
    const std::size_t d = family.n_decisions();
    const OptionRange range(family.option_counts);
    split_rows(n, threads, kFewestRowsPerThread, [&](std::size_t begin, std::size_t end) {
        auto reduction = std::make_unique<Reduction>();
        auto small = std::make_unique<SmallGraph>();
        for (std::size_t first = begin; first < end; first += kTileRows) {
            const std::size_t count = std::min(kTileRows, end - first);
            range.require(population + first * d, count, first);
            for (std::size_t i = first; i < first + count; ++i) {
                GraphHash hash(kArchitectureDomain);
                try {
                    for (const GraphFamily::Graph& graph : family.graphs) {
                        reduction->reduce(family, graph, population + i * d, *small);
                        hash.absorb(canonical_form(*small));
                    }
                } catch (const std::length_error& error) {
                    throw std::length_error("row " + std::to_string(i) + ": " + error.what());
                }
                const GraphKey key = key_of(hash.digest());
                std::copy(key.begin(), key.end(), keys + i * key.size());
            }
        }
    });
}

}  // namespace hwnas
