#include "hwnas/path_encoding.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "option_range.hpp"
#include "row_parts.hpp"

namespace hwnas {
namespace {

constexpr std::size_t kFewestRowsPerThread = 2048;
constexpr std::size_t kTileRows = 64;
constexpr std::uint32_t kBlock = 8;  // codes that are spelt on at once
constexpr std::uint64_t kWord = 0xffffffffULL;

// Insertion sort: a handful of numbers that come almost sorted.
void sort_few(std::uint32_t* first, std::uint32_t* last) {
    for (std::uint32_t* i = first; i != last; ++i) {
        const std::uint32_t value = *i;
        std::uint32_t* hole = i;
        for (; hole != first && hole[-1] > value; --hole) *hole = hole[-1];
        *hole = value;
    }
}

// Where the values of a choice begin and end.
std::pair<std::uint32_t, std::uint32_t> values_of(const GraphFamily& family,
                                                  const GraphFamily::Choice& choice) {
    std::uint32_t values = 1;
    for (std::uint32_t t = choice.term_begin; t < choice.term_end; ++t) {
        values *= family.option_counts[family.terms[t].decision];
    }
    return {choice.value_begin, choice.value_begin + values};
}

// Writes the codes with a letter added, 0 for none, where they are not read any more. In whole
// blocks, as the number of paths varies from row to row: what is written too much lies behind the
// end, and is written over.
inline void spell_on(const std::uint64_t* codes, std::uint32_t size, std::uint64_t letters,
                     std::uint64_t letter, std::uint64_t* out) {
    const std::uint64_t factor = letter == 0 ? 0 : letters - 1;
    for (std::uint32_t i = 0; i < size; i += kBlock) {
        std::uint64_t block[kBlock];
        for (std::uint32_t k = 0; k < kBlock; ++k) {
            block[k] = codes[i + k] + (codes[i + k] & kWord) * factor + letter;
        }
        std::copy_n(block, kBlock, out + i);
    }
}

template <typename Column>
void require_type(std::uint64_t width) {
    if (width <= std::numeric_limits<Column>::max()) return;
    throw std::invalid_argument(std::to_string(width) + " columns of paths, more than " +
                                std::to_string(8 * sizeof(Column)) + " bits number");
}

}  // namespace

PathEncoding::PathEncoding(const GraphFamily& family, int shortest, int longest)
    : family_(&family), shortest_(shortest), longest_(longest) {
    if (shortest < 0 || longest < shortest) {
        throw std::invalid_argument("paths of " + std::to_string(shortest) + " to " +
                                    std::to_string(longest) +
                                    " symbols: wanted 0 or more, in order");
    }
    std::uint64_t words = 1;
    for (int length = 0; length <= longest; ++length) {
        if (length < shortest) first_ += words;
        end_ += words;
        if (end_ > kMostColumns) break;
        words *= family.symbols;
        if (words == 0) break;
    }
    span_ = end_ - std::min(first_, end_);
    std::uint64_t inputs = 0;
    for (const GraphFamily::Graph& graph : family.graphs) inputs += graph.inputs;
    if (end_ > kMostColumns || span_ * std::max<std::uint64_t>(inputs, 1) > kMostColumns) {
        throw std::invalid_argument("paths of up to " + std::to_string(longest) + " symbols of " +
                                    std::to_string(family.symbols) +
                                    " have more than 2^31 columns: choose a smaller `longest`");
    }
    width_ = span_ * inputs;

    for (std::uint16_t label : family.label_numbers) {
        const std::uint16_t symbol = family.labels[label].symbol;
        letters_.push_back(symbol == kNoSymbol ? 0 : symbol + 1U);
    }
    for (const GraphFamily::Graph& graph : family.graphs) {
        std::vector<std::uint64_t> paths(graph.nodes, 0);
        std::vector<int> lengths(graph.nodes, 0), spells(graph.nodes, 0);
        for (std::uint32_t v = 0; v < graph.nodes; ++v) {
            const auto [first, last] = values_of(family, family.nodes[graph.node_begin + v]);
            spells[v] = std::any_of(letters_.begin() + first, letters_.begin() + last,
                                    [](std::uint32_t letter) { return letter != 0; });
        }
        std::fill_n(paths.begin(), graph.inputs, 1);
        for (std::uint32_t e = 0; e < graph.edges; ++e) {
            const GraphFamily::Edge& edge = family.edges[graph.edge_begin + e];
            const auto [first, last] = values_of(family, edge.source);
            std::uint64_t most = 0;
            for (std::uint32_t s = first; s < last; ++s) {
                const std::int16_t from = family.sources[s];
                if (from < 0) continue;
                most = std::max(most, paths[static_cast<std::size_t>(from)]);
                lengths[edge.destination] =
                    std::max(lengths[edge.destination],
                             lengths[static_cast<std::size_t>(from)] + spells[edge.destination]);
            }
            paths[edge.destination] += most;
            if (paths[edge.destination] > kMostPaths) {
                throw std::invalid_argument("more than 65536 paths lead to node " +
                                            std::to_string(edge.destination) +
                                            ": this graph has no path encoding");
            }
        }
        is_cut_ = is_cut_ || *std::max_element(lengths.begin(), lengths.end()) > longest;
        std::size_t codes = 0;
        for (std::uint64_t count : paths) codes += static_cast<std::size_t>(count);
        most_codes_ = std::max(most_codes_, codes);
        most_paths_ += static_cast<std::size_t>(paths.back());
    }
    if (most_paths_ > kMostPaths) {
        throw std::invalid_argument("more than 65536 paths: this space has no path encoding");
    }
    std::uint64_t offset = 0;
    for (const GraphFamily::Graph& graph : family.graphs) {
        routes_.push_back(find_routes(graph, offset));
        spellings_.push_back(find_spelling(graph));
        offset += graph.inputs * span_;
    }
}

std::vector<PathEncoding::Route> PathEncoding::find_routes(const GraphFamily::Graph& graph,
                                                           std::uint64_t offset) const {
    const GraphFamily& family = *family_;
    for (std::uint32_t e = graph.edge_begin; e < graph.edge_begin + graph.edges; ++e) {
        const GraphFamily::Choice& source = family.edges[e].source;
        if (source.term_begin != source.term_end) return {};
    }
    const auto spells = [&](const GraphFamily::Choice& node) {
        return letters_[node.value_begin] != 0;
    };
    for (std::uint32_t v = 0; v < graph.nodes; ++v) {
        const GraphFamily::Choice& node = family.nodes[graph.node_begin + v];
        const auto [first, last] = values_of(family, node);
        for (std::uint32_t s = first; s < last; ++s) {
            if ((letters_[s] != 0) != spells(node)) return {};
        }
    }
    std::vector<std::vector<Route>> to(graph.nodes);
    for (std::uint32_t v = 0; v < graph.nodes; ++v) {
        if (v < graph.inputs) to[v].push_back({offset + v * span_, {}});
        const GraphFamily::Choice& node = family.nodes[graph.node_begin + v];
        for (std::uint32_t e = graph.edge_begin; e < graph.edge_begin + graph.edges; ++e) {
            const GraphFamily::Edge& edge = family.edges[e];
            const std::int16_t from = family.sources[edge.source.value_begin];
            if (edge.destination != v || from < 0) continue;
            for (Route route : to[static_cast<std::size_t>(from)]) {
                if (spells(node)) route.nodes.push_back(node);
                to[v].push_back(std::move(route));
            }
        }
    }
    std::vector<Route> kept;
    for (Route& route : to.back()) {
        const std::size_t length = route.nodes.size();
        if (length >= static_cast<std::size_t>(shortest_) &&
            length <= static_cast<std::size_t>(longest_)) {
            kept.push_back(std::move(route));
        }
    }
    return kept;
}

PathEncoding::Spelling PathEncoding::find_spelling(const GraphFamily::Graph& graph) const {
    const GraphFamily& family = *family_;
    Spelling spelling;
    spelling.runs.resize(graph.nodes);
    spelling.edge_begin.push_back(0);
    std::uint32_t e = graph.edge_begin, number = graph.inputs;
    for (std::uint32_t v = 0; v < graph.nodes; ++v) {
        if (v < graph.inputs) {
            spelling.runs[v] = {v, v + 1};
            continue;
        }
        const GraphFamily::Choice& node = family.nodes[graph.node_begin + v];
        const auto [first, last] = values_of(family, node);
        const bool spells = std::any_of(letters_.begin() + first, letters_.begin() + last,
                                        [](std::uint32_t letter) { return letter != 0; });
        Run run{number, number + (spells ? 1U : 0U)};
        for (; e < graph.edge_begin + graph.edges && family.edges[e].destination == v; ++e) {
            const GraphFamily::Choice& source = family.edges[e].source;
            if (spells) {
                spelling.edges.push_back(source);
                continue;
            }
            if (source.term_begin != source.term_end) return spelling;
            const std::int16_t from = family.sources[source.value_begin];
            if (from < 0) continue;
            const Run joined = spelling.runs[static_cast<std::size_t>(from)];
            if (run.begin == run.end) {
                run = joined;
            } else if (run.end == joined.begin) {
                run.end = joined.end;
            } else if (joined.begin != joined.end) {
                return spelling;
            }
        }
        if (spells) {
            spelling.letters.push_back(node);
            spelling.edge_begin.push_back(static_cast<std::uint32_t>(spelling.edges.size()));
            ++number;
        }
        spelling.runs[v] = run;
    }
    spelling.is_there = !is_cut_;
    return spelling;
}

// Writes the columns of a row and returns how many, in the order of the walk.
std::size_t PathEncoding::collect(const std::uint8_t* row, Scratch& scratch) const {
    const GraphFamily& family = *family_;
    const std::uint64_t letters = family.symbols;
    std::uint32_t* const found = scratch.found.data();
    std::size_t count = 0;
    std::uint64_t offset = 0;
    for (std::size_t g = 0; g < family.graphs.size(); ++g) {
        const GraphFamily::Graph& graph = family.graphs[g];
        if (!routes_[g].empty()) {
            for (const Route& route : routes_[g]) {
                std::uint64_t word = 0;
                for (const GraphFamily::Choice& node : route.nodes) {
                    word = word * letters + letters_[family.slot(node, row)];
                }
                found[count++] = static_cast<std::uint32_t>(route.offset + word - first_);
            }
        } else if (spellings_[g].is_there) {
            count += spell(g, offset, row, scratch, found + count);
        } else {
            count += walk(graph, offset, row, scratch, found + count);
        }
        offset += graph.inputs * span_;
    }
    return count;
}

// A code is a word as a number in the lower half, the offset of its input's columns in the upper
// half. The codes of a node are one run: where it spells nothing and the runs of its sources lie
// end to end, these are it.
std::size_t PathEncoding::walk(const GraphFamily::Graph& graph, std::uint64_t offset,
                               const std::uint8_t* row, Scratch& scratch,
                               std::uint32_t* found) const {
    const GraphFamily& family = *family_;
    const GraphFamily::Edge* edges = family.edges.data() + graph.edge_begin;
    std::uint64_t* const codes = scratch.codes.data();
    Run* const runs = scratch.runs.data();
    const std::uint64_t letters = family.symbols;
    std::uint32_t top = 0, e = 0;
    for (std::uint32_t v = 0; v < graph.nodes; ++v) {
        Run run{top, top};
        if (v < graph.inputs) {
            codes[top++] = (offset + v * span_) << 32;
            runs[v] = {run.begin, top};
            continue;
        }
        const std::uint64_t letter =
            letters_[family.slot(family.nodes[graph.node_begin + v], row)];
        bool is_view = letter == 0;
        for (; e < graph.edges && edges[e].destination == v; ++e) {
            const std::int16_t from = family.source(edges[e], row);
            if (from < 0 || runs[from].begin == runs[from].end) continue;
            const Run source = runs[from];
            if (is_view && (run.begin == run.end || run.end == source.begin)) {
                if (run.begin == run.end) run.begin = source.begin;
                run.end = source.end;
                continue;
            }
            if (is_view) {  // a gap: what has been seen so far is copied
                is_view = false;
                const Run seen = run;
                run = {top, top};
                for (std::uint32_t i = seen.begin; i < seen.end; ++i) codes[run.end++] = codes[i];
            }
            if (letter != 0 && is_cut_) {
                for (std::uint32_t i = source.begin; i < source.end; ++i) {
                    const std::uint64_t word = (codes[i] & kWord) * letters + letter;
                    codes[run.end] = (codes[i] & ~kWord) | word;
                    run.end += word < end_;
                }
                continue;
            }
            spell_on(codes + source.begin, source.end - source.begin, letters, letter,
                     codes + run.end);
            run.end += source.end - source.begin;
        }
        if (!is_view) top = run.end;
        runs[v] = run;
    }
    return take(codes + runs[graph.nodes - 1].begin, codes + runs[graph.nodes - 1].end, found);
}

std::size_t PathEncoding::spell(std::size_t graph, std::uint64_t offset, const std::uint8_t* row,
                                Scratch& scratch, std::uint32_t* found) const {
    const GraphFamily& family = *family_;
    const Spelling& spelling = spellings_[graph];
    const std::uint32_t inputs = family.graphs[graph].inputs;
    const std::uint64_t letters = family.symbols;
    std::uint64_t* const codes = scratch.codes.data();
    std::uint32_t* const begins = scratch.begins.data();
    for (std::uint32_t v = 0; v < inputs; ++v) {
        codes[v] = (offset + v * span_) << 32;
        begins[v] = v;
    }
    std::uint32_t top = inputs;
    for (std::size_t k = 0; k < spelling.letters.size(); ++k) {
        begins[inputs + k] = top;
        const std::uint64_t letter = letters_[family.slot(spelling.letters[k], row)];
        for (std::uint32_t e = spelling.edge_begin[k]; e < spelling.edge_begin[k + 1]; ++e) {
            const std::int16_t from = family.sources[family.slot(spelling.edges[e], row)];
            if (from < 0) continue;
            const Run run = spelling.runs[static_cast<std::size_t>(from)];
            const std::uint32_t begin = begins[run.begin];
            const std::uint32_t size = (run.end == inputs + k ? top : begins[run.end]) - begin;
            spell_on(codes + begin, size, letters, letter, codes + top);
            top += size;
        }
    }
    begins[inputs + spelling.letters.size()] = top;
    const Run last = spelling.runs.back();
    return take(codes + begins[last.begin], codes + begins[last.end], found);
}

std::size_t PathEncoding::take(const std::uint64_t* first, const std::uint64_t* last,
                               std::uint32_t* found) const {
    std::size_t count = 0;
    for (; first != last; ++first) {
        const std::uint64_t word = *first & kWord;
        found[count] = static_cast<std::uint32_t>((*first >> 32) + word - first_);
        count += word >= first_;
    }
    return count;
}

template <typename Use>
void PathEncoding::for_each(const std::uint8_t* population, std::size_t n, int threads,
                            const Use& use) const {
    const std::size_t d = family_->n_decisions();
    const OptionRange range(family_->option_counts);
    std::size_t most_nodes = 0;
    for (const GraphFamily::Graph& graph : family_->graphs) {
        most_nodes = std::max<std::size_t>(most_nodes, graph.nodes);
    }
    split_rows(n, threads, kFewestRowsPerThread, [&](std::size_t begin, std::size_t end) {
        Scratch scratch{std::vector<std::uint64_t>(most_codes_ + 2 * kBlock),
                        std::vector<Run>(most_nodes + 1),
                        std::vector<std::uint32_t>(most_nodes + 2),
                        std::vector<std::uint32_t>(most_paths_ + 1)};
        for (std::size_t first = begin; first < end; first += kTileRows) {
            const std::size_t count = std::min(kTileRows, end - first);
            range.require(population + first * d, count, first);
            for (std::size_t i = first; i < first + count; ++i) {
                const std::size_t paths = collect(population + i * d, scratch);
                use(i, scratch.found.data(), scratch.found.data() + paths);
            }
        }
    });
}

void PathEncoding::columns(const std::uint8_t* population, std::size_t n, std::uint16_t* out,
                           int threads) const {
    require_type<std::uint16_t>(width_);
    for_each(population, n, threads,
             [&](std::size_t i, std::uint32_t* first, std::uint32_t* last) {
                 sort_few(first, last);
                 last = std::unique(first, last);
                 std::uint16_t* row = out + i * most_paths_;
                 std::uint16_t* rest = std::transform(first, last, row, [](std::uint32_t column) {
                     return static_cast<std::uint16_t>(column);
                 });
                 std::fill(rest, row + most_paths_, std::uint16_t{0xffff});
             });
}

void PathEncoding::columns(const std::uint8_t* population, std::size_t n, std::uint32_t* out,
                           int threads) const {
    require_type<std::uint32_t>(width_);
    for_each(population, n, threads,
             [&](std::size_t i, std::uint32_t* first, std::uint32_t* last) {
                 std::sort(first, last);
                 last = std::unique(first, last);
                 std::uint32_t* row = out + i * most_paths_;
                 std::fill(std::copy(first, last, row), row + most_paths_,
                           std::numeric_limits<std::uint32_t>::max());
             });
}

void PathEncoding::dense(const std::uint8_t* population, std::size_t n, std::uint8_t* out,
                         int threads) const {
    for_each(population, n, threads,
             [&](std::size_t i, const std::uint32_t* first, const std::uint32_t* last) {
                 std::uint8_t* row = out + i * width_;
                 std::fill_n(row, width_, std::uint8_t{0});
                 for (; first != last; ++first) row[*first] = 1;
             });
}

void PathEncoding::packed(const std::uint8_t* population, std::size_t n, std::uint8_t* out,
                          int threads) const {
    const auto bytes = static_cast<std::size_t>((width_ + 7) / 8);
    for_each(population, n, threads,
             [&](std::size_t i, const std::uint32_t* first, const std::uint32_t* last) {
                 std::uint8_t* row = out + i * bytes;
                 std::fill_n(row, bytes, std::uint8_t{0});
                 for (; first != last; ++first) {
                     row[*first / 8] |= static_cast<std::uint8_t>(1 << (*first % 8));
                 }
             });
}

}  // namespace hwnas
