#include "schedule_exact.hpp"

#include <algorithm>

namespace hwnas {
namespace {

constexpr std::size_t kMostStates = std::size_t{1} << 18;
constexpr double kTolerance = 1e-12;  // relative; less is no improvement

struct Step {
    std::size_t parent;  // label
    std::uint8_t network;
    std::uint8_t sub;
};

class Search {
  public:
    Search(const Chip& chip, Objective objective, double limit, double reached,
           const Prices& prices, std::size_t most_labels)
        : chip_(chip),
          by_energy_(objective == Objective::kEnergy),
          limit_(limit),
          reached_(reached),
          prices_(prices),
          most_labels_(most_labels),
          width_(chip.networks + chip.subs + 1) {}

    ExactResult run() {
        if (!number_states()) {
            return {};
        }
        prepare_tails();
        labels_.assign(width_, 0.0);
        steps_.push_back({0, 0, 0});
        of_state_.resize(states_);
        of_state_[0].push_back(0);
        // A state's number exceeds those of all states before it, so one pass is enough.
        for (std::size_t state = 0; state + 1 < states_; ++state) {
            if (!extend(state)) {
                return {};
            }
        }
        return finish();
    }

  private:
    bool number_states() {
        states_ = 1;
        for (std::size_t c = chip_.networks; c-- > 0;) {
            stride_[c] = states_;
            states_ *= chip_.first[c + 1] - chip_.first[c] + 1;
            if (states_ > kMostStates) {
                return false;
            }
        }
        return true;
    }

    // Least remaining cycles and least remaining priced cost behind each position of a network.
    void prepare_tails() {
        priced(chip_, prices_, by_energy_, weight_);
        const Assignment cheapest = least(chip_, weight_);
        for (std::size_t c = 0; c < chip_.networks; ++c) {
            const std::size_t length = chip_.first[c + 1] - chip_.first[c];
            cycles_tail_[c].assign(length + 1, 0.0);
            cost_tail_[c].assign(length + 1, 0.0);
            for (std::size_t place = length; place-- > 0;) {
                const std::size_t layer = chip_.first[c] + place;
                const double* cycles = chip_.cycles.data() + layer * chip_.subs;
                cycles_tail_[c][place] =
                    cycles_tail_[c][place + 1] + *std::min_element(cycles, cycles + chip_.subs);
                cost_tail_[c][place] =
                    cost_tail_[c][place + 1] + weight_[layer * chip_.subs + cheapest[layer]];
            }
        }
    }

    bool extend(std::size_t state) {
        std::array<std::size_t, kMostNetworks> place{};
        for (std::size_t c = 0, rest = state; c < chip_.networks; ++c) {
            place[c] = rest / stride_[c];
            rest %= stride_[c];
        }
        std::vector<double> label(width_);
        for (const std::size_t parent : of_state_[state]) {
            for (std::size_t c = 0; c < chip_.networks; ++c) {
                const std::size_t layer = chip_.first[c] + place[c];
                if (layer == chip_.first[c + 1]) {
                    continue;
                }
                ++place[c];
                for (std::size_t sub = 0; sub < chip_.subs; ++sub) {
                    if (!chip_.runs(layer, sub)) {
                        continue;
                    }
                    std::copy_n(labels_.begin() + static_cast<std::ptrdiff_t>(parent * width_),
                                width_, label.begin());
                    double& sub_free = label[chip_.networks + sub];
                    const double end = std::max(label[c], sub_free) + chip_.cycles_of(layer, sub);
                    label[c] = sub_free = end;
                    double& cost = label.back();
                    cost = by_energy_ ? cost + chip_.energy_of(layer, sub) : std::max(cost, end);
                    if (is_hopeless(label, place)) {
                        continue;
                    }
                    // When a network ended no longer matters once it kept the limit.
                    if (layer + 1 == chip_.first[c + 1]) {
                        label[c] = 0.0;
                    }
                    if (!keep(state + stride_[c], label,
                              {parent, static_cast<std::uint8_t>(c),
                               static_cast<std::uint8_t>(sub)})) {
                        return false;
                    }
                }
                --place[c];
            }
        }
        return true;
    }

