#include "tools/replay/page/compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "tools/replay/page/compare_rules.h"
#include "tools/replay/page/markup.h"

namespace terrace::replay {
namespace {

constexpr Noise kNone{};
constexpr Noise kSpeed{.relative = 0.10};
constexpr Noise kTail{.relative = 0.25};

struct GroupRules {
  const char* name;
  std::span<const FigureRule> rules;
};

constexpr std::array kCorrectness{
    FigureRule{"wrong_bytes", "wrong bytes", FigureUnit::kCount, Better::kLower, kNone},
    FigureRule{"wrong_blocks", "wrong blocks", FigureUnit::kCount, Better::kLower, kNone},
    FigureRule{"worker_errors", "workers that died", FigureUnit::kCount, Better::kLower, kNone},
    FigureRule{"calls_failed", "calls without answer", FigureUnit::kCount, Better::kLower, kNone}};
constexpr std::array kHitRules{
    FigureRule{"block_hit_ratio", "blocks hit", FigureUnit::kRatio, Better::kHigher, kHits},
    FigureRule{"token_hit_ratio", "tokens hit", FigureUnit::kRatio, Better::kHigher, kHits},
    FigureRule{"simulated_block_hit_ratio", "blocks hit, simulated", FigureUnit::kRatio,
               Better::kHigher, kHits},
    FigureRule{"hits_dram", "hits in DRAM", FigureUnit::kCount, Better::kNeither, kCounts},
    FigureRule{"hits_nvme", "hits on NVMe", FigureUnit::kCount, Better::kNeither, kCounts},
    FigureRule{"decode_blocks_missing", "blocks that decodes missed", FigureUnit::kCount,
               Better::kLower, kCounts}};
constexpr std::array kWorthRules{
    FigureRule{"gpu_seconds_saved", "GPU-seconds saved", FigureUnit::kFigure, Better::kHigher,
               kCounts},
    FigureRule{"ttft_ms_mean_with", "first token, hits loaded", FigureUnit::kSeconds,
               Better::kLower, kSpeed, 1e-3},
    FigureRule{"ttft_ms_mean_planned", "first token, loading when it pays", FigureUnit::kSeconds,
               Better::kLower, kSpeed, 1e-3}};
constexpr std::array kByteRules{
    FigureRule{"device_bytes_written", "written to devices", FigureUnit::kBytes, Better::kLower,
               kCounts},
    FigureRule{"nvme_bytes_admitted", "admitted to NVMe", FigureUnit::kBytes, Better::kNeither,
               kCounts},
    FigureRule{"nvme_blocks_reinserted", "blocks written again", FigureUnit::kCount, Better::kLower,
               kCounts},
    FigureRule{"bytes_put", "put", FigureUnit::kBytes, Better::kLower, kCounts},
    FigureRule{"bytes_got", "got", FigureUnit::kBytes, Better::kNeither, kCounts},
    FigureRule{"evictions", "evictions", FigureUnit::kCount, Better::kLower, kCounts}};
constexpr std::array kSpeedRules{
    FigureRule{"duration_s", "duration", FigureUnit::kSeconds, Better::kLower, kSpeed},
    FigureRule{"total_gb_per_s", "GB/s in all", FigureUnit::kFigure, Better::kHigher, kSpeed},
    FigureRule{"get_gb_per_s", "GB/s of gets", FigureUnit::kFigure, Better::kHigher, kSpeed},
    FigureRule{"put_gb_per_s", "GB/s of puts", FigureUnit::kFigure, Better::kHigher, kSpeed}};
constexpr std::array kLatencyRules{
    FigureRule{"request_ms_p50", "request, median", FigureUnit::kSeconds, Better::kLower, kSpeed,
               1e-3},
    FigureRule{"request_ms_p99", "request, 99 %", FigureUnit::kSeconds, Better::kLower, kTail,
               1e-3},
    FigureRule{"queue_ms_p50", "queue, median", FigureUnit::kSeconds, Better::kLower, kSpeed, 1e-3},
    FigureRule{"queue_ms_p99", "queue, 99 %", FigureUnit::kSeconds, Better::kLower, kTail, 1e-3},
    FigureRule{"match_us_p50", "match, median", FigureUnit::kSeconds, Better::kLower, kSpeed, 1e-6},
    FigureRule{"match_us_p99", "match, 99 %", FigureUnit::kSeconds, Better::kLower, kTail, 1e-6},
    FigureRule{"get_us_p50", "get, median", FigureUnit::kSeconds, Better::kLower, kSpeed, 1e-6},
    FigureRule{"get_us_p99", "get, 99 %", FigureUnit::kSeconds, Better::kLower, kTail, 1e-6},
    FigureRule{"put_us_p50", "put, median", FigureUnit::kSeconds, Better::kLower, kSpeed, 1e-6},
    FigureRule{"put_us_p99", "put, 99 %", FigureUnit::kSeconds, Better::kLower, kTail, 1e-6}};
constexpr std::array<GroupRules, 6> kRunGroups{{{"Correctness", kCorrectness},
                                                {"Hits", kHitRules},
                                                {"Compute saved", kWorthRules},
                                                {"Bytes and writes", kByteRules},
                                                {"Speed", kSpeedRules},
                                                {"Latency", kLatencyRules}}};

constexpr const char* kOtherHits = "hits and all that follows from them are not comparable";
constexpr const char* kOtherSavings = "compute and money saved are not comparable";
constexpr std::array<SettingRule, 27> kSettings{{
    {"kind", nullptr},
    {"block_references", kOtherHits},
    {"skipped_lines", kOtherHits},
    {"block_tokens", kOtherHits},
    {"block_bytes", "bytes are not comparable"},
    {"bytes_per_token", "bytes are not comparable"},
    {"kv_bytes_per_token", "bytes are not comparable"},
    {"dram_bytes", kOtherTiers},
    {"nvme_bytes", kOtherTiers},
    {"model", kOtherSavings},
    {"gpu", kOtherSavings},
    {"gpus", kOtherSavings},
    {"weights_precision", kOtherSavings},
    {"mode", "speed and latency are not comparable"},
    {"speed", "speed and latency are not comparable"},
    {"concurrency", "speed and latency are not comparable"},
    {"think_time", "speed and latency are not comparable"},
    {"prefill_workers", "speed and latency are not comparable"},
    {"decode_workers", "speed and latency are not comparable"},
    {"lockstep", "speed and latency are not comparable"},
    {"batch_blocks", "latency is of other batches"},
    {"link", "speed and latency are of other links"},
    {"policy", nullptr},  // what runs are compared for
    {"hints", nullptr},   // likewise
    {"reactors", nullptr},
    {"format", nullptr},
    {"daemon_restarts", "a restart costs hits"},
}};

/// What tells the workload; a run and a simulation have other names for it.
struct WorkloadKey {
  const char* in_run;
  const char* in_simulation;
};
constexpr std::array<WorkloadKey, 3> kWorkload{{{"trace", "trace"},
                                                {"requests_in_trace", "requests"},
                                                {"trace_distinct_blocks", "distinct_blocks"}}};

/// Silence about the workload is no sameness: it is warned of, too.
void CompareWorkloads(const Document& a, const Document& b, bool run_a, bool run_b,
                      Comparison& comparison) {
  for (const WorkloadKey& names : kWorkload) {
    const std::string key_a = run_a ? names.in_run : names.in_simulation;
    const std::string key_b = run_b ? names.in_run : names.in_simulation;
    if (a.value(key_a, Document()) == b.value(key_b, Document())) continue;
    ComparedSetting setting{key_a, SettingText(a, key_a.c_str()), SettingText(b, key_b.c_str())};
    if (key_a != key_b) setting.key.append(" and ").append(key_b);
    if (setting.a.empty() && setting.b.empty()) continue;
    if (setting.a.empty() || setting.b.empty()) {
      const bool in_a = !setting.a.empty();
      comparison.warnings.push_back((in_a ? key_a : key_b) + " is only in " + (in_a ? "A" : "B") +
                                    ": nobody knows whether the workloads are the same");
    } else {
      comparison.warnings.push_back(setting.key + (key_a == key_b ? " differs (" : " differ (") +
                                    setting.a + " and " + setting.b + "): " + kOtherHits);
    }
    comparison.settings.push_back(std::move(setting));
  }
}

void CompareSettings(const Document& a, const Document& b, bool same_kind, Comparison& comparison) {
  for (const SettingRule& rule : kSettings) {
    ComparedSetting setting{rule.key, SettingText(a, rule.key), SettingText(b, rule.key)};
    if (a.value(rule.key, Document()) == b.value(rule.key, Document())) continue;
    // A run and a simulation name most settings differently: one that only one has says nothing.
    const bool both = !setting.a.empty() && !setting.b.empty();
    if (!both && !same_kind) continue;
    if (rule.warning != nullptr && both) {
      comparison.warnings.push_back(std::string(rule.key) + " differs (" + setting.a + " and " +
                                    setting.b + "): " + rule.warning);
    }
    comparison.settings.push_back(std::move(setting));
  }
}

void WarnOfTrouble(const Document& document, const std::string& name, Comparison& comparison) {
  if (const std::string failure = TextOf(document, "failure"); !failure.empty()) {
    comparison.warnings.push_back(name + " failed: " + failure);
  }
  if (NumberOr(document, "wrong_bytes", 0) != 0) {
    comparison.warnings.push_back(name + " has wrong bytes: its figures mean nothing");
  }
  if (FlagOf(document, "interrupted")) {
    comparison.warnings.push_back(name + " was interrupted: its figures cover a part");
  }
}

void CompareRuns(const Document& a, const Document& b, Comparison& comparison) {
  // Where requests come at their recorded times the run is as long as the recording.
  const bool timed = TextOf(a, "mode") == "open" || TextOf(b, "mode") == "open";
  for (const GroupRules& rules : kRunGroups) {
    ComparedGroup group{rules.name, {}};
    for (const FigureRule& rule : rules.rules) {
      const bool pointless = timed && rules.rules.data() == kSpeedRules.data();
      AddFigure(group,
                {rule.name, rule.key, rule.unit, FigureOf(a, rule), FigureOf(b, rule), rule.noise},
                pointless ? Better::kNeither : rule.better);
    }
    if (!group.figures.empty()) comparison.groups.push_back(std::move(group));
  }
}

}  // namespace

std::string SettingText(const Document& document, const char* key) {
  const auto found = document.find(key);
  if (found == document.end() || found->is_structured() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_boolean()) return found->get<bool>() ? "yes" : "no";
  return FigureText(found->get<double>());
}

std::optional<double> FigureOf(const Document& object, const FigureRule& rule) {
  const std::optional<double> number = NumberOf(object, rule.key);
  return number ? std::optional(*number * rule.factor) : std::nullopt;
}

void AddFigure(ComparedGroup& group, ComparedFigure figure, Better better) {
  if (!figure.a && !figure.b) return;
  figure.verdict = VerdictOf(figure.a, figure.b, better, figure.noise);
  group.figures.push_back(std::move(figure));
}

std::string_view VerdictName(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::kSame: return "same";
    case Verdict::kBetter: return "better";
    case Verdict::kWorse: return "worse";
    case Verdict::kDiffers: return "differs";
    case Verdict::kOnlyOne: return "only in one";
    case Verdict::kNone: return "no verdict";
  }
  return "";
}

