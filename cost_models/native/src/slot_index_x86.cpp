// AVX2 and AVX-512 forms of SlotIndexer. Only functions marked with a target attribute use these
// instructions, so the rest of the library runs on any x86-64.
#include "slot_index.hpp"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <immintrin.h>

// GCC's own header makes "undefined" vectors by self-initialisation and then warns of it (GCC bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace hwnas {
namespace {

#define HWNAS_AVX2 __attribute__((target("avx2")))
#define HWNAS_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))

// A template argument of 0 stands for "known at run time".

template <std::size_t kChunks, std::size_t kVectors, std::size_t kQuads>
HWNAS_AVX2 bool run_avx2(const SlotIndexer& self, const std::uint8_t* rows, std::size_t row_stride,
                         std::size_t n, std::uint32_t* indices) {
    const std::size_t chunks = kChunks ? kChunks : self.chunks;
    const std::size_t vectors = kVectors ? kVectors : self.vectors;
    const std::size_t quads = kQuads ? kQuads : self.quads;
    const auto* shuffles = reinterpret_cast<const __m256i*>(self.shuffles.data());
    const auto* weights8 = reinterpret_cast<const __m256i*>(self.weights8.data());
    const auto* weights16 = reinterpret_cast<const __m256i*>(self.weights16.data());
    const auto* offsets = reinterpret_cast<const __m256i*>(self.offsets.data());
    const auto* limits = reinterpret_cast<const __m128i*>(self.limits.data());
    __m128i bad = _mm_setzero_si128();
    for (std::size_t i = 0; i < n; ++i) {
        const auto* x = reinterpret_cast<const __m128i*>(rows + i * row_stride);
        for (std::size_t c = 0; c < chunks; ++c) {
            const __m128i excess =
                _mm_subs_epu8(_mm_loadu_si128(x + c), _mm_load_si128(limits + c));
            bad = _mm_or_si128(bad, excess);
        }
        auto* out = reinterpret_cast<__m256i*>(indices + i * self.lanes);
        for (std::size_t v = 0; v < vectors; ++v) {
            __m256i index = _mm256_load_si256(offsets + v);
            for (std::size_t q = 0; q < quads; ++q) {
                const std::size_t vq = v * quads + q;
                __m256i options = _mm256_setzero_si256();
                for (std::size_t c = 0; c < chunks; ++c) {
                    const __m256i chunk = _mm256_broadcastsi128_si256(_mm_loadu_si128(x + c));
                    const __m256i control = _mm256_load_si256(shuffles + vq * chunks + c);
                    options = _mm256_or_si256(options, _mm256_shuffle_epi8(chunk, control));
                }
                const __m256i pairs =
                    _mm256_maddubs_epi16(options, _mm256_load_si256(weights8 + vq));
                index = _mm256_add_epi32(
                    index, _mm256_madd_epi16(pairs, _mm256_load_si256(weights16 + vq)));
            }
            _mm256_storeu_si256(out + v, index);
        }
    }
    return _mm_testz_si128(bad, bad) != 0;
}

// One chunk (at most 64 decisions) and one vector (at most 16 groups): all controls stay in
// registers.
template <bool kHalf, std::size_t kQuads>
HWNAS_AVX512 bool run_avx512_short(const SlotIndexer& self, const std::uint8_t* rows,
                                   std::size_t row_stride, std::size_t n, std::uint32_t* indices) {
    __m512i shuffles[kQuads], weights8[kQuads], weights16[kQuads];
    for (std::size_t q = 0; q < kQuads; ++q) {
        shuffles[q] = _mm512_loadu_si512(self.shuffles.data() + q * 64);
        weights8[q] = _mm512_loadu_si512(self.weights8.data() + q * 64);
        weights16[q] = _mm512_loadu_si512(self.weights16.data() + q * 32);
    }
    const __m512i limits = _mm512_loadu_si512(self.limits.data());
    __mmask64 bad = 0;
    if constexpr (kHalf) {
        const __m256i offsets =
            _mm256_load_si256(reinterpret_cast<const __m256i*>(self.offsets.data()));
        for (std::size_t i = 0; i < n; ++i) {
            const __m512i x = _mm512_loadu_si512(rows + i * row_stride);
            bad = _kor_mask64(bad, _mm512_cmpgt_epu8_mask(x, limits));
            __m256i index = offsets;
            for (std::size_t q = 0; q < kQuads; ++q) {
                const __m256i options =
                    _mm512_castsi512_si256(_mm512_permutexvar_epi8(shuffles[q], x));
                const __m256i pairs =
                    _mm256_maddubs_epi16(options, _mm512_castsi512_si256(weights8[q]));
                index = _mm256_add_epi32(
                    index, _mm256_madd_epi16(pairs, _mm512_castsi512_si256(weights16[q])));
            }
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(indices + i * 8), index);
        }
    } else {
        const __m512i offsets = _mm512_loadu_si512(self.offsets.data());
        for (std::size_t i = 0; i < n; ++i) {
            const __m512i x = _mm512_loadu_si512(rows + i * row_stride);
            bad = _kor_mask64(bad, _mm512_cmpgt_epu8_mask(x, limits));
            __m512i index = offsets;
            for (std::size_t q = 0; q < kQuads; ++q) {
                const __m512i options = _mm512_permutexvar_epi8(shuffles[q], x);
                const __m512i pairs = _mm512_maddubs_epi16(options, weights8[q]);
                index = _mm512_add_epi32(index, _mm512_madd_epi16(pairs, weights16[q]));
            }
            _mm512_storeu_si512(indices + i * 16, index);
        }
    }
    return bad == 0;
}

