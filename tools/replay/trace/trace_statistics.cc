#include "tools/replay/trace/trace_statistics.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "tools/replay/trace/ratio.h"

namespace terrace::replay {

double TraceStatistics::InfiniteBlockHitRatio() const noexcept {
  return Ratio(infinite_block_hits, block_references);
}
double TraceStatistics::InfiniteTokenHitRatio() const noexcept {
  return Ratio(infinite_token_hits, tokens_input);
}

TraceStatistics CollectStatistics(const Trace& trace, const BlockNumbers& blocks) {
  TraceStatistics result;
  result.requests = trace.requests.size();
  result.block_references = trace.hash_ids.size();
  result.distinct_blocks = blocks.distinct;
  result.block_tokens = trace.block_tokens;
  if (!trace.requests.empty()) {
    result.duration_ms = trace.requests.back().timestamp_ms - trace.requests.front().timestamp_ms;
  }
  std::vector<bool> seen(blocks.distinct);
  for (const TraceRequest& request : trace.requests) {
    result.tokens_input += request.input_tokens;
    result.tokens_output += request.output_tokens;
    result.longest_request_blocks =
        std::max<std::uint64_t>(result.longest_request_blocks, request.block_count);
    bool prefix = true;
    std::uint32_t position = 0;
    for (const std::uint32_t block : blocks.Of(request)) {
      prefix = prefix && seen[block];
      if (prefix) {
        ++result.infinite_block_hits;
        result.infinite_token_hits +=
            ValidTokens(request.input_tokens, position, trace.block_tokens);
      }
      seen[block] = true;
      ++position;
    }
  }
  return result;
}

std::string Describe(const TraceStatistics& statistics) {
  char text[640];
  std::snprintf(
      text, sizeof text,
      "requests              %llu over %.1f min\n"
      "tokens                %llu in, %llu out\n"
      "%-22s%llu references, %llu distinct, longest request %llu\n"
      "infinite cache        %.2f %% of blocks, %.2f %% of tokens are contiguous-prefix hits\n",
      static_cast<unsigned long long>(statistics.requests),
      static_cast<double>(statistics.duration_ms) / 60'000.0,
      static_cast<unsigned long long>(statistics.tokens_input),
      static_cast<unsigned long long>(statistics.tokens_output),
      ("blocks of " + std::to_string(statistics.block_tokens) + " tokens").c_str(),
      static_cast<unsigned long long>(statistics.block_references),
      static_cast<unsigned long long>(statistics.distinct_blocks),
      static_cast<unsigned long long>(statistics.longest_request_blocks),
      statistics.InfiniteBlockHitRatio() * 100, statistics.InfiniteTokenHitRatio() * 100);
  return text;
}

}  // namespace terrace::replay
