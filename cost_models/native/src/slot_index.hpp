// From rows of option indices to table indices, one a group; vectorised for the instruction set at
// hand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "aligned_array.hpp"
#include "hwnas/slot_table.hpp"
#include "slot_groups.hpp"

namespace hwnas {

// index of group g = offset_g + sum over its decisions of option * stride. The vector code
// computes it for 8 or 16 groups at once: four option bytes a group are shuffled together (a
// quad), multiplied pairwise by 8-bit weights, and the pair sums by 16-bit weights. Groups with
// more than four decisions take several quads; groups whose strides exceed 16 bits are `wide` and
// computed one by one.
struct SlotIndexer {
    SlotIndexer(const std::vector<std::uint8_t>& option_counts,
                const std::vector<SlotGroup>& groups, InstructionSet instruction_set);

    // Writes indices (n, lanes) for n rows that lie `row_stride` bytes apart, with `row_bytes`
    // readable bytes in each. False when an option is out of range; the indices are then
    // meaningless.
    bool operator()(const std::uint8_t* rows, std::size_t row_stride, std::size_t n,
                    std::uint32_t* indices) const;

    std::size_t n_decisions;
    std::size_t row_bytes;  // n_decisions, rounded up to whole vectors
    std::size_t n_groups;
    std::size_t lanes;  // 8, or a multiple of 16, so that a row of indices fills whole vectors

    // Read by the routines below.
    struct Term {
        std::uint32_t decision;
        std::uint32_t stride;
    };
    std::vector<Term> terms;                // of all groups
    std::vector<std::uint32_t> term_begin;  // (n_groups + 1,) into terms
    std::vector<std::uint32_t> wide;        // groups left to scalar code
    AlignedArray<std::uint32_t> offsets;    // (lanes,)
    AlignedArray<std::uint8_t>
        limits;  // (row_bytes,) largest valid option, 255 behind the last decision

    std::size_t vector_bytes = 0;  // width of one vector of indices
    std::size_t vectors = 0;       // vectors that hold one row of indices
    std::size_t quads = 0;
    std::size_t chunks = 0;               // pieces in which a row is loaded
    AlignedArray<std::uint8_t> shuffles;  // (vectors, quads, chunks, vector_bytes)
    AlignedArray<std::uint64_t>
        in_chunk;  // (vectors, quads, chunks) bytes that come from the chunk; AVX-512 only
    AlignedArray<std::int8_t> weights8;    // (vectors, quads, vector_bytes)
    AlignedArray<std::int16_t> weights16;  // (vectors, quads, vector_bytes / 2)

    using Run = bool (*)(const SlotIndexer&, const std::uint8_t*, std::size_t, std::size_t,
                         std::uint32_t*);
    Run run;
};

// Null where the compiler or the processor lacks the instruction set.
SlotIndexer::Run select_avx2(const SlotIndexer& indexer);
SlotIndexer::Run select_avx512(const SlotIndexer& indexer);
bool has_avx2();
bool has_avx512();

}  // namespace hwnas
