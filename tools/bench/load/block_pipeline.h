// BlockPipeline: gets by copy, gets of lent frames, or puts to durable, of one block a call, so
// many calls in flight.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/terrace.hpp"
#include "tools/bench/cpu_times.h"

namespace terrace::bench {

/// Gets in flight of the NVMe paths.
inline constexpr std::size_t kDepth = 8;
/// Puts in flight: as many as keep a device busy while each of them waits for a sync that covers
/// it.
[[nodiscard]] std::size_t PutDepth(std::uint64_t block_bytes) noexcept;

/// A client of the daemon at `address` over shared memory. Exits with a message when that link
/// cannot be had. `spin`: ClientOptions::spin.
std::unique_ptr<Client> ConnectOnThisHost(const std::string& address,
                                          std::chrono::microseconds spin = {});

enum class PipelineKind : std::uint8_t { kGet, kLend, kPutDurable };

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
  /// Of kLend: the last ones asked for, not yet released; the others were when they came.
  struct Kept {
    std::size_t index = 0;  ///< in the caller's order
    LentBlock block;
  };
  std::vector<Kept> kept;
};

/// Moves `blocks`, `depth` at once, each in a call of its own; puts wait until they are durable.
/// A lent block that is expired when it is released counts as kExpired.
/// Once `stop` (may be null) is true nothing more is submitted; results of what was not are
/// kCancelled. Exits with a message when a call fails as a whole.
PipelineRun RunPipeline(const BlockSource& source, std::span<const BlockBuffer> blocks,
                        PipelineKind kind, std::size_t depth,
                        const std::atomic<bool>* stop = nullptr);

}  // namespace terrace::bench
