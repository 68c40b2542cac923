#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tools/replay/trace/formats.h"
#include "tools/replay/trace/json_fields.h"

namespace terrace::replay {
namespace {

using Json = nlohmann::json;

constexpr std::uint32_t kDefaultBlockTokens = 64;
/// Sub-agents of sub-agents: the published sessions have one level.
constexpr int kNestingMax = 16;
constexpr double kUsPerHour = 3.6e9;

Result<bool> HasGlobalIds(const Json& session) {
  const auto scope = NameField(session, "hash_id_scope", "local");
  if (!scope.ok()) return scope.status();
  if (*scope == "local") return false;
  if (*scope == "global") return true;
  return Status::Invalid("hash_id_scope is '" + *scope + "', must be local or global");
}

}  // namespace

struct WekaSessions::Entry {
  std::uint64_t time_ms = 0;  // from the start of the session
  std::uint64_t input_tokens = 0;
  std::uint64_t output_tokens = 0;
  std::vector<std::uint64_t> ids;  // of the full blocks
  std::uint32_t stream = 0;        // 0: the session's own requests; then its sub-agents
};

/// Goes through the requests of one session and checks all of them, before any is added.
class WekaSessions::Walk {
 public:
  Walk(std::uint32_t block_tokens, std::uint32_t merged_tokens)
      : block_tokens_(block_tokens), input_max_(InputTokensMax(block_tokens, merged_tokens)) {}

  Status List(const Json& object, const std::string& path, int depth, std::uint32_t stream) {
    const auto found = object.find("requests");
    if (found == object.end()) return Status::Invalid(path + "field requests is missing");
    if (!found->is_array()) {
      return Status::Invalid(path + "requests is not an array: " + ShowJson(*found));
    }
    if (depth > kNestingMax) {
      return Status::Invalid(path + "requests: sub-agents are nested deeper than " +
                             std::to_string(kNestingMax));
    }
    for (std::size_t index = 0; index < found->size(); ++index) {
      Status status =
          Element((*found)[index], path + "requests[" + std::to_string(index) + "]", depth, stream);
      if (!status.ok()) return status;
    }
    return Status::Ok();
  }
  [[nodiscard]] const std::vector<Entry>& entries() const noexcept { return entries_; }

 private:
  Status Element(const Json& element, const std::string& path, int depth, std::uint32_t stream) {
    if (!element.is_object()) {
      return Status::Invalid(path + " is not an object: " + ShowJson(element));
    }
    const bool agent = element.contains("requests");
    if (!agent || element.contains("in")) {
      Status status = Request(element, stream);
      if (!status.ok()) return Status::Invalid(path + "." + status.message());
    }
    return agent ? List(element, path + ".", depth + 1, ++streams_) : Status::Ok();
  }

  Status Request(const Json& element, std::uint32_t stream) {
    const auto time = SecondsField(element, "t");
    if (!time.ok()) return time.status();
    const auto input = WholeField(element, "in", 1, input_max_);
    if (!input.ok()) return input.status();
    const auto output = WholeField(element, "out", 0, kTokensMax);
    if (!output.ok()) return output.status();
    Entry entry{.time_ms = *time,
                .input_tokens = *input,
                .output_tokens = *output,
                .ids = {},
                .stream = stream};
    Status status = ReadHashIds(element, entry.ids);
    if (!status.ok()) return status;
    const std::uint64_t full = *input / block_tokens_;
    if (entry.ids.size() != full) {
      return Status::Invalid("hash_ids has " + std::to_string(entry.ids.size()) + " ids, but in " +
                             std::to_string(*input) + " makes " + std::to_string(full) +
                             " full blocks of " + std::to_string(block_tokens_) + " tokens");
    }
    entries_.push_back(std::move(entry));
    return Status::Ok();
  }

