// BlockPipeline: gets, or puts to durable, of one block a call, so many calls in flight.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/terrace.hpp"
#include "tools/bench/cpu_times.h"

namespace terrace::bench {

/// Calls in flight of the NVMe paths.
inline constexpr std::size_t kDepth = 8;

/// A client of the daemon at `address` whose bytes are copied on this host. Exits with a message
/// when there is none.
std::unique_ptr<Client> ConnectByCopy(const std::string& address);

/// Whose blocks. All outlive the run.
struct BlockSource {
  Client& client;  ///< nobody else submits to it or polls it meanwhile
  NamespaceId space;
  const Chain& chain;
};

struct PipelineRun {
  double seconds = 0;
  CpuTimes cpu;                      ///< of this process
  std::vector<BlockResult> results;  ///< one per block asked, in the caller's order
  std::vector<double> latencies_s;   ///< likewise: from its submission to its being polled
};

/// Moves `blocks`, kDepth at once, each in a call of its own; puts wait until they are durable.
/// Once `stop` (may be null) is true nothing more is submitted; results of what was not are
/// kCancelled. Exits with a message when a call fails as a whole.
PipelineRun RunPipeline(const BlockSource& source, std::span<const BlockBuffer> blocks, bool put,
                        const std::atomic<bool>* stop = nullptr);

}  // namespace terrace::bench
