#include "hwnas/schedule.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "schedule_exact.hpp"
#include "schedule_improve.hpp"

namespace hwnas {
namespace {

// Relative to the bound; what is nearer is not improved further.
constexpr double kGoodEnough = 1e-3;

struct Found {
    Assignment assignment;
    std::vector<double> start;
    double makespan = kInfinity;
    double energy = kInfinity;
    double makespan_bound = 0.0;
    double energy_bound = 0.0;
};

// Solves one chip; kept between chips for its memory.
class Solver {
  public:
    Solver(const Chip& chip, double limit, std::size_t exact_labels)
        : chip_(chip), limit_(limit), exact_labels_(exact_labels), improver_(chip) {}

    Found solve() {
        const Assignment cheapest = least(chip_, chip_.energy);
        found_.energy_bound = energy_of(chip_, cheapest);
        found_.makespan_bound = makespan_bound(chip_);
        take(cheapest);
        if (found_.makespan <= limit_) {
            return std::move(found_);
        }
        if (found_.makespan_bound <= limit_) {
            within_limit(cheapest);
        }
        if (found_.makespan > limit_) {
            least_makespan();
        }
        return std::move(found_);
    }

  private:
    void within_limit(const Assignment& cheapest) {
        const Assignment fastest = improver_.earliest_ends();
        take(fastest);
        // The relaxation's own assignments: the best within the limit, the shortest beyond it.
        Assignment within, beyond, seen;
        double least_energy = kInfinity, least_makespan = kInfinity;
        const EnergyBound bound =
            energy_bound(chip_, limit_, energy_reached(), [&](const Assignment& assignment) {
                if (assignment == seen) {
                    return;
                }
                seen = assignment;
                const double makespan = improver_.dispatcher().run(assignment);
                if (makespan > limit_ && makespan < least_makespan) {
                    least_makespan = makespan;
                    beyond = assignment;
                } else if (makespan <= limit_ && energy_of(chip_, assignment) < least_energy) {
                    least_energy = energy_of(chip_, assignment);
                    within = assignment;
                }
            });
        found_.energy_bound = std::max(found_.energy_bound, bound.value);
        for (const Assignment* begin :
             {&std::as_const(within), &std::as_const(beyond), &cheapest, &fastest}) {
            if (!begin->empty() && !is_good_enough()) {
                improved(*begin);
            }
        }
        if (exact_labels_ == 0 || energy_reached() <= found_.energy_bound) {
            return;
        }
        const ExactResult exact = exact_schedule(chip_, Objective::kEnergy, limit_,
                                                 energy_reached(), bound.prices, exact_labels_);
        take(exact);
        if (exact.finished) {
            found_.energy_bound = energy_reached();
        }
    }

    double energy_reached() const { return found_.makespan <= limit_ ? found_.energy : kInfinity; }

    bool is_good_enough() const {
        return energy_reached() <= found_.energy_bound * (1.0 + kGoodEnough);
    }

    void least_makespan() {
        Assignment fastest = improver_.earliest_ends();
        improver_.shorten(fastest, found_.makespan_bound);
        take(fastest);
        if (exact_labels_ > 0 && found_.makespan > found_.makespan_bound) {
            const ExactResult exact = exact_schedule(chip_, Objective::kMakespan, kInfinity,
                                                     found_.makespan, Prices{}, exact_labels_);
            take(exact);
            if (exact.finished) {
                found_.makespan_bound = found_.makespan;
            }
        }
        if (found_.makespan_bound > limit_) {
            found_.energy_bound = kInfinity;
        }
        // Of schedules this short the least energy.
        Assignment assignment = found_.assignment;
        if (improver_.dispatcher().run(assignment) <= found_.makespan) {
            improver_.cheapen(assignment, found_.makespan);
            take(assignment);
        }
    }

    // Shortened to the limit if it is beyond it, then cheapened within it.
    void improved(Assignment assignment) {
        if (improver_.shorten(assignment, limit_) <= limit_) {
            improver_.cheapen(assignment, limit_);
        }
        take(assignment);
    }

    void take(const Assignment& assignment) {
        const double makespan = improver_.dispatcher().run(assignment);
        if (is_better(makespan, energy_of(chip_, assignment))) {
            found_.assignment = assignment;
            found_.start = improver_.dispatcher().start();
            found_.makespan = makespan;
            found_.energy = energy_of(chip_, assignment);
        }
    }

    void take(const ExactResult& exact) {
        if (exact.better && is_better(exact.better->makespan, exact.better->energy)) {
            found_.assignment = exact.better->assignment;
            found_.start = exact.better->start;
            found_.makespan = exact.better->makespan;
            found_.energy = exact.better->energy;
        }
    }

    bool is_better(double makespan, double energy) const {
        const bool within = makespan <= limit_;
        if (within != (found_.makespan <= limit_)) {
            return within;
        }
        return within ? energy < found_.energy ||
                            (energy == found_.energy && makespan < found_.makespan)
                      : makespan < found_.makespan ||
                            (makespan == found_.makespan && energy < found_.energy);
    }

