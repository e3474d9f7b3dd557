#include "schedule_improve.hpp"

#include <algorithm>

namespace hwnas {

Improver::Improver(const Chip& chip) : chip_(chip), dispatcher_(chip) {}

void Improver::load(const Assignment& assignment) {
    sub_load_.fill(0.0);
    network_load_.fill(0.0);
    for (std::size_t layer = 0; layer < chip_.layers(); ++layer) {
        const double cycles = chip_.cycles_of(layer, assignment[layer]);
        sub_load_[assignment[layer]] += cycles;
        network_load_[chip_.network[layer]] += cycles;
    }
}

void Improver::shift(std::size_t layer, std::uint8_t from, std::uint8_t to) {
    sub_load_[from] -= chip_.cycles_of(layer, from);
    sub_load_[to] += chip_.cycles_of(layer, to);
    network_load_[chip_.network[layer]] +=
        chip_.cycles_of(layer, to) - chip_.cycles_of(layer, from);
}

// What the makespan cannot be below, a little lowered against rounding.
double Improver::load_bound() const {
    double most = 0.0;
    for (std::size_t s = 0; s < chip_.subs; ++s) {
        most = std::max(most, sub_load_[s]);
    }
    for (std::size_t c = 0; c < chip_.networks; ++c) {
        most = std::max(most, network_load_[c]);
    }
    return most * (1.0 - 1e-9);
}

bool Improver::is_within(const Assignment& assignment, double limit) {
    // A little beyond the limit nothing counts any more, whatever the rounding.
    return load_bound() <= limit && dispatcher_.run(assignment, limit * (1.0 + 1e-9)) <= limit;
}

double Improver::shorten(Assignment& assignment, double limit) {
    double makespan = dispatcher_.run(assignment);
    // Every round shortens the makespan; the count keeps hostile instances from taking long.
    for (std::size_t round = 0; makespan > limit && round < 4 * chip_.layers(); ++round) {
        dispatcher_.critical_layers(assignment, critical_);
        load(assignment);
        const auto none = static_cast<std::uint8_t>(chip_.subs);
        Move best{0.0, 0, none};
        double best_makespan = makespan;
        double best_rate = 0.0;
        for (const std::size_t layer : critical_) {
            const std::uint8_t from = assignment[layer];
            for (std::uint8_t to = 0; to < chip_.subs; ++to) {
                if (to == from || !chip_.runs(layer, to)) {
                    continue;
                }
                shift(layer, from, to);
                const bool hopeless = load_bound() >= makespan;
                shift(layer, to, from);
                if (hopeless) {
                    continue;
                }
                assignment[layer] = to;
                const double found = dispatcher_.run(assignment, makespan);
                assignment[layer] = from;
                if (found >= makespan) {
                    continue;
                }
                const double saved = chip_.energy_of(layer, from) - chip_.energy_of(layer, to);
                // Moves that cost nothing come first, then cycles for energy.
                const double rate = saved >= 0.0 ? kInfinity : (makespan - found) / -saved;
                const bool reaches = found <= limit;
                const bool reached = best_makespan <= limit;
                bool better = best.sub == none || (reaches && !reached);
                if (!better && reaches == reached) {
                    better =
                        reaches ? saved > best.saved
                                : rate > best_rate || (rate == best_rate && found < best_makespan);
                }
                if (better) {
                    best = {saved, layer, to};
                    best_makespan = found;
                    best_rate = rate;
                }
            }
        }
        if (best.sub == none) {
            break;
        }
        assignment[best.layer] = best.sub;
        makespan = dispatcher_.run(assignment);
    }
    return dispatcher_.run(assignment);
}

double Improver::cheapen(Assignment& assignment, double limit) {
    while (cheaper_move(assignment, limit) || cheaper_pair(assignment, limit)) {
    }
    return dispatcher_.run(assignment);
}

bool Improver::cheaper_move(Assignment& assignment, double limit) {
    load(assignment);
    moves_.clear();
    for (std::size_t layer = 0; layer < chip_.layers(); ++layer) {
        const double now = chip_.energy_of(layer, assignment[layer]);
        for (std::uint8_t sub = 0; sub < chip_.subs; ++sub) {
            if (chip_.runs(layer, sub) && chip_.energy_of(layer, sub) < now) {
                moves_.push_back({now - chip_.energy_of(layer, sub), layer, sub});
            }
        }
    }
    std::stable_sort(moves_.begin(), moves_.end(),
                     [](const Move& a, const Move& b) { return a.saved > b.saved; });
    bool moved = false;
    for (const Move& move : moves_) {
        const std::uint8_t from = assignment[move.layer];
        if (chip_.energy_of(move.layer, move.sub) >= chip_.energy_of(move.layer, from)) {
            continue;  // another move of this layer was taken before
        }
        shift(move.layer, from, move.sub);
        assignment[move.layer] = move.sub;
        if (is_within(assignment, limit)) {
            moved = true;
        } else {
            assignment[move.layer] = from;
            shift(move.layer, move.sub, from);
        }
    }
    return moved;
}

bool Improver::cheaper_pair(Assignment& assignment, double limit) {
    // `moves_` holds the moves that save energy alone; each is tried with one that makes room.
    for (const Move& move : moves_) {
        const std::uint8_t from = assignment[move.layer];
        const double saved =
            chip_.energy_of(move.layer, from) - chip_.energy_of(move.layer, move.sub);
        if (saved <= 0.0) {
            continue;
        }
        shift(move.layer, from, move.sub);
        assignment[move.layer] = move.sub;
        for (std::size_t other = 0; other < chip_.layers(); ++other) {
            const std::uint8_t back = assignment[other];
            if (other == move.layer || back != move.sub) {
                continue;
            }
            for (std::uint8_t away = 0; away < chip_.subs; ++away) {
                if (away == back || !chip_.runs(other, away)) {
                    continue;
                }
                const double lost = chip_.energy_of(other, away) - chip_.energy_of(other, back);
                if (lost >= saved * (1.0 - 1e-9)) {
                    continue;
                }
                shift(other, back, away);
                assignment[other] = away;
                if (is_within(assignment, limit)) {
                    return true;
                }
                assignment[other] = back;
                shift(other, away, back);
            }
        }
        assignment[move.layer] = from;
        shift(move.layer, move.sub, from);
    }
    return false;
}

Assignment Improver::earliest_ends() {
    Assignment assignment(chip_.layers());
    std::vector<double> tail(chip_.layers());
    std::array<std::size_t, kMostNetworks> next{};
    std::array<double, kMostNetworks> network_free{};
    std::array<double, kMostSubAccelerators> sub_free{};
    for (std::size_t c = 0; c < chip_.networks; ++c) {
        next[c] = chip_.first[c];
        double left = 0.0;
        for (std::size_t layer = chip_.first[c + 1]; layer-- > chip_.first[c];) {
            double least_cycles = kInfinity;
            for (std::size_t sub = 0; sub < chip_.subs; ++sub) {
                if (chip_.runs(layer, sub)) {
                    least_cycles = std::min(least_cycles, chip_.cycles_of(layer, sub));
                }
            }
            tail[layer] = left += least_cycles;
        }
    }
    for (std::size_t done = 0; done < chip_.layers(); ++done) {
        std::size_t chosen = chip_.networks;
        for (std::size_t c = 0; c < chip_.networks; ++c) {
            if (next[c] < chip_.first[c + 1] &&
                (chosen == chip_.networks ||
                 network_free[c] + tail[next[c]] > network_free[chosen] + tail[next[chosen]])) {
                chosen = c;
            }
        }
        const std::size_t layer = next[chosen]++;
        double first_end = kInfinity;
        for (std::size_t sub = 0; sub < chip_.subs; ++sub) {
            const double end =
                std::max(network_free[chosen], sub_free[sub]) + chip_.cycles_of(layer, sub);
            if (chip_.runs(layer, sub) && end < first_end) {
                first_end = end;
                assignment[layer] = static_cast<std::uint8_t>(sub);
            }
        }
        network_free[chosen] = sub_free[assignment[layer]] = first_end;
    }
    return assignment;
}

}  // namespace hwnas
