// Memory to walk through so that no round finds its bytes in a cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace terrace::bench {

/// Last-level cache, bytes, as the kernel reports it; 32 MiB when it does not say.
std::uint64_t LastLevelCacheBytes();

/// At least 4 times the last-level cache, rounded up to `multiple`, at most `most` bytes.
std::uint64_t ColdBytes(std::uint64_t multiple, std::uint64_t most);

/// Anonymous memory on huge pages where the host gives them, touched. Move-only.
class ColdMemory {
 public:
  /// Exits with a message when the memory cannot be had: a benchmark has nothing to fall back on.
  explicit ColdMemory(std::uint64_t bytes);
  ~ColdMemory();
  ColdMemory(const ColdMemory&) = delete;
  ColdMemory& operator=(const ColdMemory&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
  /// The next `length` bytes of an endless walk; `length` divides the size.
  std::span<std::byte> Next(std::uint64_t length) noexcept;

 private:
  std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint64_t cursor_ = 0;
};

}  // namespace terrace::bench
