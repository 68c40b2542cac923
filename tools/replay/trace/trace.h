// Trace: a workload of prompts in blocks, whichever format it was read from (formats.h).
//
// Every request has one id per block of its input, the last block partial; ids cover input only.
// Two requests share a block exactly when all their ids up to it are equal (block_keys.h): that
// holds for ids that name a prefix as for ids that name what one block contains.
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

/// Most tokens of a block, after merging too.
inline constexpr std::uint32_t kBlockTokensMax = 1 << 20;
/// Most kinds of requests of one trace, and bytes of the name of one.
inline constexpr std::size_t kCategoriesMax = 1024;
inline constexpr std::size_t kCategoryBytesMax = 64;
/// The category of a request without one, where others have one.
inline constexpr std::string_view kUnnamedCategory = "unnamed";

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
  /// The same, but its time may be before that of others: SortByTime must follow.
  Status AppendAtAnyTime(std::uint64_t timestamp_ms, std::uint64_t input_tokens,
                         std::uint64_t output_tokens, std::span<const std::uint64_t> ids);
  /// Indices of the requests by time; those of one time keep their order.
  [[nodiscard]] std::vector<std::uint32_t> OrderByTime() const;
  /// Orders requests by time; those of one time keep their order. Ids move with them.
  void SortByTime();
  /// Gives sessions dense numbers in the order of their first request, and counts turns anew.
  /// Before it `session` may be any number.
  void NumberSessions();
  /// Keeps the first `count` requests; does nothing when there are no more.
  void KeepFirst(std::size_t count);
  /// Index of a category, which is added when it is new. Requests before the first that has a
  /// category are "unnamed". kInvalid when there are too many.
  Result<std::uint32_t> CategoryIndex(const std::string& name);
};

/// Tokens that block `position` of an input of `input_tokens` tokens holds: 1 to block_tokens.
/// REQUIRES: position < ceil(input_tokens / block_tokens).
[[nodiscard]] constexpr std::uint32_t ValidTokens(std::uint32_t input_tokens,
                                                  std::uint32_t position,
                                                  std::uint32_t block_tokens) noexcept {
  const std::uint32_t rest = input_tokens - position * block_tokens;
  return rest < block_tokens ? rest : block_tokens;
}

enum class TraceFormat : std::uint8_t { kAuto, kMooncake, kBailian, kWeka };
/// "auto", "mooncake", "bailian", "weka"; kInvalid lists them.
Result<TraceFormat> ParseTraceFormat(std::string_view name);
[[nodiscard]] std::string_view TraceFormatName(TraceFormat format) noexcept;

struct TraceReadOptions {
  TraceFormat format = TraceFormat::kAuto;
  bool skip_bad_lines = false;     ///< count broken lines (WEKA: sessions) instead of failing
  std::uint64_t limit = 0;         ///< stop after so many requests; 0: all
  std::uint32_t block_tokens = 0;  ///< merge blocks to this size; 0: as in the file
  double sessions_per_hour = 60;   ///< WEKA: sessions that start, on average
  std::uint64_t seed = 1;          ///< WEKA: of the starts
};

struct TraceReadResult {
  Trace trace;
  TraceFormat format = TraceFormat::kMooncake;  ///< what was read; never kAuto
  std::uint64_t skipped_lines = 0;              ///< WEKA: sessions
  std::string first_skipped;       ///< file, line and reason of the first line that was skipped
  std::vector<std::string> notes;  ///< what a person should know about the file, a sentence each
};

/// Reads a file, or a folder of WEKA sessions. kInvalid "FILE:LINE: reason" for the first broken
/// line unless bad lines are skipped, and for a file without any request; kIo when it cannot be
/// read.
Result<TraceReadResult> ReadTrace(const std::string& path, const TraceReadOptions& options);

/// Appends one line of the Mooncake format to `trace`; NumberSessions must follow the last.
/// kInvalid says what is wrong with it (without file and line); then the trace is as it was.
/// @param merged_tokens size that blocks will be merged to; 0: they will not.
Status ParseTraceLine(std::string_view line, Trace& trace, std::uint32_t merged_tokens = 0);

/// What a written line says beside the fields of the published format.
enum class TraceFields : std::uint8_t {
  kPublished,  ///< nothing, but `block_tokens` where that is not 512: ids would mean nothing
  kAll,        ///< `session`, `turn` and `category` where the trace tells them
};
/// Writes one request as a line of the Mooncake format.
void WriteTraceLine(std::ostream& out, const Trace& trace, std::size_t request,
                    TraceFields fields = TraceFields::kAll);

}  // namespace terrace::replay
