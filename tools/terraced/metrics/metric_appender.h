// Appender: samples that share their first labels. For the sources of metrics.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/terraced/metrics/metric_sample.h"

namespace terrace {

using Counter = std::atomic<std::uint64_t>;

/// Appends to `samples`, which outlives it.
class Appender {
 public:
  Appender(const MetricLabels& labels, std::vector<MetricSample>& samples)
      : labels_(labels), samples_(samples) {}

  void Add(const MetricInfo& info, double value) { samples_.push_back({&info, labels_, value}); }
  void Add(const MetricInfo& info, std::uint64_t value) { Add(info, static_cast<double>(value)); }
  void Add(const MetricInfo& info, const Counter& counter) {
    Add(info, counter.load(std::memory_order_relaxed));
  }
  [[nodiscard]] Appender With(const std::string& name, std::string_view value) const {
    MetricLabels labels = labels_;
    labels.emplace_back(name, std::string(value));
    return {labels, samples_};
  }

 private:
  const MetricLabels labels_;
  std::vector<MetricSample>& samples_;
};

inline constexpr const char* kTierLabel = "tier";

}  // namespace terrace
