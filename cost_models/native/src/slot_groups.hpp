// Fusing choice blocks into groups, so that costing an architecture takes few look-ups.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hwnas {

// Choice blocks that share one table. Its entries are indexed by `decisions` in C order (first one
// most significant).
struct SlotGroup {
    std::vector<std::uint32_t> decisions;
    std::vector<std::uint32_t> blocks;
    std::uint64_t entries = 1;
};

// Product of the option counts of `decisions`; throws std::invalid_argument when it exceeds 32
// bits.
std::uint64_t count_slots(const std::vector<std::uint8_t>& option_counts,
                          const std::vector<std::uint32_t>& decisions);

// Partitions the blocks into at least one group. The partition is the cheapest by a model of cache
// hits among those made by best fit under a row of bounds on the entries of a fused table.
std::vector<SlotGroup> fuse_blocks(const std::vector<std::uint8_t>& option_counts,
                                   const std::vector<std::vector<std::uint32_t>>& block_decisions,
                                   std::size_t bytes_per_entry);

// Walks the entries of a group's table in order and keeps the slot number of each of its blocks.
class GroupWalk {
  public:
    GroupWalk(const std::vector<std::uint8_t>& option_counts,
              const std::vector<std::vector<std::uint32_t>>& block_decisions,
              const SlotGroup& group);

    // Slot numbers of the current entry, in the order of group.blocks.
    const std::vector<std::uint64_t>& slots() const { return slots_; }
    void advance();

  private:
    std::vector<std::uint64_t> counts_;   // options of each of the group's decisions
    std::vector<std::uint64_t> digits_;   // the current entry
    std::vector<std::uint64_t> strides_;  // (decision of the group, block of the group)
    std::vector<std::uint64_t> slots_;
};

}  // namespace hwnas
