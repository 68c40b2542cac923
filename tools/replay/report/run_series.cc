#include "tools/replay/report/run_series.h"

#include <nlohmann/json.hpp>

namespace terrace::replay {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kIndent = "\n  ";

/// `items` on a line each, or on one where there is none.
std::string Lines(const std::vector<std::string>& items, char open, char close) {
  std::string text(1, open);
  for (const std::string& item : items) {
    if (text.size() > 1) text += ',';
    text.append(kIndent).append("  ").append(item);
  }
  if (!items.empty()) text += kIndent;
  return text + close;
}

std::string TimelineJson(const Timeline& timeline) {
  std::vector<std::string> items;
  for (const TimelineInterval& interval : timeline.intervals()) {
    const auto begin = static_cast<Nanos>(items.size()) * timeline.width();
    Json json;
    json["t_s"] = static_cast<double>(begin) / 1e9;
    json["requests"] = interval.requests;
    json["blocks_looked_up"] = interval.blocks_looked_up;
    json["hits_dram"] = interval.hits_dram;
    json["hits_nvme"] = interval.hits_nvme;
    json["blocks_missed"] = interval.blocks_missed;
    json["bytes_got"] = interval.bytes_got;
    json["bytes_put"] = interval.bytes_put;
    items.push_back(json.dump());
  }
  return Lines(items, '[', ']');
}

std::string DistributionJson(const char* name, const LatencyHistogram& histogram) {
  Json steps = Json::array();
  for (const LatencyStep& step : histogram.Steps()) {
    steps.push_back({static_cast<double>(step.upper_ns) / 1e3, step.count});
  }
  return '"' + std::string(name) + "\": " + steps.dump();
}

}  // namespace

std::string RunSeriesJson(const RunOutcome& outcome) {
  const std::vector<std::string> distributions = {
      DistributionJson("match", outcome.totals.match),
      DistributionJson("get", outcome.totals.get),
      DistributionJson("put", outcome.totals.put),
      DistributionJson("queue", outcome.timing.queue()),
      DistributionJson("prefill", outcome.timing.prefill()),
      DistributionJson("request", outcome.timing.request())};
  return std::string(",") + kIndent.data() + "\"timeline\": " + TimelineJson(outcome.timeline) +
         "," + kIndent.data() + "\"latency_us\": " + Lines(distributions, '{', '}');
}

}  // namespace terrace::replay
