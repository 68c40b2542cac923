#include "tools/replay/daemon_view.h"

#include <algorithm>

namespace terrace::replay {
namespace {

constexpr std::string_view kDram = "tier=\"dram\"";
constexpr std::string_view kNvme = "tier=\"nvme\"";

std::uint64_t Whole(std::optional<double> value) {
  return value.has_value() && *value > 0 ? static_cast<std::uint64_t>(*value) : 0;
}

}  // namespace

std::optional<double> SumSamples(std::span<const Sample> samples, std::string_view name,
                                 std::string_view label) {
  std::optional<double> sum;
  for (const Sample& sample : samples) {
    if (sample.name != name) continue;
    if (sample.labels.find(label) == std::string::npos) continue;
    sum = sum.value_or(0) + sample.value;
  }
  return sum;
}

DaemonView ViewOf(std::span<const Sample> samples) {
  DaemonView view;
  view.known = !samples.empty();
  view.dram_bytes = Whole(SumSamples(samples, "terrace_tier_capacity_bytes", kDram));
  view.nvme_bytes = Whole(SumSamples(samples, "terrace_tier_capacity_bytes", kNvme));
  view.blocks = Whole(SumSamples(samples, "terrace_tier_blocks", ""));
  view.evictions = Whole(SumSamples(samples, "terrace_evicted_blocks_total", ""));
  view.reactors = std::max<std::uint64_t>(Whole(SumSamples(samples, "terrace_reactors", "")), 1);
  view.uptime_s = SumSamples(samples, "terrace_process_uptime_seconds", "").value_or(0);
  const double huge = SumSamples(samples, "terrace_tier_huge_page_bytes", kDram).value_or(0);
  if (view.dram_bytes > 0) view.huge_page_share = huge / static_cast<double>(view.dram_bytes);
  return view;
}

}  // namespace terrace::replay