std::uint64_t Comparison::Count(Verdict verdict) const noexcept {
  std::uint64_t count = 0;
  for (const ComparedGroup& group : groups) {
    for (const ComparedFigure& figure : group.figures) count += figure.verdict == verdict ? 1 : 0;
  }
  return count;
}

Verdict VerdictOf(std::optional<double> a, std::optional<double> b, Better better,
                  const Noise& noise) noexcept {
  if (!a || !b) return Verdict::kOnlyOne;
  const double difference = *b - *a;
  const double room =
      std::max(noise.absolute, noise.relative * std::max(std::abs(*a), std::abs(*b)));
  if (std::abs(difference) <= room) return Verdict::kSame;
  if (better == Better::kNeither) return Verdict::kDiffers;
  return (difference > 0) == (better == Better::kHigher) ? Verdict::kBetter : Verdict::kWorse;
}

Comparison Compare(const Document& a, const Document& b) {
  Comparison comparison;
  const bool run_a = *KindOf(a) == DocumentKind::kRun;
  const bool run_b = *KindOf(b) == DocumentKind::kRun;
  WarnOfTrouble(a, "A", comparison);
  WarnOfTrouble(b, "B", comparison);
  CompareWorkloads(a, b, run_a, run_b, comparison);
  CompareSettings(a, b, run_a == run_b, comparison);
  if (run_a && run_b) {
    CompareRuns(a, b, comparison);
  } else if (!run_a && !run_b) {
    CompareSimulations(a, b, comparison);
  } else {
    CompareRunWithSimulation(run_a ? a : b, run_a ? b : a, run_a, comparison);
  }
  if (comparison.groups.empty()) {
    comparison.warnings.emplace_back("nothing could be compared: they have no result in common");
  }
  return comparison;
}

}  // namespace terrace::replay
