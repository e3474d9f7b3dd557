#include "slot_index.hpp"

#include <algorithm>

namespace hwnas {
namespace {

constexpr std::uint64_t kLargestVectorGroup = 32767;
constexpr std::uint32_t kLargestWeight8 = 127;

std::size_t round_up(std::size_t value, std::size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

bool run_scalar(const SlotIndexer& self, const std::uint8_t* rows, std::size_t row_stride,
                std::size_t n, std::uint32_t* indices) {
    std::uint8_t bad = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* x = rows + i * row_stride;
        for (std::size_t c = 0; c < self.n_decisions; ++c) {
            bad |= static_cast<std::uint8_t>(x[c] > self.limits[c]);
        }
        for (std::size_t g = 0; g < self.n_groups; ++g) {
            std::uint32_t index = self.offsets[g];
            for (std::uint32_t t = self.term_begin[g]; t < self.term_begin[g + 1]; ++t) {
                index += x[self.terms[t].decision] * self.terms[t].stride;
            }
            indices[i * self.lanes + g] = index;
        }
    }
    return bad == 0;
}

// A pair of decisions, or one alone, whose sum x0 * weight0 + x1 * weight1 is multiplied by
// `stride`.
struct Pair {
    SlotIndexer::Term terms[2];
    std::int8_t weights[2];
    std::uint32_t stride;
};

std::vector<Pair> pair_terms(const SlotIndexer::Term* begin, const SlotIndexer::Term* end) {
    std::vector<Pair> pairs;
    for (const SlotIndexer::Term* t = begin; t != end; ++t) {
        const bool paired = t + 1 != end && t->stride / t[1].stride <= kLargestWeight8;
        if (paired) {
            const auto weight = static_cast<std::int8_t>(t->stride / t[1].stride);
            pairs.push_back({{t[0], t[1]}, {weight, 1}, t[1].stride});
            ++t;
        } else {
            pairs.push_back({{t[0], t[0]}, {1, 0}, t->stride});
        }
    }
    return pairs;
}

}  // namespace

SlotIndexer::SlotIndexer(const std::vector<std::uint8_t>& option_counts,
                         const std::vector<SlotGroup>& groups, InstructionSet instruction_set)
    : n_decisions(option_counts.size()),
      row_bytes(n_decisions),
      n_groups(groups.size()),
      lanes(n_groups <= 8 ? 8 : round_up(n_groups, 16)),
      offsets(lanes),
      run(run_scalar) {
    std::uint32_t offset = 0;
    term_begin.push_back(0);
    for (std::size_t g = 0; g < n_groups; ++g) {
        const SlotGroup& group = groups[g];
        offsets[g] = offset;
        offset += static_cast<std::uint32_t>(group.entries);
        std::uint64_t stride = group.entries;
        for (std::uint32_t decision : group.decisions) {
            stride /= option_counts[decision];
            terms.push_back({decision, static_cast<std::uint32_t>(stride)});
        }
        term_begin.push_back(static_cast<std::uint32_t>(terms.size()));
    }

    std::size_t chunk_bytes = 1;
    if (instruction_set == InstructionSet::avx2) {
        chunk_bytes = 16;
        vector_bytes = 32;
    } else if (instruction_set == InstructionSet::avx512) {
        chunk_bytes = 64;
        vector_bytes = 64;
    }
    row_bytes = round_up(n_decisions, chunk_bytes);
    limits = AlignedArray<std::uint8_t>(row_bytes);
    for (std::size_t c = 0; c < row_bytes; ++c) {
        limits[c] = c < n_decisions ? static_cast<std::uint8_t>(option_counts[c] - 1) : 255;
    }
    if (instruction_set == InstructionSet::scalar) return;

    std::vector<std::vector<Pair>> pairs(n_groups);
    quads = 1;
    for (std::size_t g = 0; g < n_groups; ++g) {
        if (groups[g].entries > kLargestVectorGroup) {
            wide.push_back(static_cast<std::uint32_t>(g));
            continue;
        }
        pairs[g] = pair_terms(terms.data() + term_begin[g], terms.data() + term_begin[g + 1]);
        quads = std::max(quads, (pairs[g].size() + 1) / 2);
    }
    chunks = row_bytes / chunk_bytes;
    const std::size_t groups_per_vector = vector_bytes / 4;
    vectors = round_up(lanes, groups_per_vector) / groups_per_vector;
    shuffles = AlignedArray<std::uint8_t>(vectors * quads * chunks * vector_bytes);
    in_chunk = AlignedArray<std::uint64_t>(vectors * quads * chunks);
    weights8 = AlignedArray<std::int8_t>(vectors * quads * vector_bytes);
    weights16 = AlignedArray<std::int16_t>(vectors * quads * vector_bytes / 2);
    // The AVX2 shuffle writes zero where the control has its top bit set.
    if (instruction_set == InstructionSet::avx2) {
        std::fill_n(shuffles.data(), shuffles.size(), std::uint8_t{0x80});
    }
    for (std::size_t g = 0; g < n_groups; ++g) {
        for (std::size_t p = 0; p < pairs[g].size(); ++p) {
            const Pair& pair = pairs[g][p];
            const std::size_t vq = g / groups_per_vector * quads + p / 2;
            const std::size_t byte = g % groups_per_vector * 4 + p % 2 * 2;
            for (std::size_t side = 0; side < 2; ++side) {
                const std::size_t column = pair.terms[side].decision;
                const std::size_t control = vq * chunks + column / chunk_bytes;
                shuffles[control * vector_bytes + byte + side] =
                    static_cast<std::uint8_t>(column % chunk_bytes);
                in_chunk[control] |= std::uint64_t{1} << (byte + side);
                weights8[vq * vector_bytes + byte + side] = pair.weights[side];
            }
            weights16[(vq * vector_bytes + byte) / 2] = static_cast<std::int16_t>(pair.stride);
        }
    }
    run = instruction_set == InstructionSet::avx2 ? select_avx2(*this) : select_avx512(*this);
}

bool SlotIndexer::operator()(const std::uint8_t* rows, std::size_t row_stride, std::size_t n,
                             std::uint32_t* indices) const {
    if (!run(*this, rows, row_stride, n, indices)) return false;
    for (std::uint32_t g : wide) {
        for (std::size_t i = 0; i < n; ++i) {
            std::uint32_t index = offsets[g];
            for (std::uint32_t t = term_begin[g]; t < term_begin[g + 1]; ++t) {
                index += rows[i * row_stride + terms[t].decision] * terms[t].stride;
            }
            indices[i * lanes + g] = index;
        }
    }
    return true;
}

}  // namespace hwnas
