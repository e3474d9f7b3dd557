// Weisfeiler-Lehman labels of the graphs of whole populations, and of single graphs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hwnas/graph_family.hpp"
#include "hwnas/slot_table.hpp"

namespace hwnas {

constexpr int kMostIterations = 64;

// Shervashidze et al., Weisfeiler-Lehman Graph Kernels, JMLR 2011, on directed graphs:
//
//     label'(v) = mix(label(v) + K * sum over edges u>v of c * label(u)
//                              + L * sum over edges v>w of c * label(w))
//
// with mix a bijection, and c, K and L odd constants, c one for each colour. Sums modulo 2^64
// stand for multisets, as labels are spread over all 64-bit words; equal labels at different
// nodes mean equal neighbourhoods but for collisions. The hash of an architecture takes in the sum
// of all labels of every iteration, graph by graph, so that isomorphic graphs have equal hashes.
//
// Writes hashes (n,) and, unless null, labels (n, iterations + 1, nodes of all graphs). Results
// depend neither on the number of threads nor on the instruction set. Throws std::invalid_argument
// naming row, column and value of the first option index out of range, and for iterations outside
// 0 to kMostIterations or threads < 1.
void weisfeiler_lehman(const GraphFamily& family, const std::uint8_t* population, std::size_t n,
                       int iterations, std::uint64_t* hashes, std::uint64_t* labels, int threads,
                       InstructionSet instruction_set);

// Adds up, in counts (n, iterations + 1, buckets), how many nodes have a label of each bucket:
// label modulo buckets. A count stops at 65535. Throws as weisfeiler_lehman does, and for no
// bucket.
void weisfeiler_lehman_histogram(const GraphFamily& family, const std::uint8_t* population,
                                 std::size_t n, int iterations, std::size_t buckets,
                                 std::uint16_t* counts, int threads,
                                 InstructionSet instruction_set);

}  // namespace hwnas
