// A fuzz target for everything that takes a graph: libFuzzer's entry point, and with
// fuzz_driver.cpp a program of its own. Whatever the bytes say, a call either works or throws one
// of the two exceptions that the headers name.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "hwnas/canonical_key.hpp"
#include "hwnas/graph_family.hpp"
#include "hwnas/graph_tensors.hpp"
#include "hwnas/isomorphism_key.hpp"
#include "hwnas/longest_paths.hpp"
#include "hwnas/one_hot.hpp"
#include "hwnas/path_encoding.hpp"
#include "hwnas/slot_numbers.hpp"
#include "hwnas/weisfeiler_lehman.hpp"

using namespace hwnas;

namespace {

// Hands out the bytes; zeros when they have run out.
class Bytes {
  public:
    Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    std::uint8_t next() {
        if (at_ >= size_) return 0;
        return data_[at_++];
    }
    std::size_t below(std::size_t limit) { return limit == 0 ? 0 : next() % limit; }
    // Mostly a number that exists, now and then any.
    std::int32_t node(std::size_t nodes) {
        const std::uint8_t byte = next();
        if (byte == 255) return static_cast<std::int32_t>(next()) - 100;
        if (byte == 254) return std::numeric_limits<std::int32_t>::max() - next();
        return nodes == 0 ? 0 : static_cast<std::int32_t>(byte % nodes);
    }
    bool is_over() const { return at_ >= size_; }

