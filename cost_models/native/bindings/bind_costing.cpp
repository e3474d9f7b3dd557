#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bindings.hpp"
#include "hwnas/canonical_key.hpp"
#include "hwnas/canonicalise.hpp"
#include "hwnas/slot_table.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace hwnas {
namespace {

template <typename T>
using Vector = nb::ndarray<T, nb::numpy, nb::shape<-1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Matrix = nb::ndarray<T, nb::numpy, nb::shape<-1, -1>, nb::c_contig, nb::device::cpu>;

template <typename T>
std::vector<T> copy(const Vector<const T>& array) {
    return {array.data(), array.data() + array.size()};
}

template <typename Array>
void require_shape(const Array& array, const char* name, std::size_t rows, std::size_t columns) {
    if (array.shape(0) == rows && array.shape(1) == columns) return;
    const std::string text = std::string(name) + " has shape (" + std::to_string(array.shape(0)) +
                             ", " + std::to_string(array.shape(1)) + "), wanted (" +
                             std::to_string(rows) + ", " + std::to_string(columns) + ")";
    throw nb::type_error(text.c_str());
}

Reduction parse_reduction(const std::string& name) {
    if (name == "sum") return Reduction::sum;
    if (name == "max") return Reduction::max;
    throw nb::value_error(("unknown reduction '" + name + "'; choose sum or max").c_str());
}

void construct(SlotTable* self, const Vector<const std::uint8_t>& option_counts,
               std::vector<std::vector<std::uint32_t>> block_decisions,
               const std::vector<Matrix<const double>>& block_costs,
               const Vector<const double>& constant, const std::vector<std::string>& reductions,
               const std::string& instruction_set) {
    SlotCosts costs;
    costs.option_counts = copy(option_counts);
    costs.block_decisions = std::move(block_decisions);
    costs.constant = copy(constant);
    for (std::size_t b = 0; b < block_costs.size(); ++b) {
        const auto& block = block_costs[b];
        if (block.shape(1) != costs.constant.size()) {
            throw nb::value_error(("block_costs[" + std::to_string(b) + "] has " +
                                   std::to_string(block.shape(1)) + " metrics, constant has " +
                                   std::to_string(costs.constant.size()))
                                      .c_str());
        }
        costs.block_costs.emplace_back(block.data(), block.data() + block.size());
    }
    for (const std::string& name : reductions) costs.reductions.push_back(parse_reduction(name));
    const InstructionSet chosen = parse_instruction_set(instruction_set);
    nb::gil_scoped_release release;
    new (self) SlotTable(costs, chosen);
}

void cost(const SlotTable& self, const Matrix<const std::uint8_t>& population,
          const Matrix<float>& out, int threads) {
    require_shape(population, "population", population.shape(0), self.n_decisions());
    require_shape(out, "out", population.shape(0), self.n_metrics());
    nb::gil_scoped_release release;
    self.cost(population.data(), population.shape(0), out.data(), threads);
}

void slots(const SlotTable& self, const Matrix<const std::uint8_t>& population,
           const Matrix<std::uint32_t>& out) {
    require_shape(population, "population", population.shape(0), self.n_decisions());
    require_shape(out, "out", population.shape(0), self.n_blocks());
    nb::gil_scoped_release release;
    self.slots(population.data(), population.shape(0), out.data());
}

void canonicalise_population(const Matrix<std::uint8_t>& population,
                             const Vector<const std::uint8_t>& option_counts,
                             const Vector<const std::int32_t>& parents,
                             const Matrix<const std::uint8_t>& active) {
    const std::size_t d = option_counts.size();
    require_shape(population, "population", population.shape(0), d);
    require_shape(active, "active", d, kActiveOptions);
    const auto counts = copy(option_counts);
    const auto parent_columns = copy(parents);
    nb::gil_scoped_release release;
    canonicalise(population.data(), population.shape(0), counts, parent_columns, active.data());
}

nb::bytes key_graph(const std::vector<nb::bytes>& labels, const Matrix<const std::int32_t>& edges,
                    const Vector<const std::int32_t>& outputs) {
    require_shape(edges, "edges", edges.shape(0), 3);
    std::vector<std::string_view> views;
    views.reserve(labels.size());
    for (const nb::bytes& label : labels) views.emplace_back(label.c_str(), label.size());
    std::vector<GraphEdge> graph_edges;
    graph_edges.reserve(edges.shape(0));
    for (std::size_t e = 0; e < edges.shape(0); ++e) {
        const std::int32_t* row = edges.data() + 3 * e;
        graph_edges.push_back({row[0], row[1], row[2]});
    }
    const auto output_nodes = copy(outputs);
    GraphKey key;
    {
        // `labels` keeps the bytes alive.
        nb::gil_scoped_release release;
        key = canonical_key(views, graph_edges, output_nodes);
    }
    return nb::bytes(key.data(), key.size());
}

}  // namespace

