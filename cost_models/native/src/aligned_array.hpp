// A fixed-size array that starts on a cache line.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>

namespace hwnas {

template <typename T>
class AlignedArray {
  public:
    AlignedArray() = default;

    // All bytes are zero.
    explicit AlignedArray(std::size_t size) : size_(size) {
        if (size > static_cast<std::size_t>(-1) / 2 / sizeof(T)) throw std::bad_alloc();
        if (size == 0) return;
        data_ = static_cast<T*>(::operator new(size * sizeof(T), kAlignment));
        std::memset(static_cast<void*>(data_), 0, size * sizeof(T));
    }

    AlignedArray(AlignedArray&& other) noexcept : data_(other.data_), size_(other.size_) {
        other.data_ = nullptr;
        other.size_ = 0;
    }

    AlignedArray& operator=(AlignedArray&& other) noexcept {
        if (this != &other) {
            release();
            data_ = other.data_;
            size_ = other.size_;
            other.data_ = nullptr;
            other.size_ = 0;
        }
        return *this;
    }

    AlignedArray(const AlignedArray&) = delete;
    AlignedArray& operator=(const AlignedArray&) = delete;
    ~AlignedArray() { release(); }

    T* data() { return data_; }
    const T* data() const { return data_; }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) { return data_[i]; }
    const T& operator[](std::size_t i) const { return data_[i]; }

  private:
    static constexpr std::align_val_t kAlignment{64};

    void release() {
        if (data_ != nullptr) ::operator delete(static_cast<void*>(data_), kAlignment);
    }

    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace hwnas
