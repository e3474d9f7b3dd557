// Populations and single graphs as numbers, for hwnas.encoding.
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "arrays.hpp"
#include "bindings.hpp"
#include "hwnas/isomorphism_key.hpp"
#include "hwnas/longest_paths.hpp"
#include "hwnas/one_hot.hpp"
#include "hwnas/slot_numbers.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace hwnas {
namespace {

using BlockTuple =
    std::tuple<std::vector<std::uint32_t>, std::vector<std::uint32_t>, std::vector<double>>;

nb::bytes key_unordered(const Vector<const std::uint64_t>& labels,
                        const Matrix<const std::int32_t>& edges) {
    require_shape(edges, "edges", {edges.shape(0), 2});
    std::vector<ColouredEdge> list;
    const std::size_t nodes = labels.size();
    for (std::size_t e = 0; e < edges.shape(0); ++e) {
        const std::int32_t* row = edges.data() + 2 * e;
        for (int side = 0; side < 2; ++side) {
            if (row[side] < 0 || static_cast<std::size_t>(row[side]) >= nodes ||
                row[side] >= static_cast<std::int32_t>(kMostKeyedNodes)) {
                throw nb::value_error(("edge " + std::to_string(e) + " names node " +
                                       std::to_string(row[side]) + " of " + std::to_string(nodes) +
                                       "; at most 64 are keyed")
                                          .c_str());
            }
        }
        list.push_back({static_cast<std::uint8_t>(row[0]), static_cast<std::uint8_t>(row[1]), 0});
    }
    const auto values = copy(labels);
    GraphKey key;
    {
        nb::gil_scoped_release release;
        key = isomorphism_key(values, list);
    }
    return nb::bytes(key.data(), key.size());
}

nb::ndarray<nb::numpy, std::int32_t, nb::ndim<1>> order_nodes(
    std::size_t nodes, const Matrix<const std::int32_t>& edges) {
    require_shape(edges, "edges", {edges.shape(0), 2});
    auto order = std::make_unique<std::vector<std::int32_t>>();
    {
        nb::gil_scoped_release release;
        *order = topological_order(nodes, edges.data(), edges.shape(0));
    }
    const std::size_t size = order->size();
    std::int32_t* data = order->data();
    nb::capsule owner(order.release(),
                      [](void* p) noexcept { delete static_cast<std::vector<std::int32_t>*>(p); });
    return {data, {size}, owner};
}

void construct_longest(LongestPaths* self, const Vector<const std::uint8_t>& option_counts,
                       const std::vector<BlockTuple>& blocks) {
    std::vector<WeightedBlock> weighted;
    for (const auto& [decisions, inputs, weights] : blocks) {
        weighted.push_back({decisions, inputs, weights});
    }
    new (self) LongestPaths(copy(option_counts), weighted);
}

}  // namespace

void bind_encoding(nb::module_& module) {
    nb::class_<OneHot>(module, "OneHot",
                       "Options as 0 and 1: as many columns a decision as it has options.")
        .def(
            "__init__",
            [](OneHot* self, const Vector<const std::uint8_t>& option_counts) {
                new (self) OneHot(copy(option_counts));
            },
            "option_counts"_a.noconvert(), "Prepare the encoding of (d,) uint8 option counts.")
        .def(
            "encode",
            [](const OneHot& self, const Population& population, const Matrix<std::uint8_t>& out,
               int threads) {
                const std::size_t n = rows_of(population, self.n_decisions());
                require_shape(out, "out", {n, self.width()});
                nb::gil_scoped_release release;
                self.encode(population.data(), n, out.data(), threads);
            },
            "population"_a.noconvert(), "out"_a.noconvert(), "threads"_a = 1,
            R"(Write out (n, width) uint8.

Raises:
    TypeError: an array has another dtype or shape, or is not C-contiguous.
    ValueError: an option index is out of range (row, column and value are named), or threads is less than 1.)")
        .def_prop_ro("width", &OneHot::width, "Number of columns.");
    nb::class_<SlotNumbers>(module, "SlotNumbers",
                            "Slot number of each choice block as a 16-bit word, in C order.")
        .def(
            "__init__",
            [](SlotNumbers* self, const Vector<const std::uint8_t>& option_counts,
               const std::vector<std::vector<std::uint32_t>>& block_decisions,
               const std::string& instruction_set) {
                new (self) SlotNumbers(copy(option_counts), block_decisions,
                                       parse_instruction_set(instruction_set));
            },
            "option_counts"_a.noconvert(), "block_decisions"_a, "instruction_set"_a = "auto",
            R"(Prepare the numbering.

Raises:
    ValueError: a block reads a decision that does not exist, or has more than 65536 slots.)")
        .def(
            "encode",
            [](const SlotNumbers& self, const Population& population,
               const Matrix<std::uint16_t>& out, int threads) {
                const std::size_t n = rows_of(population, self.n_decisions());
                require_shape(out, "out", {n, self.n_blocks()});
                nb::gil_scoped_release release;
                self.encode(population.data(), n, out.data(), threads);
            },
            "population"_a.noconvert(), "out"_a.noconvert(), "threads"_a = 1,
            R"(Write out (n, blocks) uint16.

Raises:
    TypeError: an array has another dtype or shape, or is not C-contiguous.
    ValueError: an option index is out of range (row, column and value are named), or threads is less than 1.)");
    nb::class_<LongestPaths>(module, "LongestPaths",
                             "Weight of the heaviest path through the network of choice blocks.")
        .def("__init__", &construct_longest, "option_counts"_a.noconvert(), "blocks"_a,
             R"(Prepare the search.

Args:
    option_counts: options of each decision, (d,) uint8.
    blocks: for each choice block (decisions, inputs, weights): weights[slot * len(inputs) + i] is the weight of the heaviest
        path from input i, an earlier block, to the block's result; -inf where there is none. A block without inputs has one
        weight a slot.

Raises:
    ValueError: the parts of a block do not fit together; the block is named.)")
        .def(
            "weigh",
            [](const LongestPaths& self, const Population& population, const Vector<double>& out,
               int threads) {
                const std::size_t n = rows_of(population, self.n_decisions());
                require_shape(out, "out", {n});
                nb::gil_scoped_release release;
                self.weigh(population.data(), n, out.data(), threads);
            },
            "population"_a.noconvert(), "out"_a.noconvert(), "threads"_a = 1,
            R"(Write the weight of the heaviest path to the last block's result, out (n,) float64.

Raises:
    TypeError: an array has another dtype or shape, or is not C-contiguous.
    ValueError: an option index is out of range (row, column and value are named), or threads is less than 1.)");
    module.def(
        "isomorphism_key", &key_unordered, "labels"_a.noconvert(), "edges"_a.noconvert(),
        R"(128-bit key of a labelled directed multigraph without order among edges, 16 bytes.

Equal exactly for isomorphic graphs, but for collisions of the hash.

Args:
    labels: one a node, (v,) uint64, at most 64.
    edges: rows (source, destination), (e, 2) int32.

Raises:
    TypeError: an array has another dtype or shape, or is not C-contiguous.
    ValueError: a node does not exist, there are too many, or the graph is too regular.)");
    module.def("topological_order", &order_nodes, "nodes"_a, "edges"_a.noconvert(),
               R"(Node numbers in an order in which every edge leads to a later node, (v,) int32.

Of the nodes that could come next, the lowest number does.

Args:
    nodes: how many, at most 2^24.
    edges: rows (source, destination), (e, 2) int32.

Raises:
    ValueError: a node does not exist or the graph has a cycle; the node is named.)");
}

}  // namespace hwnas
