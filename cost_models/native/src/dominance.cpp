#include "hwnas/dominance.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <stdexcept>

namespace hwnas {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Rows in the order of their objectives, with the first two objectives at hand.
struct Entry {
    double first;
    double second;
    std::int32_t row;
};

bool has_nan(const double* row, std::size_t m) {
    for (std::size_t j = 0; j < m; ++j) {
        if (std::isnan(row[j])) {
            return true;
        }
    }
    return false;
}

// a is before b lexicographically: -1, 0 or 1.
int compare(const double* a, const double* b, std::size_t m) {
    for (std::size_t j = 0; j < m; ++j) {
        if (a[j] != b[j]) {
            return a[j] < b[j] ? -1 : 1;
        }
    }
    return 0;
}

bool weakly_dominates(const double* a, const double* b, std::size_t m) {
    for (std::size_t j = 0; j < m; ++j) {
        if (a[j] > b[j]) {
            return false;
        }
    }
    return true;
}

void sort_lexicographically(std::vector<Entry>& entries, const double* objectives, std::size_t m) {
    if (m <= 2) {
        std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
            if (a.first != b.first) {
                return a.first < b.first;
            }
            return a.second != b.second ? a.second < b.second : a.row < b.row;
        });
        return;
    }
    std::sort(entries.begin(), entries.end(), [objectives, m](const Entry& a, const Entry& b) {
        if (a.first != b.first) {
            return a.first < b.first;
        }
        const int order = compare(objectives + a.row * m, objectives + b.row * m, m);
        return order != 0 ? order < 0 : a.row < b.row;
    });
}

std::vector<Entry> entries_of(const std::vector<std::int32_t>& rows, const double* objectives,
                              std::size_t m) {
    std::vector<Entry> entries;
    entries.reserve(rows.size());
    for (const std::int32_t row : rows) {
        const double* values = objectives + row * m;
        entries.push_back({values[0], m > 1 ? values[1] : 0.0, row});
    }
    return entries;
}

// The fronts of each function below are filled in lexicographic order, so that no later row can
// dominate an earlier one, and an earlier row dominates a later, different one as soon as it is no
// worse from the second objective on. A row dominated by front r is dominated by front r - 1 too,
// so its rank is found by bisection over the fronts.

class PlanarFronts {
  public:
    std::size_t place(const Entry& entry, const double*) {
        // Lowest second objective of each front: strictly increasing with rank [Jen03].
        const auto front = std::upper_bound(lowest_.begin(), lowest_.end(), entry.second);
        const auto rank = static_cast<std::size_t>(front - lowest_.begin());
        if (front == lowest_.end()) {
            lowest_.push_back(entry.second);
        } else {
            *front = entry.second;
        }
        return rank;
    }

  private:
    std::vector<double> lowest_;
};

class SpatialFronts {
  public:
    std::size_t place(const Entry& entry, const double* values) {
        const double third = values[2];
        std::size_t low = 0;
        std::size_t high = stairs_.size();
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (covers(stairs_[middle], entry.second, third)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low == stairs_.size()) {
            stairs_.emplace_back();
        }
        add(stairs_[low], entry.second, third);
        return low;
    }

  private:
    // Second objective -> third, strictly falling: what of a front matters to later rows.
    using Stair = std::map<double, double>;

    static bool covers(const Stair& stair, double second, double third) {
        auto step = stair.upper_bound(second);
        return step != stair.begin() && std::prev(step)->second <= third;
    }

    static void add(Stair& stair, double second, double third) {
        auto step = stair.lower_bound(second);
        while (step != stair.end() && step->second >= third) {
            step = stair.erase(step);
        }
        stair.emplace_hint(step, second, third);
    }

    std::vector<Stair> stairs_;
};

class GeneralFronts {
  public:
    explicit GeneralFronts(std::size_t m) : m_(m) {}

