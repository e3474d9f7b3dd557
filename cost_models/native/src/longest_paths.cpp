#include "hwnas/longest_paths.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "option_range.hpp"
#include "row_parts.hpp"

namespace hwnas {
namespace {

constexpr std::size_t kFewestRowsPerThread = 4096;
constexpr std::size_t kTileRows = 64;
constexpr double kNever = -std::numeric_limits<double>::infinity();

}  // namespace

LongestPaths::LongestPaths(const std::vector<std::uint8_t>& option_counts,
                           const std::vector<WeightedBlock>& blocks)
    : option_counts_(option_counts) {
    require_options(option_counts);
    if (blocks.empty()) throw std::invalid_argument("there is no choice block");
    for (std::size_t b = 0; b < blocks.size(); ++b) {
        const std::string name = "choice block " + std::to_string(b);
        const WeightedBlock& given = blocks[b];
        Block block;
        std::uint64_t slots = 1;
        for (std::uint32_t decision : given.decisions) {
            if (decision >= option_counts.size()) {
                throw std::invalid_argument(name + " reads decision " + std::to_string(decision) +
                                            " of " + std::to_string(option_counts.size()));
            }
            slots *= option_counts[decision];
            if (slots > given.weights.size()) break;
        }
        const std::size_t inputs = std::max<std::size_t>(given.inputs.size(), 1);
        if (slots * inputs != given.weights.size()) {
            throw std::invalid_argument(name + " has " + std::to_string(given.weights.size()) +
                                        " weights for its slots and " + std::to_string(inputs) +
                                        " inputs");
        }
        for (std::uint32_t decision : given.decisions) {
            slots /= option_counts[decision];
            block.terms.push_back({decision, static_cast<std::uint32_t>(slots)});
        }
        for (std::uint32_t input : given.inputs) {
            if (input >= b) {
                throw std::invalid_argument(name + " takes the result of choice block " +
                                            std::to_string(input) + ", which is not before it");
            }
        }
        for (double weight : given.weights) {
            if (std::isnan(weight) || weight == -kNever) {
                throw std::invalid_argument(name + " has a weight that is no number");
            }
        }
        block.inputs = given.inputs;
        block.weights = given.weights;
        blocks_.push_back(std::move(block));
    }
}

void LongestPaths::weigh(const std::uint8_t* population, std::size_t n, double* out,
                         int threads) const {
    const std::size_t d = n_decisions();
    const OptionRange range(option_counts_);
    split_rows(n, threads, kFewestRowsPerThread, [&](std::size_t begin, std::size_t end) {
        std::vector<double> heaviest(blocks_.size());
        for (std::size_t first = begin; first < end; first += kTileRows) {
            const std::size_t count = std::min(kTileRows, end - first);
            range.require(population + first * d, count, first);
            for (std::size_t i = first; i < first + count; ++i) {
                const std::uint8_t* row = population + i * d;
                for (std::size_t b = 0; b < blocks_.size(); ++b) {
                    const Block& block = blocks_[b];
                    std::size_t slot = 0;
                    for (const Term& term : block.terms) slot += row[term.decision] * term.stride;
                    if (block.inputs.empty()) {
                        heaviest[b] = block.weights[slot];
                        continue;
                    }
                    const double* weight = block.weights.data() + slot * block.inputs.size();
                    double most = kNever;
                    for (std::size_t k = 0; k < block.inputs.size(); ++k) {
                        most = std::max(most, heaviest[block.inputs[k]] + weight[k]);
                    }
                    heaviest[b] = most;
                }
                out[i] = heaviest.back();
            }
        }
    });
}

}  // namespace hwnas
