#include "hwnas/slot_table.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "aligned_array.hpp"
#include "option_range.hpp"
#include "slot_groups.hpp"
#include "slot_index.hpp"
#include "slot_reduce.hpp"

namespace hwnas {
namespace {

constexpr std::size_t kMostMetrics = 8;
// Each group adds two float32 roundings of 6e-8 at most: its entry and the addition; the last
// result is not rounded again.
constexpr std::size_t kMostSinglePrecisionGroups = 12;
// Tiles of about this size keep the burst of prefetches below what the core can have in flight
// (Zen 4: 1 KB serves 21 and 46 decisions, 3 KB costs 20 % at 46), at this distance before the
// use.
constexpr std::size_t kTileBytes = 1024;
constexpr std::size_t kPrefetchDistance = 2048;
constexpr std::size_t kTileIndices = 4096;
constexpr std::size_t kMostTileRows = 64;
constexpr std::size_t kFewestTileRows = 8;
// A thread costs about as much as this many architectures.
constexpr std::size_t kFewestRowsPerThread = 8192;

void prefetch(const std::uint8_t* from, std::size_t bytes) {
#if defined(__GNUC__) || defined(__clang__)
    for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i);
#else
    (void)from;
    (void)bytes;
#endif
}

std::string name_block(std::size_t block) { return "choice block " + std::to_string(block); }

void require_consistent(const SlotCosts& costs) {
    require_options(costs.option_counts);
    const std::size_t d = costs.option_counts.size();
    const std::size_t m = costs.constant.size();
    if (m < 1 || m > kMostMetrics) {
        throw std::invalid_argument("constant has " + std::to_string(m) +
                                    " metrics, wanted 1 to " + std::to_string(kMostMetrics));
    }
    if (costs.reductions.size() != m) {
        throw std::invalid_argument("reductions has " + std::to_string(costs.reductions.size()) +
                                    " entries, constant has " + std::to_string(m));
    }
    if (costs.block_costs.size() != costs.block_decisions.size()) {
        throw std::invalid_argument("block_costs has " + std::to_string(costs.block_costs.size()) +
                                    " blocks, block_decisions has " +
                                    std::to_string(costs.block_decisions.size()));
    }
    for (std::size_t b = 0; b < costs.block_decisions.size(); ++b) {
        std::vector<std::uint32_t> sorted = costs.block_decisions[b];
        std::sort(sorted.begin(), sorted.end());
        if (!sorted.empty() && sorted.back() >= d) {
            throw std::invalid_argument(name_block(b) + " reads decision " +
                                        std::to_string(sorted.back()) + " of " +
                                        std::to_string(d));
        }
        if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
            throw std::invalid_argument(name_block(b) + " reads a decision twice");
        }
        const std::uint64_t slots = count_slots(costs.option_counts, costs.block_decisions[b]);
        if (costs.block_costs[b].size() != slots * m) {
            throw std::invalid_argument(name_block(b) + " has " + std::to_string(slots) +
                                        " slots of " + std::to_string(m) +
                                        " metrics, its costs have " +
                                        std::to_string(costs.block_costs[b].size()) + " values");
        }
    }
}

// Sign and size of the costs of one metric.
struct CostRange {
    bool negative = false;
    bool positive = false;
    double largest_sum = 0;

    void add(const double* values, std::size_t count, std::size_t step) {
        double largest = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const double value = values[i * step];
            negative = negative || value < 0;
            positive = positive || value > 0;
            largest = std::max(largest, std::isnan(value) ? 0 : std::fabs(value));
        }
        largest_sum += largest;
    }
};

// True when no metric has costs of both signs, so that rounding errors stay small relative to any
// sum.
bool has_one_sign_each(const SlotCosts& costs) {
    const std::size_t m = costs.constant.size();
    bool one_sign = true;
    for (std::size_t j = 0; j < m; ++j) {
        CostRange range;
        range.add(&costs.constant[j], 1, 1);
        for (const auto& block : costs.block_costs) {
            range.add(block.data() + j, block.size() / m, m);
        }
        if (!(range.largest_sum <= static_cast<double>(std::numeric_limits<float>::max()))) {
            throw std::invalid_argument("costs of metric " + std::to_string(j) +
                                        " are infinite or sum to more than float32 holds");
        }
        one_sign = one_sign && !(range.negative && range.positive);
    }
    return one_sign;
}

std::uint64_t count_entries(const std::vector<SlotGroup>& groups) {
    std::uint64_t entries = 0;
    for (const SlotGroup& group : groups) entries += group.entries;
    if (entries > std::numeric_limits<std::uint32_t>::max()) {
        throw std::invalid_argument("the choice blocks have more than 2^32 - 1 slots");
    }
    return entries;
}

double combine(Reduction reduction, double a, double b) {
    if (reduction == Reduction::sum) return a + b;
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
    return std::max(a, b);
}

