// What no schedule can be better than. Internal.
//
// A schedule within `limit` loads no sub-accelerator and no network for longer than that. With a
// price mu_s >= 0 for each cycle of sub-accelerator s and nu_c >= 0 for each of network c,
//
//   energy >= sum over layers of min over s (energy + (mu_s + nu_c) cycles)
//             - limit (sum of mu + sum of nu),
//
// the Lagrangian relaxation of these loads; with all prices 0 it is the least energy of each
// layer. Without the energies and with prices that sum to 1 the same sum bounds the makespan.
#pragma once

#include <array>

#include "schedule_chip.hpp"

namespace hwnas {

struct Prices {
    std::array<double, kMostSubAccelerators> sub{};
    std::array<double, kMostNetworks> network{};
    double total = 0.0;  // of all prices
};

// Energy, weighted by 0 or 1, and priced cycles of each layer on each sub-accelerator.
void priced(const Chip& chip, const Prices& prices, bool with_energy, std::vector<double>& weight);

// No schedule has a smaller makespan.
double makespan_bound(const Chip& chip);

struct EnergyBound {
    double value;  // no schedule within the limit has less energy
    Prices prices;
};

// `reached` is the energy of some schedule within the limit, or infinity. `consider` is called
// with assignments on the way that are worth a look: `void(const Assignment&)`.
template <class Consider>
EnergyBound energy_bound(const Chip& chip, double limit, double reached, Consider consider);

// A step of `energy_bound`: the bound of the prices and how far loads are over the limit.
struct PricedLoads {
    double value;
    std::array<double, kMostSubAccelerators> sub{};
    std::array<double, kMostNetworks> network{};
};
PricedLoads priced_loads(const Chip& chip, double limit, const Prices& prices,
                         const std::vector<double>& weight, const Assignment& assignment);
void step_prices(const Chip& chip, const PricedLoads& loads, double step, Prices& prices);

constexpr int kPriceSteps = 40;

template <class Consider>
EnergyBound energy_bound(const Chip& chip, double limit, double reached, Consider consider) {
    Prices prices;
    std::vector<double> weight;
    EnergyBound best{-kInfinity, prices};
    double scale = 1.0;
    int stalled = 0;
    for (int i = 0; i < kPriceSteps; ++i) {
        priced(chip, prices, true, weight);
        const Assignment assignment = least(chip, weight);
        const PricedLoads loads = priced_loads(chip, limit, prices, weight, assignment);
        if (loads.value > best.value) {
            best = {loads.value, prices};
            stalled = 0;
        } else if (++stalled == 3) {
            scale *= 0.5;
            stalled = 0;
        }
        consider(assignment);
        double squared = 0.0;
        for (std::size_t s = 0; s < chip.subs; ++s) {
            squared += loads.sub[s] * loads.sub[s];
        }
        for (std::size_t c = 0; c < chip.networks; ++c) {
            squared += loads.network[c] * loads.network[c];
        }
        // Polyak's step towards what was reached, or towards a little more than the bound.
        const double goal =
            reached < kInfinity ? reached : best.value + 0.1 * energy_of(chip, assignment);
        if (squared == 0.0 || goal <= loads.value) {
            break;
        }
        step_prices(chip, loads, scale * (goal - loads.value) / squared, prices);
    }
    return best;
}

}  // namespace hwnas
