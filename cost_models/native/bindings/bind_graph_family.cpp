// The graphs that rows of a space stand for, and their encodings, for hwnas.encoding.
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "bindings.hpp"
#include "hwnas/graph_family.hpp"
#include "hwnas/graph_tensors.hpp"
#include "hwnas/isomorphism_key.hpp"
#include "hwnas/path_encoding.hpp"
#include "hwnas/weisfeiler_lehman.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace hwnas {
namespace {

using NodeTuple = std::tuple<std::vector<std::uint32_t>, std::vector<std::uint16_t>>;
using EdgeTuple =
    std::tuple<std::uint16_t, std::uint8_t, std::vector<std::uint32_t>, std::vector<std::int16_t>>;
using GraphTuple = std::tuple<std::uint16_t, std::vector<NodeTuple>, std::vector<EdgeTuple>>;

LabelKind parse_kind(const std::string& name) {
    if (name == "structure") return LabelKind::structure;
    if (name == "operation") return LabelKind::operation;
    if (name == "identity") return LabelKind::identity;
    if (name == "zero") return LabelKind::zero;
    throw nb::value_error(("unknown kind '" + name +
                           "' of label; choose structure, operation, "
                           "identity or zero")
                              .c_str());
}

void construct_family(GraphFamily* self, const Vector<const std::uint8_t>& option_counts,
                      const Vector<const std::uint64_t>& label_hashes,
                      const std::vector<std::string>& kinds,
                      const Vector<const std::int32_t>& label_symbols, std::uint16_t symbols,
                      const std::vector<GraphTuple>& graphs) {
    FamilyDescription description;
    description.option_counts = copy(option_counts);
    description.symbols = symbols;
    require_shape(label_symbols, "label_symbols", {label_hashes.size()});
    if (kinds.size() != label_hashes.size()) {
        throw nb::value_error("label_hashes and kinds have different lengths");
    }
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const std::int32_t symbol = label_symbols.data()[i];
        if (symbol < -1 || symbol >= kNoSymbol) {
            throw nb::value_error(
                ("label " + std::to_string(i) + " has symbol " + std::to_string(symbol)).c_str());
        }
        description.labels.push_back(
            {label_hashes.data()[i], parse_kind(kinds[i]),
             symbol < 0 ? kNoSymbol : static_cast<std::uint16_t>(symbol)});
    }
    for (const auto& [inputs, nodes, edges] : graphs) {
        FamilyGraph graph{inputs, {}, {}};
        for (const auto& [decisions, labels] : nodes) graph.nodes.push_back({decisions, labels});
        for (const auto& [destination, colour, decisions, sources] : edges) {
            graph.edges.push_back({destination, colour, {decisions, sources}});
        }
        description.graphs.push_back(std::move(graph));
    }
    nb::gil_scoped_release release;
    new (self) GraphFamily(description);
}

void wl_hashes(const GraphFamily& self, const Population& population, int iterations,
               const Vector<std::uint64_t>& out, int threads, const std::string& instruction_set) {
    const std::size_t n = rows_of(population, self.n_decisions());
    require_shape(out, "out", {n});
    const InstructionSet chosen = parse_instruction_set(instruction_set);
    nb::gil_scoped_release release;
    weisfeiler_lehman(self, population.data(), n, iterations, out.data(), nullptr, threads,
                      chosen);
}

void wl_labels(const GraphFamily& self, const Population& population, int iterations,
               const Cube<std::uint64_t>& out, int threads) {
    const std::size_t n = rows_of(population, self.n_decisions());
    const std::size_t turns = static_cast<std::size_t>(std::max(iterations, 0)) + 1;
    require_shape(out, "out", {n, turns, self.n_nodes()});
    nb::gil_scoped_release release;
    std::vector<std::uint64_t> hashes(n);
    weisfeiler_lehman(self, population.data(), n, iterations, hashes.data(), out.data(), threads,
                      detect_instruction_set());
}

void wl_histogram(const GraphFamily& self, const Population& population, int iterations,
                  const Cube<std::uint16_t>& out, int threads) {
    const std::size_t n = rows_of(population, self.n_decisions());
    const std::size_t turns = static_cast<std::size_t>(std::max(iterations, 0)) + 1;
    require_shape(out, "out", {n, turns, out.shape(2)});
    nb::gil_scoped_release release;
    weisfeiler_lehman_histogram(self, population.data(), n, iterations, out.shape(2), out.data(),
                                threads, detect_instruction_set());
}

void keys(const GraphFamily& self, const Population& population, const Matrix<std::uint8_t>& out,
          int threads) {
    const std::size_t n = rows_of(population, self.n_decisions());
    require_shape(out, "out", {n, 16});
    nb::gil_scoped_release release;
    isomorphism_keys(self, population.data(), n, out.data(), threads);
}

// Binds a function of graph_tensors.hpp whose result has one entry a `columns(family)`.
template <typename T>
using WriteTensor = void (*)(const GraphFamily&, const std::uint8_t*, std::size_t, T*, int);

