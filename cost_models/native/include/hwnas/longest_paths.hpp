// The heaviest path through the network of every architecture of a population.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hwnas {

// A block of the network. Its slots are numbered as in a SlotTable. weights[slot * inputs + i] is
// the weight of the heaviest path through the block from its input i to its result, minus infinity
// where none leads there; a block without inputs has one weight a slot.
struct WeightedBlock {
    std::vector<std::uint32_t> decisions;
    std::vector<std::uint32_t> inputs;  // numbers of earlier blocks
    std::vector<double> weights;
};

class LongestPaths {
  public:
    // Throws std::invalid_argument naming the block for a decision or input that does not exist,
    // an input that is no earlier block, a weight that is NaN or plus infinity, and a wrong number
    // of weights.
    LongestPaths(const std::vector<std::uint8_t>& option_counts,
                 const std::vector<WeightedBlock>& blocks);

    // Writes the weight of the heaviest path to the last block's result, out (n,). Throws
    // std::invalid_argument naming row, column and value of the first option index out of range,
    // or when threads < 1.
    void weigh(const std::uint8_t* population, std::size_t n, double* out, int threads) const;

    std::size_t n_decisions() const { return option_counts_.size(); }

  private:
    struct Term {
        std::uint32_t decision;
        std::uint32_t stride;
    };
    struct Block {
        std::vector<Term> terms;
        std::vector<std::uint32_t> inputs;
        std::vector<double> weights;
    };

    std::vector<std::uint8_t> option_counts_;
    std::vector<Block> blocks_;
};

}  // namespace hwnas
