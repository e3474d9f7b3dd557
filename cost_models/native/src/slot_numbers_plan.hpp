// What SlotNumbers reads; shared by its portable and its x86-64 form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "aligned_array.hpp"
#include "hwnas/slot_numbers.hpp"
#include "option_range.hpp"

namespace hwnas {

// The vector form computes 16 blocks at once. A slot is a sum over pairs of decisions a, b of
// (option a * weight a + option b * weight b) * stride with 8-bit weights, modulo 2^16.
struct SlotNumbers::Plan {
    struct Term {
        std::uint32_t decision;
        std::uint32_t stride;
    };

    std::vector<std::uint8_t> option_counts;
    OptionRange range;
    std::vector<Term> terms;
    std::vector<std::uint32_t> term_begin;  // (blocks + 1,)

    static constexpr std::size_t kLanes = 16;
    std::size_t chunks = 0;               // of 16 bytes, in which a row is loaded
    std::size_t vectors = 0;              // of 16 blocks
    std::size_t pairs = 0;                // of the block with most
    AlignedArray<std::uint8_t> limits;    // (chunks, 16) largest option, 255 behind the last one
    AlignedArray<std::uint8_t> shuffles;  // (vectors, pairs, chunks, 32)
    AlignedArray<std::int8_t> weights;    // (vectors, pairs, 32)
    AlignedArray<std::uint16_t> strides;  // (vectors, pairs, 16)

    // Writes n rows; reads and writes whole vectors, beyond the last row too. False when an option
    // is out of range.
    using Run = bool (*)(const Plan&, const std::uint8_t* rows, std::size_t n, std::uint16_t* out);
    Run run = nullptr;

    std::size_t n_decisions() const { return option_counts.size(); }
    std::size_t n_blocks() const { return term_begin.size() - 1; }
};

// Null where the compiler or the processor lacks the instruction set.
SlotNumbers::Plan::Run select_slot_numbers_avx2(const SlotNumbers::Plan& plan);

}  // namespace hwnas