HWNAS_AVX512 bool run_avx512(const SlotIndexer& self, const std::uint8_t* rows,
                             std::size_t row_stride, std::size_t n, std::uint32_t* indices) {
    __mmask64 bad = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::uint8_t* x = rows + i * row_stride;
        for (std::size_t c = 0; c < self.chunks; ++c) {
            bad |= _mm512_cmpgt_epu8_mask(_mm512_loadu_si512(x + c * 64),
                                          _mm512_loadu_si512(self.limits.data() + c * 64));
        }
        for (std::size_t v = 0; v < self.vectors; ++v) {
            // With 8 lanes, half of the only vector is left over.
            const auto written = static_cast<__mmask16>(self.lanes == 8 ? 0xff : 0xffff);
            __m512i index = _mm512_maskz_loadu_epi32(written, self.offsets.data() + v * 16);
            for (std::size_t q = 0; q < self.quads; ++q) {
                const std::size_t vq = v * self.quads + q;
                __m512i options = _mm512_setzero_si512();
                for (std::size_t c = 0; c < self.chunks; ++c) {
                    const std::size_t control = vq * self.chunks + c;
                    options = _mm512_mask_permutexvar_epi8(
                        options, self.in_chunk[control],
                        _mm512_loadu_si512(self.shuffles.data() + control * 64),
                        _mm512_loadu_si512(x + c * 64));
                }
                const __m512i pairs = _mm512_maddubs_epi16(
                    options, _mm512_loadu_si512(self.weights8.data() + vq * 64));
                index = _mm512_add_epi32(
                    index,
                    _mm512_madd_epi16(pairs, _mm512_loadu_si512(self.weights16.data() + vq * 32)));
            }
            _mm512_mask_storeu_epi32(indices + i * self.lanes + v * 16, written, index);
        }
    }
    return bad == 0;
}

template <std::size_t kChunks>
SlotIndexer::Run select_avx2_for(std::size_t vectors, std::size_t quads) {
    if (vectors == 1 && quads == 1) return run_avx2<kChunks, 1, 1>;
    if (vectors == 1 && quads == 2) return run_avx2<kChunks, 1, 2>;
    if (vectors == 2 && quads == 1) return run_avx2<kChunks, 2, 1>;
    if (vectors == 2 && quads == 2) return run_avx2<kChunks, 2, 2>;
    return run_avx2<0, 0, 0>;
}

}  // namespace

SlotIndexer::Run select_avx2(const SlotIndexer& indexer) {
    switch (indexer.chunks) {
        case 1:
            return select_avx2_for<1>(indexer.vectors, indexer.quads);
        case 2:
            return select_avx2_for<2>(indexer.vectors, indexer.quads);
        case 3:
            return select_avx2_for<3>(indexer.vectors, indexer.quads);
        case 4:
            return select_avx2_for<4>(indexer.vectors, indexer.quads);
        default:
            return run_avx2<0, 0, 0>;
    }
}

SlotIndexer::Run select_avx512(const SlotIndexer& indexer) {
    const bool half = indexer.lanes == 8;
    if (indexer.chunks == 1 && indexer.vectors == 1 && indexer.quads <= 2) {
        if (indexer.quads == 1)
            return half ? run_avx512_short<true, 1> : run_avx512_short<false, 1>;
        return half ? run_avx512_short<true, 2> : run_avx512_short<false, 2>;
    }
    return run_avx512;
}

bool has_avx2() { return __builtin_cpu_supports("avx2") != 0; }

bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
}

}  // namespace hwnas

#else

namespace hwnas {

SlotIndexer::Run select_avx2(const SlotIndexer&) { return nullptr; }
SlotIndexer::Run select_avx512(const SlotIndexer&) { return nullptr; }
bool has_avx2() { return false; }
bool has_avx512() { return false; }

}  // namespace hwnas

#endif
