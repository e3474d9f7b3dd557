#include "schedule_chip.hpp"

#include <algorithm>

namespace hwnas {

double energy_of(const Chip& chip, const Assignment& assignment) {
    double total = 0.0;
    for (std::size_t layer = 0; layer < chip.layers(); ++layer) {
        total += chip.energy_of(layer, assignment[layer]);
    }
    return total;
}

Assignment least(const Chip& chip, const std::vector<double>& weight) {
    Assignment found(chip.layers());
    for (std::size_t layer = 0; layer < chip.layers(); ++layer) {
        std::size_t best = chip.subs;
        for (std::size_t sub = 0; sub < chip.subs; ++sub) {
            if (!chip.runs(layer, sub)) {
                continue;
            }
            const double here = weight[layer * chip.subs + sub];
            if (best == chip.subs || here < weight[layer * chip.subs + best] ||
                (here == weight[layer * chip.subs + best] &&
                 chip.cycles_of(layer, sub) < chip.cycles_of(layer, best))) {
                best = sub;
            }
        }
        found[layer] = static_cast<std::uint8_t>(best);
    }
    return found;
}

Dispatcher::Dispatcher(const Chip& chip)
    : chip_(chip), tail_(chip.layers()), start_(chip.layers()) {
    order_.reserve(chip.layers());
}

double Dispatcher::run(const Assignment& assignment, double cutoff) {
    const std::size_t networks = chip_.networks;
    std::array<double, kMostNetworks> network_free{};
    std::array<double, kMostSubAccelerators> sub_free{};
    std::array<std::size_t, kMostNetworks> next{};
    for (std::size_t c = 0; c < networks; ++c) {
        next[c] = chip_.first[c];
        double tail = 0.0;
        for (std::size_t layer = chip_.first[c + 1]; layer-- > chip_.first[c];) {
            tail += chip_.cycles_of(layer, assignment[layer]);
            tail_[layer] = tail;
        }
    }
    order_.clear();
    makespan_ = 0.0;
    while (order_.size() < chip_.layers()) {
        // The layer that could end first names the sub-accelerator to decide about.
        double first_end = kInfinity;
        std::size_t contended = 0;
        for (std::size_t c = 0; c < networks; ++c) {
            if (next[c] == chip_.first[c + 1]) {
                continue;
            }
            const std::size_t sub = assignment[next[c]];
            const double end =
                std::max(network_free[c], sub_free[sub]) + chip_.cycles_of(next[c], sub);
            if (end < first_end) {
                first_end = end;
                contended = sub;
            }
        }
        std::size_t chosen = networks;
        for (std::size_t c = 0; c < networks; ++c) {
            if (next[c] == chip_.first[c + 1] || assignment[next[c]] != contended) {
                continue;
            }
            const double start = std::max(network_free[c], sub_free[contended]);
            // A layer of no cycles may end when it starts; it is among those that can go first.
            const double end = start + chip_.cycles_of(next[c], contended);
            if (start >= first_end && end > first_end) {
                continue;
            }
            if (chosen == networks || tail_[next[c]] > tail_[next[chosen]]) {
                chosen = c;
            }
        }
        const std::size_t layer = next[chosen]++;
        const double start = std::max(network_free[chosen], sub_free[contended]);
        if (start + tail_[layer] >= cutoff) {
            return kInfinity;
        }
        const double end = start + chip_.cycles_of(layer, contended);
        start_[layer] = start;
        network_free[chosen] = sub_free[contended] = end;
        makespan_ = std::max(makespan_, end);
        order_.push_back(layer);
    }
    return makespan_;
}

void Dispatcher::critical_layers(const Assignment& assignment,
                                 std::vector<std::size_t>& critical) {
    std::array<double, kMostNetworks> network_latest;
    std::array<double, kMostSubAccelerators> sub_latest;
    network_latest.fill(makespan_);
    sub_latest.fill(makespan_);
    critical.clear();
    const double tolerance = 1e-9 * makespan_;
    for (std::size_t place = order_.size(); place-- > 0;) {
        const std::size_t layer = order_[place];
        const std::size_t sub = assignment[layer];
        const double end = std::min(network_latest[chip_.network[layer]], sub_latest[sub]);
        const double start = end - chip_.cycles_of(layer, sub);
        network_latest[chip_.network[layer]] = sub_latest[sub] = start;
        if (start <= start_[layer] + tolerance) {
            critical.push_back(layer);
        }
    }
}

}  // namespace hwnas
