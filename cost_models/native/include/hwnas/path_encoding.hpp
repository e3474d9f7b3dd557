// Paths through the graphs of whole populations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hwnas/graph_family.hpp"

namespace hwnas {

// White et al., BANANAS, AAAI 2021. A path leads from an input of a graph to its output; its word
// lists the symbols of the nodes on it that have one. Words have `shortest` to `longest` symbols;
// longer and shorter ones are left out. With s symbols, words are numbered by length, and those of
// one length as numbers to the base s, the first symbol most significant:
//
//     number(o_1 .. o_k) = sum over i of (o_i + 1) * s^(k - i) - sum over l < shortest of s^l
//
// Columns are graph by graph, input by input, word by word.
class PathEncoding {
  public:
    static constexpr std::uint64_t kMostColumns = std::uint64_t{1} << 31;
    static constexpr std::size_t kMostPaths = 65536;  // through one architecture

    // Throws std::invalid_argument for lengths out of order, for more than kMostColumns columns or
    // kMostPaths possible paths; the remedy, a smaller `longest`, is told.
    PathEncoding(const GraphFamily& family, int shortest, int longest);

    std::uint64_t width() const { return width_; }
    std::size_t most_paths() const { return most_paths_; }
    const GraphFamily& family() const { return *family_; }

    // The columns of an architecture in rising order, each once; missing ones are the largest
    // value of the type. Out is (n, most_paths). Throws std::invalid_argument as below, and when
    // there are more columns than the type numbers.
    void columns(const std::uint8_t* population, std::size_t n, std::uint16_t* out,
                 int threads) const;
    void columns(const std::uint8_t* population, std::size_t n, std::uint32_t* out,
                 int threads) const;

    // Bytes of 0 and 1, out (n, width).
    void dense(const std::uint8_t* population, std::size_t n, std::uint8_t* out,
               int threads) const;

    // Bits, column c in bit c % 8 of byte c / 8, out (n, (width + 7) / 8). Throws
    // std::invalid_argument naming row, column and value of the first option index out of range,
    // or when threads < 1.
    void packed(const std::uint8_t* population, std::size_t n, std::uint8_t* out,
                int threads) const;

  private:
    template <typename Use>
    void for_each(const std::uint8_t* population, std::size_t n, int threads,
                  const Use& use) const;
    // A path of a graph whose edges are the same in all architectures.
    struct Route {
        std::uint64_t offset;                    // of its input's columns
        std::vector<GraphFamily::Choice> nodes;  // those that spell a symbol
    };
    struct Run {
        std::uint32_t begin;
        std::uint32_t end;
    };
    // What a graph comes down to where every node that spells nothing joins, in all architectures,
    // the codes of nodes that lie end to end: inputs first, then the nodes that spell, in order.
    struct Spelling {
        std::vector<GraphFamily::Choice> letters;  // of each node that spells
        std::vector<std::uint32_t> edge_begin;     // (letters + 1,) into edges
        std::vector<GraphFamily::Choice> edges;    // into the family's sources
        std::vector<Run> runs;                     // of nodes, for each node of the graph
        bool is_there = false;
    };
    struct Scratch {
        std::vector<std::uint64_t> codes;
        std::vector<Run> runs;              // of each node, into codes
        std::vector<std::uint32_t> begins;  // of each node that spells, into codes
        std::vector<std::uint32_t> found;
    };

    std::vector<Route> find_routes(const GraphFamily::Graph& graph, std::uint64_t offset) const;
    Spelling find_spelling(const GraphFamily::Graph& graph) const;
    std::size_t collect(const std::uint8_t* row, Scratch& scratch) const;
    std::size_t spell(std::size_t graph, std::uint64_t offset, const std::uint8_t* row,
                      Scratch& scratch, std::uint32_t* found) const;
    std::size_t take(const std::uint64_t* first, const std::uint64_t* last,
                     std::uint32_t* found) const;
    std::size_t walk(const GraphFamily::Graph& graph, std::uint64_t offset,
                     const std::uint8_t* row, Scratch& scratch, std::uint32_t* found) const;

    const GraphFamily* family_;  // not owned
    int shortest_;
    int longest_;
    bool is_cut_ = false;      // paths may be longer than the longest
    std::uint64_t span_ = 0;   // columns of one input
    std::uint64_t first_ = 0;  // words shorter than the shortest
    std::uint64_t end_ = 0;    // words up to the longest
    std::uint64_t width_ = 0;
    std::size_t most_paths_ = 0;
    std::size_t most_codes_ = 0;              // on all nodes of one graph
    std::vector<std::uint32_t> letters_;      // symbol + 1 of each value of a node, 0 without
    std::vector<Spelling> spellings_;         // of each graph
    std::vector<std::vector<Route>> routes_;  // of each graph; none where edges are chosen
};

}  // namespace hwnas
