// The volume that a set of points dominates.
//
// [Fon06] Fonseca, Paquete, Lopez-Ibanez, An Improved Dimension-Sweep Algorithm for the
//         Hypervolume Indicator, CEC 2006.
// [Whi12] While, Bradstreet, Barone, A Fast Way of Calculating Exact Hypervolumes, IEEE TEC 16(1),
//         2012.
#pragma once

#include <cstddef>

namespace hwnas {

// Returns the exact volume of the region that `points` (n, m) dominate and that `reference` (m)
// bounds; all objectives are minimised. Points that are not better than the reference in every
// objective add nothing, nor do duplicates and dominated points; no points give 0.
//
// O(n log n) for m <= 3 [Fon06], exponential in m at worst beyond that [Whi12].
// Throws std::invalid_argument for m = 0, a NaN in `points`, or a reference that is not finite.
double hypervolume(const double* points, std::size_t n, std::size_t m, const double* reference);

}  // namespace hwnas
