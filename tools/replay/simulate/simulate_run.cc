#include "tools/replay/simulate/simulate_run.h"

#include <algorithm>
#include <unordered_map>

namespace terrace::replay {

/// Gets blocks [0, end) batch by batch, a prefill only up to a batch with a miss.
SimulatedHits RunSimulation::GetPrefix(std::span<const std::uint32_t> chain, std::uint32_t end,
                                       bool prefill, const RequestOrigin& origin) {
  SimulatedHits sum;
  for (std::uint32_t first = 0; first < end;) {
    const std::uint32_t count = std::min(batch_blocks_, end - first);
    const SimulatedHits hits = tiers_.Get(chain, first, count, origin);
    if (sum.leading == first) sum.leading += hits.leading;
    sum.dram += hits.dram;
    sum.nvme += hits.nvme;
    first += count;
    if (prefill && sum.leading < first) break;
  }
  return sum;
}

SimulatedHits RunSimulation::LookUp(std::uint64_t request) {
  const std::span<const std::uint32_t> chain = blocks_.Of(trace_.requests[request]);
  return GetPrefix(chain, tiers_.Match(chain), true, OriginOf(request));
}

RequestOrigin RunSimulation::OriginOf(std::uint64_t request) const {
  const TraceRequest& entry = trace_.requests[request];
  RequestOrigin origin{.facts = {}, .ends_partial = entry.input_tokens % trace_.block_tokens != 0};
  if (!costs_.empty()) {
    origin.facts.tenant = costs_[request].tenant;
    origin.facts.space = costs_[request].space;
    origin.facts.cost_per_byte = costs_[request].cost_per_byte;
    origin.facts.block_bytes = costs_[request].block_bytes;
  }
  if (hints_.empty()) return origin;
  const TraceHint& hint = hints_[request];
  origin.facts.session = hint.session;
  origin.facts.category = hint.category;
  origin.facts.turn = hint.turn;
  origin.facts.continuation = hint.continuation;
  return origin;
}

std::uint32_t RunSimulation::Store(std::uint64_t request, const SimulatedHits& hits) {
  const std::span<const std::uint32_t> chain = blocks_.Of(trace_.requests[request]);
  const auto size = static_cast<std::uint32_t>(chain.size());
  result_.blocks_looked_up += size;
  result_.blocks_hit += hits.leading;
  result_.hits_dram += hits.dram;
  result_.hits_nvme += hits.nvme;
  const RequestOrigin origin = OriginOf(request);
  for (std::uint32_t first = hits.leading; first < size;) {
    const std::uint32_t count = std::min(batch_blocks_, size - first);
    if (tiers_.Put(chain, first, count, origin) < count) break;
    first += count;
  }
  return hits.leading;
}

void RunSimulation::Decode(std::uint64_t request) {
  const std::span<const std::uint32_t> chain = blocks_.Of(trace_.requests[request]);
  const auto size = static_cast<std::uint32_t>(chain.size());
  result_.decode_blocks_missing += size - GetPrefix(chain, size, false, OriginOf(request)).Found();
}

SimulatedRun RunSimulation::Result() const {
  SimulatedRun result = result_;
  result.evictions = tiers_.evictions();
  result.blocks_gone = tiers_.gone();
  result.blocks_put = tiers_.blocks_put();
  result.nvme_blocks_written = tiers_.blocks_written();
  result.nvme_blocks_refused = tiers_.blocks_refused();
  return result;
}

SimulatedRun SimulateRun(const Trace& trace, const BlockNumbers& blocks,
                         std::span<const Operation> order, std::uint32_t batch_blocks,
                         const SimulatedTiersOptions& tiers, std::span<const TraceHint> hints) {
  RunSimulation simulation(trace, blocks, batch_blocks, tiers, hints);
  std::unordered_map<std::uint64_t, SimulatedHits> looked_up;  // and not stored yet
  for (const Operation& operation : order) {
    const std::uint64_t request = operation.request;
    switch (operation.kind) {
      case OperationKind::kLookUp: looked_up[request] = simulation.LookUp(request); break;
      case OperationKind::kStore:
        (void)simulation.Store(request, looked_up[request]);
        looked_up.erase(request);
        break;
      case OperationKind::kDecode: simulation.Decode(request); break;
    }
  }
  return simulation.Result();
}

}  // namespace terrace::replay
