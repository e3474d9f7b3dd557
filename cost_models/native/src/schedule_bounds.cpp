#include "schedule_bounds.hpp"

#include <algorithm>
#include <cmath>

namespace hwnas {
namespace {

constexpr double kRounding = 1e-12;  // relative; sums have at most some hundred terms

}  // namespace

void priced(const Chip& chip, const Prices& prices, bool with_energy,
            std::vector<double>& weight) {
    weight.resize(chip.layers() * chip.subs);
    for (std::size_t layer = 0; layer < chip.layers(); ++layer) {
        const double of_network = prices.network[chip.network[layer]];
        for (std::size_t sub = 0; sub < chip.subs; ++sub) {
            if (!chip.runs(layer, sub)) {
                weight[layer * chip.subs + sub] = kInfinity;
                continue;
            }
            const double energy = with_energy ? chip.energy_of(layer, sub) : 0.0;
            weight[layer * chip.subs + sub] =
                energy + (prices.sub[sub] + of_network) * chip.cycles_of(layer, sub);
        }
    }
}

PricedLoads priced_loads(const Chip& chip, double limit, const Prices& prices,
                         const std::vector<double>& weight, const Assignment& assignment) {
    PricedLoads loads{};
    for (std::size_t layer = 0; layer < chip.layers(); ++layer) {
        const std::size_t sub = assignment[layer];
        loads.value += weight[layer * chip.subs + sub];
        loads.sub[sub] += chip.cycles_of(layer, sub);
        loads.network[chip.network[layer]] += chip.cycles_of(layer, sub);
    }
    if (prices.total > 0.0) {
        // Rounding must not lift the bound above what it bounds.
        loads.value -= limit * prices.total + kRounding * loads.value;
    }
    for (std::size_t s = 0; s < chip.subs; ++s) {
        loads.sub[s] -= limit;
    }
    for (std::size_t c = 0; c < chip.networks; ++c) {
        loads.network[c] -= limit;
    }
    return loads;
}

void step_prices(const Chip& chip, const PricedLoads& loads, double step, Prices& prices) {
    prices.total = 0.0;
    for (std::size_t s = 0; s < chip.subs; ++s) {
        prices.sub[s] = std::max(0.0, prices.sub[s] + step * loads.sub[s]);
        prices.total += prices.sub[s];
    }
    for (std::size_t c = 0; c < chip.networks; ++c) {
        prices.network[c] = std::max(0.0, prices.network[c] + step * loads.network[c]);
        prices.total += prices.network[c];
    }
}

double makespan_bound(const Chip& chip) {
    // Multiplicative weights: the prices of what is loaded more grow.
    constexpr int kSteps = 30;
    constexpr double kRate = 0.3;
    const double equal = 1.0 / static_cast<double>(chip.subs + chip.networks);
    Prices prices;
    prices.total = 1.0;
    std::fill_n(prices.sub.begin(), chip.subs, equal);
    std::fill_n(prices.network.begin(), chip.networks, equal);
    std::vector<double> weight;
    double best = 0.0;
    for (int i = 0; i < kSteps; ++i) {
        priced(chip, prices, false, weight);
        const Assignment assignment = least(chip, weight);
        const PricedLoads loads = priced_loads(chip, 0.0, prices, weight, assignment);
        best = std::max(best, loads.value);
        const double most = std::max(
            *std::max_element(loads.sub.begin(), loads.sub.begin() + chip.subs),
            *std::max_element(loads.network.begin(), loads.network.begin() + chip.networks));
        if (most <= best || most == 0.0) {
            break;
        }
        double total = 0.0;
        for (std::size_t s = 0; s < chip.subs; ++s) {
            total += prices.sub[s] *= std::exp(kRate * loads.sub[s] / most);
        }
        for (std::size_t c = 0; c < chip.networks; ++c) {
            total += prices.network[c] *= std::exp(kRate * loads.network[c] / most);
        }
        for (double& price : prices.sub) {
            price /= total;
        }
        for (double& price : prices.network) {
            price /= total;
        }
    }
    // Each network alone, every layer where it is fastest.
    for (std::size_t c = 0; c < chip.networks; ++c) {
        double chain = 0.0;
        for (std::size_t layer = chip.first[c]; layer < chip.first[c + 1]; ++layer) {
            const double* cycles = chip.cycles.data() + layer * chip.subs;
            chain += *std::min_element(cycles, cycles + chip.subs);
        }
        best = std::max(best, chain);
    }
    return best;
}

}  // namespace hwnas
