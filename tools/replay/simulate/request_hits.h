// RequestHits: what the requests of a trace hit, one at a time in the order of the trace, in tiers
// without bytes.
//
// Each request is a prefill that nothing overlaps, and where it is asked for a decode that reads
// all of it. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tools/replay/simulate/simulate_run.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

struct RequestHits {
  std::vector<std::uint32_t> leading;  ///< per request: blocks of the contiguous prefix that it hit
  SimulatedRun run;
  bool stopped = false;  ///< before the last request, as asked
};

/// Called now and then with the block references that were looked at since the last call.
/// @return false to stop.
using HitProgress = std::function<bool(std::uint64_t)>;

/// How each request is done.
struct RequestShape {
  std::uint32_t batch_blocks = kChainBlocksMax;  ///< most blocks of one get or put; at least 1
  bool decodes = false;
  std::span<const TraceHint> hints{};  ///< one for each, or none at all
};

/// Through the tiers and the policy of `tiers`.
[[nodiscard]] RequestHits SimulateRequests(const Trace& trace, const BlockNumbers& blocks,
                                           const SimulatedTiersOptions& tiers,
                                           const RequestShape& shape,
                                           const HitProgress& progress = {});

/// Counts references between calls of a HitProgress, so that it is not called too often.
class ProgressSteps {
 public:
  explicit ProgressSteps(const HitProgress& progress) : progress_(progress) {}
  /// @return false when the caller shall stop.
  bool Add(std::uint64_t references) {
    pending_ += references;
    return pending_ < kStep || Flush();
  }
  bool Flush() {
    const std::uint64_t references = pending_;
    pending_ = 0;
    return !progress_ || progress_(references);
  }

 private:
  static constexpr std::uint64_t kStep = 1 << 16;

  const HitProgress& progress_;
  std::uint64_t pending_ = 0;
};

}  // namespace terrace::replay
