// NvmeWatch: puts into the log what the counters of the NVMe tier show of failures, which happen on
// threads that have no time for lines.
//
// Thread: the main thread's.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tools/terraced/metrics/metric_sample.h"

namespace terrace {

class NvmeWatch {
 public:
  /// Logs one line, `nvme_failures`, when a counter of failures has risen since the last call.
  /// `summed`: MetricsRegistry::Summed. `index_error`: the index store's words about its last
  /// failure, empty if there was none.
  void Look(const std::vector<MetricSample>& summed, const std::string& index_error);

 private:
  std::map<std::string, double> seen_;  // by name and labels
};

}  // namespace terrace
