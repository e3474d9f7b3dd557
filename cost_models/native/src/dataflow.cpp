#include "hwnas/dataflow.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace hwnas {
namespace {

using Count = std::int64_t;

constexpr Count kCluster = 64;  // PEs of a weight-stationary cluster ([Kwo19], NVDLA mapping)
constexpr Count kRow = 8;       // outputs of a row in an output-stationary cluster (ShiDianNao)
constexpr Count kFilters = 16;  // filters a PE of a row-stationary cluster works on (Eyeriss)

// Limits under which no count reaches 2^63: sums over steps stay within a small multiple of
// operations times strides, or of steps times the hop latency.
constexpr Count kLargestSize = 1 << 20;
constexpr Count kLargestStride = 1 << 8;
constexpr Count kLargestHopLatency = 1 << 10;
constexpr double kMostOperations = 1ULL << 40;

// Transfers between the shared buffer and the PEs.
struct Network {
    Count bandwidth, hop_latency;

    Count cycles(Count elements) const {
        // Divisions of 32 bits take a fraction of the time of those of 64.
        const Count last = elements + bandwidth - 1;
        const Count beats = (last >> 32) == 0
                                ? static_cast<Count>(static_cast<std::uint32_t>(last) /
                                                     static_cast<std::uint32_t>(bandwidth))
                                : last / bandwidth;
        return hop_latency + beats - 1;
    }
};

// How a spatial loop of `size` steps falls on `clusters`: full rounds, and a last one with `rest`.
struct Rounds {
    Count full, rest;

    Rounds(Count size, Count clusters) : full(size / clusters), rest(size % clusters) {}

