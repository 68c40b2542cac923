#include "tools/replay/run/daemon_view.h"

#include <algorithm>

namespace terrace::replay {
namespace {

constexpr std::string_view kDram = "tier=\"dram\"";
constexpr std::string_view kNvme = "tier=\"nvme\"";
/// What the clocks of two hosts may drift apart in a long run. A daemon that lived shorter than
/// this is not told from its successor.
constexpr Nanos kDriftMax = 500 * kMillisecond;

std::uint64_t Whole(std::optional<double> value) {
  return value.has_value() && *value > 0 ? static_cast<std::uint64_t>(*value) : 0;
}

/// Of the label policy="NAME".
std::string PolicyOf(std::span<const Sample> samples) {
  constexpr std::string_view kLabel = "policy=\"";
  for (const Sample& sample : samples) {
    if (sample.name != "terrace_policy_info") continue;
    const std::size_t begin = sample.labels.find(kLabel);
    if (begin == std::string::npos) continue;
    const std::size_t end = sample.labels.find('"', begin + kLabel.size());
    if (end == std::string::npos) continue;
    return sample.labels.substr(begin + kLabel.size(), end - begin - kLabel.size());
  }
  return {};
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
  view.evictions = Whole(SumSamples(samples, "terrace_evicted_blocks_total", kDram));
  view.reactors = std::max<std::uint64_t>(Whole(SumSamples(samples, "terrace_reactors", "")), 1);
  view.uptime_s = SumSamples(samples, "terrace_process_uptime_seconds", "").value_or(0);
  const double huge = SumSamples(samples, "terrace_tier_huge_page_bytes", kDram).value_or(0);
  if (view.dram_bytes > 0) view.huge_page_share = huge / static_cast<double>(view.dram_bytes);
  view.policy = PolicyOf(samples);
  // Each reactor tells the same.
  for (const Sample& sample : samples) {
    if (sample.name == "terrace_nvme_write_share") view.nvme_write_share = sample.value;
  }
  view.nvme_blocks = Whole(SumSamples(samples, "terrace_tier_blocks", kNvme));
  view.nvme_used_bytes = Whole(SumSamples(samples, "terrace_tier_used_bytes", kNvme));
  constexpr std::string_view kWritten = "terrace_nvme_blocks_written_total";
  view.nvme_blocks_put = Whole(SumSamples(samples, kWritten, "reason=\"put\""));
  view.nvme_blocks_reinserted = Whole(SumSamples(samples, kWritten, "reason=\"reinsert\""));
  view.device_bytes_written =
      Whole(SumSamples(samples, "terrace_nvme_device_written_bytes_total", ""));
  return view;
}

void RestartNotes::Add(const DaemonView& view, Nanos asked, Nanos answered) {
  if (!view.known) return;
  const auto uptime = static_cast<Nanos>(view.uptime_s * 1e9);
  // The uptime was read somewhere between question and answer.
  if (began_at_the_latest_.has_value() && asked - uptime > *began_at_the_latest_ + kDriftMax) {
    ++restarts_;
    blocks_recovered_ = view.nvme_blocks - std::min(view.nvme_blocks_put, view.nvme_blocks);
  }
  began_at_the_latest_ = answered - uptime;
}

}  // namespace terrace::replay
