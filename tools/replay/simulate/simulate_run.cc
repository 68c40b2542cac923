#include "tools/replay/simulate/simulate_run.h"

#include <algorithm>

namespace terrace::replay {

/// Gets blocks [0, end) batch by batch, a prefill only up to a batch with a miss.
/// @return how many leading ones were there.
std::uint32_t RunSimulation::GetPrefix(std::span<const std::uint32_t> chain, std::uint32_t end,
                                       bool prefill) {
  std::uint32_t leading = 0;
  for (std::uint32_t first = 0; first < end;) {
    const std::uint32_t count = std::min(batch_blocks_, end - first);
    const SimulatedHits hits = tiers_.Get(chain, first, count);
    if (leading == first) leading += hits.leading;
    first += count;
    if (prefill) {
      result_.hits_dram += hits.dram;
      result_.hits_nvme += hits.nvme;
      if (leading < first) break;
    } else {
      result_.decode_blocks_missing += count - hits.Found();
    }
  }
  return leading;
}

std::uint32_t RunSimulation::Prefill(std::uint64_t request) {
  const std::span<const std::uint32_t> chain = blocks_.Of(trace_.requests[request]);
  const auto size = static_cast<std::uint32_t>(chain.size());
  const std::uint32_t hit = GetPrefix(chain, tiers_.Match(chain), true);
  result_.blocks_looked_up += size;
  result_.blocks_hit += hit;
  for (std::uint32_t first = hit; first < size;) {
    const std::uint32_t count = std::min(batch_blocks_, size - first);
    if (tiers_.Put(chain, first, count) < count) break;
    first += count;
  }
  return hit;
}

void RunSimulation::Decode(std::uint64_t request) {
  const std::span<const std::uint32_t> chain = blocks_.Of(trace_.requests[request]);
  (void)GetPrefix(chain, static_cast<std::uint32_t>(chain.size()), false);
}

SimulatedRun RunSimulation::Result() const {
  SimulatedRun result = result_;
  result.evictions = tiers_.evictions();
  result.blocks_gone = tiers_.gone();
  result.blocks_put = tiers_.blocks_put();
  result.nvme_blocks_written = tiers_.blocks_written();
  return result;
}

SimulatedRun SimulateRun(const Trace& trace, const BlockNumbers& blocks,
                         std::span<const Operation> order, std::uint32_t batch_blocks,
                         const SimulatedTiersOptions& tiers) {
  RunSimulation simulation(trace, blocks, batch_blocks, tiers);
  for (const Operation& operation : order) {
    if (operation.kind == WorkKind::kPrefill) {
      (void)simulation.Prefill(operation.request);
    } else {
      simulation.Decode(operation.request);
    }
  }
  return simulation.Result();
}

}  // namespace terrace::replay
