// Layers of several networks on the sub-accelerators of one chip: which runs where, and when.
//
// A network is an ordered chain of layers, one running at a time. A layer runs on one
// sub-accelerator without a break, and a sub-accelerator runs one layer at a time. Wanted is the
// least energy within a limit on the time of the last end (the makespan), or, where no schedule
// keeps the limit, the least makespan: the heterogeneous assignment problem of [Yan20].
//
// [Yan20] Yang et al., Co-Exploration of Neural Architectures and Heterogeneous ASIC Accelerator
//         Designs Targeting Multiple Tasks, DAC 2020.
// [Gif60] Giffler, Thompson, Algorithms for Solving Production-Scheduling Problems, Operations
//         Research 8(4), 1960.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hwnas {

constexpr std::size_t kMostSubAccelerators = 8;
constexpr std::size_t kMostNetworks = 8;

// What every distinct layer costs on every distinct hardware point; infinite where the point
// cannot run the layer. Finite costs are at least 0.
struct LayerCosts {
    const double* cycles;  // (layers, points)
    const double* energy;  // (layers, points)
    std::size_t layers;
    std::size_t points;
};

// n chips with their networks, padded to one shape.
struct ScheduleBatch {
    const std::int32_t* layers;  // (n, networks, length) rows of the costs; negative: no layer
    const std::int32_t* points;  // (n, subs) columns of the costs; negative: absent
    std::size_t n;
    std::size_t networks;
    std::size_t length;
    std::size_t subs;
};

struct ScheduleOptions {
    double limit = 0.0;  // cycles, positive; infinity for no limit
    // Partial schedules that an exact search may keep before it gives up; 0 is heuristic alone.
    std::size_t exact_labels = 0;
    std::size_t threads = 1;  // the result does not depend on it
};

// Where results go. Where a layer runs nowhere, no schedule is made: assignments are -1, starts
// NaN, all else infinite.
struct Schedules {
    std::int8_t* assignment;  // (n, networks, length) place among the chip's points; -1: no layer
    double* start;            // (n, networks, length) cycles; NaN where there is no layer
    double* makespan;         // (n) cycles
    double* energy;           // (n)
    // (n) no schedule has a smaller makespan.
    double* makespan_bound;
    // (n) no schedule within the limit has less energy; infinite if it is proved that none is.
    double* energy_bound;
};

// Throws std::invalid_argument if there are too many networks or sub-accelerators, a limit is not
// positive, or an index is out of range.
void schedule(const LayerCosts& costs, const ScheduleBatch& batch, const ScheduleOptions& options,
              const Schedules& results);

}  // namespace hwnas
