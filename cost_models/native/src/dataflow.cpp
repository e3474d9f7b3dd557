#include "hwnas/dataflow.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "dataflow_nests.hpp"

namespace hwnas {
namespace {

// Limits under which no count reaches 2^63: sums over steps stay within a small multiple of
// operations times strides, or of steps times the hop latency.
constexpr Count kLargestSize = 1 << 20;
constexpr Count kLargestStride = 1 << 8;
constexpr Count kLargestHopLatency = 1 << 10;
constexpr double kMostOperations = 1ULL << 40;

// Bytes to and from DRAM: each tensor once if it stays in what the tiles leave of the shared
// buffer (inputs first, then results, then weights), else once a pass.
Count dram_bytes(const Nest& nest, Count inputs, Count weights, Count outputs, Count l2_bytes) {
    Count left = l2_bytes == 0 ? std::numeric_limits<Count>::max()
                               : std::max<Count>(0, l2_bytes - 2 * nest.first_elements);
    Count total = 0;
    const Count sizes[] = {inputs, outputs, weights};
    const Count passes[] = {nest.input_passes, nest.output_passes, nest.weight_passes};
    for (int i = 0; i < 3; ++i) {
        const bool stays = sizes[i] <= left;
        total += sizes[i] * (stays ? 1 : passes[i]);
        left -= stays ? sizes[i] : 0;
    }
    return total;
}

LayerCost streaming_cost(const Layer& layer, const Network& network) {
    LayerCost cost;
    const Count moved = static_cast<Count>(layer.c) + layer.k;
    cost.is_mapped = true;
    cost.cycles = network.cycles(moved) + 1;
    cost.input_reads = layer.c;
    cost.output_writes = layer.k;
    cost.l2_accesses = moved;
    cost.dram_bytes = moved;
    return cost;
}

Count least_pes(const Layer& layer, Dataflow dataflow) {
    return dataflow == Dataflow::kRowStationary && layer.kind != LayerKind::kStreaming ? layer.r
                                                                                       : 1;
}

void require(bool ok, const char* what, std::size_t row, const char* why) {
    if (!ok) {
        throw std::invalid_argument(std::string(what) + " " + std::to_string(row) + " " + why);
    }
}

Layer checked_layer(const std::int32_t* row, std::size_t index) {
    require(row[0] >= 0 && row[0] <= 2, "layer", index, "is of no known kind");
    double product = 1.0;
    for (std::size_t i = 1; i < kLayerFields; ++i) {
        require(row[i] >= 1, "layer", index, "has a size below 1");
        if (i < 8) {
            product *= row[i];
        }
    }
    const Layer layer{static_cast<LayerKind>(row[0]),
                      row[1],
                      row[2],
                      row[3],
                      row[4],
                      row[5],
                      row[6],
                      row[7],
                      row[8],
                      row[9]};
    if (layer.kind != LayerKind::kStreaming) {
        for (std::size_t i = 1; i < kLayerFields; ++i) {
            require(row[i] <= kLargestSize, "layer", index, "has a size above 2^20");
        }
        require(layer.stride_y <= kLargestStride && layer.stride_x <= kLargestStride, "layer",
                index, "has a stride above 256");
        require(product <= kMostOperations, "layer", index, "has more than 2^40 operations");
        require(layer.kind != LayerKind::kDepthwise || (layer.k == 1 && layer.groups == 1),
                "layer", index, "is depthwise but has filters or groups of its own");
    }
    return layer;
}

void check_accelerator(const Accelerator& one, std::size_t index) {
    require(static_cast<std::uint8_t>(one.dataflow) <= 2, "accelerator", index,
            "has no known dataflow");
    require(one.pes >= 1 && one.pes <= kLargestSize, "accelerator", index, "needs 1 to 2^20 PEs");
    require(one.bandwidth >= 1 && one.bandwidth <= kLargestSize, "accelerator", index,
            "needs a bandwidth of 1 to 2^20 elements per cycle");
    require(one.hop_latency >= 0 && one.hop_latency <= kLargestHopLatency, "accelerator", index,
            "needs a hop latency of 0 to 1024 cycles");
    require(one.l1_bytes >= 0 && one.l2_bytes >= 0, "accelerator", index,
            "has a buffer of negative size");
    require(one.dram_bandwidth >= 0.0 && std::isfinite(one.dram_bandwidth), "accelerator", index,
            "needs a finite DRAM bandwidth, or 0");
}

}  // namespace

LayerCost layer_cost(const Layer& layer, const Accelerator& accelerator) {
    const Network network{accelerator.bandwidth, accelerator.hop_latency};
    if (layer.kind == LayerKind::kStreaming) {
        return streaming_cost(layer, network);
    }
    LayerCost cost;
    cost.is_mapped = accelerator.pes >= least_pes(layer, accelerator.dataflow);
    if (!cost.is_mapped) {
        return cost;
    }
    const bool dense = layer.kind == LayerKind::kDense;
    const Nest nest = accelerator.dataflow == Dataflow::kOutputStationary
                          ? output_stationary(layer, accelerator.pes, network)
                      : accelerator.dataflow == Dataflow::kRowStationary
                          ? row_stationary(layer, accelerator.pes, network)
                      : dense ? weight_stationary(layer, accelerator.pes, network)
                              : weight_stationary_depthwise(layer, accelerator.pes, network);
    const Count groups = layer.groups;
    const Count channels = groups * layer.c, filters = dense ? groups * layer.k : layer.c;
    const Count window = static_cast<Count>(layer.r) * layer.s;
    const Count pixels = static_cast<Count>(layer.oy) * layer.ox;
    const Count rows = static_cast<Count>(layer.oy - 1) * layer.stride_y + layer.r;
    const Count columns = static_cast<Count>(layer.ox - 1) * layer.stride_x + layer.s;
    const Count inputs = channels * rows * columns;
    const Count weights = (dense ? filters * layer.c : filters) * window;
    const Count outputs = filters * pixels;
    cost.macs = weights * pixels;
    cost.cycles = groups * nest.body + nest.first + (groups - 1) * nest.again;
    cost.input_reads = groups * nest.inputs + nest.inputs_first + (groups - 1) * nest.inputs_again;
    cost.weight_reads = groups * nest.weights;
    cost.output_writes = groups * nest.outputs;
    // A PE reads two operands and a partial result for each product, and writes the result back.
    cost.l1_accesses = cost.input_reads + cost.weight_reads + 4 * cost.macs;
    // Operands are written once and read as counted, results written as counted; like [Kwo19] this
    // leaves out that partial results are read back, and the last ones for DRAM.
    cost.l2_accesses =
        cost.input_reads + inputs + cost.weight_reads + weights + cost.output_writes;
    cost.l1_bytes = 2 * nest.l1_elements;
    cost.l2_bytes = 2 * nest.first_elements;
    cost.dram_bytes = dram_bytes(nest, inputs, weights, outputs, accelerator.l2_bytes);
    return cost;
}

void dataflow_costs(const std::int32_t* layers, std::size_t n_layers,
                    const Accelerator* accelerators, const AccessEnergy* energies,
                    std::size_t n_accelerators, double* cycles, double* energy_j) {
    for (std::size_t h = 0; h < n_accelerators; ++h) {
        check_accelerator(accelerators[h], h);
    }
    constexpr double infinite = std::numeric_limits<double>::infinity();
    for (std::size_t l = 0; l < n_layers; ++l) {
        const Layer layer = checked_layer(layers + l * kLayerFields, l);
        for (std::size_t h = 0; h < n_accelerators; ++h) {
            const Accelerator& one = accelerators[h];
            const AccessEnergy& energy = energies[h];
            const LayerCost cost = layer_cost(layer, one);
            const bool fits = cost.is_mapped &&
                              (one.l1_bytes == 0 || cost.l1_bytes <= one.l1_bytes) &&
                              (one.l2_bytes == 0 || cost.l2_bytes <= one.l2_bytes);
            const std::size_t at = l * n_accelerators + h;
            const double computing = static_cast<double>(cost.cycles);
            const double waiting =
                one.dram_bandwidth > 0.0
                    ? std::ceil(static_cast<double>(cost.dram_bytes) / one.dram_bandwidth)
                    : 0.0;
            cycles[at] = fits ? std::max(computing, waiting) : infinite;
            energy_j[at] = fits ? energy.mac * static_cast<double>(cost.macs) +
                                      energy.l1 * static_cast<double>(cost.l1_accesses) +
                                      energy.l2 * static_cast<double>(cost.l2_accesses) +
                                      energy.dram * static_cast<double>(cost.dram_bytes)
                                : infinite;
        }
    }
}

void dataflow_parts(const std::int32_t* layers, std::size_t n_layers,
                    const Accelerator* accelerators, std::size_t n_accelerators,
                    std::int64_t* parts) {
    for (std::size_t h = 0; h < n_accelerators; ++h) {
        check_accelerator(accelerators[h], h);
    }
    for (std::size_t l = 0; l < n_layers; ++l) {
        const Layer layer = checked_layer(layers + l * kLayerFields, l);
        for (std::size_t h = 0; h < n_accelerators; ++h) {
            std::int64_t* row = parts + (l * n_accelerators + h) * kLayerParts;
            const LayerCost cost = layer_cost(layer, accelerators[h]);
            const std::array<std::int64_t, kLayerParts> found = {
                cost.cycles,        cost.macs,        cost.input_reads, cost.weight_reads,
                cost.output_writes, cost.l1_accesses, cost.l2_accesses, cost.l1_bytes,
                cost.l2_bytes,      cost.dram_bytes};
            if (cost.is_mapped) {
                std::copy(found.begin(), found.end(), row);
            } else {
                std::fill_n(row, kLayerParts, std::int64_t{-1});
            }
        }
    }
}

}  // namespace hwnas
