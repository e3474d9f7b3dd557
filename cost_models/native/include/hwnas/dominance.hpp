// Who dominates whom in a population: ranks, crowding and the choice of survivors.
//
// [Deb02] Deb, Pratap, Agarwal, Meyarivan, A Fast and Elitist Multiobjective Genetic Algorithm:
//         NSGA-II, IEEE TEC 6(2), 2002.
// [Jen03] Jensen, Reducing the Run-Time Complexity of Multiobjective EAs, IEEE TEC 7(5), 2003.
// [Zha15] Zhang, Tian, Cheng, Jin, An Efficient Approach to Nondominated Sorting, IEEE TEC 19(2),
//         2015.
//
// Arrays are row-major; all objectives are minimised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hwnas {

// Writes the rank of each row of `objectives` (n, m) to `ranks` (n): 0 is the non-dominated front,
// and the front of rank r is what is non-dominated once all ranks below r are taken away.
//
// Constrained dominance [Deb02, section VI]: with `violation` (n), a feasible row (violation <= 0)
// comes before an infeasible one, and infeasible rows are ordered by their violation alone (their
// objectives are not read, so they may be NaN). `violation` may be null: all rows are feasible.
// Equal rows share a rank. Rows that cannot be ordered, that is a feasible row with a NaN
// objective and a row with a NaN violation, share one last rank.
//
// O(n log n) for m <= 2 [Jen03], O(n log^2 n) for m = 3, O(m n^2) at worst beyond that [Zha15].
// Throws std::invalid_argument for m = 0.
void non_dominated_sort(const double* objectives, const double* violation, std::size_t n,
                        std::size_t m, std::int32_t* ranks);

// Writes the crowding distance [Deb02, section III-B] of each row within the rows of its own rank.
//
// Per objective the smallest and largest row get infinity and the others the gap between their two
// neighbours divided by the front's range; the distance is the sum over objectives. Rows that tie
// in one objective are ordered by all objectives, lexicographically, so the result does not depend
// on the order of the rows. Of several equal rows the first gets the distance and its copies 0. An
// objective that is constant on a front adds nothing, and so does one whose range is infinite
// (its two ends still get infinity); a front of one distinct row gets infinity. A row with a NaN
// objective gets 0 and is no one's neighbour.
void crowding_distance(const double* objectives, const std::int32_t* ranks, std::size_t n,
                       std::size_t m, double* distance);

// The rows chosen by `nsga2_survive`, with the rank and crowding they had in the whole population.
struct Survivors {
    std::vector<std::int32_t> indices;
    std::vector<std::int32_t> ranks;
    std::vector<double> crowding;
};

// Returns the best min(keep, n) rows: lowest rank first, then largest crowding, then lowest index;
// in that order. Crowding is computed once, before the last front is cut.
Survivors nsga2_survive(const double* objectives, const double* violation, std::size_t n,
                        std::size_t m, std::size_t keep);

}  // namespace hwnas
