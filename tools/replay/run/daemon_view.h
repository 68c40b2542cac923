// DaemonView: the few of the daemon's own numbers that a report needs, and RestartNotes: what a
// series of them says about restarts in between.
//
// Values; RestartNotes belongs to one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "client/terrace.hpp"

namespace terrace::replay {

/// Counters start at 0 with the daemon. What a daemon without an NVMe tier does not tell is 0.
struct DaemonView {
  bool known = false;            ///< false: the daemon did not answer
  std::uint64_t dram_bytes = 0;  ///< capacity
  std::uint64_t nvme_bytes = 0;  ///< capacity; 0 without that tier
  std::uint64_t evictions = 0;   ///< blocks that left DRAM
  std::uint64_t reactors = 1;
  double huge_page_share = 0;  ///< of the DRAM tier's memory, 0 to 1
  double uptime_s = 0;
  std::string policy;                        ///< of eviction; empty: not told
  double nvme_write_share = 0;               ///< of what is put, most to be written; 0: all
  std::uint64_t nvme_blocks = 0;             ///< with a record there, now
  std::uint64_t nvme_used_bytes = 0;         ///< now
  std::uint64_t nvme_blocks_put = 0;         ///< records written because of a put
  std::uint64_t nvme_blocks_reinserted = 0;  ///< records written again to keep their block
  std::uint64_t device_bytes_written = 0;    ///< to NVMe devices, headers among them
};

/// Sums the samples of one name whose labels contain `label` ("" for all); nullopt without any.
[[nodiscard]] std::optional<double> SumSamples(std::span<const Sample> samples,
                                               std::string_view name, std::string_view label);

[[nodiscard]] DaemonView ViewOf(std::span<const Sample> samples);

/// Finds restarts by the time at which the daemon says that it began.
class RestartNotes {
 public:
  /// A view that was asked for and answered at these times, later than the one before. One that is
  /// not known says nothing.
  void Add(const DaemonView& view, Nanos asked, Nanos answered);

  [[nodiscard]] std::uint64_t restarts() const noexcept { return restarts_; }
  /// Blocks on NVMe when the last restart ended: those of the first view after it, less those that
  /// were written since.
  [[nodiscard]] std::uint64_t blocks_recovered() const noexcept { return blocks_recovered_; }

 private:
  std::optional<Nanos> began_at_the_latest_;
  std::uint64_t restarts_ = 0;
  std::uint64_t blocks_recovered_ = 0;
};

}  // namespace terrace::replay
