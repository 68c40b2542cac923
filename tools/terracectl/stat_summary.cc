#include "tools/terracectl/stat_summary.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace terrace {

namespace {

struct PlainField {
  std::string_view name;
  double StatSummary::* field;
};
constexpr PlainField kPlainFields[] = {
    {"terrace_process_uptime_seconds", &StatSummary::uptime_seconds},
    {"terrace_match_requests_total", &StatSummary::match_requests},
    {"terrace_match_blocks_total", &StatSummary::match_blocks},
    {"terrace_match_blocks_hit_total", &StatSummary::match_hits},
    {"terrace_get_requests_total", &StatSummary::get_requests},
    {"terrace_get_blocks_total", &StatSummary::get_blocks},
    {"terrace_get_blocks_hit_total", &StatSummary::get_hits},
    {"terrace_get_blocks_missed_total", &StatSummary::get_misses},
    {"terrace_get_blocks_failed_total", &StatSummary::get_failures},
    {"terrace_get_bytes_total", &StatSummary::get_bytes},
    {"terrace_put_requests_total", &StatSummary::put_requests},
    {"terrace_put_blocks_total", &StatSummary::put_blocks},
    {"terrace_put_blocks_stored_total", &StatSummary::put_stored},
    {"terrace_put_blocks_existing_total", &StatSummary::put_existing},
    {"terrace_put_blocks_pending_total", &StatSummary::put_pending},
    {"terrace_put_blocks_no_space_total", &StatSummary::put_no_space},
    {"terrace_put_blocks_failed_total", &StatSummary::put_failures},
    {"terrace_put_bytes_total", &StatSummary::put_bytes},
    {"terrace_get_tokens_total", &StatSummary::get_tokens},
    {"terrace_removed_blocks_total", &StatSummary::removed_blocks},
    {"terrace_cleared_blocks_total", &StatSummary::cleared_blocks},
    {"terrace_key_mismatches_total", &StatSummary::key_mismatches},
    {"terrace_process_resident_memory_bytes", &StatSummary::resident_bytes},
    {"terrace_process_cpu_seconds_total", &StatSummary::cpu_seconds},
    {"terrace_process_open_files", &StatSummary::open_files},
    {"terrace_index_bytes", &StatSummary::index_bytes},
    {"terrace_index_capacity_blocks", &StatSummary::index_capacity_blocks},
    {"terrace_client_connections", &StatSummary::connections},
    {"terrace_client_connects_total", &StatSummary::connects},
    {"terrace_client_disconnects_total", &StatSummary::disconnects},
    {"terrace_clients_refused_total", &StatSummary::refused},
    {"terrace_clients_timed_out_total", &StatSummary::timed_out},
    {"terrace_malformed_messages_total", &StatSummary::malformed},
    {"terrace_quarantined_frames", &StatSummary::quarantined_frames},
    {"terrace_reactor_stalls_total", &StatSummary::stalls},
};

struct TierField {
  std::string_view name;
  double TierSummary::* field;
};
constexpr TierField kTierFields[] = {
    {"terrace_tier_capacity_bytes", &TierSummary::capacity_bytes},
    {"terrace_tier_used_bytes", &TierSummary::used_bytes},
    {"terrace_tier_payload_bytes", &TierSummary::payload_bytes},
    {"terrace_tier_header_bytes", &TierSummary::header_bytes},
    {"terrace_tier_huge_page_bytes", &TierSummary::huge_page_bytes},
    {"terrace_tier_blocks", &TierSummary::blocks},
    {"terrace_evicted_blocks_total", &TierSummary::evicted_blocks},
    {"terrace_evicted_bytes_total", &TierSummary::evicted_bytes},
    {"terrace_get_blocks_hit_total", &TierSummary::hits},
    {"terrace_load_predictions_total", &TierSummary::predictions},
    {"terrace_load_prediction_error_total", &TierSummary::prediction_error},
};

struct NvmeField {
  std::string_view name;
  double NvmeSummary::* field;
};
constexpr NvmeField kNvmeFields[] = {
    {"terrace_nvme_devices", &NvmeSummary::devices},
    {"terrace_nvme_devices_online", &NvmeSummary::devices_online},
    {"terrace_nvme_index_healthy", &NvmeSummary::index_healthy},
    {"terrace_nvme_index_failures_total", &NvmeSummary::index_failures},
    {"terrace_removals_not_logged_total", &NvmeSummary::removals_not_logged},
    {"terrace_nvme_device_written_bytes_total", &NvmeSummary::written_bytes},
    {"terrace_nvme_device_read_bytes_total", &NvmeSummary::read_bytes},
    {"terrace_nvme_put_bytes_total", &NvmeSummary::put_bytes},
    {"terrace_nvme_refused_bytes_total", &NvmeSummary::refused_bytes},
    {"terrace_nvme_write_share", &NvmeSummary::write_share},
    {"terrace_nvme_write_price", &NvmeSummary::write_price},
    {"terrace_nvme_segments_reclaimed_total", &NvmeSummary::segments_reclaimed},
    {"terrace_nvme_loads_total", &NvmeSummary::loads},
    {"terrace_nvme_blocks_recovered", &NvmeSummary::recovered_blocks},
    {"terrace_nvme_write_queue_bytes", &NvmeSummary::queue_bytes},
    {"terrace_nvme_write_budget_left_bytes", &NvmeSummary::budget_left_bytes},
};

struct NvmeCounts {
  std::string_view name;
  std::string_view label;
  std::map<std::string, double> NvmeSummary::* counts;
};
constexpr NvmeCounts kNvmeCounts[] = {
    {"terrace_nvme_blocks_written_total", "reason", &NvmeSummary::blocks_written},
    {"terrace_nvme_blocks_declined_total", "reason", &NvmeSummary::declined},
    {"terrace_nvme_loads_failed_total", "reason", &NvmeSummary::loads_failed},
    {"terrace_nvme_errors_total", "kind", &NvmeSummary::errors},
};

void AddToNvme(const Sample& sample, NvmeSummary& nvme) {
  for (const NvmeField& known : kNvmeFields) {
    if (sample.name == known.name) nvme.*known.field += sample.value;
  }
  if (!(sample.value > 0)) return;
  for (const NvmeCounts& known : kNvmeCounts) {
    if (sample.name != known.name) continue;
    (nvme.*known.counts)[LabelValue(sample.labels, known.label)] += sample.value;
  }
  if (sample.name == "terrace_nvme_state") nvme.state = LabelValue(sample.labels, "state");
}

struct HbmField {
  std::string_view name;
  double HbmSummary::* field;
};
constexpr HbmField kHbmFields[] = {
    {"terrace_hbm_gpus", &HbmSummary::gpus},
    {"terrace_hbm_gpus_offline", &HbmSummary::gpus_offline},
    {"terrace_hbm_blocks_copied_in_total", &HbmSummary::copied_in},
    {"terrace_hbm_loads_total", &HbmSummary::loads},
    {"terrace_hbm_evicted_copies_total", &HbmSummary::evicted_copies},
    {"terrace_hbm_failures_total", &HbmSummary::failures},
    {"terrace_hbm_pin_failures_total", &HbmSummary::pin_failures},
    {"terrace_hbm_wire_bytes_total", &HbmSummary::straight_bytes},
    {"terrace_hbm_lent_blocks", &HbmSummary::lent_blocks},
    {"terrace_hbm_lent_bytes", &HbmSummary::lent_bytes},
    {"terrace_hbm_leases_refused_total", &HbmSummary::leases_refused},
    {"terrace_hbm_leases_expired_total", &HbmSummary::leases_expired},
};

void AddToHbm(const Sample& sample, HbmSummary& hbm) {
  for (const HbmField& known : kHbmFields) {
    if (sample.name == known.name) hbm.*known.field += sample.value;
  }
  if (sample.name != "terrace_hbm_wire" || !(sample.value > 0)) return;
  hbm.wires[{LabelValue(sample.labels, "path"), LabelValue(sample.labels, "reason")}] +=
      sample.value;
}

void AddToHints(const Sample& sample, StatSummary& summary) {
  if (!(sample.value > 0)) return;
  if (sample.name == "terrace_hints_total") {
    summary.hints[LabelValue(sample.labels, "kind")] += sample.value;
  } else if (sample.name == "terrace_hints_ignored_total") {
    summary.hints_ignored[LabelValue(sample.labels, "reason")] += sample.value;
  }
}

// The order of the terraces, fastest first; names that this program does not know come last.
std::size_t TierRank(std::string_view tier) {
  constexpr std::array<std::string_view, 3> kOrder = {"hbm", "dram", "nvme"};
  return static_cast<std::size_t>(std::find(kOrder.begin(), kOrder.end(), tier) - kOrder.begin());
}

TierSummary& TierOf(StatSummary& summary, const std::string& tier) {
  for (TierSummary& known : summary.tiers) {
    if (known.tier == tier) return known;
  }
  summary.tiers.push_back({.tier = tier});
  return summary.tiers.back();
}

double EvictedBlocks(const StatSummary& summary) {
  double blocks = 0;
  for (const TierSummary& tier : summary.tiers) blocks += tier.evicted_blocks;
  return blocks;
}

}  // namespace

