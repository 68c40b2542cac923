// NvmeStore: a daemon with a fresh NVMe tier in a folder of its own, written through once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "client/terrace.hpp"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/load/nvme_workload.h"
#include "tools/bench/load/scratch_folder.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

class NvmeStore {
 public:
  /// Makes the folder; starts nothing yet, so that limits can be made first. Forks: before the
  /// first thread.
  explicit NvmeStore(const BenchOptions& options);

  /// Starts the daemon, and fills the log once with blocks that nobody asks for: from then on every
  /// write replaces something, as it does for most of a store's life.
  void Start();

  /// The set of blocks of one size: a quarter of the log. A burst, and the daemon's DRAM, are an
  /// eighth of it.
  [[nodiscard]] NvmeWorkloadOptions WorkloadOf(std::uint64_t block_bytes) const;
  /// Puts other blocks until DRAM holds nothing else.
  void FlushDram();

  [[nodiscard]] std::uint64_t log_bytes() const noexcept { return log_bytes_; }
  [[nodiscard]] std::uint64_t burst_bytes() const noexcept { return log_bytes_ / 32; }
  /// Of one round of puts: long enough that its end, when less and less is under way, counts
  /// little.
  [[nodiscard]] std::uint64_t put_bytes() const noexcept { return 2 * burst_bytes(); }
  [[nodiscard]] std::string log_path() const { return folder() + "/" + kLogName; }
  /// On the same file system, for the limits.
  [[nodiscard]] std::string limit_path() const { return scratch_.path() + "/limit"; }
  [[nodiscard]] DaemonProcess& daemon() noexcept { return *daemon_; }
  [[nodiscard]] Client& client() noexcept { return *client_; }
  /// What filling the log and flushing DRAM came to.
  [[nodiscard]] const NvmeTally& filler_tally() const noexcept { return filler_->tally(); }

 private:
  [[nodiscard]] std::string folder() const { return scratch_.path() + "/store"; }

  const std::uint64_t log_bytes_;
  ScratchFolder scratch_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<NvmeWorkload> filler_;
};

}  // namespace terrace::bench
