// AppendLoadMetrics of metrics.h.
#include <cstdio>
#include <string>

#include "base/tier_kind.h"
#include "tools/terraced/metrics/metric_appender.h"
#include "tools/terraced/metrics/metrics.h"

namespace terrace {

namespace {

std::string Shown(double ratio) {
  char text[16];
  std::snprintf(text, sizeof(text), "%g", ratio);
  return text;
}

/// "up to 0.5", "0.5 to 0.67", ..., "above 2".
std::string ClassName(std::size_t at) {
  if (at == 0) return "up to " + Shown(kLoadRatioEnds[0]);
  if (at == kLoadRatioEnds.size()) return "above " + Shown(kLoadRatioEnds[at - 1]);
  return Shown(kLoadRatioEnds[at - 1]) + " to " + Shown(kLoadRatioEnds[at]);
}

void AppendPredictions(const LoadCounters::Predictions& predictions, const Appender& of_tier) {
  constexpr double kParts = 1e-6;  // millionths, microseconds
  Appender all = of_tier;
  for (std::size_t at = 0; at < predictions.by_ratio.size(); ++at) {
    all.With("ratio", ClassName(at)).Add(kLoadPredictions, predictions.by_ratio[at]);
  }
  const auto scaled = [](const Counter& counter) {
    return static_cast<double>(counter.load(std::memory_order_relaxed)) * kParts;
  };
  all.Add(kLoadPredictionError, scaled(predictions.error_millionths));
  all.Add(kLoadPredictedSeconds, scaled(predictions.predicted_us));
  all.Add(kLoadActualSeconds, scaled(predictions.actual_us));
}

}  // namespace

void AppendLoadMetrics(const LoadCounters& counters, bool with_nvme, const MetricLabels& labels,
                       std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  AppendPredictions(counters.dram, all.With(kTierLabel, TierName(TierKind::kDram)));
  all.Add(kLoadConnectionRate, counters.link_bytes_per_s);
  if (!with_nvme) return;
  AppendPredictions(counters.nvme, all.With(kTierLabel, TierName(TierKind::kNvme)));
  all.Add(kLoadNvmeRate, counters.nvme_bytes_per_s);
  all.Add(kLoadNvmeLatency,
          static_cast<double>(counters.nvme_latency_us.load(std::memory_order_relaxed)) * 1e-6);
}

}  // namespace terrace
