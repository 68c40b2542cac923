// Optimum: what the best possible cache would hit on a trace, knowing all of it: Belady's MIN
// (IBM Systems Journal 5(2), 1966) with bypass, for blocks of one size.
//
// Model. A block is worth keeping until its next use; of all blocks that could stay, the new one
// among them, the one whose next use is farthest does not, and of two with the same next use the
// deeper in its chain. A block is used whenever one behind it in a chain is, so an ancestor never
// leaves before its descendants, and what is kept is always worth a hit: this is the most that any
// policy can hit as contiguous prefixes. What is never used again is not kept at all.
//
// Pure functions; any thread. Memory: 4 bytes a reference, and 16 a distinct block for each run.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tools/replay/simulate/request_hits.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

/// For each reference of a trace the request that uses the block next; kNeverAgain for the last
/// use. The blocks of one request are all different.
inline constexpr std::uint32_t kNeverAgain = 0xffffffff;
[[nodiscard]] std::vector<std::uint32_t> NextUses(const Trace& trace, const BlockNumbers& blocks);

/// `next_uses`: of the same trace. capacity_blocks >= 1. `progress` as in SimulateRequests.
[[nodiscard]] RequestHits OptimalHits(const Trace& trace, const BlockNumbers& blocks,
                                      const std::vector<std::uint32_t>& next_uses,
                                      std::uint64_t capacity_blocks,
                                      const HitProgress& progress = {});

}  // namespace terrace::replay
