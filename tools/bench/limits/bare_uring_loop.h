// BareUringLoop: the limit of the NVMe paths: liburing over one file past the page cache, with
// none of Terrace's code between. It agrees with fio's io_uring engine at the same settings.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <span>
#include <string>

#include "tools/bench/cpu_times.h"
#include "tools/bench/load/cold_memory.h"

namespace terrace::bench {

class BareUringLoop {
 public:
  enum class Access { kRead, kWrite };

  /// Opens `path`; kWrite makes it where it is missing. `memory` is where bytes go to or come from,
  /// and outlives the loop. Exits with a message when file or ring cannot be had.
  BareUringLoop(const std::string& path, Access access, unsigned depth, ColdMemory& memory);
  ~BareUringLoop();
  BareUringLoop(const BareUringLoop&) = delete;
  BareUringLoop& operator=(const BareUringLoop&) = delete;

  /// Makes the file `bytes` long with every byte of it written once: a write into a hole or into
  /// merely reserved space costs the file system more. `bytes`: a multiple of 4 MiB. Exits with a
  /// message when the space cannot be had.
  void WriteOnce(std::uint64_t bytes);

  struct Times {
    double seconds = -1;  ///< negative: a read or write failed or was short
    CpuTimes cpu;         ///< of this process
  };
  /// Moves `block_bytes` at each offset, in their order, `depth` at once. Writes are synced
  /// (fdatasync) within the time. Offsets and block_bytes are multiples of 4 KiB.
  Times Run(std::span<const std::uint64_t> offsets, std::uint64_t block_bytes);

 private:
  bool Submit(std::uint64_t offset, std::uint64_t block_bytes);

  const Access access_;
  const unsigned depth_;
  ColdMemory& memory_;
  int file_ = -1;
  io_uring ring_{};
};

}  // namespace terrace::bench
