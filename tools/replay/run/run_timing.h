// RunTiming: how long the requests of a run waited and took, by the clock of the coordinator.
//
//   T1. A request's time runs from when it was due, not from when a worker got to it: what a
//       backlog costs is in the figures. (As fast as possible, a request is due when it starts.)
//   T2. A request that never ended, because the run did, is in none of them but its queue time.
//
// Thread: one. Times count from the begin of the run.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "base/clock.h"
#include "tools/replay/run/arrivals.h"
#include "tools/replay/run/latency_histogram.h"

namespace terrace::replay {

/// A request that starts so long after it was due is late: more than a wake-up of the coordinator
/// takes on a busy machine.
inline constexpr Nanos kLateAfter = 10 * kMillisecond;

class RunTiming {
 public:
  explicit RunTiming(Pace pace = Pace::kAsFastAsPossible) : pace_(pace) {}

  /// A worker got the order to prefill it.
  void PrefillStarted(const Arrival& arrival, Nanos now);
  void PrefillEnded(std::uint64_t request, Nanos now);
  void DecodeEnded(std::uint64_t request, Nanos now);

  /// Empty as fast as possible: nothing is due then that could wait.
  [[nodiscard]] const LatencyHistogram& queue() const noexcept { return queue_; }
  [[nodiscard]] const LatencyHistogram& prefill() const noexcept { return prefill_; }
  [[nodiscard]] const LatencyHistogram& request() const noexcept { return request_; }
  [[nodiscard]] std::uint64_t late() const noexcept { return late_; }

 private:
  struct Underway {
    Nanos due;
    Nanos started;
  };

  Pace pace_;
  LatencyHistogram queue_;    // due to the start of its prefill
  LatencyHistogram prefill_;  // the prefill alone
  LatencyHistogram request_;  // due to the end of its decode
  std::uint64_t late_ = 0;
  std::unordered_map<std::uint64_t, Underway> underway_;  // by request; as many as S2 allows
};

}  // namespace terrace::replay
