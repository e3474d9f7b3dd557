// A set of encoded architectures that remembers the order they came in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace hwnas {

// Rows of `width` bytes, each held once. Rows are compared in full, so two that share a hash are
// still told apart, and nothing that can be observed depends on the hash. Not thread-safe.
class RowSet {
  public:
    explicit RowSet(std::size_t width) : width_(width) {
        if (width == 0) {
            throw std::invalid_argument("RowSet: found width 0; pass at least 1");
        }
    }

    std::size_t width() const { return width_; }
    std::size_t size() const { return size_; }
    const std::uint8_t* data() const { return rows_.data(); }

    // Adds the row; true if it was not there.
    bool insert(const std::uint8_t* row) {
        reserve(1);
        return insert_hashed(row, hash_of(row));
    }

    // Adds rows (n, width) in order until `limit` of them were new, and calls `visit` for each row
    // looked at with its index and whether it was new.
    template <class Visit>
    void insert(const std::uint8_t* rows, std::size_t n, std::size_t limit, Visit visit) {
        // In a large set each look-up waits for memory; a block of them waits together.
        constexpr std::size_t kBlock = 32;
        std::uint64_t hashes[kBlock];
        std::size_t added = 0;
        for (std::size_t begin = 0; begin < n && added < limit; begin += kBlock) {
            const std::size_t count = n - begin < kBlock ? n - begin : kBlock;
            reserve(count);
            for (std::size_t i = 0; i < count; ++i) {
                hashes[i] = hash_of(rows + (begin + i) * width_);
                prefetch(&slots_[static_cast<std::size_t>(hashes[i]) & (slots_.size() - 1)]);
            }
            for (std::size_t i = 0; i < count && added < limit; ++i) {
                const bool fresh = insert_hashed(rows + (begin + i) * width_, hashes[i]);
                visit(begin + i, fresh);
                added += fresh ? 1 : 0;
            }
        }
    }

    // How many rows came before this one, or -1 if it is not there.
    std::int64_t find(const std::uint8_t* row) const {
        if (slots_.empty()) {
            return -1;
        }
        const std::uint64_t slot = slots_[find_slot(row, hash_of(row))];
        return slot == kFree ? -1 : static_cast<std::int64_t>(slot & kIndexMask);
    }

  private:
    // A slot holds the upper half of the hash and the row's index; no index is all ones.
    static constexpr std::uint64_t kFree = 0xffffffffffffffffULL;
    static constexpr std::uint64_t kIndexMask = 0xffffffffULL;

    static void prefetch(const void* address) {
#if defined(__GNUC__)
        __builtin_prefetch(address);
#else
        (void)address;
#endif
    }

    std::uint64_t hash_of(const std::uint8_t* row) const {
        std::uint64_t hash = 0x9e3779b97f4a7c15ULL;
        std::size_t at = 0;
        for (; at + 8 <= width_; at += 8) {
            std::uint64_t word;
            std::memcpy(&word, row + at, 8);
            hash = mix(hash ^ word);
        }
        std::uint64_t tail = 0;
        for (; at < width_; ++at) {
            tail = (tail << 8) | row[at];
        }
        return mix(hash ^ tail);
    }

    // The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    static std::uint64_t mix(std::uint64_t value) {
        value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
        value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
        return value ^ (value >> 31);
    }

    bool insert_hashed(const std::uint8_t* row, std::uint64_t hash) {
        const std::size_t slot = find_slot(row, hash);
        if (slots_[slot] != kFree) {
            return false;
        }
        slots_[slot] = (hash & ~kIndexMask) | size_;
        rows_.insert(rows_.end(), row, row + width_);
        ++size_;
        return true;
    }

    // The slot that holds the row, or the free one where it belongs.
    std::size_t find_slot(const std::uint8_t* row, std::uint64_t hash) const {
        const std::size_t mask = slots_.size() - 1;
        std::size_t slot = static_cast<std::size_t>(hash) & mask;
        for (; slots_[slot] != kFree; slot = (slot + 1) & mask) {
            const std::uint64_t held = slots_[slot];
            if (((held ^ hash) & ~kIndexMask) == 0 &&
                std::memcmp(rows_.data() + (held & kIndexMask) * width_, row, width_) == 0) {
                break;
            }
        }
        return slot;
    }

    // Makes room for so many more rows at a load of at most a half.
    void reserve(std::size_t more) {
        if (size_ + more >= kIndexMask / 2) {
            throw std::length_error("RowSet: more than 2^31 rows");
        }
        std::size_t wanted = slots_.empty() ? 64 : slots_.size();
        while (wanted < 2 * (size_ + more)) {
            wanted *= 2;
        }
        if (wanted == slots_.size()) {
            return;
        }
        slots_.assign(wanted, kFree);
        for (std::size_t index = 0; index < size_; ++index) {
            const std::uint64_t hash = hash_of(rows_.data() + index * width_);
            std::size_t slot = static_cast<std::size_t>(hash) & (wanted - 1);
            while (slots_[slot] != kFree) {
                slot = (slot + 1) & (wanted - 1);
            }
            slots_[slot] = (hash & ~kIndexMask) | index;
        }
    }

    std::size_t width_;
    std::size_t size_ = 0;
    std::vector<std::uint8_t> rows_;
    std::vector<std::uint64_t> slots_;
};

}  // namespace hwnas
