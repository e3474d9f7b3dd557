// The hash of graph keys and labels, fixed for ever: stored keys depend on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hwnas {

// A bijection of 64-bit words that spreads every bit over all others: the finaliser of
// MurmurHash3.
inline std::uint64_t mix_bits(std::uint64_t word) {
    word ^= word >> 33;
    word *= 0xff51afd7ed558ccdULL;
    word ^= word >> 33;
    word *= 0xc4ceb9fe1a85ec53ULL;
    return word ^ word >> 33;
}

// Two independent 64-bit lanes. Absorbing a word xors it into a lane and applies a bijection of
// the lane: the finaliser of MurmurHash3 (lane a) and variant 13 of Stafford, "Better bit mixing"
// (lane b). Bytes are read as little-endian words, the last one filled with zeros, after their
// count. Digest: the lanes after absorbing each other's value.
class GraphHash {
  public:
    // Different uses start from different domains, so that their digests never coincide by
    // construction.
    explicit GraphHash(std::uint64_t domain) { absorb(domain); }

    void absorb(std::uint64_t word) {
        a_ ^= word;
        a_ ^= a_ >> 33;
        a_ *= 0xff51afd7ed558ccdULL;
        a_ ^= a_ >> 33;
        a_ *= 0xc4ceb9fe1a85ec53ULL;
        a_ ^= a_ >> 33;
        b_ ^= word + 0x9e3779b97f4a7c15ULL;
        b_ ^= b_ >> 30;
        b_ *= 0xbf58476d1ce4e5b9ULL;
        b_ ^= b_ >> 27;
        b_ *= 0x94d049bb133111ebULL;
        b_ ^= b_ >> 31;
    }

    void absorb(std::string_view bytes) {
        absorb(bytes.size());
        std::size_t i = 0;
        for (; i + 8 <= bytes.size(); i += 8) absorb(load(bytes.data() + i, 8));
        if (i < bytes.size()) absorb(load(bytes.data() + i, bytes.size() - i));
    }

    struct Digest {
        std::uint64_t a = 0;
        std::uint64_t b = 0;
        bool operator==(const Digest& other) const { return a == other.a && b == other.b; }
        bool operator<(const Digest& other) const {
            return a != other.a ? a < other.a : b < other.b;
        }
    };

    void absorb(const Digest& digest) {
        absorb(digest.a);
        absorb(digest.b);
    }

    Digest digest() const {
        GraphHash last = *this;
        last.absorb(a_ + b_);
        return {last.a_, last.b_};
    }

  private:
    static std::uint64_t load(const char* bytes, std::size_t count) {
        std::uint64_t word = 0;
        for (std::size_t i = 0; i < count; ++i) {
            word |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
        }
        return word;
    }

    std::uint64_t a_ = 0x243f6a8885a308d3ULL;  // fraction of pi
    std::uint64_t b_ = 0x13198a2e03707344ULL;
};

}  // namespace hwnas
