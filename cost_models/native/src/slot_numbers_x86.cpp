// AVX2 form of SlotNumbers. Only functions marked with a target attribute use these instructions,
// so the rest of the library runs on any x86-64.
#include "slot_numbers_plan.hpp"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <immintrin.h>

namespace hwnas {
namespace {

// A template argument of 0 stands for "known at run time".
template <std::size_t kChunks, std::size_t kVectors, std::size_t kPairs>
__attribute__((target("avx2"))) bool run_avx2(const SlotNumbers::Plan& plan,
                                              const std::uint8_t* rows, std::size_t n,
                                              std::uint16_t* out) {
    const std::size_t chunks = kChunks ? kChunks : plan.chunks;
    const std::size_t vectors = kVectors ? kVectors : plan.vectors;
    const std::size_t pairs = kPairs ? kPairs : plan.pairs;
    const std::size_t d = plan.n_decisions(), blocks = plan.n_blocks();
    const auto* shuffles = reinterpret_cast<const __m256i*>(plan.shuffles.data());
    const auto* weights = reinterpret_cast<const __m256i*>(plan.weights.data());
    const auto* strides = reinterpret_cast<const __m256i*>(plan.strides.data());
    const auto* limits = reinterpret_cast<const __m128i*>(plan.limits.data());
    __m128i bad = _mm_setzero_si128();
    for (std::size_t i = 0; i < n; ++i, rows += d, out += blocks) {
        const auto* x = reinterpret_cast<const __m128i*>(rows);
        // Kept in registers where their number is known: stores below might change what they came
        // from, as far as the compiler can tell.
        __m256i kept[kChunks ? kChunks : 1];
        for (std::size_t c = 0; c < chunks; ++c) {
            const __m128i chunk = _mm_loadu_si128(x + c);
            bad = _mm_or_si128(bad, _mm_subs_epu8(chunk, limits[c]));
            if constexpr (kChunks != 0) kept[c] = _mm256_broadcastsi128_si256(chunk);
        }
        for (std::size_t v = 0; v < vectors; ++v) {
            __m256i slot = _mm256_setzero_si256();
            for (std::size_t p = 0; p < pairs; ++p) {
                const std::size_t step = v * pairs + p;
                __m256i options = _mm256_setzero_si256();
                for (std::size_t c = 0; c < chunks; ++c) {
                    const __m256i chunk =
                        kChunks ? kept[c] : _mm256_broadcastsi128_si256(_mm_loadu_si128(x + c));
                    options = _mm256_or_si256(
                        options, _mm256_shuffle_epi8(chunk, shuffles[step * chunks + c]));
                }
                const __m256i sums = _mm256_maddubs_epi16(options, weights[step]);
                slot = _mm256_add_epi16(slot, _mm256_mullo_epi16(sums, strides[step]));
            }
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(out) + v, slot);
        }
    }
    return _mm_testz_si128(bad, bad) != 0;
}

template <std::size_t kChunks>
SlotNumbers::Plan::Run select_for(std::size_t vectors, std::size_t pairs) {
    if (vectors == 1 && pairs == 1) return run_avx2<kChunks, 1, 1>;
    if (vectors == 1 && pairs == 2) return run_avx2<kChunks, 1, 2>;
    if (vectors == 2 && pairs == 1) return run_avx2<kChunks, 2, 1>;
    if (vectors == 2 && pairs == 2) return run_avx2<kChunks, 2, 2>;
    return run_avx2<0, 0, 0>;
}

}  // namespace

SlotNumbers::Plan::Run select_slot_numbers_avx2(const SlotNumbers::Plan& plan) {
    if (!__builtin_cpu_supports("avx2")) return nullptr;
    switch (plan.chunks) {
        case 1:
            return select_for<1>(plan.vectors, plan.pairs);
        case 2:
            return select_for<2>(plan.vectors, plan.pairs);
        case 3:
            return select_for<3>(plan.vectors, plan.pairs);
        default:
            return run_avx2<0, 0, 0>;
    }
}

}  // namespace hwnas

#else

namespace hwnas {

SlotNumbers::Plan::Run select_slot_numbers_avx2(const SlotNumbers::Plan&) { return nullptr; }

}  // namespace hwnas

#endif
