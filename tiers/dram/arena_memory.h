// ArenaMemory: a row of memfds mapped side by side, touched, on huge pages where the host has some.
//
// Each part is a memfd of its own (sealed against resizing), so that it can be lent or handed over
// alone; together they are one range of addresses. All memory is had when Create returns, unless
// `touch` says otherwise: an access never meets a missing page that the host cannot supply.
//
// Thread: Create's caller; the bytes belong to whoever the arena gives them to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace terrace {

struct ArenaMemoryOptions {
  std::uint64_t bytes = 0;       ///< multiple of 4 KiB
  std::uint64_t part_bytes = 0;  ///< of each memfd but the last, multiple of 4 KiB
  bool huge_pages = true;        ///< MADV_HUGEPAGE; needs shmem_enabled=advise, else plain pages
  /// Bytes touched at the start of every `touch_stride`; equal: all of it.
  std::uint64_t touch_bytes = 1;
  std::uint64_t touch_stride = 1;
  std::string name;  ///< shown in /proc/PID/maps
};

class ArenaMemory {
 public:
  /// kIo with the errno and the place when memory, addresses or descriptors cannot be had.
  static Result<std::unique_ptr<ArenaMemory>> Create(const ArenaMemoryOptions& options);
  ~ArenaMemory();
  ArenaMemory(const ArenaMemory&) = delete;
  ArenaMemory& operator=(const ArenaMemory&) = delete;

  [[nodiscard]] std::byte* base() const noexcept { return base_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  struct Measure {
    std::uint64_t resident_bytes = 0;
    std::uint64_t huge_bytes = 0;
  };
  /// From /proc/self/smaps; zeros when it cannot be read. Blocks for milliseconds.
  [[nodiscard]] Measure MeasurePages() const;

 private:
  ArenaMemory() = default;
  Status MapPart(const ArenaMemoryOptions& options, std::uint64_t offset, std::uint64_t length);

  void* reserved_ = nullptr;
  std::uint64_t reserved_bytes_ = 0;
  std::byte* base_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::vector<int> descriptors_;
};

}  // namespace terrace
