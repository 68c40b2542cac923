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

constexpr Advice::Tier kTiers[] = {Advice::Tier::kDram, Advice::Tier::kNvme, Advice::Tier::kHbm};

struct Size {
  double dram = 1;
  double nvme = 1;
  double hbm = 1;
  friend auto operator<=>(const Size&, const Size&) = default;
};

struct Estimate {
  double hits = 0;
  double dram_hits = 0;
  double variance = 0;
  bool unfilled = false;
};

Size SizeOf(const std::string& labels) {
  const std::string hbm = LabelValue(labels, "hbm");  // of a daemon that has some
  return {.dram = std::strtod(LabelValue(labels, "dram").c_str(), nullptr),
          .nvme = std::strtod(LabelValue(labels, "nvme").c_str(), nullptr),
          .hbm = hbm.empty() ? 1 : std::strtod(hbm.c_str(), nullptr)};
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
                  .hbm_scale = size.hbm,
                  .dram_bytes = advice.dram_bytes * size.dram,
                  .nvme_bytes = advice.nvme_bytes * size.nvme,
                  .hbm_bytes = advice.hbm_bytes * size.hbm,
                  .unfilled = estimate.unfilled};
  if (!(window.references > 0)) return row;
  row.hit_ratio = estimate.hits / window.references;
  row.dram_hit_ratio = std::min(estimate.dram_hits / window.references, row.hit_ratio);
  row.standard_error = std::sqrt(std::max(estimate.variance, 0.0)) / window.references;
  if (window.seconds > 0) {
    row.saved_bytes_per_s = row.hit_ratio * window.reference_bytes / window.seconds;
  }
  const double more = (row.dram_bytes - advice.dram_bytes + row.nvme_bytes - advice.nvme_bytes +
                       row.hbm_bytes - advice.hbm_bytes) /
                      kGib;
  const double gained = row.hit_ratio - window.hits / window.references;
  if (std::abs(more) > 0) row.gain_per_gib = gained / more;
  return row;
}

/// The row is of another size of this tier alone, or of the present size.
bool Varies(const Advice::Row& row, Advice::Tier tier) {
  return std::ranges::all_of(kTiers,
                             [&](Advice::Tier one) { return one == tier || row.Scale(one) == 1; });
}

Advice::Window MakeWindow(const Advice& advice, const WindowFigures& figures) {
  Advice::Window window = figures.window;
  const double have[] = {advice.dram_bytes, advice.nvme_bytes, advice.hbm_bytes};
  for (const Advice::Tier tier : kTiers) {
    const bool dram = tier == Advice::Tier::kDram;
    if (!dram && !(have[static_cast<std::size_t>(tier)] > 0)) continue;
    for (const auto& [size, estimate] : figures.sizes) {
      const Advice::Row row = RowOf(advice, figures, size, estimate);
      if (!Varies(row, tier)) continue;
      if (!dram && row.Scale(tier) == 1) continue;  // is among DRAM's
      window.rows.push_back(row);
    }
  }
  return window;
}

Json RowJson(const Advice::Row& row) {
  return {{"dram_scale", row.dram_scale},         {"nvme_scale", row.nvme_scale},
          {"hbm_scale", row.hbm_scale},           {"dram_bytes", row.dram_bytes},
          {"nvme_bytes", row.nvme_bytes},         {"hbm_bytes", row.hbm_bytes},
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
      if (tier == "hbm") advice.hbm_bytes += value;
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

double Advice::Row::Scale(Tier tier) const noexcept {
  return tier == Tier::kDram ? dram_scale : tier == Tier::kNvme ? nvme_scale : hbm_scale;
}

double Advice::Row::Bytes(Tier tier) const noexcept {
  return tier == Tier::kDram ? dram_bytes : tier == Tier::kNvme ? nvme_bytes : hbm_bytes;
}

const Advice::Row* FindRow(const Advice::Window& window, Advice::Tier tier, double scale) {
  for (const Advice::Row& row : window.rows) {
    if (Varies(row, tier) && row.Scale(tier) == scale) return &row;
  }
  return nullptr;
}

const Advice::Row* PresentRow(const Advice::Window& window) {
  return FindRow(window, Advice::Tier::kDram, 1);
}

bool HbmHidesDram(const Advice::Row& now) {
  return now.hbm_bytes > 0 && now.hbm_bytes >= now.dram_bytes;
}

const Advice::Row* SmallestRow(const Advice::Window& window, Advice::Tier tier) {
  const Advice::Row* now = PresentRow(window);
  const Advice::Row* smallest = nullptr;
  if (now == nullptr || !window.Enough()) return nullptr;
  if (tier == Advice::Tier::kDram && HbmHidesDram(*now)) return nullptr;
  for (const Advice::Row& row : window.rows) {
    if (!Varies(row, tier) || row.Scale(tier) >= 1) continue;
    if (now->hit_ratio - row.hit_ratio + 2 * row.standard_error > kGiveUpMax) continue;
    if (smallest == nullptr || row.Scale(tier) < smallest->Scale(tier)) smallest = &row;
  }
  return smallest;
}

std::string AdviceJson(const Advice& advice) {
  const Advice::Window& best = advice.Best();
  const auto smallest = [&best](Advice::Tier tier) -> Json {
    const Advice::Row* row = SmallestRow(best, tier);
    if (row == nullptr) return nullptr;
    return row->Scale(tier);
  };
  const Json json = {{"dram_bytes", advice.dram_bytes},
                     {"nvme_bytes", advice.nvme_bytes},
                     {"hbm_bytes", advice.hbm_bytes},
                     {"uptime_seconds", advice.uptime_seconds},
                     {"sampling_ratio", advice.sampling_ratio},
                     {"memory_bytes", advice.memory_bytes},
                     {"cpu_seconds", advice.cpu_seconds},
                     {"window", &best == &advice.hour ? "hour" : "start"},
                     {"enough", best.Enough()},
                     {"smallest_dram_scale", smallest(Advice::Tier::kDram)},
                     {"smallest_nvme_scale", smallest(Advice::Tier::kNvme)},
                     {"smallest_hbm_scale", smallest(Advice::Tier::kHbm)},
                     {"hour", WindowJson(advice.hour)},
                     {"start", WindowJson(advice.start)}};
  return json.dump() + "\n";
}

}  // namespace terrace
