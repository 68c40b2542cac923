// Replays the order of operations of a run through SimulatedTiers.
#pragma once

#include <cstdint>
#include <span>

#include "tools/replay/simulate/operation.h"
#include "tools/replay/simulate/simulated_tiers.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

struct SimulatedRun {
  std::uint64_t blocks_looked_up = 0;
  std::uint64_t blocks_hit = 0;  ///< contiguous prefix, of prefills
  std::uint64_t hits_dram = 0;   ///< blocks that prefills got, by tier
  std::uint64_t hits_nvme = 0;
  std::uint64_t decode_blocks_missing = 0;
  std::uint64_t evictions = 0;            ///< blocks that left DRAM
  std::uint64_t blocks_gone = 0;          ///< blocks that left the cache
  std::uint64_t nvme_blocks_written = 0;  ///< records, those written again among them

  [[nodiscard]] double BlockHitRatio() const noexcept {
    if (blocks_looked_up == 0) return 0;
    return static_cast<double>(blocks_hit) / static_cast<double>(blocks_looked_up);
  }
};

/// batch_blocks: most blocks of one get or put, as in the run; at least 1.
SimulatedRun SimulateRun(const Trace& trace, const BlockNumbers& blocks,
                         std::span<const Operation> order, std::uint32_t batch_blocks,
                         const SimulatedTiersOptions& tiers);

/// The order of operations of a run in lockstep: prefill and decode of each request in turn.
std::vector<Operation> LockstepOrder(std::uint64_t requests);

}  // namespace terrace::replay
