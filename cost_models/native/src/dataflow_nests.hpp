// The loop nests of the three dataflows, summed over their steps.
#pragma once

#include <cstdint>

#include "hwnas/dataflow.hpp"

namespace hwnas {

using Count = std::int64_t;

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

Nest weight_stationary(const Layer& layer, Count pes, const Network& network);
Nest weight_stationary_depthwise(const Layer& layer, Count pes, const Network& network);
Nest output_stationary(const Layer& layer, Count pes, const Network& network);
Nest row_stationary(const Layer& layer, Count pes, const Network& network);

}  // namespace hwnas
