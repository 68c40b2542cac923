// SimulatedTiers under the operations of a replay.
#pragma once

#include <cstdint>
#include <span>

#include "tools/replay/simulate/operation.h"
#include "tools/replay/simulate/simulated_tiers.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"
#include "tools/replay/trace/trace_hints.h"

namespace terrace::replay {

struct SimulatedRun {
  std::uint64_t blocks_looked_up = 0;
  std::uint64_t blocks_hit = 0;  ///< contiguous prefix, of prefills
  std::uint64_t hits_dram = 0;   ///< blocks that prefills got, by tier
  std::uint64_t hits_nvme = 0;
  std::uint64_t decode_blocks_missing = 0;
  std::uint64_t evictions = 0;            ///< blocks that left DRAM
  std::uint64_t blocks_gone = 0;          ///< blocks that left the cache
  std::uint64_t blocks_put = 0;           ///< blocks that came into the cache
  std::uint64_t nvme_blocks_written = 0;  ///< records, those written again among them
  std::uint64_t nvme_blocks_refused = 0;  ///< left DRAM without a record: not worth the write

  [[nodiscard]] double BlockHitRatio() const noexcept {
    if (blocks_looked_up == 0) return 0;
    return static_cast<double>(blocks_hit) / static_cast<double>(blocks_looked_up);
  }
};

/// Whose a request is and what its blocks cost, as RequestFacts has it.
struct RequestCost {
  std::uint32_t tenant = 0;
  std::uint32_t space = 0;
  float cost_per_byte = 0;
  std::uint32_t block_bytes = 0;
};

/// One replay, operation by operation, as a worker does them (run/worker.cc). Thread: one. Trace,
/// blocks and hints outlive it.
class RunSimulation {
 public:
  /// batch_blocks: most blocks of one get or put; at least 1. hints, costs: one for each request,
  /// or none at all. They outlive this.
  RunSimulation(const Trace& trace, const BlockNumbers& blocks, std::uint32_t batch_blocks,
                const SimulatedTiersOptions& tiers, std::span<const TraceHint> hints,
                std::span<const RequestCost> costs = {})
      : trace_(trace),
        blocks_(blocks),
        batch_blocks_(batch_blocks),
        tiers_(tiers),
        hints_(hints),
        costs_(costs) {}

  /// Gets the leading blocks that are stored, and puts the others.
  /// @return how many leading ones it got. REQUIRES: request < requests of the trace (also below).
  std::uint32_t Prefill(std::uint64_t request) { return Store(request, LookUp(request)); }
  /// The two halves of a prefill, between which other requests may do theirs. What was looked up
  /// counts once it was stored.
  SimulatedHits LookUp(std::uint64_t request);
  std::uint32_t Store(std::uint64_t request, const SimulatedHits& hits);
  /// Gets all blocks.
  void Decode(std::uint64_t request);

  [[nodiscard]] SimulatedRun Result() const;

 private:
  SimulatedHits GetPrefix(std::span<const std::uint32_t> chain, std::uint32_t end, bool prefill,
                          const RequestOrigin& origin);
  [[nodiscard]] RequestOrigin OriginOf(std::uint64_t request) const;

  const Trace& trace_;
  const BlockNumbers& blocks_;
  const std::uint32_t batch_blocks_;
  SimulatedTiers tiers_;
  const std::span<const TraceHint> hints_;
  const std::span<const RequestCost> costs_;
  SimulatedRun result_;
};

/// All operations of a run, in the order in which they were done. REQUIRES: a look-up of each
/// request before its store.
SimulatedRun SimulateRun(const Trace& trace, const BlockNumbers& blocks,
                         std::span<const Operation> order, std::uint32_t batch_blocks,
                         const SimulatedTiersOptions& tiers, std::span<const TraceHint> hints = {});

}  // namespace terrace::replay