    Count number() const { return full + (rest > 0 ? 1 : 0); }
};

// Sums over the steps of one group; those of later groups begin with `again` in place of `first`.
struct Nest {
    Count body = 0;  // cycles of all steps but the first
    Count first = 0, again = 0;
    Count inputs = 0, inputs_first = 0, inputs_again = 0;
    Count weights = 0;  // first step included
    Count outputs = 0;
    Count first_elements = 0, l1_elements = 0;
    Count input_passes = 1, weight_passes = 1, output_passes = 1;  // over the whole tensor
};

// What is new in all clusters when neighbours share the overlap of their tiles. Where a first step
// does not fill the array, [Kwo19] counts nothing new for the last cluster.
Count overlapping(Count active, Count tile, Count fresh, bool partial) {
    return tile + (active - (partial && active > 1 ? 2 : 1)) * fresh;
}

Nest weight_stationary(const Layer& layer, Count pes, const Network& network) {
    Nest nest;
    const Count k = layer.k, c = layer.c, r = layer.r, s = layer.s, oy = layer.oy, ox = layer.ox;
    const Count window = r * s;
    const Count cluster = std::min(kCluster, pes);
    const Count tile = std::min(cluster, c);
    const Rounds filters(k, pes / cluster);
    const Count rounds_c = (c + tile - 1) / tile;
    const Count step = window + network.cycles(2 * tile * window);
    const Count new_columns = tile * r * std::min<Count>(s, layer.stride_x);
    const Count new_rows = ox > 1 ? tile * window : tile * std::min<Count>(r, layer.stride_y) * s;
    const Count in_columns = std::max(step, network.cycles(new_columns));
    const Count in_rows = std::max(step, network.cycles(new_rows));

    const auto sweep = [&](Count active) {
        const Count out = network.cycles(active);
        const Count next_c = network.cycles((1 + active) * tile * window);
        return rounds_c * oy * ((ox - 1) * std::max(in_columns, out)) +
               rounds_c * (oy - 1) * std::max(in_rows, out) +
               (rounds_c - 1) * std::max({step, next_c, out});
    };
    const auto next_k = [&](Count active) {
        return std::max({step, network.cycles(active * tile * window), network.cycles(active)});
    };
    const Count clusters = pes / cluster;
    if (filters.full > 0) {
        nest.body += filters.full * sweep(clusters) + (filters.full - 1) * next_k(clusters);
    }
    if (filters.rest > 0) {
        nest.body += sweep(filters.rest) + (filters.full > 0 ? next_k(filters.rest) : 0);
    }
    const Count active = filters.full > 0 ? clusters : filters.rest;
    const Count begin = network.cycles((1 + active) * tile * window);
    nest.first = step + begin;
    nest.again = std::max({step, begin, network.cycles(active)});
    nest.inputs_first = nest.inputs_again = tile * window;
    nest.inputs =
        filters.number() * (rounds_c * oy * (ox - 1) * new_columns +
                            rounds_c * (oy - 1) * new_rows + (rounds_c - 1) * tile * window);
    nest.weights = k * rounds_c * tile * window;
    nest.outputs = k * rounds_c * oy * ox;
    nest.first_elements = (1 + active) * tile * window + active;
    nest.l1_elements = 3 * window;
    nest.input_passes = filters.number();
    nest.output_passes = 2 * rounds_c - 1;
    return nest;
}

Nest weight_stationary_depthwise(const Layer& layer, Count pes, const Network& network) {
    Nest nest;
    const Count c = layer.c, r = layer.r, s = layer.s, oy = layer.oy, ox = layer.ox;
    const Count window = r * s;
    const Rounds channels(c, pes);
    const Count new_columns = r * std::min<Count>(s, layer.stride_x);
    const Count new_rows = ox > 1 ? window : std::min<Count>(r, layer.stride_y) * s;

    const auto sweep = [&](Count active) {
        const Count out = network.cycles(active);
        return oy * (ox - 1) * std::max({window, network.cycles(active * new_columns), out}) +
               (oy - 1) * std::max({window, network.cycles(active * new_rows), out});
    };
    const auto next_c = [&](Count active) {
        return std::max({window, network.cycles(2 * active * window), network.cycles(active)});
    };
    if (channels.full > 0) {
        nest.body += channels.full * sweep(pes) + (channels.full - 1) * next_c(pes);
    }
    if (channels.rest > 0) {
        nest.body += sweep(channels.rest) + (channels.full > 0 ? next_c(channels.rest) : 0);
    }
    const Count active = channels.full > 0 ? pes : channels.rest;
    nest.first = window + network.cycles(2 * active * window);
    nest.inputs_first = active * window;
    nest.inputs =
        c * (oy * (ox - 1) * new_columns + (oy - 1) * new_rows + window) - nest.inputs_first;
    nest.weights = c * window;
    nest.outputs = c * oy * ox;
    nest.first_elements = active * (2 * window + 1);
    nest.l1_elements = 3 * window;
    return nest;
}

Nest output_stationary(const Layer& layer, Count pes, const Network& network) {
    Nest nest;
    const bool dense = layer.kind == LayerKind::kDense;
    const Count k = dense ? layer.k : 1, c = layer.c, r = layer.r, s = layer.s;
    const Count oy = layer.oy, ox = layer.ox, window = r * s;
    const Count width = std::min({kRow, ox, pes});
    const Count clusters = pes / width;
    const Rounds rows(oy, clusters);
    const Count columns_full = ox / width, columns_rest = ox % width;
    const bool columns_repeat = columns_full + (columns_rest > 0 ? 1 : 0) > 1;
    const Count tile = (width - 1) * layer.stride_x + s;
    const Count fresh_columns = std::min(tile, width * layer.stride_x);
    const Count fresh_rows = std::min<Count>(r, layer.stride_y);
    const Count step = window + network.cycles((width + 1) * window);
    const Count passes = k * c;

    const auto next_x = [&](Count active) {
        const Count in = std::max(step, network.cycles(active * r * fresh_columns));
        const Count full = std::max(in, network.cycles(active * width));
        return (columns_full - 1) * full +
               (columns_rest > 0 ? std::max(in, network.cycles(active * columns_rest)) : 0);
    };
    const auto rows_in = [&](Count active) {
        return (columns_repeat ? active * r : overlapping(active, r, fresh_rows, false)) * tile;
    };
    const auto next_y = [&](Count active) {
        return std::max({step, network.cycles(rows_in(active)), network.cycles(active * width)});
    };
    const Count active = rows.full > 0 ? clusters : rows.rest;
    const bool partial = rows.full == 0;
    if (rows.full > 0) {
        nest.body += rows.full * next_x(clusters) + (rows.full - 1) * next_y(clusters);
        nest.inputs += (rows.full - 1) * rows_in(clusters);
    }
    if (rows.rest > 0) {
        nest.body += next_x(rows.rest) + (rows.full > 0 ? next_y(rows.rest) : 0);
        nest.inputs += rows.full > 0 ? rows_in(rows.rest) : 0;
    }
    nest.inputs += oy * (columns_full - 1 + (columns_rest > 0 ? 1 : 0)) * r * fresh_columns;
    nest.body *= passes;
    nest.inputs *= passes;
    const Count out = network.cycles(active * width);
    const Count inputs_again = overlapping(active, r, fresh_rows, partial) * tile;
    const Count next_c = std::max({step, network.cycles(inputs_again + window), out});
    nest.body += k * (c - 1) * next_c + (k - 1) * std::max({step, network.cycles(window), out});
    nest.inputs += k * (c - 1) * inputs_again;
    nest.inputs_first = active * r * tile;
    nest.inputs_again = inputs_again;
    nest.first = step + network.cycles(nest.inputs_first + window);
    nest.again = next_c;
    nest.weights = passes * window;
    nest.outputs = passes * oy * ox;
    nest.first_elements = nest.inputs_first + window + active * width;
    nest.l1_elements = 3 * window;
    nest.input_passes = k;
    nest.output_passes = dense ? 2 * c - 1 : 1;
    return nest;
}

Nest row_stationary(const Layer& layer, Count pes, const Network& network) {
    Nest nest;
    const bool dense = layer.kind == LayerKind::kDense;
    const Count k = dense ? layer.k : 1, c = layer.c, r = layer.r, s = layer.s;
    const Count oy = layer.oy, ox = layer.ox, window = r * s;
    const Count tile = std::min(kFilters, k);
    const Count clusters = pes / r;
    const Rounds rows(oy, clusters);
    const Count filters_full = k / tile, filters_rest = k % tile;
    const Count rounds_k = filters_full + (filters_rest > 0 ? 1 : 0);
    const Count filters = tile * window;
    const Count step = tile * s + network.cycles(window + filters);
    const Count fresh_rows = std::min<Count>(r, layer.stride_y);
    const Count new_columns = c > 1 ? window : r * std::min<Count>(s, layer.stride_x);
    const Count weights_in = network.cycles(filters);

    const auto rows_in = [&](Count active) {
        return ox > 1 || c > 1 ? active * window : overlapping(active, r, fresh_rows, false) * s;
    };
    const auto sweep = [&](Count active) {
        const Count out = network.cycles(active * tile);
        const Count full = std::max({step, weights_in, out});
        const Count rest =
            filters_rest > 0 ? std::max({step, weights_in, network.cycles(active * filters_rest)})
                             : 0;
        const Count next_c = std::max({step, network.cycles(active * window + filters), out});
        const Count next_x = std::max({step, network.cycles(active * new_columns), out});
        return ox * (c * ((filters_full - 1) * full + rest) + (c - 1) * next_c) +
               (ox - 1) * next_x;
    };
    const auto next_y = [&](Count active) {
        return std::max({step, network.cycles(rows_in(active)), network.cycles(active * tile)});
    };
    const Count active = rows.full > 0 ? clusters : rows.rest;
    if (rows.full > 0) {
        nest.body += rows.full * sweep(clusters) + (rows.full - 1) * next_y(clusters);
        nest.inputs += (rows.full - 1) * rows_in(clusters);
    }
    if (rows.rest > 0) {
        nest.body += sweep(rows.rest) + (rows.full > 0 ? next_y(rows.rest) : 0);
        nest.inputs += rows.full > 0 ? rows_in(rows.rest) : 0;
    }
    nest.inputs += oy * (ox * (c - 1) * window + (ox - 1) * new_columns);
    nest.inputs_first = active * window;
    nest.inputs_again = overlapping(active, r, fresh_rows, rows.full == 0) * s;
    nest.first = step + network.cycles(nest.inputs_first + filters);
    nest.again = std::max(
        {step, network.cycles(nest.inputs_again + filters), network.cycles(active * tile)});
    const Count places = rows.number() * ox;
    nest.weights = (places * (c * rounds_k - 1) + 1) * filters;
    nest.outputs = k * c * oy * ox;
    nest.first_elements = nest.inputs_first + filters + active * tile;
    nest.l1_elements = s + 2 * tile * s;
    nest.weight_passes = places;
    return nest;
}

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
