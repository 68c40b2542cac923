#include "tools/bench/load/cold_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace terrace::bench {

std::uint64_t LastLevelCacheBytes() {
  const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? static_cast<std::uint64_t>(bytes) : 32ULL << 20;
}

std::uint64_t ColdBytes(std::uint64_t multiple, std::uint64_t most) {
  const std::uint64_t wanted = std::min(most, 4 * LastLevelCacheBytes());
  return (wanted + multiple - 1) / multiple * multiple;
}

ColdMemory::ColdMemory(std::uint64_t bytes) : size_(bytes) {
  constexpr std::uint64_t kHuge = 2ULL << 20;
  // Aligned by hand: MADV_HUGEPAGE works on whole 2 MiB pages only.
  void* memory = std::aligned_alloc(kHuge, (bytes + kHuge - 1) / kHuge * kHuge);
  if (memory == nullptr) {
    std::fprintf(stderr, "terrace-bench: no %llu bytes of memory\n",
                 static_cast<unsigned long long>(bytes));
    std::exit(1);
  }
  madvise(memory, bytes, MADV_HUGEPAGE);
  std::memset(memory, 0x5a, bytes);
  data_ = static_cast<std::byte*>(memory);
}

ColdMemory::~ColdMemory() { std::free(data_); }

std::span<std::byte> ColdMemory::Next(std::uint64_t length) noexcept {
  if (cursor_ + length > size_) cursor_ = 0;
  const std::span<std::byte> next(data_ + cursor_, length);
  cursor_ += length;
  return next;
}

}  // namespace terrace::bench
