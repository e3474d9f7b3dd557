#include "hwnas/slot_numbers.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "row_parts.hpp"
#include "slot_numbers_plan.hpp"

namespace hwnas {
namespace {

constexpr std::size_t kFewestRowsPerThread = 16384;
constexpr std::size_t kTileRows = 256;
constexpr std::uint32_t kLargestWeight = 127;

void write_plain(const SlotNumbers::Plan& plan, const std::uint8_t* rows, std::size_t n,
                 std::uint16_t* out) {
    const std::size_t d = plan.n_decisions(), blocks = plan.n_blocks();
    for (std::size_t i = 0; i < n; ++i, rows += d) {
        for (std::size_t b = 0; b < blocks; ++b) {
            std::uint32_t slot = 0;
            for (std::uint32_t t = plan.term_begin[b]; t < plan.term_begin[b + 1]; ++t) {
                slot += rows[plan.terms[t].decision] * plan.terms[t].stride;
            }
            *out++ = static_cast<std::uint16_t>(slot);
        }
    }
}

// Two decisions share a pair where the stride of the first, in units of that of the second, is a
// weight.
bool fits_one_pair(const SlotNumbers::Plan::Term* first, const SlotNumbers::Plan::Term* end) {
    return first + 1 != end && first->stride / first[1].stride <= kLargestWeight;
}

void lay_out_vectors(SlotNumbers::Plan& plan) {
    using Plan = SlotNumbers::Plan;
    const std::size_t d = plan.n_decisions(), blocks = plan.n_blocks();
    const auto walk = [&](std::size_t block, const auto& visit) {
        std::size_t pair = 0;
        const Plan::Term* end = plan.terms.data() + plan.term_begin[block + 1];
        for (const Plan::Term* t = plan.terms.data() + plan.term_begin[block]; t != end; ++pair) {
            const bool two = fits_one_pair(t, end);
            visit(pair, t, two);
            t += two ? 2 : 1;
        }
        plan.pairs = std::max(plan.pairs, pair);
    };
    plan.pairs = 1;
    for (std::size_t b = 0; b < blocks; ++b) walk(b, [](std::size_t, const Plan::Term*, bool) {});
    plan.chunks = (d + 15) / 16;
    plan.vectors = (blocks + Plan::kLanes - 1) / Plan::kLanes;
    plan.limits = AlignedArray<std::uint8_t>(plan.chunks * 16);
    for (std::size_t c = 0; c < plan.limits.size(); ++c) {
        plan.limits[c] = c < d ? static_cast<std::uint8_t>(plan.option_counts[c] - 1) : 255;
    }
    const std::size_t steps = plan.vectors * plan.pairs;
    plan.shuffles = AlignedArray<std::uint8_t>(steps * plan.chunks * 32);
    std::fill_n(plan.shuffles.data(), plan.shuffles.size(), std::uint8_t{0x80});  // writes zero
    plan.weights = AlignedArray<std::int8_t>(steps * 32);
    plan.strides = AlignedArray<std::uint16_t>(steps * Plan::kLanes);
    for (std::size_t b = 0; b < blocks; ++b) {
        walk(b, [&](std::size_t pair, const Plan::Term* t, bool two) {
            const std::size_t step = b / Plan::kLanes * plan.pairs + pair;
            const std::size_t lane = b % Plan::kLanes;
            const auto place = [&](std::size_t side, std::uint32_t decision,
                                   std::uint32_t weight) {
                const std::size_t chunk = step * plan.chunks + decision / 16;
                plan.shuffles[chunk * 32 + 2 * lane + side] =
                    static_cast<std::uint8_t>(decision % 16);
                plan.weights[step * 32 + 2 * lane + side] = static_cast<std::int8_t>(weight);
            };
            const std::uint32_t stride = two ? t[1].stride : t->stride;
            place(0, t->decision, two ? t->stride / t[1].stride : 1);
            if (two) place(1, t[1].decision, 1);
            plan.strides[step * Plan::kLanes + lane] = static_cast<std::uint16_t>(stride);
        });
    }
}

}  // namespace

SlotNumbers::SlotNumbers(const std::vector<std::uint8_t>& option_counts,
                         const std::vector<std::vector<std::uint32_t>>& block_decisions,
                         InstructionSet instruction_set)
    : plan_(std::make_unique<Plan>()) {
    Plan& plan = *plan_;
    require_options(option_counts);
    plan.option_counts = option_counts;
    plan.range = OptionRange(option_counts);
    plan.term_begin.push_back(0);
    for (std::size_t b = 0; b < block_decisions.size(); ++b) {
        std::uint64_t slots = 1;
        for (std::uint32_t decision : block_decisions[b]) {
            if (decision >= option_counts.size()) {
                throw std::invalid_argument("choice block " + std::to_string(b) +
                                            " reads decision " + std::to_string(decision) +
                                            " of " + std::to_string(option_counts.size()));
            }
            slots *= option_counts[decision];
            if (slots > 65536) {
                throw std::invalid_argument("choice block " + std::to_string(b) +
                                            " has more slots than 16 bits number");
            }
        }
        for (std::uint32_t decision : block_decisions[b]) {
            slots /= option_counts[decision];
            plan.terms.push_back({decision, static_cast<std::uint32_t>(slots)});
        }
        plan.term_begin.push_back(static_cast<std::uint32_t>(plan.terms.size()));
    }
    if (instruction_set != InstructionSet::scalar && plan.n_blocks() > 0 &&
        plan.n_decisions() > 0) {
        lay_out_vectors(plan);
        plan.run = select_slot_numbers_avx2(plan);
    }
}

SlotNumbers::~SlotNumbers() = default;
SlotNumbers::SlotNumbers(SlotNumbers&&) noexcept = default;

std::size_t SlotNumbers::n_decisions() const { return plan_->n_decisions(); }
std::size_t SlotNumbers::n_blocks() const { return plan_->n_blocks(); }

void SlotNumbers::encode(const std::uint8_t* population, std::size_t n, std::uint16_t* out,
                         int threads) const {
    const Plan& plan = *plan_;
    const std::size_t d = n_decisions(), blocks = n_blocks();
    // Rows at the end of a part whose vectors would reach beyond it.
    std::size_t last_rows = 0;
    if (plan.run != nullptr) {
        last_rows = std::max(plan.chunks * 16 / d, plan.vectors * Plan::kLanes / blocks) + 1;
    }
    split_rows(n, threads, kFewestRowsPerThread, [&](std::size_t begin, std::size_t end) {
        const std::size_t vector_end =
            plan.run != nullptr && end - begin > last_rows ? end - last_rows : begin;
        for (std::size_t first = begin; first < vector_end; first += kTileRows) {
            const std::size_t count = std::min(kTileRows, vector_end - first);
            if (!plan.run(plan, population + first * d, count, out + first * blocks)) {
                plan.range.require(population + first * d, count, first);
            }
        }
        for (std::size_t first = vector_end; first < end; first += kTileRows) {
            const std::size_t count = std::min(kTileRows, end - first);
            plan.range.require(population + first * d, count, first);
            write_plain(plan, population + first * d, count, out + first * blocks);
        }
    });
}

}  // namespace hwnas
