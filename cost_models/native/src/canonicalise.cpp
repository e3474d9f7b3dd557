#include "hwnas/canonicalise.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "option_range.hpp"

namespace hwnas {
namespace {

// A column that depends on its parent's option: `keep` holds 255 (leave the child) or 0 (clear it)
// for each parent option.
struct Condition {
    std::size_t child;
    std::size_t parent;
    const std::uint8_t* keep;
};

}  // namespace

void canonicalise(std::uint8_t* population, std::size_t n,
                  const std::vector<std::uint8_t>& option_counts,
                  const std::vector<std::int32_t>& parents, const std::uint8_t* active) {
    const std::size_t d = option_counts.size();
    require_options(option_counts);
    if (parents.size() != d) {
        throw std::invalid_argument("parents has " + std::to_string(parents.size()) +
                                    " entries, option_counts has " + std::to_string(d));
    }

    std::vector<std::uint8_t> keep(d * kActiveOptions);
    std::vector<Condition> conditions;
    bool chained = false;
    for (std::size_t column = 0; column < d; ++column) {
        const std::int32_t parent = parents[column];
        if (parent == -1) continue;
        if (parent < 0 || static_cast<std::size_t>(parent) >= column) {
            throw std::invalid_argument("decision " + std::to_string(column) + " has parent " +
                                        std::to_string(parent) +
                                        ": a parent must be -1 (none) or come before its child");
        }
        std::uint8_t* row = keep.data() + column * kActiveOptions;
        for (std::size_t option = 0; option < kActiveOptions; ++option) {
            row[option] = active[column * kActiveOptions + option] ? 255 : 0;
        }
        conditions.push_back({column, static_cast<std::size_t>(parent), row});
        chained = chained || parents[static_cast<std::size_t>(parent)] != -1;
    }

    const OptionRange range(option_counts);
    constexpr std::size_t kTileRows = 64;
    // An inactive parent reads 0, which may be an option that activates the child: chains need to
    // remember activity, as 255 or 0 for each column and row of the tile.
    std::vector<std::uint8_t> activity(chained ? d * kTileRows : 0, 255);
    for (std::size_t begin = 0; begin < n; begin += kTileRows) {
        const std::size_t rows = std::min(kTileRows, n - begin);
        std::uint8_t* tile = population + begin * d;
        range.require(tile, rows, begin);
        for (const Condition& c : conditions) {
            const std::uint8_t* parent = tile + c.parent;
            std::uint8_t* child = tile + c.child;
            const std::uint8_t* keep = c.keep;
            if (chained) {
                const std::uint8_t* parent_activity = activity.data() + c.parent * kTileRows;
                std::uint8_t* child_activity = activity.data() + c.child * kTileRows;
                for (std::size_t i = 0; i < rows; ++i) {
                    child_activity[i] = parent_activity[i] & keep[parent[i * d]];
                    child[i * d] &= child_activity[i];
                }
            } else {
                for (std::size_t i = 0; i < rows; ++i) child[i * d] &= keep[parent[i * d]];
            }
        }
    }
}

}  // namespace hwnas
