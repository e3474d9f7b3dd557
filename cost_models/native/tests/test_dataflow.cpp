#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "hwnas/dataflow.hpp"

namespace {

using hwnas::Accelerator;
using hwnas::AccessEnergy;
using hwnas::Dataflow;
using hwnas::Layer;
using hwnas::LayerCost;
using hwnas::LayerKind;

constexpr Layer kConvolution{LayerKind::kDense, 1, 64, 64, 3, 3, 56, 56, 1, 1};
constexpr Layer kDepthwise{LayerKind::kDepthwise, 1, 1, 384, 3, 3, 14, 14, 1, 1};
constexpr Layer kStreaming{LayerKind::kStreaming, 1, 100, 200, 1, 1, 1, 1, 1, 1};

Accelerator array(Dataflow dataflow, std::int64_t pes, std::int64_t bandwidth,
                  std::int64_t hop_latency = 0) {
    return {dataflow, pes, bandwidth, hop_latency, 0, 0, 0.0};
}

std::vector<std::int32_t> row_of(const Layer& layer) {
    return {static_cast<std::int32_t>(layer.kind),
            layer.groups,
            layer.k,
            layer.c,
            layer.r,
            layer.s,
            layer.oy,
            layer.ox,
            layer.stride_y,
            layer.stride_x};
}

// Cycles and energy of one layer on one accelerator.
std::vector<double> cost_of(const std::vector<std::int32_t>& row, const Accelerator& one,
                            const AccessEnergy& energy = {1.0, 1.0, 1.0, 1.0}) {
    std::vector<double> cost(2);
    hwnas::dataflow_costs(row.data(), 1, &one, &energy, 1, &cost[0], &cost[1]);
    return cost;
}

void cycles_of_a_convolution_follow_from_its_steps() {
    // 64 * 56 * 56 steps of one cluster: 9 products a PE and 1,152 operands in beats of 64; the
    // first step also waits for them.
    const LayerCost cost =
        hwnas::layer_cost(kConvolution, array(Dataflow::kWeightStationary, 64, 64));
    CHECK(cost.cycles == 200704LL * (9 + 17) + 17);
    CHECK(cost.macs == 115605504LL);
    CHECK(cost.weight_reads == 64LL * 64 * 9);
    CHECK(cost.output_writes == 64LL * 56 * 56);
}

void depthwise_layers_use_a_pe_a_channel() {
    const LayerCost cost =
        hwnas::layer_cost(kDepthwise, array(Dataflow::kWeightStationary, 384, 1 << 20));
    CHECK(cost.cycles == 14LL * 14 * 9);
    CHECK(cost.output_writes == 384LL * 14 * 14);
}

void groups_cost_about_as_much_as_their_convolutions_apart() {
    Layer grouped = kConvolution;
    grouped.groups = 4;
    for (const Dataflow dataflow :
         {Dataflow::kWeightStationary, Dataflow::kOutputStationary, Dataflow::kRowStationary}) {
        const Accelerator one = array(dataflow, 256, 64, 1);
        const LayerCost apart = hwnas::layer_cost(kConvolution, one);
        const LayerCost together = hwnas::layer_cost(grouped, one);
        CHECK(together.macs == 4 * apart.macs);
        CHECK(together.cycles <= 4 * apart.cycles);
        CHECK(static_cast<double>(together.cycles) > 3.99 * static_cast<double>(apart.cycles));
    }
}

void streaming_layers_take_what_they_move() {
    const LayerCost cost =
        hwnas::layer_cost(kStreaming, array(Dataflow::kRowStationary, 1, 32, 2));
    CHECK(cost.cycles == 2 + 10);
    CHECK(cost.macs == 0);
    CHECK(cost.l2_accesses == 300);
}

void what_does_not_fit_is_infinite() {
    Accelerator one = array(Dataflow::kRowStationary, 256, 64);
    one.l1_bytes = 64;  // the mapping needs 198
    CHECK(std::isinf(cost_of(row_of(kConvolution), one)[0]));
    CHECK(std::isinf(cost_of(row_of(kConvolution), one)[1]));
    one.l1_bytes = 198;
    CHECK(std::isfinite(cost_of(row_of(kConvolution), one)[0]));
    one.l2_bytes = 100;
    CHECK(std::isinf(cost_of(row_of(kConvolution), one)[0]));
    // Filters of three rows do not fit on two PEs.
    CHECK(std::isinf(cost_of(row_of(kConvolution), array(Dataflow::kRowStationary, 2, 64))[0]));
}

void slow_dram_is_waited_for() {
    Accelerator one = array(Dataflow::kOutputStationary, 4096, 64);
    const double without = cost_of(row_of(kConvolution), one)[0];
    one.dram_bandwidth = 0.001;
    const double bytes = 64.0 * 58 * 58 + 64.0 * 64 * 9 + 64.0 * 56 * 56;
    CHECK_NEAR(cost_of(row_of(kConvolution), one)[0], std::ceil(bytes / 0.001), 0.5);
    one.dram_bandwidth = 1e9;
    CHECK(cost_of(row_of(kConvolution), one)[0] == without);
}

void the_largest_sizes_do_not_overflow() {
    const Layer wide{LayerKind::kDense, 1, 1 << 20, 1 << 20, 1, 1, 1, 1, 1, 1};
    const Layer tall{LayerKind::kDepthwise, 1, 1, 1, 1 << 10, 1 << 10, 1 << 10, 1 << 10, 256, 256};
    for (const Layer& layer : {wide, tall}) {
        for (const Dataflow dataflow : {Dataflow::kWeightStationary, Dataflow::kOutputStationary,
                                        Dataflow::kRowStationary}) {
            for (const std::int64_t pes : {1 << 10, 1 << 20}) {
                const LayerCost cost = hwnas::layer_cost(layer, array(dataflow, pes, 1, 1024));
                CHECK(cost.is_mapped && cost.cycles > 0 && cost.dram_bytes > 0);
                CHECK(cost.l1_accesses > 0 && cost.l2_accesses > 0);
            }
        }
    }
}

void wrong_rows_are_refused() {
    const Accelerator good = array(Dataflow::kWeightStationary, 64, 64);
    for (const std::size_t field : {1, 2, 3, 4, 5, 6, 7, 8, 9}) {
        std::vector<std::int32_t> row = row_of(kConvolution);
        row[field] = 0;
        CHECK_THROWS(cost_of(row, good), std::invalid_argument);
        row[field] = std::numeric_limits<std::int32_t>::max();
        CHECK_THROWS(cost_of(row, good), std::invalid_argument);
    }
    std::vector<std::int32_t> row = row_of(kConvolution);
    row[0] = 3;
    CHECK_THROWS(cost_of(row, good), std::invalid_argument);
    row = row_of(kDepthwise);
    row[2] = 2;
    CHECK_THROWS(cost_of(row, good), std::invalid_argument);
    for (const Accelerator& bad :
         {array(Dataflow::kWeightStationary, 0, 64), array(Dataflow::kWeightStationary, 64, 0),
          array(Dataflow::kWeightStationary, 64, 64, -1),
          Accelerator{Dataflow::kWeightStationary, 64, 64, 0, -1, 0, 0.0},
          Accelerator{Dataflow::kWeightStationary, 64, 64, 0, 0, 0, -1.0}}) {
        CHECK_THROWS(cost_of(row_of(kConvolution), bad), std::invalid_argument);
    }
}

}  // namespace

int main() {
    cycles_of_a_convolution_follow_from_its_steps();
    depthwise_layers_use_a_pe_a_channel();
    groups_cost_about_as_much_as_their_convolutions_apart();
    streaming_layers_take_what_they_move();
    what_does_not_fit_is_infinite();
    slow_dram_is_waited_for();
    the_largest_sizes_do_not_overflow();
    wrong_rows_are_refused();
    return REPORT();
}
