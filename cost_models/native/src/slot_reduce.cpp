#include "slot_reduce.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

namespace hwnas {
namespace {

// Most groups for which the loop over groups is unrolled.
constexpr std::size_t kUnrolled = 16;

// Every supported processor has vectors of this size; wider generic vectors compile to slow code
// where they are not native.
constexpr std::size_t kVectorBytes = 16;

template <typename Entry, std::size_t kWidth>
struct VectorOf {
    typedef Entry type __attribute__((vector_size(kWidth * sizeof(Entry))));
};

template <typename Entry>
struct VectorOf<Entry, 1> {
    using type = Entry;
};

template <typename Entry, typename Vector>
Entry element(const Vector& vector, std::size_t i) {
    if constexpr (std::is_same_v<Vector, Entry>) {
        return vector;
    } else {
        return vector[i];
    }
}

// kGroups 0: number of groups and of lanes known at run time.
template <typename Entry, std::size_t kPadded, std::size_t kGroups, bool kMax>
void reduce_rows(const SlotReduction& self, const std::uint32_t* indices, std::size_t n,
                 float* out) {
    constexpr std::size_t kWidth = std::min(kPadded, kVectorBytes / sizeof(Entry));
    constexpr std::size_t kParts = kPadded / kWidth;
    using Vector = typename VectorOf<Entry, kWidth>::type;
    const auto* table = static_cast<const Vector*>(self.table);
    const std::size_t groups = kGroups ? kGroups : self.groups;
    const std::size_t lanes = kGroups ? (kGroups <= 8 ? 8 : 16) : self.lanes;
    const std::size_t metrics = kPadded <= 2 ? kPadded : self.metrics;
    for (std::size_t i = 0; i < n; ++i, indices += lanes, out += metrics) {
        Vector sum[kParts], largest[kParts];
        for (std::size_t p = 0; p < kParts; ++p) {
            sum[p] = Vector{};
            largest[p] = sum[p] - std::numeric_limits<Entry>::max();
        }
        const auto add = [&](std::uint32_t index) {
            const Vector* entry = table + std::size_t{index} * kParts;
            for (std::size_t p = 0; p < kParts; ++p) {
                sum[p] += entry[p];
                if constexpr (kMax) largest[p] = entry[p] > largest[p] ? entry[p] : largest[p];
            }
        };
        // The loop is bound by its loads: two indices at once are worth 6 % with 7 groups.
        std::size_t g = 0;
        for (; g + 2 <= groups; g += 2) {
            std::uint64_t two;
            std::memcpy(&two, indices + g, sizeof two);
            add(static_cast<std::uint32_t>(two));
            add(static_cast<std::uint32_t>(two >> 32));
        }
        if (g < groups) add(indices[g]);

        // The bound is a constant, so that the loop unrolls and the sums stay in registers.
        for (std::size_t j = 0; j < kPadded; ++j) {
            if (j >= metrics) break;
            Entry result = element<Entry>(sum[j / kWidth], j % kWidth);
            if constexpr (kMax) {
                // The sum carries NaN, which a comparison would drop.
                if (self.is_max[j] && result == result) {
                    result = element<Entry>(largest[j / kWidth], j % kWidth);
                }
            }
            out[j] = static_cast<float>(result);
        }
    }
}

template <typename Entry, std::size_t kPadded, std::size_t... kIndex>
ReduceRows select_unrolled(std::size_t groups, std::index_sequence<kIndex...>) {
    constexpr std::array<ReduceRows, sizeof...(kIndex)> routines = {
        reduce_rows<Entry, kPadded, kIndex, false>...};
    return routines[groups <= kUnrolled ? groups : 0];
}

template <typename Entry, std::size_t kPadded>
ReduceRows select_padded(std::size_t groups, bool any_max) {
    if (any_max) return reduce_rows<Entry, kPadded, 0, true>;
    if constexpr (kPadded == 8) {
        return reduce_rows<Entry, kPadded, 0, false>;
    } else {
        return select_unrolled<Entry, kPadded>(groups, std::make_index_sequence<kUnrolled + 1>());
    }
}

template <typename Entry>
ReduceRows select_entry(const SlotReduction& reduction, bool any_max) {
    switch (pad_metrics(reduction.metrics)) {
        case 1:
            return select_padded<Entry, 1>(reduction.groups, any_max);
        case 2:
            return select_padded<Entry, 2>(reduction.groups, any_max);
        case 4:
            return select_padded<Entry, 4>(reduction.groups, any_max);
        default:
            return select_padded<Entry, 8>(reduction.groups, any_max);
    }
}

}  // namespace

std::size_t pad_metrics(std::size_t metrics) {
    return metrics <= 2 ? metrics : metrics <= 4 ? 4 : 8;
}

ReduceRows select_reduce(const SlotReduction& reduction, bool single_precision, bool any_max) {
    return single_precision ? select_entry<float>(reduction, any_max)
                            : select_entry<double>(reduction, any_max);
}

}  // namespace hwnas
