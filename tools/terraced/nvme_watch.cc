#include "tools/terraced/nvme_watch.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "tools/terraced/logs/logging.h"
#include "tools/terraced/metrics/metric_catalogue.h"

namespace terrace {

namespace {

bool CountsFailures(const MetricSample& sample) {
  static constexpr std::array kFailures = {&kNvmeErrors, &kNvmeIndexFailures, &kRemovalsNotLogged};
  return std::find(kFailures.begin(), kFailures.end(), sample.info) != kFailures.end();
}

}  // namespace

void NvmeWatch::Look(const std::vector<MetricSample>& summed, const std::string& index_error) {
  std::string risen;
  bool of_index = false;
  for (const MetricSample& sample : summed) {
    if (!CountsFailures(sample)) continue;
    const std::string labels = LabelText(sample.labels);
    std::string name(sample.info->name);
    if (!labels.empty()) name += "{" + labels + "}";
    double& seen = seen_[name];
    if (sample.value <= seen) continue;
    if (!risen.empty()) risen += ' ';
    risen += name + "+" + std::to_string(static_cast<std::uint64_t>(sample.value - seen));
    of_index = of_index || sample.info == &kNvmeIndexFailures;
    seen = sample.value;
  }
  if (risen.empty()) return;
  Log(LogLevel::kWarning, "nvme_failures", "{} index_error=\"{}\"", risen,
      of_index ? index_error : "");
}

}  // namespace terrace
