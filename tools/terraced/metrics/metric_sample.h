// MetricSample: one number of the daemon, with its name and labels. The names are in
// metric_catalogue.h; docs/operations.md explains each.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tools/terraced/metrics/metric_catalogue.h"

namespace terrace {

/// Name and value of each label, in the order in which they are shown.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

/// The label that tells reactors apart; summed samples have none.
inline constexpr const char* kReactorLabel = "reactor";

struct MetricSample {
  const MetricInfo* info = nullptr;  ///< never null; lives for ever
  MetricLabels labels;
  double value = 0;
};

/// Something that has numbers to tell, e.g. one reactor's cache.
class MetricSource {
 public:
  virtual ~MetricSource() = default;
  /// Appends its samples. Called from the threads of the status endpoint and of reactors, several
  /// at once: reads only what may be read from any thread.
  virtual void Collect(std::vector<MetricSample>& samples) const = 0;
};

/// The samples of several reactors as those of one daemon: without the label "reactor", samples of
/// one name and labels added up (or the largest taken, where MetricInfo says so). Order of first
/// appearance.
std::vector<MetricSample> SumOverReactors(const std::vector<MetricSample>& samples);

/// `tier="dram",link="tcp"`, values escaped as Prometheus does; empty without labels.
std::string LabelText(const MetricLabels& labels);

/// Prometheus text format 0.0.4: samples of one name together, with HELP and TYPE.
std::string PrometheusText(const std::vector<MetricSample>& samples);

}  // namespace terrace