void bind_costing(nb::module_& module) {
    nb::class_<SlotTable>(module, "SlotTable",
                          R"(Costs of whole populations from a table of measured slots.

Choice block b reads the decisions block_decisions[b]; its slots are the combinations of their options, numbered in C order
(the first decision listed is the most significant). The cost of architecture x in metric j is

    constant[j] + sum over b of block_costs[b][slot_b(x), j]          where reductions[j] is "sum",
    max(constant[j], max over b of block_costs[b][slot_b(x), j])      where reductions[j] is "max".

NaN in block_costs marks a slot that was not measured: every architecture that uses it costs NaN in that metric. Units are
those of block_costs. Results agree with the float64 sum to 1e-6 of it (where costs of both signs cancel, also to 1e-12 of
the terms), and are the same, bit for bit, for every thread count and instruction set.

Blocks are fused into groups whose merged tables stay in the inner caches (n_groups look-ups an architecture).)")
        .def("__init__", &construct, "option_counts"_a.noconvert(), "block_decisions"_a,
             "block_costs"_a.noconvert(), "constant"_a.noconvert(), "reductions"_a,
             "instruction_set"_a = "auto",
             R"(Compile the table; the arguments are copied.

Args:
    option_counts: options of each decision, (d,) uint8, each at least 1.
    block_decisions: the decisions that each choice block reads, possibly none.
    block_costs: for each choice block its costs, (slots, m) float64, finite or NaN.
    constant: cost of what every architecture has, (m,) float64, 1 <= m <= 8.
    reductions: "sum" or "max" for each metric, m of them.
    instruction_set: "auto" (the best of this processor), "scalar", "avx2" or "avx512".

Raises:
    TypeError: an array has another dtype or number of dimensions, or is not C-contiguous.
    ValueError: the parts do not fit together, a decision has no option, a block reads a decision twice or one that does not
        exist, a cost is infinite, the costs sum to more than float32 holds, a name is unknown, or the processor lacks the
        instruction set.)")
        .def("cost", &cost, "population"_a.noconvert(), "out"_a.noconvert(), "threads"_a = 1,
             R"(Write the costs of a population into out.

Args:
    population: option indices, (n, d) uint8, C-contiguous; n may be 0.
    out: receives the costs, (n, m) float32, C-contiguous and writable, not overlapping the population.
    threads: most threads to use, at least 1; small populations use fewer.

Raises:
    TypeError: an array has another dtype or shape, or is not C-contiguous.
    ValueError: an option index is out of range (row, column and value are named; out is then partly written), or threads
        is less than 1.)")
        .def("slots", &slots, "population"_a.noconvert(), "out"_a.noconvert(),
             R"(Write the slot number of each choice block into out.

Args:
    population: option indices, (n, d) uint8, C-contiguous.
    out: receives the slot numbers, (n, n_blocks) uint32, C-contiguous and writable.

Raises:
    TypeError: an array has another dtype or shape, or is not C-contiguous.
    ValueError: an option index is out of range; row, column and value are named.)")
        .def_prop_ro("n_decisions", &SlotTable::n_decisions, "Number of decisions d.")
        .def_prop_ro("n_metrics", &SlotTable::n_metrics, "Number of metrics m.")
        .def_prop_ro("n_blocks", &SlotTable::n_blocks, "Number of choice blocks.")
        .def_prop_ro("n_groups", &SlotTable::n_groups,
                     "Number of groups of fused blocks: look-ups an architecture.")
        .def_prop_ro("table_bytes", &SlotTable::table_bytes, "Bytes of all group tables.")
        .def_prop_ro(
            "instruction_set",
            [](const SlotTable& self) { return to_string(self.instruction_set()); },
            R"(Instruction set in use: "scalar", "avx2" or "avx512".)");

    module.def("canonicalise", &canonicalise_population, "population"_a.noconvert(),
               "option_counts"_a.noconvert(), "parents"_a.noconvert(), "active"_a.noconvert(),
               R"(Set the inactive decisions of a population to option 0, in place.

Decision c with a parent p = parents[c] is active where p is active and active[c, option of p] is not 0. Decisions are
visited in ascending order. The result is unchanged by a second call.

Args:
    population: option indices, (n, d) uint8, C-contiguous and writable; n may be 0.
    option_counts: options of each decision, (d,) uint8, each at least 1.
    parents: the decision that each depends on, (d,) int32: -1 for none, else less than its own number.
    active: for each decision, whether each option of its parent activates it, (d, 256) uint8.

Raises:
    TypeError: an array has another dtype or shape, or is not C-contiguous.
    ValueError: a parent does not come before its child, a decision has no option, or an option index is out of range (row,
        column and value are named; rows before it may be canonical already, the others are untouched).)");

    module.def("canonical_key", &key_graph, "labels"_a, "edges"_a.noconvert(),
               "outputs"_a.noconvert(),
               R"(128-bit key of a labelled directed acyclic graph, 16 bytes.

Isomorphic graphs (equal labels, the same wiring slot by slot, the same outputs in order) have equal keys, whatever the order
of nodes and edges. Graphs that differ in a label, a wire, an input slot, the order of outputs, or in sharing a node where the
other has two copies, have different keys; nodes from which no output is reached count too. Keys are the same on every
platform and Python version. They do not resist a deliberate search for collisions.

Args:
    labels: everything that tells a node apart from others (operator, attributes, dtype, shape), one a node.
    edges: rows (source node, destination node, input slot of the destination), (e, 3) int32.
    outputs: nodes that the graph returns, in order, (k,) int32.

Raises:
    TypeError: an array has another dtype or shape, or is not C-contiguous.
    ValueError: a node does not exist, a slot is negative, two edges enter one slot of a node, or the graph has a cycle; the
        node is named.)");
}

}  // namespace hwnas
