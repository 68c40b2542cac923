// ArenaMemory: a row of memfds mapped side by side, touched, on huge pages where the host has some.
//
// Each part is a memfd of its own (sealed against resizing), so that it can be lent or handed over
// alone; together they are one range of addresses. All memory is had when Create returns, unless
// `touch` says otherwise: an access never meets a missing page that the host cannot supply.
//
// Model of a part that is shared with other processes:
//
//   M1. Others get one description of it, opened read-only. Its memory is sealed with
//       F_SEAL_FUTURE_WRITE first: no descriptor of it, however it was come by, can be written or
//       mapped for writing from then on. The mapping here was there before and stays writable.
//   M2. The same seal forbids the kernel to punch holes into it (EPERM, Linux 5.1 to 6.18), so the
//       memory comes back only when the last descriptor and mapping of it are gone, everybody's.
//   M3. Whether somebody else still has one, the kernel knows: a write lease (F_SETLEASE) on a
//       second read-only description is refused while any other description is open or mapped.
//       SharePart tries both answers before it lends anything.
//
// Thread: Create's caller; the bytes belong to whoever the arena gives them to. SharePart on one
// thread; LentOut, SwapPart and TouchPart on another, if nobody uses or shares the part meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
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
  [[nodiscard]] std::uint64_t bytes() const noexcept { return options_.bytes; }

  [[nodiscard]] std::byte* PartBase(std::uint32_t part) const noexcept {
    return base_ + OffsetOf(part);
  }
  [[nodiscard]] std::uint64_t PartBytes(std::uint32_t part) const noexcept;

  /// A descriptor to map the part read-only with, for another process. It stays this object's.
  /// kUnsupported where the kernel cannot seal it or tell who has it (before 5.3, gVisor, without
  /// /proc), kIo with errno. Blocks for microseconds.
  Result<int> SharePart(std::uint32_t part);
  /// Whether another process can still read the part's memory, in any way. Takes the descriptor
  /// of SharePart back (it gives another one next time).
  [[nodiscard]] bool LentOut(std::uint32_t part);
  /// Puts new memory, not touched, in the place of the part's; what was there is let go, all bytes
  /// are zero. kIo with errno: the part is of no use until another try succeeds. Blocks while pages
  /// are freed. REQUIRES: nobody uses the part's bytes.
  Status SwapPart(std::uint32_t part);
  /// Makes the memory of SwapPart resident; kIo when there is not as much, and then it takes none.
  /// Blocks for 0.1 s a GiB and more.
  Status TouchPart(std::uint32_t part);

  struct Measure {
    std::uint64_t resident_bytes = 0;
    std::uint64_t huge_bytes = 0;
  };
  /// From /proc/self/smaps; zeros when it cannot be read. Blocks for milliseconds.
  [[nodiscard]] Measure MeasurePages() const;

 private:
  struct Part {
    int descriptor = -1;
    int lent = -1;   ///< what others get; read-only
    int probe = -1;  ///< read-only too, for M3; open since the part was first shared
  };
  explicit ArenaMemory(const ArenaMemoryOptions& options) : options_(options) {}
  Status MakePart(std::uint32_t part);
  /// `at`: byte of the arena.
  [[nodiscard]] Status Failed(std::string_view what, std::uint64_t at, int error) const;
  /// Makes the start of every stride resident, or says why not (errno) and where.
  Status TouchAll(std::uint32_t part);
  Status SealPart(std::uint32_t part);
  [[nodiscard]] std::uint64_t OffsetOf(std::uint32_t part) const noexcept {
    return part * options_.part_bytes;
  }
  static void Close(Part& part);

  const ArenaMemoryOptions options_;
  void* reserved_ = nullptr;
  std::uint64_t reserved_bytes_ = 0;
  std::byte* base_ = nullptr;
  std::vector<Part> parts_;
};

}  // namespace terrace
