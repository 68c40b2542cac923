// What a trace holds, and what an infinite cache would gain on it.
#pragma once

#include <cstdint>
#include <string>

#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

struct TraceStatistics {
  std::uint64_t requests = 0;
  std::uint64_t tokens_input = 0;
  std::uint64_t tokens_output = 0;
  std::uint64_t block_references = 0;
  std::uint64_t distinct_blocks = 0;
  std::uint64_t longest_request_blocks = 0;
  std::uint32_t block_tokens = kMooncakeBlockTokens;
  std::uint64_t duration_ms = 0;  ///< from the first to the last timestamp
  /// Contiguous-prefix hits with a cache that never evicts: blocks, and the tokens they hold.
  std::uint64_t infinite_block_hits = 0;
  std::uint64_t infinite_token_hits = 0;

  [[nodiscard]] double InfiniteBlockHitRatio() const noexcept;
  [[nodiscard]] double InfiniteTokenHitRatio() const noexcept;
};

[[nodiscard]] TraceStatistics CollectStatistics(const Trace& trace, const BlockNumbers& blocks);

/// A few lines for a person.
[[nodiscard]] std::string Describe(const TraceStatistics& statistics);

}  // namespace terrace::replay
