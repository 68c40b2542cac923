#include "tools/common/advice.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tools/common/sample_labels.h"

namespace terrace {

namespace {

using Json = nlohmann::ordered_json;

constexpr double kGib = 1024.0 * 1024 * 1024;
constexpr double kHour = 3600;

struct Size {
  double dram = 1;
  double nvme = 1;
  friend auto operator<=>(const Size&, const Size&) = default;
};

struct Estimate {
  double hits = 0;
  double dram_hits = 0;
  double variance = 0;
  bool unfilled = false;
};

Size SizeOf(const std::string& labels) {
  return {.dram = std::strtod(LabelValue(labels, "dram").c_str(), nullptr),
          .nvme = std::strtod(LabelValue(labels, "nvme").c_str(), nullptr)};
}

struct WindowFigures {
  Advice::Window window;
  std::map<Size, Estimate> sizes;
};

void AddFigure(const std::string& name, const std::string& labels, double value,
               WindowFigures& figures) {
  Advice::Window& window = figures.window;
  window.known = true;
  if (name == "terrace_advice_seconds") window.seconds = value;
  if (name == "terrace_advice_references") window.references = value;
  if (name == "terrace_advice_reference_bytes") window.reference_bytes = value;
  if (name == "terrace_advice_hits") window.hits = value;
  if (name == "terrace_advice_sampled_references") window.sampled = value;
  if (name == "terrace_advice_point_hits") figures.sizes[SizeOf(labels)].hits = value;
  if (name == "terrace_advice_point_dram_hits") figures.sizes[SizeOf(labels)].dram_hits = value;
  if (name == "terrace_advice_point_variance") figures.sizes[SizeOf(labels)].variance = value;
}

Advice::Row RowOf(const Advice& advice, const WindowFigures& figures, Size size,
                  const Estimate& estimate) {
  const Advice::Window& window = figures.window;
  Advice::Row row{.dram_scale = size.dram,
                  .nvme_scale = size.nvme,
                  .dram_bytes = advice.dram_bytes * size.dram,
                  .nvme_bytes = advice.nvme_bytes * size.nvme,
                  .unfilled = estimate.unfilled};
  if (!(window.references > 0)) return row;
  row.hit_ratio = estimate.hits / window.references;
  row.dram_hit_ratio = std::min(estimate.dram_hits / window.references, row.hit_ratio);
  row.standard_error = std::sqrt(std::max(estimate.variance, 0.0)) / window.references;
  if (window.seconds > 0) {
    row.saved_bytes_per_s = row.hit_ratio * window.reference_bytes / window.seconds;
  }
  const double more =
      (row.dram_bytes - advice.dram_bytes + row.nvme_bytes - advice.nvme_bytes) / kGib;
  const double gained = row.hit_ratio - window.hits / window.references;
  if (std::abs(more) > 0) row.gain_per_gib = gained / more;
  return row;
}

Advice::Window MakeWindow(const Advice& advice, const WindowFigures& figures) {
  Advice::Window window = figures.window;
  for (const bool dram : {true, false}) {
    if (!dram && !(advice.nvme_bytes > 0)) break;
    for (const auto& [size, estimate] : figures.sizes) {
      if ((dram ? size.nvme : size.dram) != 1) continue;
      if (!dram && size.dram == 1 && size.nvme == 1) continue;  // is among the others
      window.rows.push_back(RowOf(advice, figures, size, estimate));
    }
  }
  return window;
}

const Advice::Row* Smallest(const Advice::Window& window, bool dram) {
  const Advice::Row* now = FindRow(window, 1, 1);
  const Advice::Row* smallest = nullptr;
  if (now == nullptr || !window.Enough()) return nullptr;
  for (const Advice::Row& row : window.rows) {
    const double scale = dram ? row.dram_scale : row.nvme_scale;
    if ((dram ? row.nvme_scale : row.dram_scale) != 1 || scale >= 1) continue;
    if (now->hit_ratio - row.hit_ratio + 2 * row.standard_error > kGiveUpMax) continue;
    const double best = smallest == nullptr ? 1
                        : dram              ? smallest->dram_scale
                                            : smallest->nvme_scale;
    if (scale < best) smallest = &row;
  }
  return smallest;
}

Json RowJson(const Advice::Row& row) {
  return {{"dram_scale", row.dram_scale},         {"nvme_scale", row.nvme_scale},
          {"dram_bytes", row.dram_bytes},         {"nvme_bytes", row.nvme_bytes},
          {"hit_ratio", row.hit_ratio},           {"dram_hit_ratio", row.dram_hit_ratio},
          {"standard_error", row.standard_error}, {"saved_bytes_per_s", row.saved_bytes_per_s},
          {"gain_per_gib", row.gain_per_gib},     {"unfilled", row.unfilled}};
}

Json WindowJson(const Advice::Window& window) {
  if (!window.known) return nullptr;
  Json json = {{"seconds", window.seconds},
               {"references", window.references},
               {"sampled_references", window.sampled},
               {"enough", window.Enough()},
               {"hit_ratio", nullptr},
               {"sizes", Json::array()}};
  if (window.references > 0) json["hit_ratio"] = window.hits / window.references;
  if (!window.Enough()) return json;
  for (const Advice::Row& row : window.rows) json["sizes"].push_back(RowJson(row));
  return json;
}

}  // namespace

const Advice::Window& Advice::Best() const noexcept {
  return uptime_seconds > kHour && hour.Enough() ? hour : start;
}

Advice Advise(const AdviceSamples& samples) {
  Advice advice;
  WindowFigures hour;
  WindowFigures start;
  std::map<Size, bool> unfilled;
  for (const auto& [key, value] : samples.values()) {
    const auto& [name, labels] = key;
    if (name == "terrace_process_uptime_seconds") advice.uptime_seconds = value;
    if (name == "terrace_tier_capacity_bytes") {
      const std::string tier = LabelValue(labels, "tier");
      if (tier == "dram") advice.dram_bytes += value;
      if (tier == "nvme") advice.nvme_bytes += value;
    }
    if (name == "terrace_advice_sampling_ratio") advice.sampling_ratio = value;
    if (name == "terrace_advice_memory_bytes") advice.memory_bytes = value;
    if (name == "terrace_advice_cpu_seconds_total") advice.cpu_seconds = value;
    if (name == "terrace_advice_point_unfilled") unfilled[SizeOf(labels)] = value > 0;
    const std::string window = LabelValue(labels, "window");
    if (window == "hour") AddFigure(name, labels, value, hour);
    if (window == "start") AddFigure(name, labels, value, start);
  }
  for (const auto& [size, is_unfilled] : unfilled) {
    for (WindowFigures* figures : {&hour, &start}) {
      const auto found = figures->sizes.find(size);
      if (found != figures->sizes.end()) found->second.unfilled = is_unfilled;
    }
  }
  advice.hour = MakeWindow(advice, hour);
  advice.start = MakeWindow(advice, start);
  return advice;
}

const Advice::Row* FindRow(const Advice::Window& window, double dram_scale, double nvme_scale) {
  for (const Advice::Row& row : window.rows) {
    if (row.dram_scale == dram_scale && row.nvme_scale == nvme_scale) return &row;
  }
  return nullptr;
}

const Advice::Row* SmallestDram(const Advice::Window& window) { return Smallest(window, true); }
const Advice::Row* SmallestNvme(const Advice::Window& window) { return Smallest(window, false); }

std::string AdviceJson(const Advice& advice) {
  const Advice::Window& best = advice.Best();
  const auto scale = [](const Advice::Row* row, double Advice::Row::* which) -> Json {
    if (row == nullptr) return nullptr;
    return row->*which;
  };
  const Json json = {{"dram_bytes", advice.dram_bytes},
                     {"nvme_bytes", advice.nvme_bytes},
                     {"uptime_seconds", advice.uptime_seconds},
                     {"sampling_ratio", advice.sampling_ratio},
                     {"memory_bytes", advice.memory_bytes},
                     {"cpu_seconds", advice.cpu_seconds},
                     {"window", &best == &advice.hour ? "hour" : "start"},
                     {"enough", best.Enough()},
                     {"smallest_dram_scale", scale(SmallestDram(best), &Advice::Row::dram_scale)},
                     {"smallest_nvme_scale", scale(SmallestNvme(best), &Advice::Row::nvme_scale)},
                     {"hour", WindowJson(advice.hour)},
                     {"start", WindowJson(advice.start)}};
  return json.dump() + "\n";
}

}  // namespace terrace
