// Timeline: what a run did in equal intervals of its time, never more than kIntervalsMax of them:
// when the run gets longer than they reach, each two of them become one.
//
// Thread: one. Never fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "tools/replay/run/worker_protocol.h"

namespace terrace::replay {

/// Of the operations that ended within it.
struct TimelineInterval {
  std::uint64_t requests = 0;          ///< decoded
  std::uint64_t blocks_looked_up = 0;  ///< of prefills; the sum of the next three
  std::uint64_t hits_dram = 0;
  std::uint64_t hits_nvme = 0;
  std::uint64_t blocks_missed = 0;
  std::uint64_t bytes_got = 0;  ///< of prefills and decodes
  std::uint64_t bytes_put = 0;
};

class Timeline {
 public:
  static constexpr std::size_t kIntervalsMax = 240;
  static constexpr Nanos kFirstWidth = 10 * kMillisecond;

  /// An operation that ended at `now`, counted from the begin of the run.
  void Add(Nanos now, const WorkReport& report);

  /// All up to the last operation, those in which nothing ended among them.
  [[nodiscard]] std::span<const TimelineInterval> intervals() const noexcept { return intervals_; }
  [[nodiscard]] Nanos width() const noexcept { return width_; }

 private:
  void Halve();

  std::vector<TimelineInterval> intervals_;
  Nanos width_ = kFirstWidth;
};

}  // namespace terrace::replay
