// Range check of option indices, shared by everything that reads a population.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace hwnas {

// Checks whole tiles of rows at once. The largest valid options of one row are repeated, so that
// rows and limits are two flat byte strings of equal length, which a compiler turns into
// full-width vector code whatever the number of decisions.
class OptionRange {
  public:
    OptionRange() = default;

    explicit OptionRange(const std::vector<std::uint8_t>& option_counts)
        : n_decisions_(option_counts.size()) {
        limits_.reserve(kTileRows * n_decisions_);
        for (std::size_t row = 0; row < kTileRows; ++row) {
            for (std::uint8_t count : option_counts) {
                limits_.push_back(static_cast<std::uint8_t>(count - 1));
            }
        }
    }

    // True when each option index of the n rows exists.
    bool holds(const std::uint8_t* rows, std::size_t n) const {
        for (std::size_t row = 0; row < n; row += kTileRows) {
            const std::size_t bytes = std::min(kTileRows, n - row) * n_decisions_;
            const std::uint8_t* values = rows + row * n_decisions_;
            std::uint8_t bad = 0;
            for (std::size_t i = 0; i < bytes; ++i) {
                bad |= static_cast<std::uint8_t>(values[i] > limits_[i]);
            }
            if (bad) return false;
        }
        return true;
    }

    // Throws std::invalid_argument naming the first row, column and value out of range, if there
    // is one. `first_row` is the number of rows[0] in the population that the caller passed.
    void require(const std::uint8_t* rows, std::size_t n, std::size_t first_row) const {
        if (holds(rows, n)) return;
        for (std::size_t i = 0; i < n * n_decisions_; ++i) {
            const std::size_t column = i % n_decisions_;
            if (rows[i] > limits_[column]) {
                throw std::invalid_argument("option index out of range in row " +
                                            std::to_string(first_row + i / n_decisions_) +
                                            ", column " + std::to_string(column) + ": " +
                                            std::to_string(rows[i]) + ", the decision has " +
                                            std::to_string(limits_[column] + 1) + " options");
            }
        }
    }

  private:
    static constexpr std::size_t kTileRows = 16;
    std::size_t n_decisions_ = 0;
    std::vector<std::uint8_t> limits_;
};

// Throws std::invalid_argument when a decision has no option.
inline void require_options(const std::vector<std::uint8_t>& option_counts) {
    for (std::size_t column = 0; column < option_counts.size(); ++column) {
        if (option_counts[column] == 0) {
            throw std::invalid_argument("decision " + std::to_string(column) +
                                        " has no option: option_counts must be at least 1");
        }
    }
}

}  // namespace hwnas
