#include "tools/terraced/metrics/metric_sample.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace terrace {

std::vector<MetricSample> SumOverReactors(const std::vector<MetricSample>& samples) {
  std::vector<MetricSample> sums;
  std::map<std::pair<const MetricInfo*, MetricLabels>, std::size_t> places;
  for (const MetricSample& sample : samples) {
    MetricSample plain = sample;
    std::erase_if(plain.labels, [](const auto& label) { return label.first == kReactorLabel; });
    const auto [place, is_new] = places.try_emplace({plain.info, plain.labels}, sums.size());
    if (is_new) {
      sums.push_back(std::move(plain));
      continue;
    }
    double& value = sums[place->second].value;
    value =
        plain.info->join == MetricJoin::kSum ? value + plain.value : std::max(value, plain.value);
  }
  return sums;
}

std::string LabelText(const MetricLabels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    if (!text.empty()) text += ',';
    text += name + "=\"";
    for (const char letter : value) {
      if (letter == '\n') {
        text += "\\n";
        continue;
      }
      if (letter == '"' || letter == '\\') text += '\\';
      text += letter;
    }
    text += '"';
  }
  return text;
}

std::string PrometheusText(const std::vector<MetricSample>& samples) {
  std::vector<prometheus::MetricFamily> families;
  std::map<const MetricInfo*, std::size_t> places;
  for (const MetricSample& sample : samples) {
    const MetricInfo& info = *sample.info;
    const bool counter = info.type == MetricType::kCounter;
    const auto [place, is_new] = places.try_emplace(&info, families.size());
    if (is_new) {
      prometheus::MetricFamily& family = families.emplace_back();
      family.name = info.name;
      family.help = info.help;
      family.type = counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    }
    prometheus::ClientMetric& metric = families[place->second].metric.emplace_back();
    for (const auto& [name, value] : sample.labels) metric.label.push_back({name, value});
    (counter ? metric.counter.value : metric.gauge.value) = sample.value;
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

}  // namespace terrace
