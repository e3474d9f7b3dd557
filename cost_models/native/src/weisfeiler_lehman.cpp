#include "hwnas/weisfeiler_lehman.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "aligned_array.hpp"
#include "graph_hash.hpp"
#include "option_range.hpp"
#include "row_parts.hpp"

#if defined(__GNUC__) || defined(__clang__)
#define HWNAS_INLINE inline __attribute__((always_inline))
#else
#define HWNAS_INLINE inline
#endif

namespace hwnas {
namespace {

// Rows that are labelled side by side: an entry of every array below is one word a row, so that
// the inner loops run over rows and compile to vector code.
constexpr std::size_t kLanes = 16;
constexpr std::size_t kFewestRowsPerThread = 2048;

constexpr std::uint64_t kIn = 0x9e3779b97f4a7c15ULL;
constexpr std::uint64_t kOut = 0xc2b2ae3d27d4eb4fULL;
constexpr std::uint64_t kColours[kEdgeColours] = {
    1, 0xd6e8feb86659fd93ULL, 0xff51afd7ed558ccdULL | 1, 0xc4ceb9fe1a85ec53ULL};
constexpr std::uint64_t kFold = 0xd1342543de82ef95ULL;

struct Tile {
    const GraphFamily& family;
    int iterations;
    std::uint64_t* label;    // (nodes + 1, kLanes); the last node is where missing edges lead
    std::uint64_t* in;       // likewise
    std::uint64_t* out;      // likewise
    std::int32_t* source;    // (edges, kLanes), times kLanes
    std::uint64_t* hashes;   // (kLanes,)
    std::uint64_t* history;  // (iterations + 1, nodes of all graphs, kLanes), or null
};

HWNAS_INLINE void decode(const Tile& tile, const GraphFamily::Graph& graph,
                         const std::uint8_t* const* rows) {
    const GraphFamily& family = tile.family;
    for (std::size_t v = 0; v < graph.nodes; ++v) {
        const GraphFamily::Choice& node = family.nodes[graph.node_begin + v];
        for (std::size_t l = 0; l < kLanes; ++l) {
            tile.label[v * kLanes + l] = family.labels[family.label(node, rows[l])].hash;
        }
    }
    for (std::size_t e = 0; e < graph.edges; ++e) {
        const GraphFamily::Edge& edge = family.edges[graph.edge_begin + e];
        if (edge.source.term_begin == edge.source.term_end) continue;
        for (std::size_t l = 0; l < kLanes; ++l) {
            const std::int32_t from = family.source(edge, rows[l]);
            tile.source[e * kLanes + l] =
                (from < 0 ? static_cast<std::int32_t>(graph.nodes) : from) *
                    static_cast<std::int32_t>(kLanes) +
                static_cast<std::int32_t>(l);
        }
    }
}

HWNAS_INLINE void spread(const Tile& tile, const GraphFamily::Graph& graph) {
    const GraphFamily& family = tile.family;
    std::memset(tile.in, 0, (graph.nodes + 1) * kLanes * sizeof(std::uint64_t));
    std::memset(tile.out, 0, (graph.nodes + 1) * kLanes * sizeof(std::uint64_t));
    for (std::size_t e = 0; e < graph.edges; ++e) {
        const GraphFamily::Edge& edge = family.edges[graph.edge_begin + e];
        const std::uint64_t* to_label = tile.label + edge.destination * kLanes;
        std::uint64_t* to_in = tile.in + edge.destination * kLanes;
        const std::uint64_t colour = kColours[edge.colour];
        if (edge.source.term_begin == edge.source.term_end) {
            const std::int16_t from = family.sources[edge.source.value_begin];
            if (from < 0) continue;
            const std::uint64_t* from_label = tile.label + from * kLanes;
            std::uint64_t* from_out = tile.out + from * kLanes;
            if (colour == 1) {
                for (std::size_t l = 0; l < kLanes; ++l) {
                    to_in[l] += from_label[l];
                    from_out[l] += to_label[l];
                }
            } else {
                for (std::size_t l = 0; l < kLanes; ++l) {
                    to_in[l] += colour * from_label[l];
                    from_out[l] += colour * to_label[l];
                }
            }
            continue;
        }
        // A missing edge reads the label 0 of the node behind the last one. It must leave no trace
        // at its destination only: sums of that node are never read.
        const std::int32_t* source = tile.source + e * kLanes;
        for (std::size_t l = 0; l < kLanes; ++l) {
            to_in[l] += colour * tile.label[source[l]];
            tile.out[source[l]] += colour * to_label[l];
        }
    }
}

HWNAS_INLINE void run_tile(const Tile& tile, const std::uint8_t* const* rows) {
    const GraphFamily& family = tile.family;
    std::uint64_t hash[kLanes], total[kLanes];
    for (std::size_t l = 0; l < kLanes; ++l) hash[l] = family.n_nodes();
    for (const GraphFamily::Graph& graph : family.graphs) {
        decode(tile, graph, rows);
        for (std::size_t l = 0; l < kLanes; ++l) tile.label[graph.nodes * kLanes + l] = 0;
        for (int i = 0; i <= tile.iterations; ++i) {
            if (i > 0) {
                spread(tile, graph);
                for (std::size_t x = 0; x < graph.nodes * kLanes; ++x) {
                    tile.label[x] =
                        mix_bits(tile.label[x] + kIn * tile.in[x] + kOut * tile.out[x]);
                }
            }
            for (std::size_t l = 0; l < kLanes; ++l) total[l] = 0;
            for (std::size_t v = 0; v < graph.nodes; ++v) {
                for (std::size_t l = 0; l < kLanes; ++l) total[l] += tile.label[v * kLanes + l];
            }
            for (std::size_t l = 0; l < kLanes; ++l)
                hash[l] = mix_bits(hash[l] * kFold + total[l]);
            if (tile.history != nullptr) {
                const std::size_t first =
                    static_cast<std::size_t>(i) * family.n_nodes() + graph.node_begin;
                std::memcpy(tile.history + first * kLanes, tile.label,
                            graph.nodes * kLanes * sizeof(std::uint64_t));
            }
        }
    }
    for (std::size_t l = 0; l < kLanes; ++l) tile.hashes[l] = hash[l];
}

using RunTile = void (*)(const Tile&, const std::uint8_t* const*);

void run_scalar(const Tile& tile, const std::uint8_t* const* rows) { run_tile(tile, rows); }

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

__attribute__((target("avx2"))) void run_avx2(const Tile& tile, const std::uint8_t* const* rows) {
    run_tile(tile, rows);
}

// Products of 64-bit words are one instruction here.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))) void run_avx512(
    const Tile& tile, const std::uint8_t* const* rows) {
    run_tile(tile, rows);
}

RunTile select_run(InstructionSet instruction_set) {
    if (instruction_set == InstructionSet::avx512 && __builtin_cpu_supports("avx512dq")) {
        return run_avx512;
    }
    return instruction_set == InstructionSet::scalar ? run_scalar : run_avx2;
}

#else

RunTile select_run(InstructionSet) { return run_scalar; }

#endif

// Labels whole tiles of rows and hands each to use(first row, rows, tile).
template <typename Use>
void label_tiles(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                 int iterations, bool keep_history, int threads, InstructionSet instruction_set,
                 const Use& use) {
    if (iterations < 0 || iterations > kMostIterations) {
        throw std::invalid_argument("iterations must be 0 to " + std::to_string(kMostIterations) +
                                    ", found " + std::to_string(iterations));
    }
    std::size_t nodes = 0, edges = 0;
    for (const GraphFamily::Graph& graph : family.graphs) {
        nodes = std::max<std::size_t>(nodes, graph.nodes);
        edges = std::max<std::size_t>(edges, graph.edges);
    }
    const std::size_t d = family.n_decisions();
    const OptionRange range(family.option_counts);
    const RunTile run = select_run(instruction_set);
    split_rows(n, threads, kFewestRowsPerThread, [&](std::size_t begin, std::size_t end) {
        AlignedArray<std::uint64_t> label((nodes + 1) * kLanes), in((nodes + 1) * kLanes),
            out((nodes + 1) * kLanes), hashes(kLanes);
        AlignedArray<std::int32_t> source(edges * kLanes);
        AlignedArray<std::uint64_t> history(
            keep_history ? (static_cast<std::size_t>(iterations) + 1) * family.n_nodes() * kLanes
                         : 0);
        const Tile tile{family,     iterations,    label.data(),  in.data(),
                        out.data(), source.data(), hashes.data(), history.data()};
        const std::uint8_t* rows[kLanes];
        for (std::size_t first = begin; first < end; first += kLanes) {
            const std::size_t count = std::min(kLanes, end - first);
            range.require(population + first * d, count, first);
            // The last tile repeats its last row.
            for (std::size_t l = 0; l < kLanes; ++l) {
                rows[l] = population + (first + std::min(l, count - 1)) * d;
            }
            run(tile, rows);
            use(first, count, tile);
        }
    });
}

}  // namespace