StatSummary Summarize(std::span<const Sample> samples) {
  StatSummary summary;
  for (const Sample& sample : samples) {
    for (const PlainField& known : kPlainFields) {
      if (sample.name == known.name) summary.*known.field += sample.value;
    }
    for (const TierField& known : kTierFields) {
      if (sample.name != known.name) continue;
      TierOf(summary, LabelValue(sample.labels, "tier")).*known.field += sample.value;
    }
    AddToNvme(sample, summary.nvme);
    AddToHbm(sample, summary.hbm);
    AddToHints(sample, summary);
    if (sample.name == "terrace_build_info") summary.version = LabelValue(sample.labels, "version");
    if (sample.name == "terrace_misses_total" && sample.value > 0) {
      const bool get = LabelValue(sample.labels, "request") == "get";
      (get ? summary.get_reasons : summary.match_reasons)[LabelValue(sample.labels, "reason")] +=
          sample.value;
    }
    if (sample.name == "terrace_policy_info") summary.policy = LabelValue(sample.labels, "policy");
    if (sample.name == "terrace_client_connections_by_link") {
      summary.connections_by_link[LabelValue(sample.labels, "link")] += sample.value;
    }
    if (sample.name == "terrace_client_connections_by_name") {
      summary.connections_by_name[{LabelValue(sample.labels, "client"),
                                   LabelValue(sample.labels, "link")}] += sample.value;
    }
    if (sample.name == "terrace_reactors") {
      summary.reactors[LabelValue(sample.labels, "sleeps_in")] += sample.value;
    }
    if (sample.name == "terrace_reactor_stall_max_seconds") {
      summary.stall_max_seconds = std::max(summary.stall_max_seconds, sample.value);
    }
  }
  // A daemon without a tier has counters of it all the same, which stay 0.
  std::erase_if(summary.tiers, [](const TierSummary& tier) {
    return tier.capacity_bytes == 0 && tier.used_bytes == 0 && tier.blocks == 0 && tier.hits == 0 &&
           tier.evicted_blocks == 0;
  });
  std::sort(summary.tiers.begin(), summary.tiers.end(),
            [](const TierSummary& left, const TierSummary& right) {
              return std::pair(TierRank(left.tier), left.tier) <
                     std::pair(TierRank(right.tier), right.tier);
            });
  return summary;
}

