// TransferMeter: learns a source's latency and bandwidth from what transfers took.
//
// Model. While at least one operation is under way the source is busy. A busy stretch in which B
// bytes came took D = latency + B / bandwidth, whatever the depth; one that goes on is cut into
// samples at completions, and only the first of them has the latency in it. Each sample corrects
// latency and bandwidth by its ratio to what was expected, each by its share of the expected time:
// small transfers teach the latency, large ones the bandwidth.
//
//   - The first samples count fully, later ones a quarter: an estimate lives for about 7 of them.
//   - One sample moves it by a factor of 1.4 at most; several in a row that agree that all has
//     changed move it faster.
//   - What nothing was learned about for long drifts back to where it began, by half in 10 minutes:
//     a source that was given up for slow is tried again some day.
//
// Thread: its owner's.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace terrace {

class TransferMeter {
 public:
  struct Rate {
    double latency_s = 0;
    double bytes_per_s = 1;
  };

  /// Begins with `prior`, which it also drifts back to.
  explicit TransferMeter(Rate prior) : prior_(prior), learned_(prior) {}

  /// An operation begins now.
  void Begin(Nanos now);
  /// An operation has ended, and brought so many bytes; 0: it failed, and the sample teaches
  /// nothing. REQUIRES: it has begun.
  void End(Nanos now, std::uint64_t bytes);
  /// What is to be expected now. Latency 1 us to 10 s, bandwidth 1 KB/s to 1 TB/s.
  [[nodiscard]] Rate Expected(Nanos now) const;
  /// Samples so far.
  [[nodiscard]] std::uint64_t samples() const noexcept { return samples_; }

 private:
  void Restart(Nanos now, bool from_idle);
  void Learn(double seconds, Nanos now);

  Rate prior_;
  Rate learned_;
  Nanos learned_at_ = 0;
  std::uint64_t samples_ = 0;
  double latency_weight_ = 0;    // of the samples so far, what they said about the latency
  double bandwidth_weight_ = 0;  // and about the bandwidth
  int surprises_ = 0;            // in a row, above 0: slower than expected, below: faster

  // The busy stretch, or its part since the last sample.
  std::uint64_t under_way_ = 0;
  Nanos begun_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint32_t ended_ = 0;
  bool from_idle_ = true;
  bool spoiled_ = false;
};

}  // namespace terrace