void weisfeiler_lehman(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                       int iterations, std::uint64_t* hashes, std::uint64_t* labels, int threads,
                       InstructionSet instruction_set) {
    const std::size_t words =
        (static_cast<std::size_t>(std::max(iterations, 0)) + 1) * family.n_nodes();
    label_tiles(family, population, n, iterations, labels != nullptr, threads, instruction_set,
                [&](std::size_t first, std::size_t count, const Tile& tile) {
                    std::memcpy(hashes + first, tile.hashes, count * sizeof(std::uint64_t));
                    if (labels == nullptr) return;
                    for (std::size_t l = 0; l < count; ++l) {
                        std::uint64_t* row = labels + (first + l) * words;
                        for (std::size_t x = 0; x < words; ++x) {
                            row[x] = tile.history[x * kLanes + l];
                        }
                    }
                });
}

void weisfeiler_lehman_histogram(const GraphFamily& family, const std::uint8_t* population,
                                 std::size_t n, int iterations, std::size_t buckets,
                                 std::uint16_t* counts, int threads,
                                 InstructionSet instruction_set) {
    if (buckets < 1) throw std::invalid_argument("there must be at least 1 bucket");
    const std::size_t turns = static_cast<std::size_t>(std::max(iterations, 0)) + 1;
    const std::size_t nodes = family.n_nodes();
    label_tiles(family, population, n, iterations, true, threads, instruction_set,
                [&](std::size_t first, std::size_t count, const Tile& tile) {
                    for (std::size_t l = 0; l < count; ++l) {
                        std::uint16_t* row = counts + (first + l) * turns * buckets;
                        std::memset(row, 0, turns * buckets * sizeof(std::uint16_t));
                        for (std::size_t x = 0; x < turns * nodes; ++x) {
                            std::uint16_t& bucket =
                                row[x / nodes * buckets + tile.history[x * kLanes + l] % buckets];
                            if (bucket != 0xffff) ++bucket;
                        }
                    }
                });
}

}  // namespace hwnas