    std::size_t place(const Entry&, const double* values) {
        std::size_t low = 0;
        std::size_t high = fronts_.size();
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (covers(fronts_[middle], values)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low == fronts_.size()) {
            fronts_.emplace_back();
        }
        fronts_[low].push_back(values);
        return low;
    }

  private:
    bool covers(const std::vector<const double*>& front, const double* values) const {
        // Late members are the likelier dominators: they are nearest in the sorted order.
        for (auto member = front.rbegin(); member != front.rend(); ++member) {
            if (weakly_dominates(*member, values, m_)) {
                return true;
            }
        }
        return false;
    }

    std::size_t m_;
    std::vector<std::vector<const double*>> fronts_;
};

// Ranks `rows` and returns the number of fronts.
template <class Fronts>
std::int32_t rank_sorted(const std::vector<Entry>& entries, const double* objectives,
                         std::size_t m, Fronts fronts, std::int32_t* ranks) {
    std::int32_t count = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const Entry& entry = entries[i];
        const double* values = objectives + entry.row * m;
        if (i > 0 && compare(objectives + entries[i - 1].row * m, values, m) == 0) {
            ranks[entry.row] = ranks[entries[i - 1].row];
            continue;
        }
        const auto rank = static_cast<std::int32_t>(fronts.place(entry, values));
        ranks[entry.row] = rank;
        count = std::max(count, rank + 1);
    }
    return count;
}

std::int32_t rank_feasible(const std::vector<std::int32_t>& rows, const double* objectives,
                           std::size_t m, std::int32_t* ranks) {
    std::vector<Entry> entries = entries_of(rows, objectives, m);
    sort_lexicographically(entries, objectives, m);
    if (m <= 2) {
        return rank_sorted(entries, objectives, m, PlanarFronts(), ranks);
    }
    if (m == 3) {
        return rank_sorted(entries, objectives, m, SpatialFronts(), ranks);
    }
    return rank_sorted(entries, objectives, m, GeneralFronts(m), ranks);
}

// So do the distinct members of a front of two objectives, once sorted by the first.
bool falls_in_second(const std::vector<Entry>& entries) {
    for (std::size_t i = 1; i < entries.size(); ++i) {
        if (!(entries[i].second < entries[i - 1].second)) {
            return false;
        }
    }
    return true;
}

// Adds to `distance` the crowding of one front, given as its rows.
void crowd_front(const std::vector<std::int32_t>& rows, const double* objectives, std::size_t m,
                 double* distance) {
    std::vector<Entry> entries = entries_of(rows, objectives, m);
    sort_lexicographically(entries, objectives, m);
    // Sorted by index among equals, so that unique keeps the first copy.
    entries.erase(std::unique(entries.begin(), entries.end(),
                              [objectives, m](const Entry& a, const Entry& b) {
                                  return compare(objectives + a.row * m, objectives + b.row * m,
                                                 m) == 0;
                              }),
                  entries.end());
    const std::size_t count = entries.size();
    if (count == 1) {
        distance[entries[0].row] = kInfinity;
        return;
    }
    for (std::size_t j = 0; j < m; ++j) {
        const auto value = [&](std::size_t i) { return objectives[entries[i].row * m + j]; };
        if (j == 1 && m == 2 && falls_in_second(entries)) {
            std::reverse(entries.begin(), entries.end());
        } else if (j > 0) {
            // Stable on top of the lexicographic order would depend on the previous objective;
            // ties are therefore spelt out.
            std::sort(entries.begin(), entries.end(),
                      [objectives, m, j](const Entry& a, const Entry& b) {
                          const double* left = objectives + a.row * m;
                          const double* right = objectives + b.row * m;
                          return left[j] != right[j] ? left[j] < right[j]
                                                     : compare(left, right, m) < 0;
                      });
        }
        const double range = value(count - 1) - value(0);
        if (!(range > 0)) {
            continue;
        }
        distance[entries[0].row] = kInfinity;
        distance[entries[count - 1].row] = kInfinity;
        if (std::isinf(range)) {
            continue;
        }
        for (std::size_t i = 1; i + 1 < count; ++i) {
            distance[entries[i].row] += (value(i + 1) - value(i - 1)) / range;
        }
    }
}

}  // namespace

