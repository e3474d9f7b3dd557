#include "hwnas/graph_tensors.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "option_range.hpp"
#include "row_parts.hpp"

namespace hwnas {
namespace {

constexpr std::size_t kFewestRowsPerThread = 4096;
constexpr std::size_t kTileRows = 64;

// Calls use(i, row) for every row of a checked population.
template <typename Use>
void for_rows(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
              int threads, const Use& use) {
    const std::size_t d = family.n_decisions();
    const OptionRange range(family.option_counts);
    split_rows(n, threads, kFewestRowsPerThread, [&](std::size_t begin, std::size_t end) {
        for (std::size_t first = begin; first < end; first += kTileRows) {
            const std::size_t count = std::min(kTileRows, end - first);
            range.require(population + first * d, count, first);
            for (std::size_t i = first; i < first + count; ++i) use(i, population + i * d);
        }
    });
}

// Calls use(source, destination) for every edge of a row, by destination.
template <typename Use>
void for_edges(const GraphFamily& family, const std::uint8_t* row, const Use& use) {
    for (const GraphFamily::Graph& graph : family.graphs) {
        for (std::uint32_t e = graph.edge_begin; e < graph.edge_begin + graph.edges; ++e) {
            const GraphFamily::Edge& edge = family.edges[e];
            const std::int16_t from = family.source(edge, row);
            if (from < 0) continue;
            use(graph.node_begin + static_cast<std::uint32_t>(from),
                graph.node_begin + edge.destination);
        }
    }
}

}  // namespace

void node_labels(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                 std::uint16_t* out, int threads) {
    const std::size_t v = family.n_nodes();
    for_rows(family, population, n, threads, [&](std::size_t i, const std::uint8_t* row) {
        for (std::size_t j = 0; j < v; ++j) out[i * v + j] = family.label(family.nodes[j], row);
    });
}

void node_one_hot(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                  std::uint8_t* out, int threads) {
    const std::size_t v = family.n_nodes(), width = family.labels.size();
    for_rows(family, population, n, threads, [&](std::size_t i, const std::uint8_t* row) {
        std::uint8_t* features = out + i * v * width;
        std::memset(features, 0, v * width);
        for (std::size_t j = 0; j < v; ++j) {
            features[j * width + family.label(family.nodes[j], row)] = 1;
        }
    });
}

void adjacency(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
               std::uint8_t* out, int threads) {
    const std::size_t v = family.n_nodes();
    for_rows(family, population, n, threads, [&](std::size_t i, const std::uint8_t* row) {
        std::uint8_t* matrix = out + i * v * v;
        std::memset(matrix, 0, v * v);
        for_edges(family, row, [&](std::size_t from, std::size_t to) {
            std::uint8_t& count = matrix[to * v + from];
            if (count != 255) ++count;
        });
    });
}

void padded_edges(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                  std::int32_t* out, int threads) {
    const std::size_t e = family.n_edges();
    for_rows(family, population, n, threads, [&](std::size_t i, const std::uint8_t* row) {
        std::int32_t* edge = out + i * e * 2;
        std::int32_t* end = edge + e * 2;
        for_edges(family, row, [&](std::size_t from, std::size_t to) {
            *edge++ = static_cast<std::int32_t>(from);
            *edge++ = static_cast<std::int32_t>(to);
        });
        std::fill(edge, end, -1);
    });
}

void in_degrees(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                std::int32_t* out, int threads) {
    const std::size_t v = family.n_nodes();
    for_rows(family, population, n, threads, [&](std::size_t i, const std::uint8_t* row) {
        std::int32_t* degrees = out + i * v;
        std::fill_n(degrees, v, 0);
        for_edges(family, row, [&](std::size_t, std::size_t to) { ++degrees[to]; });
    });
}

void sparse_sources(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                    const std::int64_t* begins, std::int64_t* sources, int threads) {
    const std::size_t v = family.n_nodes();
    for_rows(family, population, n, threads, [&](std::size_t i, const std::uint8_t* row) {
        std::int64_t at = begins[i * v];
        const std::int64_t end = begins[(i + 1) * v];
        for_edges(family, row, [&](std::size_t from, std::size_t) {
            if (at >= end) {
                throw std::invalid_argument("begins does not fit row " + std::to_string(i));
            }
            sources[at++] = static_cast<std::int64_t>(i * v + from);
        });
        if (at != end) {
            throw std::invalid_argument("begins does not fit row " + std::to_string(i));
        }
    });
}

}  // namespace hwnas