template <typename Entry>
AlignedArray<unsigned char> build_table(const SlotCosts& costs,
                                        const std::vector<SlotGroup>& groups) {
    const std::size_t m = costs.constant.size();
    const std::size_t padded = pad_metrics(m);
    AlignedArray<unsigned char> table(static_cast<std::size_t>(count_entries(groups)) * padded *
                                      sizeof(Entry));
    auto* entry = reinterpret_cast<Entry*>(table.data());
    for (std::size_t g = 0; g < groups.size(); ++g) {
        const SlotGroup& group = groups[g];
        GroupWalk walk(costs.option_counts, costs.block_decisions, group);
        for (std::uint64_t e = 0; e < group.entries; ++e, walk.advance(), entry += padded) {
            for (std::size_t j = 0; j < m; ++j) {
                const Reduction reduction = costs.reductions[j];
                // The first group carries the constant; each other one has a block that replaces
                // -infinity.
                double value = g == 0 ? costs.constant[j]
                               : reduction == Reduction::sum
                                   ? 0
                                   : -std::numeric_limits<double>::infinity();
                for (std::size_t b = 0; b < group.blocks.size(); ++b) {
                    value = combine(reduction, value,
                                    costs.block_costs[group.blocks[b]][walk.slots()[b] * m + j]);
                }
                entry[j] = static_cast<Entry>(value);
            }
        }
    }
    return table;
}

}  // namespace

struct SlotTable::Plan {
    Plan(const SlotCosts& costs, InstructionSet instruction_set_, std::vector<SlotGroup> groups_,
         bool single_precision_)
        : instruction_set(instruction_set_),
          single_precision(single_precision_),
          option_counts(costs.option_counts),
          block_decisions(costs.block_decisions),
          range(costs.option_counts),
          groups(std::move(groups_)),
          table(single_precision ? build_table<float>(costs, groups)
                                 : build_table<double>(costs, groups)),
          indexer(costs.option_counts, groups, instruction_set) {
        reduction = {table.data(), groups.size(), indexer.lanes, costs.constant.size(), {}};
        bool any_max = false;
        for (std::size_t j = 0; j < costs.reductions.size(); ++j) {
            reduction.is_max[j] = costs.reductions[j] == Reduction::max;
            any_max = any_max || reduction.is_max[j];
        }
        reduce = select_reduce(reduction, single_precision, any_max);
        const std::size_t d = std::max<std::size_t>(option_counts.size(), 1);
        const std::size_t rows = std::min(kTileBytes / d, kTileIndices / indexer.lanes);
        tile_rows = std::clamp(rows, kFewestTileRows, kMostTileRows);
    }

    // Memory that one thread needs.
    struct Scratch {
        explicit Scratch(const Plan& plan)
            : indices(plan.tile_rows * plan.indexer.lanes),
              rows(plan.tile_rows * plan.indexer.row_bytes) {}

        AlignedArray<std::uint32_t> indices;
        AlignedArray<std::uint8_t> rows;
    };

    // Costs rows [begin, end) of the population and returns the first row of the first tile with
    // an option out of range, or `end`.
    std::size_t cost_rows(const std::uint8_t* population, std::size_t n, std::size_t begin,
                          std::size_t end, Scratch& scratch, float* out) const {
        const std::size_t d = option_counts.size();
        for (std::size_t first = begin; first < end; first += tile_rows) {
            const std::size_t rows = std::min(tile_rows, end - first);
            const std::uint8_t* tile = population + first * d;
            const std::size_t left = (n - first) * d;
            bool valid;
            // The last row of a tile is read in whole vectors, which must not reach beyond the
            // population.
            if ((rows - 1) * d + indexer.row_bytes <= left) {
                if (kPrefetchDistance < left) {
                    prefetch(tile + kPrefetchDistance,
                             std::min(rows * d, left - kPrefetchDistance));
                }
                valid = indexer(tile, d, rows, scratch.indices.data());
            } else {
                for (std::size_t i = 0; i < rows; ++i) {
                    std::memcpy(scratch.rows.data() + i * indexer.row_bytes, tile + i * d, d);
                }
                valid =
                    indexer(scratch.rows.data(), indexer.row_bytes, rows, scratch.indices.data());
            }
            if (!valid) return first;
            reduce(reduction, scratch.indices.data(), rows, out + first * reduction.metrics);
        }
        return end;
    }

    InstructionSet instruction_set;
    bool single_precision;
    std::vector<std::uint8_t> option_counts;
    std::vector<std::vector<std::uint32_t>> block_decisions;
    OptionRange range;
    std::vector<SlotGroup> groups;
    AlignedArray<unsigned char> table;
    SlotIndexer indexer;
    SlotReduction reduction;
    ReduceRows reduce;
    std::size_t tile_rows;
};

