#include "hwnas/graph_family.hpp"

#include <algorithm>
#include <functional>
#include <queue>
#include <stdexcept>
#include <string>

#include "graph_hash.hpp"
#include "option_range.hpp"

namespace hwnas {
namespace {

constexpr std::uint64_t kMostValues = std::uint64_t{1} << 24;

std::string name_node(std::size_t graph, std::size_t node) {
    return "node " + std::to_string(node) + " of graph " + std::to_string(graph);
}

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

std::string name_node(std::int64_t node) { return "node " + std::to_string(node); }

}  // namespace

GraphFamily::Choice GraphFamily::lay_out(const std::vector<std::uint32_t>& decisions,
                                         std::size_t values, std::size_t value_begin) {
    const auto begin = static_cast<std::uint32_t>(terms.size());
    std::uint64_t slots = 1;
    for (std::uint32_t decision : decisions) {
        if (decision >= option_counts.size()) {
            refuse("decision " + std::to_string(decision) + " of " +
                   std::to_string(option_counts.size()));
        }
        slots *= option_counts[decision];
        if (slots > kMostValues) refuse("more than 2^24 combinations of decisions");
    }
    if (slots != values) {
        refuse(std::to_string(values) + " values for " + std::to_string(slots) +
               " combinations of its decisions");
    }
    std::uint64_t stride = slots;
    for (std::uint32_t decision : decisions) {
        stride /= option_counts[decision];
        terms.push_back({decision, static_cast<std::uint32_t>(stride)});
    }
    if (value_begin + values > kMostValues) refuse("more than 2^24 values in all");
    return {begin, static_cast<std::uint32_t>(terms.size()),
            static_cast<std::uint32_t>(value_begin), decisions.empty() ? 0 : decisions.back()};
}

GraphFamily::GraphFamily(const FamilyDescription& description)
    : option_counts(description.option_counts),
      labels(description.labels),
      symbols(description.symbols) {
    require_options(option_counts);
    if (labels.size() > kNoSymbol) refuse("more than 65535 labels");
    for (std::size_t i = 0; i < labels.size(); ++i) {
        labels[i].hash = mix_bits(labels[i].hash);
        if (labels[i].symbol != kNoSymbol && labels[i].symbol >= symbols) {
            refuse("label " + std::to_string(i) + " has symbol " +
                   std::to_string(labels[i].symbol) + " of " + std::to_string(symbols));
        }
    }
    if (description.graphs.empty()) refuse("there is no graph");
    for (std::size_t g = 0; g < description.graphs.size(); ++g) {
        const FamilyGraph& graph = description.graphs[g];
        const std::size_t v = graph.nodes.size();
        const std::string which = "graph " + std::to_string(g);
        if (v < 1 || v > kMostNodes || graph.edges.size() > kMostEdges) {
            refuse(which + " has " + std::to_string(v) + " nodes and " +
                   std::to_string(graph.edges.size()) + " edges, not 1 to " +
                   std::to_string(kMostNodes) + " and at most " + std::to_string(kMostEdges));
        }
        if (graph.inputs > v) refuse(which + " has more inputs than nodes");
        Graph laid{static_cast<std::uint32_t>(nodes.size()), static_cast<std::uint32_t>(v),
                   static_cast<std::uint32_t>(edges.size()),
                   static_cast<std::uint32_t>(graph.edges.size()), graph.inputs};
        for (std::size_t i = 0; i < v; ++i) {
            const Chosen<std::uint16_t>& node = graph.nodes[i];
            for (std::uint16_t label : node.values) {
                if (label >= labels.size()) {
                    refuse(name_node(g, i) + " has label " + std::to_string(label) + " of " +
                           std::to_string(labels.size()));
                }
            }
            try {
                nodes.push_back(lay_out(node.decisions, node.values.size(), label_numbers.size()));
            } catch (const std::invalid_argument& error) {
                refuse(name_node(g, i) + " has " + error.what());
            }
            label_numbers.insert(label_numbers.end(), node.values.begin(), node.values.end());
        }
        std::vector<const FamilyEdge*> sorted;
        for (const FamilyEdge& edge : graph.edges) sorted.push_back(&edge);
        std::stable_sort(sorted.begin(), sorted.end(),
                         [](const FamilyEdge* x, const FamilyEdge* y) {
                             return x->destination < y->destination;
                         });
        for (const FamilyEdge* edge : sorted) {
            const std::size_t to = edge->destination;
            if (to >= v)
                refuse("an edge leads to " + name_node(g, to) + " of " + std::to_string(v));
            if (to < graph.inputs) refuse("an edge leads to " + name_node(g, to) + ", an input");
            if (edge->colour >= kEdgeColours) {
                refuse("an edge to " + name_node(g, to) + " has colour " +
                       std::to_string(edge->colour) + " of " + std::to_string(kEdgeColours));
            }
            for (std::int16_t from : edge->source.values) {
                if (from < -1 || from >= static_cast<std::int32_t>(to)) {
                    refuse("an edge to " + name_node(g, to) + " comes from node " +
                           std::to_string(from) + ", not from one of lower number");
                }
            }
            Edge laid_edge{{}, edge->destination, edge->colour};
            try {
                laid_edge.source =
                    lay_out(edge->source.decisions, edge->source.values.size(), sources.size());
            } catch (const std::invalid_argument& error) {
                refuse("an edge to " + name_node(g, to) + " has " + error.what());
            }
            sources.insert(sources.end(), edge->source.values.begin(), edge->source.values.end());
            edges.push_back(laid_edge);
        }
        graphs.push_back(laid);
    }
}

std::vector<std::int32_t> topological_order(std::size_t nodes, const std::int32_t* edges,
                                            std::size_t n_edges) {
    if (nodes > kMostGraphNodes) {
        refuse("the graph has " + std::to_string(nodes) + " nodes, at most " +
               std::to_string(kMostGraphNodes) + " are taken");
    }
    std::vector<std::uint32_t> waiting(nodes, 0), begin(nodes + 1, 0), users(n_edges);
    for (std::size_t e = 0; e < n_edges; ++e) {
        for (std::int32_t node : {edges[2 * e], edges[2 * e + 1]}) {
            if (node < 0 || static_cast<std::size_t>(node) >= nodes) {
                refuse("edge " + std::to_string(e) + " names " + name_node(node) + " of " +
                       std::to_string(nodes));
            }
        }
        ++waiting[static_cast<std::size_t>(edges[2 * e + 1])];
        ++begin[static_cast<std::size_t>(edges[2 * e]) + 1];
    }
    for (std::size_t v = 0; v < nodes; ++v) begin[v + 1] += begin[v];
    std::vector<std::uint32_t> next(begin.begin(), begin.end() - 1);
    for (std::size_t e = 0; e < n_edges; ++e) {
        users[next[static_cast<std::size_t>(edges[2 * e])]++] =
            static_cast<std::uint32_t>(edges[2 * e + 1]);
    }
    std::priority_queue<std::int32_t, std::vector<std::int32_t>, std::greater<>> ready;
    for (std::size_t v = 0; v < nodes; ++v) {
        if (waiting[v] == 0) ready.push(static_cast<std::int32_t>(v));
    }
    std::vector<std::int32_t> order;
    order.reserve(nodes);
    while (!ready.empty()) {
        const auto v = static_cast<std::size_t>(ready.top());
        ready.pop();
        order.push_back(static_cast<std::int32_t>(v));
        for (std::uint32_t u = begin[v]; u < begin[v + 1]; ++u) {
            if (--waiting[users[u]] == 0) ready.push(static_cast<std::int32_t>(users[u]));
        }
    }
    if (order.size() == nodes) return order;
    // Every node that waits has a predecessor that waits: as many steps back as there are nodes
    // end on a cycle.
    std::vector<std::int32_t> before(nodes, -1);
    for (std::size_t e = 0; e < n_edges; ++e) {
        if (waiting[static_cast<std::size_t>(edges[2 * e])] != 0) {
            before[static_cast<std::size_t>(edges[2 * e + 1])] = edges[2 * e];
        }
    }
    std::size_t v = 0;
    while (waiting[v] == 0) ++v;
    for (std::size_t step = 0; step < nodes; ++step) v = static_cast<std::size_t>(before[v]);
    refuse("the graph has a cycle through " + name_node(static_cast<std::int64_t>(v)));
}

}  // namespace hwnas
