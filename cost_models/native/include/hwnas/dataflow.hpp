// What a layer costs on an accelerator of processing elements (PEs): cycles, accesses, buffers.
//
// [Kwo19] Kwon et al., Understanding Reuse, Performance, and Hardware Cost of DNN Dataflows: A
//         Data-centric Approach, MICRO 2019 (MAESTRO).
// [Par19] Parashar et al., Timeloop, ISPASS 2019.
//
// A layer is a nest of loops over tiles, dealt out to clusters of PEs by one of three dataflows:
//   weight-stationary (NVDLA):       K over clusters of 64 PEs, C over the PEs of a cluster
//   output-stationary (ShiDianNao):  output rows over clusters, 8 outputs of a row over their PEs
//   row-stationary (Eyeriss):        output rows over clusters of R PEs, filter rows over PEs
// A step computes one tile on all clusters, while operands of the next come in and results of the
// one before go out: it takes the longest of the three; only the first waits for its operands.
// A transfer of n elements takes hop latency + ceil(n / bandwidth) - 1 cycles, multicast is free.
// Between two steps one loop advances and those inside start again: a tensor that the advancing
// loop does not index stays; another moves by what is new in its tile, or as a whole if a loop
// inside starts again that indexes it too. All of this is [Kwo19]'s accounting, in closed form:
// hwnas/testing/oracles/dataflow.py goes through the steps one kind after another instead.
//
// An element is one byte. All counts are exact integers; limits keep them below 2^63.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hwnas {

enum class Dataflow : std::uint8_t {
    kWeightStationary = 0,
    kOutputStationary = 1,
    kRowStationary = 2,
};

enum class LayerKind : std::int32_t {
    kDense = 0,      // convolution or matrix product; `groups` of them
    kDepthwise = 1,  // one filter a channel: k is 1
    kStreaming = 2,  // reads c elements and writes k, without weights: pooling, sums
};

// Sizes of one layer. A row of an int32 table has these fields in this order.
struct Layer {
    LayerKind kind;
    std::int32_t groups;
    std::int32_t k, c;    // filters and channels of one group
    std::int32_t r, s;    // rows and columns of a filter
    std::int32_t oy, ox;  // rows and columns of the result
    std::int32_t stride_y, stride_x;
};
constexpr std::size_t kLayerFields = 10;

struct Accelerator {
    Dataflow dataflow;
    std::int64_t pes;
    std::int64_t bandwidth;    // elements per cycle between the shared buffer and the PEs
    std::int64_t hop_latency;  // cycles
    std::int64_t l1_bytes;     // of one PE; 0: as large as needed
    std::int64_t l2_bytes;     // shared; 0: as large as needed
    double dram_bandwidth;     // bytes per cycle; 0: never waited for
};

struct LayerCost {
    bool is_mapped = false;   // the dataflow has work for the PEs it needs
    std::int64_t cycles = 0;  // without DRAM
    std::int64_t macs = 0;    // multiply-accumulates
    std::int64_t input_reads = 0, weight_reads = 0, output_writes = 0;  // elements, shared buffer
    std::int64_t l1_accesses = 0, l2_accesses = 0;                      // elements, all tensors
    std::int64_t l1_bytes = 0, l2_bytes = 0;  // buffers that double buffering needs
    std::int64_t dram_bytes = 0;              // with the accelerator's shared buffer
};

// Joules of one multiply-accumulate and of moving one element (byte) at each level.
struct AccessEnergy {
    double mac, l1, l2, dram;
};

// One layer on one accelerator; no check of buffers.
LayerCost layer_cost(const Layer& layer, const Accelerator& accelerator);

// Cycles and joules of every layer on every accelerator, (layers, accelerators) each, infinite
// where the dataflow cannot map the layer or a buffer is too small.
//
// Throws std::invalid_argument, naming the row, if a size is below 1 or so large that a count
// could overflow, or a kind or dataflow is none.
void dataflow_costs(const std::int32_t* layers, std::size_t n_layers,
                    const Accelerator* accelerators, const AccessEnergy* energies,
                    std::size_t n_accelerators, double* cycles, double* energy_j);

// The parts of the same, (layers, accelerators, kLayerParts), in the order of LayerCost's fields
// without the first; -1 throughout where the layer is not mapped. Throws like dataflow_costs.
constexpr std::size_t kLayerParts = 10;
void dataflow_parts(const std::int32_t* layers, std::size_t n_layers,
                    const Accelerator* accelerators, std::size_t n_accelerators,
                    std::int64_t* parts);

}  // namespace hwnas
