#include "tools/replay/trace/trace_profile.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/replay/trace/ratio.h"

namespace terrace::replay {
namespace {

using Json = nlohmann::ordered_json;

std::vector<CategoryProfile> ProfileCategories(const Trace& trace, const BlockNumbers& blocks) {
  std::vector<CategoryProfile> categories(trace.categories.size());
  for (std::size_t index = 0; index < categories.size(); ++index) {
    categories[index].name = trace.categories[index];
  }
  if (categories.empty()) return categories;
  std::vector<bool> seen(blocks.distinct);
  for (const TraceRequest& request : trace.requests) {
    CategoryProfile& category = categories[request.category];
    ++category.requests;
    category.tokens_input += request.input_tokens;
    category.tokens_output += request.output_tokens;
    category.block_references += request.block_count;
    for (const std::uint32_t block : blocks.Of(request)) {
      // Whoever used a block used all before it, so what was seen is a prefix.
      if (seen[block]) ++category.infinite_block_hits;
      seen[block] = true;
    }
  }
  return categories;
}

Distribution ProfileTurns(const Trace& trace) {
  std::vector<std::uint64_t> turns(trace.sessions);
  for (const TraceRequest& request : trace.requests) {
    if (request.session != kNoSession) ++turns[request.session];
  }
  return Summarize(std::move(turns));
}

template <typename Field>
Distribution OfRequests(const Trace& trace, Field field) {
  std::vector<std::uint64_t> values;
  values.reserve(trace.requests.size());
  for (const TraceRequest& request : trace.requests) values.push_back(field(request));
  return Summarize(std::move(values));
}

std::string Row(const char* name, const Distribution& values, double unit, int digits) {
  char text[200];
  const auto show = [unit](std::uint64_t value) { return static_cast<double>(value) / unit; };
  std::snprintf(text, sizeof text, "%-22s%12.*f%12.*f%12.*f%12.*f%12.*f%12.*f\n", name, digits,
                values.mean / unit, digits, show(values.p10), digits, show(values.p50), digits,
                show(values.p90), digits, show(values.p99), digits, show(values.max));
  return text;
}

Json ToJson(const Distribution& values, double unit) {
  const auto show = [unit](std::uint64_t value) -> Json {
    if (unit == 1) return value;
    return static_cast<double>(value) / unit;
  };
  return {{"count", values.count},   {"mean", values.mean / unit}, {"p10", show(values.p10)},
          {"p50", show(values.p50)}, {"p90", show(values.p90)},    {"p99", show(values.p99)},
          {"max", show(values.max)}};
}

}  // namespace

TraceProfile ProfileTrace(const Trace& trace) {
  const BlockNumbers blocks = NumberBlocks(trace);
  TraceProfile profile;
  profile.totals = CollectStatistics(trace, blocks);
  profile.input_tokens =
      OfRequests(trace, [](const auto& request) { return request.input_tokens; });
  profile.output_tokens =
      OfRequests(trace, [](const auto& request) { return request.output_tokens; });
  profile.reuse = MeasureReuse(trace, blocks);
  profile.live = MeasureLiveContext(trace, blocks);
  profile.sessions = trace.sessions;
  profile.turns = ProfileTurns(trace);
  profile.categories = ProfileCategories(trace, blocks);
  return profile;
}

std::string ProfileTable(const TraceProfile& profile) {
  std::string text = Describe(profile.totals);
  char line[240];
  std::snprintf(
      line, sizeof line,
      "live context          %.0f blocks on average, p50 %llu, p90 %llu, max %llu (%s)\n",
      profile.live.mean_blocks, static_cast<unsigned long long>(profile.live.p50_blocks),
      static_cast<unsigned long long>(profile.live.p90_blocks),
      static_cast<unsigned long long>(profile.live.max_blocks),
      profile.sessions == 0 ? "blocks between first and last use" : "of running sessions");
  text += line;
  if (profile.sessions > 0) {
    std::snprintf(line, sizeof line, "sessions              %u\n", profile.sessions);
    text += line;
  }
  std::snprintf(line, sizeof line, "\n%-22s%12s%12s%12s%12s%12s%12s\n", "", "mean", "p10", "p50",
                "p90", "p99", "max");
  text += line;
  text += Row("input, tokens", profile.input_tokens, 1, 0);
  text += Row("output, tokens", profile.output_tokens, 1, 0);
  if (profile.sessions > 0) text += Row("turns of a session", profile.turns, 1, 1);
  text += Row("reuse gap, s", profile.reuse.ms, 1000, 1);
  text += Row("reuse gap, blocks", profile.reuse.blocks, 1, 0);
  if (profile.categories.empty()) return text;
  std::snprintf(line, sizeof line, "\n%-22s%12s%16s%16s%18s\n", "category", "requests", "tokens in",
                "tokens out", "infinite hits, %");
  text += line;
  for (const CategoryProfile& category : profile.categories) {
    std::snprintf(line, sizeof line, "%-22s%12llu%16llu%16llu%18.2f\n", category.name.c_str(),
                  static_cast<unsigned long long>(category.requests),
                  static_cast<unsigned long long>(category.tokens_input),
                  static_cast<unsigned long long>(category.tokens_output),
                  Ratio(category.infinite_block_hits, category.block_references) * 100);
    text += line;
  }
  return text;
}

std::string ProfileJson(const TraceProfile& profile, const Trace& trace, std::string_view format,
                        std::uint64_t skipped_lines) {
  const TraceStatistics& totals = profile.totals;
  Json json;
  json["trace"] = trace.source;
  json["format"] = format;
  json["skipped_lines"] = skipped_lines;
  json["block_tokens"] = trace.block_tokens;
  json["requests"] = totals.requests;
  json["duration_s"] = static_cast<double>(totals.duration_ms) / 1000;
  json["tokens_input"] = totals.tokens_input;
  json["tokens_output"] = totals.tokens_output;
  json["block_references"] = totals.block_references;
  json["distinct_blocks"] = totals.distinct_blocks;
  json["longest_request_blocks"] = totals.longest_request_blocks;
  json["infinite_block_hits"] = totals.infinite_block_hits;
  json["infinite_token_hits"] = totals.infinite_token_hits;
  json["infinite_block_hit_ratio"] = totals.InfiniteBlockHitRatio();
  json["infinite_token_hit_ratio"] = totals.InfiniteTokenHitRatio();
  json["input_tokens"] = ToJson(profile.input_tokens, 1);
  json["output_tokens"] = ToJson(profile.output_tokens, 1);
  json["reuse_gap_s"] = ToJson(profile.reuse.ms, 1000);
  json["reuse_gap_blocks"] = ToJson(profile.reuse.blocks, 1);
  json["live_context"] = {{"of_sessions", profile.sessions > 0},
                          {"mean_blocks", profile.live.mean_blocks},
                          {"p50_blocks", profile.live.p50_blocks},
                          {"p90_blocks", profile.live.p90_blocks},
                          {"max_blocks", profile.live.max_blocks}};
  json["sessions"] = profile.sessions;
  json["turns"] = ToJson(profile.turns, 1);
  json["categories"] = Json::array();
  for (const CategoryProfile& category : profile.categories) {
    json["categories"].push_back({{"name", category.name},
                                  {"requests", category.requests},
                                  {"tokens_input", category.tokens_input},
                                  {"tokens_output", category.tokens_output},
                                  {"infinite_block_hit_ratio", Ratio(category.infinite_block_hits,
                                                                     category.block_references)}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace terrace::replay
