// The formats that a trace is read from: each a parser in a file of its own.
//
// Mooncake (mooncake_format.cc): one JSON object a line: `timestamp` (ms from the start, never
// going back), `input_length`, `output_length` (tokens), `hash_ids`, one id per 512-token block of
// the input, the last one partial; equal ids mean an equal prefix up to and including that block.
// Our own writer adds what other readers pass over: `block_tokens` where it is not 512 (on every
// line, so that a part of a file is a file), `session`, `turn`, `category`.
//
// Qwen-Bailian (bailian_format.cc) and WEKA agent sessions (weka_format.cc) stand at their parsers
// below, with what is published of them and what is assumed.
//
// All check what they read, and say where something is wrong: "FILE:LINE: field ...", or for WEKA
// "FILE: requests[3].requests[0].in ...". Thread: one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "tools/replay/trace/block_merger.h"
#include "tools/replay/trace/input_file.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

/// What turns the lines of a format into requests.
class LineParser {
 public:
  virtual ~LineParser() = default;
  /// Appends the request of a line. kInvalid says what is wrong; then the trace is as it was.
  /// @param number of the line, from 1.
  virtual Status Parse(std::string_view line, std::uint64_t number, Trace& trace) = 0;
  /// Whether a line is never earlier than the one before it.
  [[nodiscard]] virtual bool InOrderOfTime() const noexcept = 0;
  /// After the last line: orders the requests, keeps the first `limit` (0: all) and numbers the
  /// sessions.
  virtual void Finish(TraceReadResult& result, std::uint64_t limit) = 0;
};

class MooncakeParser final : public LineParser {
 public:
  explicit MooncakeParser(std::uint32_t merged_tokens) : merged_tokens_(merged_tokens) {}
  Status Parse(std::string_view line, std::uint64_t number, Trace& trace) override;
  [[nodiscard]] bool InOrderOfTime() const noexcept override { return true; }
  void Finish(TraceReadResult& result, std::uint64_t limit) override;

 private:
  std::uint32_t merged_tokens_;
};

/// Qwen-Bailian: one JSON object a line. Published (alibaba-edu/qwen-bailian-usagetraces-anon):
/// `chat_id`, a number for each request; `parent_chat_id`, that of the turn before, -1 for none;
/// `timestamp`, seconds, fractional; `input_length`, `output_length`; `type` (text, search, image,
/// file, ...); `turn` from 1; `hash_ids`, a hash of each 16-token block alone.
///
/// Assumed: there is an id for the last, partial block too, as in the published files; a line with
/// one less (full blocks only) is taken, and the rest of its input is shared with nobody. Lines may
/// be out of order: they are sorted by time. A child continues its parent's session; a parent that
/// is not in the file, or later, starts a new one, which is counted and told. `parent_chat_id`,
/// `type` and `turn` may be missing; turns are counted anew, so that a cut file is none the worse.
/// A `chat_id` that an earlier line has is refused: which of the two a child continues is unknown.
class BailianParser final : public LineParser {
 public:
  static constexpr std::uint32_t kBlockTokens = 16;

  explicit BailianParser(std::uint32_t merged_tokens) : merged_tokens_(merged_tokens) {}
  Status Parse(std::string_view line, std::uint64_t number, Trace& trace) override;
  [[nodiscard]] bool InOrderOfTime() const noexcept override { return false; }
  void Finish(TraceReadResult& result, std::uint64_t limit) override;

 private:
  struct Link {
    std::uint64_t chat = 0;
    std::uint64_t parent = 0;  // kNoParent: none
  };
  std::uint32_t merged_tokens_;
  std::vector<Link> links_;  // of each request, in the order of the file
  std::unordered_map<std::uint64_t, std::uint64_t> lines_;  // of each chat_id
  std::uint64_t next_own_id_ = ~0ULL;                       // of blocks without an id, counted down
};

/// WEKA agent sessions: a JSON object for each session. Published (callanjfox/kv-cache-tester):
/// `block_size` (64), `hash_id_scope` ("local", the default: ids mean something only within the
/// session; "global"), `requests`: `t`, seconds from the start of the session, `in`, `out`,
/// `hash_ids`, one per full block of the input. An entry of type "subagent" has `requests` of its
/// own instead, whose times count from the start of the session too and whose ids are the
/// session's.
///
/// Assumed: nothing is known of the partial block at the end of an input, so it is shared with
/// nobody. Sub-agents run beside their parent: each is a session of its own in the trace (category
/// "sub-agent"; the others are "agent"). Sessions start as a Poisson process, the first at 0.
class WekaSessions {
 public:
  explicit WekaSessions(const TraceReadOptions& options);
  /// Adds a session. kInvalid says where in it something is wrong; then it was not added.
  Status Add(std::string_view json);
  /// The requests of all sessions by time.
  Trace Finish();

 private:
  struct Entry;
  class Walk;
  Status Commit(const std::vector<Entry>& entries, bool global_ids, std::uint64_t start_ms);

  TraceReadOptions options_;
  SeededRandom random_;
  BlockMerger merger_;
  Trace trace_;
  std::unordered_map<std::uint64_t, std::uint64_t> global_ids_;
  std::uint64_t next_id_ = 0;
  std::uint64_t start_us_ = 0;  // of the session that comes next
  std::uint32_t streams_ = 0;   // sessions of the trace so far
};

/// Time to the next event of a Poisson process, us, with a mean of `mean_us`. Exact in
/// distribution, and the same on every machine: no logarithm is taken (von Neumann's method).
std::uint64_t ExponentialGap(Random& random, std::uint64_t mean_us);

/// The format of a file that begins with `text`: of the first object whose fields tell, whatever
/// their order.
[[nodiscard]] TraceFormat DetectFormat(std::string_view text);

}  // namespace terrace::replay