template <typename T, WriteTensor<T> kWrite>
void matrix_tensor(const GraphFamily& self, const Population& population, const Matrix<T>& out,
                   int threads) {
    const std::size_t n = rows_of(population, self.n_decisions());
    require_shape(out, "out", {n, self.n_nodes()});
    nb::gil_scoped_release release;
    kWrite(self, population.data(), n, out.data(), threads);
}

template <typename T, WriteTensor<T> kWrite>
void cube_tensor(const GraphFamily& self, const Population& population, const Cube<T>& out,
                 std::size_t rows, std::size_t columns, int threads) {
    const std::size_t n = rows_of(population, self.n_decisions());
    require_shape(out, "out", {n, rows, columns});
    nb::gil_scoped_release release;
    kWrite(self, population.data(), n, out.data(), threads);
}

void fill_sources(const GraphFamily& self, const Population& population,
                  const Vector<const std::int64_t>& begins, const Vector<std::int64_t>& out,
                  int threads) {
    const std::size_t n = rows_of(population, self.n_decisions());
    require_shape(begins, "begins", {n * self.n_nodes() + 1});
    const std::int64_t* begin = begins.data();
    if (begin[0] != 0 || !std::is_sorted(begin, begin + begins.size()) ||
        begin[begins.size() - 1] != static_cast<std::int64_t>(out.size())) {
        throw nb::value_error("begins must rise from 0 to the length of out");
    }
    nb::gil_scoped_release release;
    sparse_sources(self, population.data(), n, begin, out.data(), threads);
}

template <typename T>
void path_columns(const PathEncoding& self, const Population& population, const Matrix<T>& out,
                  int threads) {
    const std::size_t n = rows_of(population, self.family().n_decisions());
    require_shape(out, "out", {n, self.most_paths()});
    nb::gil_scoped_release release;
    self.columns(population.data(), n, out.data(), threads);
}

void path_bytes(const PathEncoding& self, const Population& population,
                const Matrix<std::uint8_t>& out, bool packed, int threads) {
    const std::size_t n = rows_of(population, self.family().n_decisions());
    const auto width = static_cast<std::size_t>(self.width());
    require_shape(out, "out", {n, packed ? (width + 7) / 8 : width});
    nb::gil_scoped_release release;
    if (packed) {
        self.packed(population.data(), n, out.data(), threads);
    } else {
        self.dense(population.data(), n, out.data(), threads);
    }
}

