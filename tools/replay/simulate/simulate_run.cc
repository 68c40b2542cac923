#include "tools/replay/simulate/simulate_run.h"

#include <algorithm>

namespace terrace::replay {
namespace {

/// As a worker does (worker.cc): gets blocks [0, end) batch by batch, a prefill only up to a batch
/// with a miss. @return how many leading ones were there.
std::uint32_t GetPrefix(SimulatedTiers& tiers, std::span<const std::uint32_t> chain,
                        std::uint32_t end, std::uint32_t batch_blocks, bool prefill,
                        SimulatedRun& result) {
  std::uint32_t leading = 0;
  for (std::uint32_t first = 0; first < end;) {
    const std::uint32_t count = std::min(batch_blocks, end - first);
    const SimulatedHits hits = tiers.Get(chain, first, count);
    if (leading == first) leading += hits.leading;
    first += count;
    if (prefill) {
      result.hits_dram += hits.dram;
      result.hits_nvme += hits.nvme;
      if (leading < first) break;
    } else {
      result.decode_blocks_missing += count - hits.Found();
    }
  }
  return leading;
}

}  // namespace

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
    const std::uint32_t hit = GetPrefix(simulated, chain, matched, batch_blocks, prefill, result);
    if (!prefill) continue;
    result.blocks_looked_up += size;
    result.blocks_hit += hit;
    for (std::uint32_t first = hit; first < size; first += batch_blocks) {
      const std::uint32_t count = std::min(batch_blocks, size - first);
      if (simulated.Put(chain, first, count) < count) break;
    }
  }
  result.evictions = simulated.evictions();
  result.blocks_gone = simulated.gone();
  result.nvme_blocks_written = simulated.blocks_written();
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
