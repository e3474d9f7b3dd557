// Costs of whole populations of architectures from a table of measured slots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hwnas {

// How the costs of blocks make the cost of an architecture.
enum class Reduction { sum, max };

enum class InstructionSet { scalar, avx2, avx512 };

// Best instruction set of this processor.
InstructionSet detect_instruction_set();

// "auto", "scalar", "avx2" or "avx512"; throws std::invalid_argument for another name or for one
// that this processor lacks.
InstructionSet parse_instruction_set(const std::string& name);
std::string to_string(InstructionSet instruction_set);

// What a slot table is made of. Block b reads the decisions block_decisions[b] (possibly none);
// its slots are numbered in C order, the first decision most significant; block_costs[b] is (slots
// of b, m), row by row. NaN marks a slot that was not measured.
struct SlotCosts {
    std::vector<std::uint8_t> option_counts;                  // (d,)
    std::vector<std::vector<std::uint32_t>> block_decisions;  // (blocks,)
    std::vector<std::vector<double>> block_costs;             // (blocks,)
    std::vector<double> constant;                             // (m,)
    std::vector<Reduction> reductions;                        // (m,)
};

// cost_j(x) = constant_j + sum over blocks of cost_bj(slot_b(x)), or the largest of these terms.
//
// At construction, blocks are fused into groups whose merged tables stay in the inner caches, so
// that an architecture takes a handful of look-ups. Tables hold float32 where the result stays
// within 1e-6 of the float64 sum, relative to it: few groups and, in each metric, costs of one
// sign. Otherwise they hold float64. Results do not depend on the number of threads nor on the
// instruction set, bit for bit.
class SlotTable {
  public:
    // Throws std::invalid_argument when the parts do not fit together, and for infinite costs or
    // costs whose sum exceeds float32.
    SlotTable(const SlotCosts& costs, InstructionSet instruction_set);
    ~SlotTable();
    SlotTable(SlotTable&&) noexcept;
    SlotTable& operator=(SlotTable&&) noexcept;

    // Writes costs (n, m) of a population (n, d). An architecture with an unmeasured slot costs
    // NaN in that metric. Throws std::invalid_argument naming row, column and value of the first
    // option index out of range (out is then partly written), or when threads < 1.
    void cost(const std::uint8_t* population, std::size_t n, float* out, int threads) const;

    // Writes slot numbers (n, blocks) of a population (n, d). Throws as cost does.
    void slots(const std::uint8_t* population, std::size_t n, std::uint32_t* out) const;

    std::size_t n_decisions() const;
    std::size_t n_metrics() const;
    std::size_t n_blocks() const;
    std::size_t n_groups() const;
    std::size_t table_bytes() const;
    InstructionSet instruction_set() const;

  private:
    struct Plan;
    std::unique_ptr<Plan> plan_;
};

}  // namespace hwnas