StatRates RatesBetween(const StatSummary& before, const StatSummary& now, double seconds) {
  TERRACE_CHECK(seconds > 0);
  StatRates rates;
  rates.restarted = now.uptime_seconds < before.uptime_seconds;
  static const StatSummary kNothing;
  const StatSummary& base = rates.restarted ? kNothing : before;
  rates.seconds = rates.restarted ? std::max(now.uptime_seconds, 1e-3) : seconds;
  // A counter never goes back, but the samples of several reactors are not of one instant.
  const auto rate = [&](double StatSummary::* field) {
    return std::max(0.0, now.*field - base.*field) / rates.seconds;
  };
  rates.match_blocks = rate(&StatSummary::match_blocks);
  rates.match_hits = rate(&StatSummary::match_hits);
  rates.get_blocks = rate(&StatSummary::get_blocks);
  rates.get_hits = rate(&StatSummary::get_hits);
  rates.get_bytes = rate(&StatSummary::get_bytes);
  rates.put_blocks = rate(&StatSummary::put_blocks);
  rates.put_stored = rate(&StatSummary::put_stored);
  rates.put_bytes = rate(&StatSummary::put_bytes);
  rates.cpu = rate(&StatSummary::cpu_seconds);
  const auto nvme_rate = [&](double NvmeSummary::* field) {
    return std::max(0.0, now.nvme.*field - base.nvme.*field) / rates.seconds;
  };
  rates.nvme_written_bytes = nvme_rate(&NvmeSummary::written_bytes);
  rates.nvme_read_bytes = nvme_rate(&NvmeSummary::read_bytes);
  rates.evicted_blocks = std::max(0.0, EvictedBlocks(now) - EvictedBlocks(base)) / rates.seconds;
  return rates;
}

}  // namespace terrace