  std::uint32_t block_tokens_;
  std::uint64_t input_max_;
  std::uint32_t streams_ = 0;
  std::vector<Entry> entries_;
};

WekaSessions::WekaSessions(const TraceReadOptions& options)
    : options_(options), random_(options.seed), merger_(options.block_tokens) {
  trace_.categories = {"agent", "sub-agent"};
}

Status WekaSessions::Add(std::string_view json) {
  const Result<Json> parsed = ParseObject(json);
  if (!parsed.ok()) return parsed.status();
  const Json& session = *parsed;
  std::uint64_t block_tokens = kDefaultBlockTokens;
  if (session.contains("block_size")) {
    const auto told = WholeField(session, "block_size", 1, kBlockTokensMax);
    if (!told.ok()) return told.status();
    block_tokens = *told;
  }
  if (!trace_.requests.empty() && block_tokens != trace_.block_tokens) {
    return Status::Invalid("block_size is " + std::to_string(block_tokens) +
                           ", but the sessions before have " + std::to_string(trace_.block_tokens));
  }
  const auto tokens = static_cast<std::uint32_t>(block_tokens);
  Status status = CheckMerging(tokens, options_.block_tokens);
  if (!status.ok()) return status;
  const Result<bool> global_ids = HasGlobalIds(session);
  if (!global_ids.ok()) return global_ids.status();
  Walk walk(tokens, options_.block_tokens);
  status = walk.List(session, "", 0, 0);
  if (!status.ok()) return status;
  if (walk.entries().empty()) return Status::Invalid("requests has no request");
  trace_.block_tokens = tokens;
  status = Commit(walk.entries(), *global_ids, start_us_ / 1000);
  if (!status.ok()) return status;
  start_us_ += ExponentialGap(
      random_, static_cast<std::uint64_t>(std::llround(kUsPerHour / options_.sessions_per_hour)));
  return status;
}

Status WekaSessions::Commit(const std::vector<Entry>& entries, bool global_ids,
                            std::uint64_t start_ms) {
  const std::size_t requests_before = trace_.requests.size();
  const std::size_t ids_before = trace_.hash_ids.size();
  std::unordered_map<std::uint64_t, std::uint64_t> local_ids;
  auto& known = global_ids ? global_ids_ : local_ids;
  std::vector<std::uint64_t> ids;
  std::uint32_t streams = 0;
  for (const Entry& entry : entries) {
    ids.clear();
    for (const std::uint64_t id : entry.ids) {
      const auto [number, added] = known.try_emplace(id, next_id_);
      if (added) ++next_id_;
      ids.push_back(number->second);
    }
    if (entry.input_tokens % trace_.block_tokens != 0) ids.push_back(next_id_++);
    Status status = start_ms + entry.time_ms > kTimestampMax
                        ? Status::Invalid("the session ends after the last possible time")
                        : trace_.AppendAtAnyTime(start_ms + entry.time_ms, entry.input_tokens,
                                                 entry.output_tokens, ids);
    if (!status.ok()) {
      trace_.requests.resize(requests_before);
      trace_.hash_ids.resize(ids_before);
      return status;
    }
    trace_.requests.back().session = streams_ + entry.stream;
    trace_.requests.back().category = entry.stream == 0 ? 0 : 1;
    streams = std::max(streams, entry.stream + 1);
    merger_.MergeLast(trace_);
  }
  streams_ += streams;
  return Status::Ok();
}

Trace WekaSessions::Finish() {
  merger_.Finish(trace_);
  trace_.SortByTime();
  trace_.NumberSessions();
  return std::move(trace_);
}

std::uint64_t ExponentialGap(Random& random, std::uint64_t mean_us) {
  // A run of falling numbers u1 > u2 > ... is of odd length with probability exp(-u1): then u1 is
  // the fraction. Otherwise the whole part grows by 1, with probability 1/e.
  constexpr std::uint64_t kWholeMax = 1000;  // less likely than a broken machine
  for (std::uint64_t whole = 0;; ++whole) {
    const std::uint64_t fraction = random.Next();
    std::uint64_t last = fraction;
    bool odd = true;
    for (std::uint64_t next = random.Next(); next < last; next = random.Next()) {
      last = next;
      odd = !odd;
    }
    if (!odd && whole < kWholeMax) continue;
    const auto part = static_cast<unsigned __int128>(fraction) * mean_us;
    return whole * mean_us + static_cast<std::uint64_t>(part >> 64);
  }
}

}  // namespace terrace::replay