    bool is_hopeless(const std::vector<double>& label,
                     const std::array<std::size_t, kMostNetworks>& place) const {
        const double within = limit_ * (1.0 + kTolerance);
        double cost = label.back();
        double bound = cost;
        for (std::size_t c = 0; c < chip_.networks; ++c) {
            const double tail = cycles_tail_[c][place[c]];
            const double end = label[c] + tail;
            if (end > (tail > 0.0 ? within : limit_)) {
                return true;
            }
            if (by_energy_) {
                bound += cost_tail_[c][place[c]] - prices_.network[c] * (limit_ - label[c]);
            } else {
                cost = std::max(cost, end);
            }
        }
        if (!by_energy_) {
            return cost >= reached_ * (1.0 - kTolerance);
        }
        for (std::size_t s = 0; s < chip_.subs; ++s) {
            bound -= prices_.sub[s] * (limit_ - label[chip_.networks + s]);
        }
        return bound >= reached_ * (1.0 - kTolerance);
    }

    // Returns false when there are too many labels.
    bool keep(std::size_t state, const std::vector<double>& label, const Step& step) {
        std::vector<std::size_t>& kept = of_state_[state];
        for (const std::size_t other : kept) {
            if (is_no_worse(labels_.data() + other * width_, label.data())) {
                return true;
            }
        }
        kept.erase(std::remove_if(kept.begin(), kept.end(),
                                  [&](std::size_t other) {
                                      return is_no_worse(label.data(),
                                                         labels_.data() + other * width_);
                                  }),
                   kept.end());
        if (steps_.size() > most_labels_) {
            return false;
        }
        kept.push_back(steps_.size());
        labels_.insert(labels_.end(), label.begin(), label.end());
        steps_.push_back(step);
        return true;
    }

    bool is_no_worse(const double* a, const double* b) const {
        for (std::size_t i = 0; i < width_; ++i) {
            if (a[i] > b[i]) {
                return false;
            }
        }
        return true;
    }

    ExactResult finish() const {
        ExactResult result;
        result.finished = true;
        const std::vector<std::size_t>& ends = of_state_[states_ - 1];
        std::size_t best = 0;
        for (const std::size_t label : ends) {
            if (best == 0 || cost_of(label) < cost_of(best)) {
                best = label;
            }
        }
        if (best != 0) {
            result.better = replayed(best);
        }
        return result;
    }

    double cost_of(std::size_t label) const { return labels_[label * width_ + width_ - 1]; }

    ExactSchedule replayed(std::size_t label) const {
        std::vector<Step> steps;
        for (; label != 0; label = steps_[label].parent) {
            steps.push_back(steps_[label]);
        }
        std::reverse(steps.begin(), steps.end());
        ExactSchedule found;
        found.assignment.resize(chip_.layers());
        found.start.resize(chip_.layers());
        std::array<double, kMostNetworks> network_free{};
        std::array<double, kMostSubAccelerators> sub_free{};
        std::array<std::size_t, kMostNetworks> next{};
        std::copy_n(chip_.first.begin(), chip_.networks, next.begin());
        for (const Step& step : steps) {
            const std::size_t layer = next[step.network]++;
            found.assignment[layer] = step.sub;
            found.start[layer] = std::max(network_free[step.network], sub_free[step.sub]);
            const double end = found.start[layer] + chip_.cycles_of(layer, step.sub);
            network_free[step.network] = sub_free[step.sub] = end;
            found.makespan = std::max(found.makespan, end);
        }
        found.energy = energy_of(chip_, found.assignment);
        return found;
    }

    const Chip& chip_;
    const bool by_energy_;
    const double limit_;
    const double reached_;
    const Prices prices_;
    const std::size_t most_labels_;
    const std::size_t width_;
    std::size_t states_ = 1;
    std::array<std::size_t, kMostNetworks> stride_{};
    std::array<std::vector<double>, kMostNetworks> cycles_tail_;
    std::array<std::vector<double>, kMostNetworks> cost_tail_;
    std::vector<double> weight_;
    std::vector<double> labels_;
    std::vector<Step> steps_;
    std::vector<std::vector<std::size_t>> of_state_;
};

}  // namespace

ExactResult exact_schedule(const Chip& chip, Objective objective, double limit, double reached,
                           const Prices& prices, std::size_t most_labels) {
    return Search(chip, objective, limit, reached, prices, most_labels).run();
}

}  // namespace hwnas
