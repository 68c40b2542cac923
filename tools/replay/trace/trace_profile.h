// All that `terrace-replay stats` tells of a workload.
//
// Thread: any; nothing is kept. Cost: a second or two for a million block references.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/replay/trace/live_context.h"
#include "tools/replay/trace/reuse_statistics.h"
#include "tools/replay/trace/trace.h"
#include "tools/replay/trace/trace_statistics.h"

namespace terrace::replay {

struct CategoryProfile {
  std::string name;
  std::uint64_t requests = 0;
  std::uint64_t tokens_input = 0;
  std::uint64_t tokens_output = 0;
  std::uint64_t block_references = 0;
  /// Contiguous-prefix hits with a cache that never evicts, whoever brought the block.
  std::uint64_t infinite_block_hits = 0;
};

struct TraceProfile {
  TraceStatistics totals;
  Distribution input_tokens;   ///< of a request
  Distribution output_tokens;  ///< of a request
  ReuseGaps reuse;
  LiveContext live;
  std::uint32_t sessions = 0;               ///< 0: the trace does not tell
  Distribution turns;                       ///< of a session
  std::vector<CategoryProfile> categories;  ///< in the order of the trace; empty: not told
};

[[nodiscard]] TraceProfile ProfileTrace(const Trace& trace);

/// A table for a person.
[[nodiscard]] std::string ProfileTable(const TraceProfile& profile);
/// The fields of a JSON object, indented.
[[nodiscard]] std::string ProfileJson(const TraceProfile& profile, const Trace& trace,
                                      std::string_view format, std::uint64_t skipped_lines);

}  // namespace terrace::replay