  private:
    const std::uint8_t* data_;
    std::size_t size_;
    std::size_t at_ = 0;
};

template <typename Call>
bool holds(const Call& call) {
    try {
        call();
        return true;
    } catch (const std::invalid_argument&) {
    } catch (const std::length_error&) {
    }
    return false;
}

void fuzz_ordered(Bytes& bytes) {
    const std::size_t nodes = bytes.below(200);
    std::vector<std::string> text(nodes);
    for (auto& label : text) label.assign(bytes.below(12), static_cast<char>(bytes.next()));
    std::vector<GraphEdge> edges;
    std::vector<std::int32_t> pairs, outputs;
    for (std::size_t e = bytes.next(); e-- > 0 && !bytes.is_over();) {
        edges.push_back({bytes.node(nodes), bytes.node(nodes), bytes.node(4)});
        pairs.push_back(edges.back().source);
        pairs.push_back(edges.back().destination);
    }
    for (std::size_t k = bytes.below(5); k-- > 0;) outputs.push_back(bytes.node(nodes));
    holds([&] { canonical_key({text.begin(), text.end()}, edges, outputs); });
    holds([&] {
        const auto order = topological_order(nodes, pairs.data(), edges.size());
        std::vector<std::size_t> place(nodes);
        for (std::size_t i = 0; i < nodes; ++i) place[static_cast<std::size_t>(order[i])] = i;
        for (const GraphEdge& e : edges) {
            if (place[static_cast<std::size_t>(e.source)] >=
                place[static_cast<std::size_t>(e.destination)]) {
                std::abort();
            }
        }
    });
}

void fuzz_unordered(Bytes& bytes) {
    const std::size_t nodes = bytes.below(70);
    std::vector<std::uint64_t> labels(nodes);
    for (auto& label : labels) label = bytes.below(3);
    std::vector<ColouredEdge> edges;
    for (std::size_t e = bytes.next(); e-- > 0 && !bytes.is_over();) {
        edges.push_back({static_cast<std::uint8_t>(bytes.node(nodes)),
                         static_cast<std::uint8_t>(bytes.node(nodes)),
                         static_cast<std::uint8_t>(bytes.below(5))});
    }
    GraphKey key{}, turned{};
    if (!holds([&] { key = isomorphism_key(labels, edges); })) return;
    // The same graph with its nodes the other way round.
    std::reverse(labels.begin(), labels.end());
    for (ColouredEdge& e : edges) {
        e.source = static_cast<std::uint8_t>(nodes - 1 - e.source);
        e.destination = static_cast<std::uint8_t>(nodes - 1 - e.destination);
    }
    if (holds([&] { turned = isomorphism_key(labels, edges); }) && key != turned) std::abort();
}

template <typename Value>
Chosen<Value> choose(Bytes& bytes, const std::vector<std::uint8_t>& counts, std::size_t limit,
                     int least) {
    Chosen<Value> chosen;
    std::size_t slots = 1;
    for (std::size_t k = bytes.below(3); k-- > 0;) {
        const auto decision = static_cast<std::uint32_t>(bytes.below(counts.size() + 1));
        chosen.decisions.push_back(decision);
        if (decision < counts.size()) slots *= counts[decision];
    }
    if (bytes.next() == 255) ++slots;
    for (std::size_t s = 0; s < std::min<std::size_t>(slots, 4096); ++s) {
        chosen.values.push_back(static_cast<Value>(
            static_cast<int>(bytes.below(limit + (least < 0 ? 1 : 0))) + least));
    }
    return chosen;
}

void encode_all(const GraphFamily& family, const std::vector<std::uint8_t>& population,
                std::size_t n, Bytes& bytes) {
    const std::size_t v = family.n_nodes(), e = family.n_edges();
    const int iterations = static_cast<int>(bytes.below(4));
    const int threads = static_cast<int>(bytes.below(3));
    std::vector<std::uint64_t> hashes(n), labels(n * 4 * v);
    const std::uint8_t* rows = population.data();
    holds([&] {
        weisfeiler_lehman(family, rows, n, iterations, hashes.data(), labels.data(), threads,
                          detect_instruction_set());
    });
    std::vector<std::uint8_t> keys(n * 16), square(n * v * v), hot(n * v * family.labels.size());
    holds([&] { isomorphism_keys(family, rows, n, keys.data(), threads); });
    std::vector<std::int32_t> edges(n * e * 2), degrees(n * v);
    std::vector<std::uint16_t> numbers(n * v);
    holds([&] { adjacency(family, rows, n, square.data(), threads); });
    holds([&] { node_one_hot(family, rows, n, hot.data(), threads); });
    holds([&] { node_labels(family, rows, n, numbers.data(), threads); });
    holds([&] { padded_edges(family, rows, n, edges.data(), threads); });
    if (holds([&] { in_degrees(family, rows, n, degrees.data(), threads); })) {
        std::vector<std::int64_t> begins(n * v + 1, 0);
        for (std::size_t i = 0; i < n * v; ++i) begins[i + 1] = begins[i] + degrees[i];
        std::vector<std::int64_t> sources(static_cast<std::size_t>(begins.back()));
        sparse_sources(family, rows, n, begins.data(), sources.data(), 1);
    }
    holds([&] {
        const int shortest = static_cast<int>(bytes.below(3));
        const PathEncoding paths(family, shortest, static_cast<int>(bytes.below(6)));
        if (paths.width() > 65536 || paths.most_paths() > 4096) return;
        std::vector<std::uint32_t> columns(n * paths.most_paths());
        std::vector<std::uint8_t> dense(n * paths.width());
        paths.columns(rows, n, columns.data(), threads);
        paths.dense(rows, n, dense.data(), threads);
        for (std::size_t i = 0; i < columns.size(); ++i) {
            if (columns[i] == 0xffffffffU) continue;
            if (dense.at(i / paths.most_paths() * paths.width() + columns[i]) != 1) std::abort();
        }
    });
}

void fuzz_family(Bytes& bytes) {
    FamilyDescription description;
    for (std::size_t d = bytes.below(7); d-- > 0;) {
        description.option_counts.push_back(static_cast<std::uint8_t>(bytes.below(7)));
    }
    const auto& counts = description.option_counts;
    description.symbols = static_cast<std::uint16_t>(bytes.below(5));
    for (std::size_t label = bytes.below(6); label-- > 0;) {
        const auto kind = static_cast<LabelKind>(bytes.below(4));
        const std::size_t symbol = bytes.below(6);
        description.labels.push_back(
            {bytes.next(), kind, symbol == 5 ? kNoSymbol : static_cast<std::uint16_t>(symbol)});
    }
    for (std::size_t g = bytes.below(3); g-- > 0;) {
        const std::size_t nodes = bytes.below(70);
        FamilyGraph graph{static_cast<std::uint16_t>(bytes.below(4)), {}, {}};
        for (std::size_t v = 0; v < nodes; ++v) {
            graph.nodes.push_back(
                choose<std::uint16_t>(bytes, counts, description.labels.size(), 0));
        }
        for (std::size_t e = bytes.next(); e-- > 0 && !bytes.is_over();) {
            const std::size_t to = bytes.below(nodes + 1);
            graph.edges.push_back({static_cast<std::uint16_t>(to),
                                   static_cast<std::uint8_t>(bytes.below(5)),
                                   choose<std::int16_t>(bytes, counts, to, -1)});
        }
        description.graphs.push_back(std::move(graph));
    }
    const std::size_t n = bytes.below(40);
    std::vector<std::uint8_t> population(n * counts.size());
    for (std::size_t i = 0; i < population.size(); ++i) {
        const std::uint8_t byte = bytes.next();
        const std::uint8_t count = counts[i % counts.size()];
        population[i] = byte == 255 || count == 0 ? byte : byte % count;
    }
    holds([&] {
        const GraphFamily family(description);
        encode_all(family, population, n, bytes);
    });
    holds([&] {
        const OneHot encoding(counts);
        std::vector<std::uint8_t> out(n * encoding.width());
        encoding.encode(population.data(), n, out.data(), 1);
    });
    std::vector<std::vector<std::uint32_t>> blocks;
    std::vector<WeightedBlock> weighted;
    for (std::size_t b = bytes.below(40); b-- > 0;) {
        const Chosen<std::int16_t> chosen = choose<std::int16_t>(bytes, counts, 100, -1);
        blocks.push_back(chosen.decisions);
        weighted.push_back({chosen.decisions, {}, {chosen.values.begin(), chosen.values.end()}});
        if (bytes.below(2) && weighted.size() > 1) {
            weighted.back().inputs.push_back(
                static_cast<std::uint32_t>(bytes.node(blocks.size())));
        }
    }
    holds([&] {
        const SlotNumbers slots(counts, blocks, detect_instruction_set());
        std::vector<std::uint16_t> out(n * blocks.size());
        slots.encode(population.data(), n, out.data(), 1);
    });
    holds([&] {
        const LongestPaths longest(counts, weighted);
        std::vector<double> out(n);
        longest.weigh(population.data(), n, out.data(), 1);
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes bytes(data, size);
    switch (bytes.below(3)) {
        case 0:
            fuzz_ordered(bytes);
            break;
        case 1:
            fuzz_unordered(bytes);
            break;
        default:
            fuzz_family(bytes);
    }
    return 0;
}
