// Trace: a workload in the Mooncake JSONL format, read with every line checked.
//
// One JSON object a line: `timestamp` (ms from the start, never going back), `input_length` and
// `output_length` (tokens) and `hash_ids`, one id per 512-token block of the input, the last block
// partial. Equal ids mean an equal prefix up to and including that block; ids cover input only.
//
// Thread: plain data; read-only after it was made.
#pragma once

#include <cstdint>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/result.h"

namespace terrace::replay {

/// Tokens of a full block in the Mooncake format.
inline constexpr std::uint32_t kMooncakeBlockTokens = 512;
/// Longest input or output of a request, tokens: what one chain of such blocks can hold.
inline constexpr std::uint32_t kTokensMax = kChainBlocksMax * kMooncakeBlockTokens;
/// A request of a format that does not tell sessions.
inline constexpr std::uint32_t kNoSession = 0xffffffff;
/// Latest timestamp, ms: about 31,000 years, so that sums of times cannot overflow.
inline constexpr std::uint64_t kTimestampMax = 1'000'000'000'000'000;
/// Most requests and most block references of one trace (4 bytes each in the replay's indices).
inline constexpr std::uint64_t kRequestsMax = 50'000'000;
inline constexpr std::uint64_t kReferencesMax = 1'000'000'000;
/// Longest line, bytes: 65,536 ids of 20 digits and separators fit twice.
inline constexpr std::size_t kLineBytesMax = 4 << 20;

struct TraceRequest {
  std::uint64_t timestamp_ms = 0;
  std::uint32_t input_tokens = 0;
  std::uint32_t output_tokens = 0;
  std::uint32_t first_reference = 0;   ///< index of its first id in Trace::hash_ids
  std::uint32_t block_count = 0;       ///< ids of the request, ceil(input_tokens / block_tokens)
  std::uint32_t session = kNoSession;  ///< number of its session, below Trace::sessions
  std::uint32_t turn = 0;              ///< within the session, from 0
  std::uint32_t category = 0;          ///< index in Trace::categories, when that is not empty
};

struct Trace {
  std::string source;                                 ///< file name, or what generated it
  std::uint32_t block_tokens = kMooncakeBlockTokens;  ///< of a full block
  std::uint32_t sessions = 0;                         ///< 0: the format does not tell
  std::vector<std::string> categories;  ///< names of kinds of requests; empty: not told
  std::vector<TraceRequest> requests;   ///< in the order of time
  std::vector<std::uint64_t> hash_ids;  ///< of all requests, one after the other

  [[nodiscard]] std::span<const std::uint64_t> BlocksOf(std::size_t request) const {
    const TraceRequest& entry = requests[request];
    return std::span(hash_ids).subspan(entry.first_reference, entry.block_count);
  }
  /// Appends a request. kInvalid names the field that is wrong, or says that the trace is full.
  Status Append(std::uint64_t timestamp_ms, std::uint64_t input_tokens, std::uint64_t output_tokens,
                std::span<const std::uint64_t> ids);
};

/// Tokens that block `position` of an input of `input_tokens` tokens holds: 1 to block_tokens.
/// REQUIRES: position < ceil(input_tokens / block_tokens).
[[nodiscard]] constexpr std::uint32_t ValidTokens(std::uint32_t input_tokens,
                                                  std::uint32_t position,
                                                  std::uint32_t block_tokens) noexcept {
  const std::uint32_t rest = input_tokens - position * block_tokens;
  return rest < block_tokens ? rest : block_tokens;
}

struct TraceReadOptions {
  bool skip_bad_lines = false;  ///< count broken lines instead of failing at the first
  std::uint64_t limit = 0;      ///< stop after so many requests; 0: all
};

struct TraceReadResult {
  Trace trace;
  std::uint64_t skipped_lines = 0;
  std::string first_skipped;  ///< file, line and reason of the first line that was skipped
};

/// Appends one line to `trace`. kInvalid says what is wrong with it (without file and line).
Status ParseTraceLine(std::string_view line, Trace& trace);

/// Reads a file. kInvalid "FILE:LINE: reason" for the first broken line unless bad lines are
/// skipped, and for a file without any request; kIo when it cannot be read.
Result<TraceReadResult> ReadTrace(const std::string& path, const TraceReadOptions& options);

/// Writes one request as a line of the format.
void WriteTraceLine(std::ostream& out, const Trace& trace, std::size_t request);

}  // namespace terrace::replay
