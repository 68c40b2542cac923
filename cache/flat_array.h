// FlatArray: a fixed array in anonymous memory of its own, all zero bytes at the start.
//
// Pages are touched when they are first used, and huge pages are asked for: an index of a million
// blocks is walked at random, and 4 KiB pages would add a TLB miss to every step. Making one can
// fail with a Status, which a std::vector cannot.
// Thread: one owner. Lifetime: elements are trivial; nothing is constructed or destroyed.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "base/result.h"

namespace terrace {

template <typename T>
class FlatArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  FlatArray() = default;
  FlatArray(FlatArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  FlatArray& operator=(FlatArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~FlatArray() {
    if (data_ != nullptr) ::munmap(data_, Bytes());
  }

  /// kIo with errno when the memory cannot be had. REQUIRES: size > 0.
  static Result<FlatArray> Create(std::size_t size) {
    FlatArray array;
    array.size_ = size;
    void* memory =
        ::mmap(nullptr, array.Bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      const int error = errno;
      array.size_ = 0;
      return Status(StatusCode::kIo, "mmap of " + std::to_string(size * sizeof(T)) +
                                         " bytes for the block index: " + std::strerror(error));
    }
    // Advice only: where it is refused, plain pages do.
    (void)::madvise(memory, array.Bytes(), MADV_HUGEPAGE);
    array.data_ = static_cast<T*>(memory);
    return array;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t Bytes() const noexcept { return size_ * sizeof(T); }
  T& operator[](std::size_t index) noexcept { return data_[index]; }
  const T& operator[](std::size_t index) const noexcept { return data_[index]; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace terrace