SlotTable::SlotTable(const SlotCosts& costs, InstructionSet instruction_set) {
    require_consistent(costs);
    const std::size_t padded = pad_metrics(costs.constant.size());
    bool single_precision = has_one_sign_each(costs);
    std::vector<SlotGroup> groups;
    if (single_precision) {
        groups = fuse_blocks(costs.option_counts, costs.block_decisions, padded * sizeof(float));
        single_precision = groups.size() <= kMostSinglePrecisionGroups;
    }
    if (!single_precision) {
        groups = fuse_blocks(costs.option_counts, costs.block_decisions, padded * sizeof(double));
    }
    plan_ = std::make_unique<Plan>(costs, instruction_set, std::move(groups), single_precision);
}

SlotTable::~SlotTable() = default;
SlotTable::SlotTable(SlotTable&&) noexcept = default;
SlotTable& SlotTable::operator=(SlotTable&&) noexcept = default;

void SlotTable::cost(const std::uint8_t* population, std::size_t n, float* out,
                     int threads) const {
    if (threads < 1) {
        throw std::invalid_argument("threads must be at least 1, found " +
                                    std::to_string(threads));
    }
    const Plan& plan = *plan_;
    const std::size_t parts =
        std::clamp<std::size_t>(n / kFewestRowsPerThread, 1, static_cast<std::size_t>(threads));
    const std::size_t tiles = (n + plan.tile_rows - 1) / plan.tile_rows;
    std::vector<Plan::Scratch> scratch;
    std::vector<std::size_t> ends(parts), stops(parts);
    scratch.reserve(parts);
    for (std::size_t p = 0; p < parts; ++p) {
        scratch.emplace_back(plan);
        ends[p] = std::min(n, tiles * (p + 1) / parts * plan.tile_rows);
    }
    const auto work = [&](std::size_t p) {
        stops[p] =
            plan.cost_rows(population, n, p == 0 ? 0 : ends[p - 1], ends[p], scratch[p], out);
    };
    std::vector<std::thread> helpers;
    helpers.reserve(parts - 1);
    for (std::size_t p = 1; p < parts; ++p) {
        try {
            helpers.emplace_back(work, p);
        } catch (const std::system_error&) {
            // No more threads to be had: this one does the part.
            work(p);
        }
    }
    work(0);
    for (std::thread& helper : helpers) helper.join();
    for (std::size_t p = 0; p < parts; ++p) {
        if (stops[p] == ends[p]) continue;
        const std::size_t rows = std::min(plan.tile_rows, ends[p] - stops[p]);
        plan.range.require(population + stops[p] * n_decisions(), rows, stops[p]);
        // Reached only if another thread repaired the population in the meantime.
        throw std::invalid_argument("option index out of range near row " +
                                    std::to_string(stops[p]) +
                                    "; the population was changed during the call");
    }
}

void SlotTable::slots(const std::uint8_t* population, std::size_t n, std::uint32_t* out) const {
    const Plan& plan = *plan_;
    const std::size_t d = n_decisions();
    constexpr std::size_t kRows = 64;
    for (std::size_t first = 0; first < n; first += kRows) {
        const std::size_t rows = std::min(kRows, n - first);
        const std::uint8_t* tile = population + first * d;
        plan.range.require(tile, rows, first);
        for (std::size_t i = 0; i < rows; ++i) {
            const std::uint8_t* x = tile + i * d;
            for (const auto& decisions : plan.block_decisions) {
                std::uint32_t slot = 0;
                for (std::uint32_t decision : decisions) {
                    slot = slot * plan.option_counts[decision] + x[decision];
                }
                *out++ = slot;
            }
        }
    }
}

std::size_t SlotTable::n_decisions() const { return plan_->option_counts.size(); }
std::size_t SlotTable::n_metrics() const { return plan_->reduction.metrics; }
std::size_t SlotTable::n_blocks() const { return plan_->block_decisions.size(); }
std::size_t SlotTable::n_groups() const { return plan_->groups.size(); }
std::size_t SlotTable::table_bytes() const { return plan_->table.size(); }
InstructionSet SlotTable::instruction_set() const { return plan_->instruction_set; }

InstructionSet detect_instruction_set() {
    if (has_avx512()) return InstructionSet::avx512;
    if (has_avx2()) return InstructionSet::avx2;
    return InstructionSet::scalar;
}

InstructionSet parse_instruction_set(const std::string& name) {
    if (name == "auto") return detect_instruction_set();
    if (name == "scalar") return InstructionSet::scalar;
    const bool avx2 = name == "avx2";
    if (!avx2 && name != "avx512") {
        throw std::invalid_argument("unknown instruction set '" + name +
                                    "'; choose auto, scalar, avx2 or avx512");
    }
    if (!(avx2 ? has_avx2() : has_avx512())) {
        throw std::invalid_argument("this processor or build has no " + name +
                                    "; choose auto or scalar");
    }
    return avx2 ? InstructionSet::avx2 : InstructionSet::avx512;
}

std::string to_string(InstructionSet instruction_set) {
    switch (instruction_set) {
        case InstructionSet::avx2:
            return "avx2";
        case InstructionSet::avx512:
            return "avx512";
        default:
            return "scalar";
    }
}

}  // namespace hwnas
