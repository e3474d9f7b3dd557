#include "dataflow_nests.hpp"

#include <algorithm>

namespace hwnas {
namespace {

constexpr Count kCluster = 64;  // PEs of a weight-stationary cluster ([Kwo19], NVDLA mapping)
constexpr Count kRow = 8;       // outputs of a row in an output-stationary cluster (ShiDianNao)
constexpr Count kFilters = 16;  // filters a PE of a row-stationary cluster works on (Eyeriss)

// How a spatial loop of `size` steps falls on `clusters`: full rounds, and a last one with `rest`.
struct Rounds {
    Count full, rest;

    Rounds(Count size, Count clusters) : full(size / clusters), rest(size % clusters) {}

    Count number() const { return full + (rest > 0 ? 1 : 0); }
};

// What is new in all clusters when neighbours share the overlap of their tiles. Where a first step
// does not fill the array, [Kwo19] counts nothing new for the last cluster.
Count overlapping(Count active, Count tile, Count fresh, bool partial) {
    return tile + (active - (partial && active > 1 ? 2 : 1)) * fresh;
}

}  // namespace

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

}  // namespace hwnas
