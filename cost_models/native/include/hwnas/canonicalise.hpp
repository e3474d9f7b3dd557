// Canonical form of conditional decisions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hwnas {

constexpr std::size_t kActiveOptions = 256;

// Sets every inactive decision of the (n, d) population to 0, in place. Column c with a parent p =
// parents[c] >= 0 is active in a row when p is active there and active[c * 256 + x[p]] is not 0; a
// column without a parent (-1) is always active. Columns are visited in ascending order, so a
// parent must come before its children.
//
// Throws std::invalid_argument for a parent that is not before its child, and for an option index
// out of range (naming the row; rows before it may be in canonical form already, that row and
// those after it are untouched).
void canonicalise(std::uint8_t* population, std::size_t n,
                  const std::vector<std::uint8_t>& option_counts,
                  const std::vector<std::int32_t>& parents, const std::uint8_t* active);

}  // namespace hwnas