void non_dominated_sort(const double* objectives, const double* violation, std::size_t n,
                        std::size_t m, std::int32_t* ranks) {
    if (m == 0) {
        throw std::invalid_argument("non_dominated_sort: found 0 objectives; pass at least 1");
    }
    std::vector<std::int32_t> feasible;
    std::vector<std::int32_t> infeasible;
    std::vector<std::int32_t> unusable;
    feasible.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
        const double excess = violation == nullptr ? 0.0 : violation[i];
        if (std::isnan(excess) || (excess <= 0 && has_nan(objectives + i * m, m))) {
            unusable.push_back(static_cast<std::int32_t>(i));
        } else if (excess <= 0) {
            feasible.push_back(static_cast<std::int32_t>(i));
        } else {
            infeasible.push_back(static_cast<std::int32_t>(i));
        }
    }
    std::int32_t next = rank_feasible(feasible, objectives, m, ranks);
    std::sort(infeasible.begin(), infeasible.end(),
              [violation](std::int32_t a, std::int32_t b) { return violation[a] < violation[b]; });
    for (std::size_t i = 0; i < infeasible.size(); ++i) {
        const bool tied = i > 0 && violation[infeasible[i]] == violation[infeasible[i - 1]];
        ranks[infeasible[i]] = tied ? next - 1 : next++;
    }
    for (const std::int32_t row : unusable) {
        ranks[row] = next;
    }
}

void crowding_distance(const double* objectives, const std::int32_t* ranks, std::size_t n,
                       std::size_t m, double* distance) {
    std::fill(distance, distance + n, 0.0);
    std::vector<std::int32_t> rows;
    rows.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
        if (!has_nan(objectives + i * m, m)) {
            rows.push_back(static_cast<std::int32_t>(i));
        }
    }
    std::sort(rows.begin(), rows.end(), [ranks](std::int32_t a, std::int32_t b) {
        return ranks[a] != ranks[b] ? ranks[a] < ranks[b] : a < b;
    });
    std::vector<std::int32_t> front;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        front.push_back(rows[i]);
        if (i + 1 == rows.size() || ranks[rows[i + 1]] != ranks[rows[i]]) {
            crowd_front(front, objectives, m, distance);
            front.clear();
        }
    }
}

Survivors nsga2_survive(const double* objectives, const double* violation, std::size_t n,
                        std::size_t m, std::size_t keep) {
    std::vector<std::int32_t> ranks(n);
    std::vector<double> crowding(n);
    non_dominated_sort(objectives, violation, n, m, ranks.data());
    crowding_distance(objectives, ranks.data(), n, m, crowding.data());
    Survivors survivors;
    survivors.indices.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
        survivors.indices[i] = static_cast<std::int32_t>(i);
    }
    const std::size_t kept = std::min(keep, n);
    const auto better = [&ranks, &crowding](std::int32_t a, std::int32_t b) {
        if (ranks[a] != ranks[b]) {
            return ranks[a] < ranks[b];
        }
        return crowding[a] != crowding[b] ? crowding[a] > crowding[b] : a < b;
    };
    std::partial_sort(survivors.indices.begin(), survivors.indices.begin() + kept,
                      survivors.indices.end(), better);
    survivors.indices.resize(kept);
    survivors.ranks.reserve(kept);
    survivors.crowding.reserve(kept);
    for (const std::int32_t row : survivors.indices) {
        survivors.ranks.push_back(ranks[row]);
        survivors.crowding.push_back(crowding[row]);
    }
    return survivors;
}

}  // namespace hwnas
