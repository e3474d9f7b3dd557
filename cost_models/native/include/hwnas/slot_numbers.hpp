// The slot numbers of whole populations as 16-bit words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "hwnas/slot_table.hpp"

namespace hwnas {

// Block b reads the decisions block_decisions[b] (possibly none); its slots are numbered in C
// order, the first decision most significant, as in a SlotTable.
class SlotNumbers {
  public:
    // Throws std::invalid_argument when a decision has no option, and naming the block when it
    // reads a decision that does not exist or has more than 65536 slots.
    SlotNumbers(const std::vector<std::uint8_t>& option_counts,
                const std::vector<std::vector<std::uint32_t>>& block_decisions,
                InstructionSet instruction_set);
    ~SlotNumbers();
    SlotNumbers(SlotNumbers&&) noexcept;

    // Writes out (n, blocks). Throws std::invalid_argument naming row, column and value of the
    // first option index out of range (out is then partly written), or when threads < 1.
    void encode(const std::uint8_t* population, std::size_t n, std::uint16_t* out,
                int threads) const;

    std::size_t n_decisions() const;
    std::size_t n_blocks() const;

    struct Plan;

  private:
    std::unique_ptr<Plan> plan_;
};

}  // namespace hwnas
