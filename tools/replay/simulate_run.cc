#include "tools/replay/simulate_run.h"

#include <algorithm>

namespace terrace::replay {

SimulatedRun SimulateRun(const Trace& trace, const BlockNumbers& blocks,
                         std::span<const Operation> order, std::uint32_t batch_blocks,
                         const SimulatedTiersOptions& tiers) {
  SimulatedTiers simulated(tiers);
  SimulatedRun result;
  for (const Operation& operation : order) {
    const std::span<const std::uint32_t> chain = blocks.Of(trace.requests[operation.request]);
    const auto size = static_cast<std::uint32_t>(chain.size());
    const bool prefill = operation.kind == WorkKind::kPrefill;
    const std::uint32_t matched = prefill ? simulated.Match(chain) : size;
    for (std::uint32_t first = 0; first < matched; first += batch_blocks) {
      const std::uint32_t count = std::min(batch_blocks, matched - first);
      const std::uint32_t found = simulated.Get(chain, first, count);
      if (!prefill) result.decode_blocks_missing += count - found;
    }
    if (!prefill) continue;
    result.blocks_looked_up += size;
    result.blocks_hit += matched;
    for (std::uint32_t first = matched; first < size; first += batch_blocks) {
      const std::uint32_t count = std::min(batch_blocks, size - first);
      if (simulated.Put(chain, first, count) < count) break;
    }
  }
  result.evictions = simulated.evictions();
  return result;
}

std::vector<Operation> LockstepOrder(std::uint64_t requests) {
  std::vector<Operation> order;
  order.reserve(2 * requests);
  for (std::uint64_t request = 0; request < requests; ++request) {
    order.push_back({WorkKind::kPrefill, request});
    order.push_back({WorkKind::kDecode, request});
  }
  return order;
}

}  // namespace terrace::replay
