// The best schedule by dynamic programming. Internal.
#pragma once

#include <optional>

#include "schedule_bounds.hpp"

namespace hwnas {

struct ExactSchedule {
    Assignment assignment;
    std::vector<double> start;
    double makespan = 0.0;
    double energy = 0.0;
};

enum class Objective { kEnergy, kMakespan };

struct ExactResult {
    bool finished = false;                // all was searched: the answer is proved
    std::optional<ExactSchedule> better;  // than `reached`, if there is one
};

// States are how many layers of each network are scheduled; a label of a state holds when its
// networks and sub-accelerators are free, and what it cost. Every schedule without needless idle
// time is made by appending layers in the order of their starts, each as early as it can. Labels
// that another one of their state is not worse than in any of this are dropped, as are labels
// that cannot keep the limit or beat `reached` by the bound of `prices`.
//
// Gives up, unfinished, when more than `most_labels` would be kept.
ExactResult exact_schedule(const Chip& chip, Objective objective, double limit, double reached,
                           const Prices& prices, std::size_t most_labels);

}  // namespace hwnas
