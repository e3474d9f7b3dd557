#include "hwnas/one_hot.hpp"

#include <algorithm>
#include <cstring>

#include "aligned_array.hpp"
#include "option_range.hpp"
#include "row_parts.hpp"

namespace hwnas {
namespace {

constexpr std::size_t kFewestRowsPerThread = 16384;
constexpr std::size_t kTileRows = 64;
constexpr std::size_t kMostTableBytes = 16384;  // of one group: several stay in the first cache
constexpr std::size_t kMostPatternBytes = 32;   // the widest store

// Decisions that are written together: their columns begin at `column`.
struct Group {
    std::size_t first;  // decision
    std::size_t count;
    std::size_t column;
    std::size_t width;
    std::size_t table;  // begin of its patterns of kPattern bytes
};

// Patterns are written whole, columns of later groups and rows included, in rising order: what is
// written too much is written over. The caller keeps the last bytes of a part for exact stores.
template <std::size_t kPattern>
void write_rows(const std::vector<Group>& groups, const std::vector<std::uint8_t>& option_counts,
                const std::uint8_t* table, const std::uint8_t* rows, std::size_t n,
                std::size_t width, std::uint8_t* out) {
    const std::size_t d = option_counts.size();
    for (std::size_t i = 0; i < n; ++i, rows += d, out += width) {
        for (const Group& group : groups) {
            std::size_t index = rows[group.first];
            for (std::size_t c = 1; c < group.count; ++c) {
                index = index * option_counts[group.first + c] + rows[group.first + c];
            }
            std::memcpy(out + group.column, table + group.table + index * kPattern, kPattern);
        }
    }
}

}  // namespace

struct OneHot::Plan {
    explicit Plan(const std::vector<std::uint8_t>& counts) : option_counts(counts), range(counts) {
        require_options(counts);
        std::size_t d = counts.size(), entries = 0;
        for (std::size_t c = 0; c < d;) {
            if (counts[c] > kMostPatternBytes) is_wide = true;
            Group group{c, 1, width, counts[c], 0};
            std::size_t slots = counts[c];
            while (c + group.count < d) {
                const std::size_t next = counts[c + group.count];
                if (group.width + next > kMostPatternBytes ||
                    slots * next * kMostPatternBytes > kMostTableBytes) {
                    break;
                }
                slots *= next;
                group.width += next;
                ++group.count;
            }
            group.table = entries * kMostPatternBytes;
            entries += slots;
            width += group.width;
            c += group.count;
            groups.push_back(group);
        }
        if (is_wide) return;
        table = AlignedArray<std::uint8_t>(entries * kMostPatternBytes);
        for (const Group& group : groups) {
            std::size_t slots = 1;
            for (std::size_t c = 0; c < group.count; ++c) slots *= counts[group.first + c];
            for (std::size_t slot = 0; slot < slots; ++slot) {
                std::size_t rest = slot, end = group.width;
                for (std::size_t c = group.count; c-- > 0;) {
                    const std::size_t options = counts[group.first + c];
                    end -= options;
                    table[group.table + slot * kMostPatternBytes + end + rest % options] = 1;
                    rest /= options;
                }
            }
        }
    }

    void write_plain(const std::uint8_t* rows, std::size_t n, std::uint8_t* out) const {
        const std::size_t d = option_counts.size();
        std::fill_n(out, n * width, std::uint8_t{0});
        for (std::size_t i = 0; i < n; ++i, rows += d) {
            for (std::size_t c = 0; c < d; ++c) {
                out[rows[c]] = 1;
                out += option_counts[c];
            }
        }
    }

    std::vector<std::uint8_t> option_counts;
    OptionRange range;
    std::size_t width = 0;
    bool is_wide = false;  // a decision has more options than a pattern has bytes
    std::vector<Group> groups;
    AlignedArray<std::uint8_t> table;
};

OneHot::OneHot(const std::vector<std::uint8_t>& option_counts)
    : plan_(std::make_unique<Plan>(option_counts)) {}
OneHot::~OneHot() = default;
OneHot::OneHot(OneHot&&) noexcept = default;

std::size_t OneHot::n_decisions() const { return plan_->option_counts.size(); }
std::size_t OneHot::width() const { return plan_->width; }

void OneHot::encode(const std::uint8_t* population, std::size_t n, std::uint8_t* out,
                    int threads) const {
    const Plan& plan = *plan_;
    const std::size_t d = n_decisions();
    split_rows(n, threads, kFewestRowsPerThread, [&](std::size_t begin, std::size_t end) {
        for (std::size_t first = begin; first < end; first += kTileRows) {
            const std::size_t count = std::min(kTileRows, end - first);
            const std::uint8_t* rows = population + first * d;
            plan.range.require(rows, count, first);
            // Rows whose wide stores stay within this thread's part.
            const std::size_t room = (end - first) * plan.width;
            std::size_t wide = 0;
            if (!plan.is_wide && plan.width > 0 && room >= plan.width + kMostPatternBytes) {
                wide = std::min(count, (room - kMostPatternBytes) / plan.width);
            }
            write_rows<kMostPatternBytes>(plan.groups, plan.option_counts, plan.table.data(), rows,
                                          wide, plan.width, out + first * plan.width);
            plan.write_plain(rows + wide * d, count - wide, out + (first + wide) * plan.width);
        }
    });
}

}  // namespace hwnas
