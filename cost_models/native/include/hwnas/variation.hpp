// New architectures from old ones: tournament, crossover, mutation.
//
// [Deb02] Deb, Pratap, Agarwal, Meyarivan, A Fast and Elitist Multiobjective Genetic Algorithm:
//         NSGA-II, IEEE TEC 6(2), 2002.
// [Bla18] Blackman, Vigna, Scrambled Linear Pseudorandom Number Generators, 2018 (xoshiro256**).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hwnas {

enum class Crossover { kUniform, kTwoPoint };

struct Variation {
    Crossover crossover = Crossover::kTwoPoint;
    double crossover_probability = 0.5;
    // Per decision; a mutated decision takes one of its other options, each equally likely.
    double mutation_probability = 0.0;
};

// Random words that follow from four others alone, the same on every platform [Bla18].
class RandomWords {
  public:
    // Throws std::invalid_argument if all four words are 0, from which xoshiro never leaves.
    explicit RandomWords(const std::array<std::uint64_t, 4>& seed);

    std::uint64_t next();

    // Maps 32 random bits to 0 .. bound - 1; the bias is below bound / 2^32.
    static std::uint32_t below(std::uint32_t bits, std::uint32_t bound) {
        return static_cast<std::uint32_t>((static_cast<std::uint64_t>(bits) * bound) >> 32);
    }

  private:
    std::array<std::uint64_t, 4> state_;
};

// Writes `count` children (count, d) of `population` (n, d) to `children`.
//
// Each child has two parents, each the winner of a binary tournament with replacement: lower rank,
// then larger crowding, then the first drawn [Deb02]. With `crossover_probability` the child takes
// each decision from either parent (uniform), or those between two cuts from the second
// (two-point); else it copies the first. Then each decision mutates with `mutation_probability`.
// A child that still equals its first parent has one decision that has a choice mutated, if the
// mutation probability is not 0. Probabilities are rounded down to multiples of 2^-32.
//
// Random words are used in this order: per child one for the first tournament (high half, low
// half), one for the second, one for the crossover (high half: whether), then for uniform one per
// 64 decisions (bit set: second parent) or for two-point one (the two cuts), then one per decision
// for the mutation (high half: whether, low half: which), then for a child that equals its first
// parent one more (high half: the decision to start from, upwards and around, in search of one
// that has a choice; low half: which).
//
// Throws std::invalid_argument if n or an option count is 0, or a probability is not in [0, 1].
void vary(const std::uint8_t* population, const std::int32_t* ranks, const double* crowding,
          std::size_t n, std::size_t d, const std::uint8_t* option_counts,
          const std::array<std::uint64_t, 4>& seed, const Variation& variation, std::size_t count,
          std::uint8_t* children);

}  // namespace hwnas
