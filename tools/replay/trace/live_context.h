// Live context: the blocks of sessions still running. A cache that holds more than half of it
// loses little with any policy; below a quarter the policy decides.
//
// Model. A session runs from its first to its last request. A block is live while some running
// session has used it and will send another request; in a trace that tells no sessions, from the
// block's first to its last use. The figures are over time: mean and percentiles weigh a number of
// blocks by how long it lasted. A trace without duration counts as one moment.
//
// Thread: any; nothing is kept.
#pragma once

#include <cstdint>

#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

struct LiveContext {
  double mean_blocks = 0;
  std::uint64_t p50_blocks = 0;
  std::uint64_t p90_blocks = 0;
  std::uint64_t max_blocks = 0;
};
[[nodiscard]] LiveContext MeasureLiveContext(const Trace& trace, const BlockNumbers& blocks);

}  // namespace terrace::replay
