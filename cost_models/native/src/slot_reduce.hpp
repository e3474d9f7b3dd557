// The inner loop of costing: from table indices to costs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hwnas {

struct SlotReduction {
    const void* table;  // (entries, padded metrics) of float or double, on a cache line
    std::size_t groups;
    std::size_t lanes;  // indices a row, of which the first `groups` count
    std::size_t metrics;
    std::uint8_t is_max[8];  // per metric
};

// Writes costs (n, metrics) for indices (n, lanes).
using ReduceRows = void (*)(const SlotReduction&, const std::uint32_t* indices, std::size_t n,
                            float* out);

// Metrics are padded to 1, 2, 4 or 8, so that an entry is one vector and never straddles two cache
// lines.
std::size_t pad_metrics(std::size_t metrics);

ReduceRows select_reduce(const SlotReduction& reduction, bool single_precision, bool any_max);

}  // namespace hwnas
