// One chip and its networks without padding, and schedules of given assignments. Internal.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "hwnas/schedule.hpp"

namespace hwnas {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Layers are numbered network after network; those of network c are first[c] .. first[c + 1] - 1.
struct Chip {
    std::size_t subs = 0;
    std::size_t networks = 0;
    std::array<std::size_t, kMostNetworks + 1> first{};
    std::vector<std::size_t> network;  // of each layer
    std::vector<double> cycles;        // (layers, subs)
    std::vector<double> energy;        // (layers, subs)

    std::size_t layers() const { return network.size(); }
    double cycles_of(std::size_t layer, std::size_t sub) const {
        return cycles[layer * subs + sub];
    }
    double energy_of(std::size_t layer, std::size_t sub) const {
        return energy[layer * subs + sub];
    }
    bool runs(std::size_t layer, std::size_t sub) const {
        return cycles_of(layer, sub) < kInfinity && energy_of(layer, sub) < kInfinity;
    }
};

using Assignment = std::vector<std::uint8_t>;  // sub-accelerator of each layer

double energy_of(const Chip& chip, const Assignment& assignment);

// The sub-accelerator of least `weight` for each layer, of ties the faster one.
Assignment least(const Chip& chip, const std::vector<double>& weight);

// Active schedules [Gif60] of given assignments; of layers that want the same sub-accelerator the
// one with more work left in its network goes first.
class Dispatcher {
  public:
    explicit Dispatcher(const Chip& chip);

    // The makespan; starts and order are those of this call until the next one. Infinity, and
    // starts that mean nothing, as soon as the makespan cannot be below `cutoff`.
    double run(const Assignment& assignment, double cutoff = kInfinity);

    const std::vector<double>& start() const { return start_; }

    // Writes to `critical` the layers whose delay would delay the last end of the last run.
    void critical_layers(const Assignment& assignment, std::vector<std::size_t>& critical);

  private:
    const Chip& chip_;
    std::vector<double> tail_;  // cycles from a layer's start to the end of its network
    std::vector<double> start_;
    std::vector<std::size_t> order_;
    double makespan_ = 0.0;
};

}  // namespace hwnas