void bind_family(nb::module_& module) {
    nb::class_<GraphFamily>(module, "GraphFamily",
                            R"(The graphs that the rows of a space stand for, and their encodings.

Populations are (n, d) uint8, C-contiguous. Results are written into `out`, C-contiguous and writable; they depend neither on
`threads` (the most to use; small populations use fewer) nor on the instruction set. Every method raises

    TypeError: an array has another dtype or shape, or is not C-contiguous;
    ValueError: an option index is out of range (row, column and value are named; out is then partly written), or threads is
        less than 1.)")
        .def("__init__", &construct_family, "option_counts"_a.noconvert(),
             "label_hashes"_a.noconvert(), "kinds"_a, "label_symbols"_a.noconvert(), "symbols"_a,
             "graphs"_a,
             R"(Lay out a family; the arguments are copied.

Args:
    option_counts: options of each decision, (d,) uint8, each at least 1.
    label_hashes: what tells each label from others, (labels,) uint64.
    kinds: "structure", "operation", "identity" (hands the sum of its inputs through) or "zero" for each label.
    label_symbols: letter that paths spell at nodes of each label, -1 for none, (labels,) int32.
    symbols: how many letters there are.
    graphs: for each graph of an architecture (inputs, nodes, edges). The first `inputs` nodes are its inputs, the last one
        is its output. A node is (decisions, labels), its label by the combination of those decisions, the first one most
        significant. An edge is (destination, colour, decisions, sources), likewise; source -1 means no edge. Edges lead to
        nodes of higher number; colours are 0 to 3.

Raises:
    TypeError: an array has another dtype or shape, or is not C-contiguous.
    ValueError: something named does not exist, an edge leads to a node of lower number, or a graph has more than 4096 nodes
        or 65536 edges; graph and node are named.)")
        .def("wl_hashes", &wl_hashes, "population"_a.noconvert(), "iterations"_a,
             "out"_a.noconvert(), "threads"_a = 1, "instruction_set"_a = "auto",
             R"(Write a hash of the Weisfeiler-Lehman labels of all iterations, out (n,) uint64.

Labels are refined by predecessors and successors apart; iterations is 0 to 64. Isomorphic graphs have equal hashes.)")
        .def("wl_labels", &wl_labels, "population"_a.noconvert(), "iterations"_a,
             "out"_a.noconvert(), "threads"_a = 1,
             "Write the label of each node after each iteration, out (n, iterations + 1, nodes) "
             "uint64.")
        .def("wl_histogram", &wl_histogram, "population"_a.noconvert(), "iterations"_a,
             "out"_a.noconvert(), "threads"_a = 1,
             "Count nodes by label modulo buckets after each iteration, out (n, iterations + 1, "
             "buckets) uint16.")
        .def("keys", &keys, "population"_a.noconvert(), "out"_a.noconvert(), "threads"_a = 1,
             R"(Write 128-bit keys of what the graphs compute, out (n, 16) uint8.

Identities are contracted; zeros, and what only zeros enter, vanish, and so does what does not reach the output. Keys are equal
exactly where the rest is isomorphic, graph by graph, but for collisions of the hash.

Raises:
    ValueError: as for all methods; too, a graph has more than 64 nodes or is too regular (the row is named).)")
        .def("node_labels", &matrix_tensor<std::uint16_t, node_labels>, "population"_a.noconvert(),
             "out"_a.noconvert(), "threads"_a = 1,
             "Write the number of each node's label, out (n, nodes) uint16.")
        .def("in_degrees", &matrix_tensor<std::int32_t, in_degrees>, "population"_a.noconvert(),
             "out"_a.noconvert(), "threads"_a = 1,
             "Write how many edges lead to each node, out (n, nodes) int32.")
        .def(
            "node_one_hot",
            [](const GraphFamily& self, const Population& population,
               const Cube<std::uint8_t>& out, int threads) {
                cube_tensor<std::uint8_t, node_one_hot>(self, population, out, self.n_nodes(),
                                                        self.labels.size(), threads);
            },
            "population"_a.noconvert(), "out"_a.noconvert(), "threads"_a = 1,
            "Write each node's label as 0 and 1, out (n, nodes, labels) uint8.")
        .def(
            "adjacency",
            [](const GraphFamily& self, const Population& population,
               const Cube<std::uint8_t>& out, int threads) {
                cube_tensor<std::uint8_t, adjacency>(self, population, out, self.n_nodes(),
                                                     self.n_nodes(), threads);
            },
            "population"_a.noconvert(), "out"_a.noconvert(), "threads"_a = 1,
            "Write how many edges lead from a node to another, out (n, nodes, nodes) uint8: "
            "[i, destination, source].")
        .def(
            "padded_edges",
            [](const GraphFamily& self, const Population& population,
               const Cube<std::int32_t>& out, int threads) {
                cube_tensor<std::int32_t, padded_edges>(self, population, out, self.n_edges(), 2,
                                                        threads);
            },
            "population"_a.noconvert(), "out"_a.noconvert(), "threads"_a = 1,
            "Write source and destination of each edge, out (n, edges, 2) int32, -1 behind the "
            "last one.")
        .def(
            "sparse_sources", &fill_sources, "population"_a.noconvert(), "begins"_a.noconvert(),
            "out"_a.noconvert(), "threads"_a = 1,
            R"(Write the sources of the edges to each node of the whole batch, out (begins[-1],) int64.

Node j of architecture i has the number i * nodes + j; begins (n * nodes + 1,) int64 is the running sum of in_degrees.)")
        .def_prop_ro("n_decisions", &GraphFamily::n_decisions, "Number of decisions d.")
        .def_prop_ro("n_nodes", &GraphFamily::n_nodes, "Nodes of all graphs of an architecture.")
        .def_prop_ro("n_edges", &GraphFamily::n_edges, "Most edges of an architecture.")
        .def_prop_ro(
            "n_labels", [](const GraphFamily& self) { return self.labels.size(); },
            "Number of labels.");
}

void bind_paths(nb::module_& module) {
    nb::class_<PathEncoding>(module, "PathEncoding",
                             R"(Which words the paths through an architecture's graphs spell.

A path leads from an input of a graph to its output; its word is the symbols of its nodes. Columns are graph by graph, input by
input, and for each all words of `shortest` to `longest` symbols, by length, then as numbers with the first symbol most
significant. Methods raise as those of GraphFamily.)")
        .def(nb::init<const GraphFamily&, int, int>(), "family"_a, "shortest"_a, "longest"_a,
             nb::keep_alive<1, 2>(),
             R"(Prepare the encoding.

Raises:
    ValueError: lengths are out of order, or there are more than 2^31 columns or 65536 possible paths.)")
        .def("columns", &path_columns<std::uint16_t>, "population"_a.noconvert(),
             "out"_a.noconvert(), "threads"_a = 1,
             "Write the columns of an architecture in rising order, each once, out (n, "
             "most_paths) uint16 or uint32; the largest number fills the rest.")
        .def("columns", &path_columns<std::uint32_t>, "population"_a.noconvert(),
             "out"_a.noconvert(), "threads"_a = 1)
        .def("bits", &path_bytes, "population"_a.noconvert(), "out"_a.noconvert(),
             "packed"_a = false, "threads"_a = 1,
             "Write 0 and 1, out (n, width) uint8; packed: column c is bit c % 8 of byte c // 8, "
             "out (n, (width + 7) // 8).")
        .def_prop_ro("width", &PathEncoding::width, "Number of columns.")
        .def_prop_ro("most_paths", &PathEncoding::most_paths, "Most paths of an architecture.");
}

}  // namespace

void bind_graph_family(nb::module_& module) {
    bind_family(module);
    bind_paths(module);
}

}  // namespace hwnas
