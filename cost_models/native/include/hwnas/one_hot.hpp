// One-hot encodings of whole populations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace hwnas {

// Rows of 0 and 1: each decision has as many columns as options, of which the chosen one is 1.
//
// Neighbouring decisions are joined while the table of the bytes that their combinations write
// stays small, so that an architecture takes a few wide stores.
class OneHot {
  public:
    // Throws std::invalid_argument when a decision has no option.
    explicit OneHot(const std::vector<std::uint8_t>& option_counts);
    ~OneHot();
    OneHot(OneHot&&) noexcept;

    // Writes out (n, width). Throws std::invalid_argument naming row, column and value of the
    // first option index out of range (out is then partly written), or when threads < 1.
    void encode(const std::uint8_t* population, std::size_t n, std::uint8_t* out,
                int threads) const;

    std::size_t n_decisions() const;
    std::size_t width() const;

  private:
    struct Plan;
    std::unique_ptr<Plan> plan_;
};

}  // namespace hwnas