    const Chip& chip_;
    const double limit_;
    const std::size_t exact_labels_;
    Improver improver_;
    Found found_;
};

// One row of the batch, and where its layers and points stand.
struct Row {
    Chip chip;
    std::vector<std::size_t> place;  // of each layer among networks * length
    std::vector<std::int8_t> sub;    // place of each sub-accelerator among the points
    bool runs = true;                // whether each layer runs somewhere
};

Row row_of(const LayerCosts& costs, const ScheduleBatch& batch, std::size_t i) {
    Row row;
    const std::int32_t* points = batch.points + i * batch.subs;
    const std::int32_t* layers = batch.layers + i * batch.networks * batch.length;
    for (std::size_t s = 0; s < batch.subs; ++s) {
        if (points[s] >= 0) {
            row.sub.push_back(static_cast<std::int8_t>(s));
        }
    }
    Chip& chip = row.chip;
    chip.subs = row.sub.size();
    chip.networks = batch.networks;
    for (std::size_t c = 0; c < batch.networks; ++c) {
        for (std::size_t j = 0; j < batch.length; ++j) {
            const std::size_t place = c * batch.length + j;
            if (layers[place] < 0) {
                continue;
            }
            const auto layer = static_cast<std::size_t>(layers[place]);
            bool somewhere = false;
            for (const std::int8_t s : row.sub) {
                const std::size_t at = layer * costs.points + static_cast<std::size_t>(points[s]);
                const bool runs = costs.cycles[at] < kInfinity && costs.energy[at] < kInfinity;
                chip.cycles.push_back(runs ? costs.cycles[at] : kInfinity);
                chip.energy.push_back(runs ? costs.energy[at] : kInfinity);
                somewhere = somewhere || runs;
            }
            row.runs = row.runs && somewhere;
            row.place.push_back(place);
            chip.network.push_back(c);
        }
        chip.first[c + 1] = chip.network.size();
    }
    return row;
}

void solve_row(const LayerCosts& costs, const ScheduleBatch& batch, const ScheduleOptions& options,
               const Schedules& results, std::size_t i) {
    const std::size_t places = batch.networks * batch.length;
    std::int8_t* assignment = results.assignment + i * places;
    double* start = results.start + i * places;
    std::fill_n(assignment, places, std::int8_t{-1});
    std::fill_n(start, places, std::numeric_limits<double>::quiet_NaN());
    const Row row = row_of(costs, batch, i);
    if (!row.runs) {
        results.makespan[i] = results.energy[i] = kInfinity;
        results.makespan_bound[i] = results.energy_bound[i] = kInfinity;
        return;
    }
    const Found found = Solver(row.chip, options.limit, options.exact_labels).solve();
    for (std::size_t layer = 0; layer < row.place.size(); ++layer) {
        assignment[row.place[layer]] = row.sub[found.assignment[layer]];
        start[row.place[layer]] = found.start[layer];
    }
    results.makespan[i] = found.makespan;
    results.energy[i] = found.energy;
    results.makespan_bound[i] = found.makespan_bound;
    results.energy_bound[i] = found.energy_bound;
}

void check(const LayerCosts& costs, const ScheduleBatch& batch, const ScheduleOptions& options) {
    const auto require = [](bool ok, const std::string& message) {
        if (!ok) {
            throw std::invalid_argument("schedule: " + message);
        }
    };
    require(batch.networks <= kMostNetworks, "found " + std::to_string(batch.networks) +
                                                 " networks; at most " +
                                                 std::to_string(kMostNetworks));
    require(batch.subs <= kMostSubAccelerators, "found " + std::to_string(batch.subs) +
                                                    " sub-accelerators; at most " +
                                                    std::to_string(kMostSubAccelerators));
    require(options.limit > 0.0, "the limit must be positive");
    const auto check_below = [&](const std::int32_t* indices, std::size_t count, std::size_t bound,
                                 const char* name) {
        for (std::size_t i = 0; i < count; ++i) {
            require(indices[i] < 0 || static_cast<std::size_t>(indices[i]) < bound,
                    std::string(name) + " " + std::to_string(indices[i]) + " is out of range");
        }
    };
    check_below(batch.layers, batch.n * batch.networks * batch.length, costs.layers, "layer");
    check_below(batch.points, batch.n * batch.subs, costs.points, "point");
    for (std::size_t i = 0; i < costs.layers * costs.points; ++i) {
        require(costs.cycles[i] >= 0.0 && costs.energy[i] >= 0.0,
                "a cost is negative or not a number");
    }
}

}  // namespace

void schedule(const LayerCosts& costs, const ScheduleBatch& batch, const ScheduleOptions& options,
              const Schedules& results) {
    check(costs, batch, options);
    const std::size_t threads = std::max<std::size_t>(1, std::min(options.threads, batch.n));
    const auto work = [&](std::size_t first) {
        for (std::size_t i = first; i < batch.n; i += threads) {
            solve_row(costs, batch, options, results, i);
        }
    };
    std::vector<std::thread> others;
    for (std::size_t t = 1; t < threads; ++t) {
        others.emplace_back(work, t);
    }
    work(0);
    for (std::thread& other : others) {
        other.join();
    }
}

}  // namespace hwnas
