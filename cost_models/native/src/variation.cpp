#include "hwnas/variation.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace hwnas {
namespace {

std::uint32_t high(std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); }
std::uint32_t low(std::uint64_t word) { return static_cast<std::uint32_t>(word); }

// How many of the 2^32 values of a half word mean "yes".
std::uint64_t threshold(double probability, const char* name) {
    if (!(probability >= 0 && probability <= 1)) {
        throw std::invalid_argument(std::string("vary: ") + name + " must be in [0, 1], found " +
                                    std::to_string(probability));
    }
    return static_cast<std::uint64_t>(probability * 4294967296.0);
}

}  // namespace

RandomWords::RandomWords(const std::array<std::uint64_t, 4>& seed) : state_(seed) {
    if ((seed[0] | seed[1] | seed[2] | seed[3]) == 0) {
        throw std::invalid_argument("RandomWords: found four words of 0; one must differ");
    }
}

std::uint64_t RandomWords::next() {
    const auto rotate = [](std::uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
    const std::uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate(state_[3], 45);
    return result;
}

void vary(const std::uint8_t* population, const std::int32_t* ranks, const double* crowding,
          std::size_t n, std::size_t d, const std::uint8_t* option_counts,
          const std::array<std::uint64_t, 4>& seed, const Variation& variation, std::size_t count,
          std::uint8_t* children) {
    if (n == 0) {
        throw std::invalid_argument("vary: found an empty population; pass at least one row");
    }
    if (std::find(option_counts, option_counts + d, 0) != option_counts + d) {
        throw std::invalid_argument("vary: found a decision with 0 options");
    }
    const std::uint64_t crossing =
        threshold(variation.crossover_probability, "crossover_probability");
    const std::uint64_t mutating =
        threshold(variation.mutation_probability, "mutation_probability");
    RandomWords words(seed);
    const auto rows = static_cast<std::uint32_t>(n);

    const auto tournament = [&] {
        const std::uint64_t word = words.next();
        const std::uint32_t one = RandomWords::below(high(word), rows);
        const std::uint32_t two = RandomWords::below(low(word), rows);
        const bool second =
            ranks[two] < ranks[one] || (ranks[two] == ranks[one] && crowding[two] > crowding[one]);
        return population + (second ? two : one) * d;
    };

    for (std::size_t i = 0; i < count; ++i) {
        std::uint8_t* child = children + i * d;
        const std::uint8_t* mother = tournament();
        const std::uint8_t* father = tournament();
        std::copy(mother, mother + d, child);
        if (high(words.next()) < crossing) {
            if (variation.crossover == Crossover::kUniform) {
                std::uint64_t mask = 0;
                for (std::size_t j = 0; j < d; ++j, mask >>= 1) {
                    if (j % 64 == 0) {
                        mask = words.next();
                    }
                    child[j] = (mask & 1) != 0 ? father[j] : child[j];
                }
            } else {
                const std::uint64_t word = words.next();
                const auto places = static_cast<std::uint32_t>(d + 1);
                std::uint32_t begin = RandomWords::below(high(word), places);
                std::uint32_t end = RandomWords::below(low(word), places);
                if (begin > end) {
                    std::swap(begin, end);
                }
                std::copy(father + begin, father + end, child + begin);
            }
        }
        const auto mutate = [&](std::size_t j, std::uint32_t bits) {
            const std::uint32_t options = option_counts[j];
            const std::uint32_t step = 1 + RandomWords::below(bits, options - 1);
            child[j] = static_cast<std::uint8_t>((child[j] + step) % options);
        };
        for (std::size_t j = 0; j < d; ++j) {
            const std::uint64_t word = words.next();
            if (high(word) < mutating && option_counts[j] > 1) {
                mutate(j, low(word));
            }
        }
        if (mutating > 0 && std::equal(child, child + d, mother)) {
            const std::uint64_t word = words.next();
            const std::size_t begin =
                RandomWords::below(high(word), static_cast<std::uint32_t>(d));
            for (std::size_t k = 0; k < d; ++k) {
                const std::size_t j = (begin + k) % d;
                if (option_counts[j] > 1) {
                    mutate(j, low(word));
                    break;
                }
            }
        }
    }
}

}  // namespace hwnas
