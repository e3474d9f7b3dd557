#include "slot_groups.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace hwnas {
namespace {

// Beyond this an index no longer fits the 16-bit multiplications of the vector code, and fused
// tables never pay.
constexpr std::uint64_t kLargestFused = 32767;

std::vector<std::uint32_t> unite(const std::vector<std::uint32_t>& a,
                                 const std::vector<std::uint32_t>& b) {
    std::vector<std::uint32_t> all = a;
    for (std::uint32_t decision : b) {
        if (std::find(a.begin(), a.end(), decision) == a.end()) all.push_back(decision);
    }
    return all;
}

// Entries of the table of a and b together; stops counting above kLargestFused.
std::uint64_t count_union(const std::vector<std::uint8_t>& option_counts, const SlotGroup& a,
                          const std::vector<std::uint32_t>& b) {
    std::uint64_t entries = a.entries;
    for (std::uint32_t decision : b) {
        if (std::find(a.decisions.begin(), a.decisions.end(), decision) == a.decisions.end()) {
            entries *= option_counts[decision];
            if (entries > kLargestFused) break;
        }
    }
    return entries;
}

std::vector<SlotGroup> best_fit(const std::vector<std::uint8_t>& option_counts,
                                const std::vector<std::vector<std::uint32_t>>& block_decisions,
                                const std::vector<std::uint64_t>& block_slots,
                                std::uint64_t bound) {
    std::vector<SlotGroup> groups;
    for (std::size_t block = 0; block < block_decisions.size(); ++block) {
        SlotGroup* best = nullptr;
        std::uint64_t least_growth = std::numeric_limits<std::uint64_t>::max();
        for (SlotGroup& group : groups) {
            const std::uint64_t entries =
                count_union(option_counts, group, block_decisions[block]);
            if (entries > std::max(bound, group.entries)) continue;
            if (entries - group.entries < least_growth) {
                least_growth = entries - group.entries;
                best = &group;
            }
        }
        if (best == nullptr) {
            groups.push_back({block_decisions[block], {}, block_slots[block]});
            best = &groups.back();
        } else {
            best->decisions = unite(best->decisions, block_decisions[block]);
            best->entries += least_growth;
        }
        best->blocks.push_back(static_cast<std::uint32_t>(block));
    }
    if (groups.empty()) groups.emplace_back();
    return groups;
}

// Work per architecture: one look-up a group, in units of a hit in the first-level cache, with
// uniformly random entries. The caches' shares for tables (beside the streamed population) and the
// prices of their misses are rough. Measured per look-up on a Zen 4 core: 1 at 19 KB, 1.6 at 96
// KB, 2.9 at 324 KB.
double estimate_work(const std::vector<SlotGroup>& groups, std::size_t bytes_per_entry) {
    double bytes = 0;
    for (const SlotGroup& group : groups) {
        bytes += static_cast<double>(group.entries) * static_cast<double>(bytes_per_entry);
    }
    const auto hits = [bytes](double cache_bytes) { return std::min(1.0, cache_bytes / bytes); };
    const double first = hits(24e3), second = hits(640e3), third = hits(16e6);
    const double cost = first + 3 * (second - first) + 10 * (third - second) + 40 * (1 - third);
    return static_cast<double>(groups.size()) * cost;
}

}  // namespace

std::uint64_t count_slots(const std::vector<std::uint8_t>& option_counts,
                          const std::vector<std::uint32_t>& decisions) {
    std::uint64_t slots = 1;
    for (std::uint32_t decision : decisions) {
        slots *= option_counts[decision];
        if (slots > std::numeric_limits<std::uint32_t>::max()) {
            throw std::invalid_argument("a choice block has more than 2^32 - 1 slots");
        }
    }
    return slots;
}

std::vector<SlotGroup> fuse_blocks(const std::vector<std::uint8_t>& option_counts,
                                   const std::vector<std::vector<std::uint32_t>>& block_decisions,
                                   std::size_t bytes_per_entry) {
    std::vector<std::uint64_t> block_slots;
    for (const auto& decisions : block_decisions) {
        block_slots.push_back(count_slots(option_counts, decisions));
    }
    // Best fit compares each block with each group: fewer bounds keep construction short for
    // thousands of blocks.
    const double ratio = block_decisions.size() <= 256 ? 1.2 : 4.0;
    std::vector<SlotGroup> best;
    double least_work = std::numeric_limits<double>::infinity();
    for (double bound = 1; bound <= static_cast<double>(kLargestFused);
         bound = bound * ratio + 1) {
        auto groups = best_fit(option_counts, block_decisions, block_slots,
                               static_cast<std::uint64_t>(bound));
        const double work = estimate_work(groups, bytes_per_entry);
        if (work < least_work) {
            least_work = work;
            best = std::move(groups);
        }
    }
    return best;
}

GroupWalk::GroupWalk(const std::vector<std::uint8_t>& option_counts,
                     const std::vector<std::vector<std::uint32_t>>& block_decisions,
                     const SlotGroup& group)
    : digits_(group.decisions.size(), 0),
      strides_(group.decisions.size() * group.blocks.size(), 0),
      slots_(group.blocks.size(), 0) {
    for (std::uint32_t decision : group.decisions) counts_.push_back(option_counts[decision]);
    for (std::size_t b = 0; b < group.blocks.size(); ++b) {
        const auto& decisions = block_decisions[group.blocks[b]];
        std::uint64_t stride = 1;
        for (std::size_t i = decisions.size(); i-- > 0;) {
            const auto at =
                std::find(group.decisions.begin(), group.decisions.end(), decisions[i]);
            const auto position = static_cast<std::size_t>(at - group.decisions.begin());
            strides_[position * group.blocks.size() + b] = stride;
            stride *= option_counts[decisions[i]];
        }
    }
}

void GroupWalk::advance() {
    const std::size_t blocks = slots_.size();
    for (std::size_t k = digits_.size(); k-- > 0;) {
        const std::uint64_t* stride = strides_.data() + k * blocks;
        if (++digits_[k] < counts_[k]) {
            for (std::size_t b = 0; b < blocks; ++b) slots_[b] += stride[b];
            return;
        }
        digits_[k] = 0;
        for (std::size_t b = 0; b < blocks; ++b) slots_[b] -= stride[b] * (counts_[k] - 1);
    }
}

}  // namespace hwnas
