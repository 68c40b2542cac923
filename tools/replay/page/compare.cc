#include "tools/replay/page/compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "tools/replay/page/markup.h"
#include "tools/replay/page/sweep.h"

namespace terrace::replay {
namespace {

constexpr Noise kNone{};
constexpr Noise kHits{.absolute = 0.005};
constexpr Noise kCounts{.relative = 0.02};
constexpr Noise kSpeed{.relative = 0.10};
constexpr Noise kTail{.relative = 0.25};
constexpr Noise kExactRatio{.absolute = 0.00005};
constexpr Noise kExact{.relative = 0.001};

/// A figure of runs. What is in the document times `factor` is in the unit.
struct FigureRule {
  const char* key;
  const char* name;
  FigureUnit unit;
  Better better;
  Noise noise;
  double factor = 1;
};

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

struct SettingRule {
  const char* key;
  const char* warning;  ///< what it makes of the comparison; null: nothing
};
constexpr const char* kOtherHits = "hits and all that follows from them are not comparable";
constexpr const char* kOtherTiers = "the caches are of different sizes";
constexpr const char* kOtherSavings = "compute and money saved are not comparable";
constexpr std::array<SettingRule, 29> kSettings{{
    {"kind", nullptr},
    {"trace", kOtherHits},
    {"requests_in_trace", kOtherHits},
    {"trace_distinct_blocks", kOtherHits},
    {"distinct_blocks", kOtherHits},
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
    {"reactors", nullptr},
    {"format", nullptr},
    {"daemon_restarts", "a restart costs hits"},
}};

/// As text; empty when there is no such scalar.
std::string SettingText(const Document& document, const char* key) {
  const auto found = document.find(key);
  if (found == document.end() || found->is_structured() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_boolean()) return found->get<bool>() ? "yes" : "no";
  return FigureText(found->get<double>());
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

void AddFigure(ComparedGroup& group, ComparedFigure figure, Better better) {
  if (!figure.a && !figure.b) return;
  figure.verdict = VerdictOf(figure.a, figure.b, better, figure.noise);
  group.figures.push_back(std::move(figure));
}

void CompareRuns(const Document& a, const Document& b, Comparison& comparison) {
  // Where requests come at their recorded times the run is as long as the recording.
  const bool timed = TextOf(a, "mode") == "open" || TextOf(b, "mode") == "open";
  for (const GroupRules& rules : kRunGroups) {
    ComparedGroup group{rules.name, {}};
    for (const FigureRule& rule : rules.rules) {
      const auto value = [&rule](const Document& document) -> std::optional<double> {
        const std::optional<double> number = NumberOf(document, rule.key);
        return number ? std::optional(*number * rule.factor) : std::nullopt;
      };
      const bool pointless = timed && rules.rules.data() == kSpeedRules.data();
      AddFigure(group, {rule.name, rule.key, rule.unit, value(a), value(b), rule.noise},
                pointless ? Better::kNeither : rule.better);
    }
    if (!group.figures.empty()) comparison.groups.push_back(std::move(group));
  }
}

std::optional<double> Known(double value) {
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

/// The result of the same policy at the same capacity: in blocks, or as a share where the traces
/// differ in size.
const SweepPoint* Counterpart(const Sweep& sweep, const SweepPoint& point) {
  const SweepPoint* same = sweep.Find(point.policy, point.capacity_blocks);
  if (same != nullptr || !std::isfinite(point.capacity_share)) return same;
  for (const SweepPoint& other : sweep.points()) {
    if (other.policy == point.policy &&
        std::abs(other.capacity_share - point.capacity_share) < 1e-4) {
      return &other;
    }
  }
  return nullptr;
}

void AddPoints(ComparedGroup& group, const SweepPoint& a, const SweepPoint& b) {
  const auto add = [&](const char* name, const char* key, FigureUnit unit,
                       double SweepPoint::* measure, double factor, Better better) {
    const auto value = [measure, factor](const SweepPoint& point) {
      return Known(point.*measure * factor);
    };
    AddFigure(group,
              {a.policy + ": " + name, key, unit, value(a), value(b),
               unit == FigureUnit::kRatio ? kExactRatio : kExact},
              better);
  };
  add("blocks hit", "block_hit_ratio", FigureUnit::kRatio, &SweepPoint::block_hit_ratio, 1,
      Better::kHigher);
  add("tokens hit", "token_hit_ratio", FigureUnit::kRatio, &SweepPoint::token_hit_ratio, 1,
      Better::kHigher);
  add("FLOP saved", "flop_hit_ratio", FigureUnit::kRatio, &SweepPoint::flop_hit_ratio, 1,
      Better::kHigher);
  add("GPU-seconds saved", "gpu_seconds_saved", FigureUnit::kFigure, &SweepPoint::gpu_seconds_saved,
      1, Better::kHigher);
  add("written", "gb_written", FigureUnit::kBytes, &SweepPoint::gb_written, 1e9, Better::kLower);
}

void CompareSweeps(const Document& a, const Document& b, Comparison& comparison) {
  const Sweep sweep_a(a);
  const Sweep sweep_b(b);
  std::size_t only_a = 0;
  std::size_t both = 0;
  for (const SweepPoint& point : sweep_a.points()) {
    const SweepPoint* other = Counterpart(sweep_b, point);
    if (other == nullptr) {
      ++only_a;
      continue;
    }
    ++both;
    const std::string name = "Capacity " + CapacityText(point);
    if (comparison.groups.empty() || comparison.groups.back().name != name) {
      comparison.groups.push_back({name, {}});
    }
    AddPoints(comparison.groups.back(), point, *other);
  }
  const std::size_t only_b = sweep_b.points().size() - std::min(both, sweep_b.points().size());
  if (only_a + only_b > 0) {
    comparison.warnings.push_back(CountOf(static_cast<double>(only_a), "result") +
                                  " only in A and " +
                                  CountOf(static_cast<double>(only_b), "result") +
                                  " only in B are left out: other policies or capacities");
  }
}

void CompareRunWithSweep(const Document& run, const Document& simulation, bool run_is_a,
                         Comparison& comparison) {
  comparison.warnings.emplace_back(
      "a run and a simulation: only hit ratios and saved GPU-seconds are compared");
  const Sweep sweep(simulation);
  const double blocks = (NumberOr(run, "dram_bytes", 0) + NumberOr(run, "nvme_bytes", 0)) /
                        std::max(NumberOr(run, "block_bytes", 1), 1.0);
  const auto nearest = std::ranges::min_element(
      sweep.capacities(), {}, [blocks](double capacity) { return std::abs(capacity - blocks); });
  if (nearest == sweep.capacities().end()) return;
  ComparedGroup group{
      "The run's tiers of " + CountText(blocks) + " blocks, simulated with " + CountText(*nearest),
      {}};
  for (const SweepPoint& point : sweep.points()) {
    if (point.capacity_blocks != *nearest) continue;
    const auto add = [&](const char* name, const char* key, FigureUnit unit, double simulated,
                         const Noise& noise) {
      std::optional<double> a = NumberOf(run, key);
      std::optional<double> b = Known(simulated);
      if (!run_is_a) std::swap(a, b);
      AddFigure(group, {point.policy + ": " + name, key, unit, a, b, noise}, Better::kHigher);
    };
    add("blocks hit", "block_hit_ratio", FigureUnit::kRatio, point.block_hit_ratio, kHits);
    add("tokens hit", "token_hit_ratio", FigureUnit::kRatio, point.token_hit_ratio, kHits);
    add("GPU-seconds saved", "gpu_seconds_saved", FigureUnit::kFigure, point.gpu_seconds_saved,
        kCounts);
  }
  comparison.groups.push_back(std::move(group));
}

}  // namespace

std::string_view VerdictName(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::kSame: return "same";
    case Verdict::kBetter: return "better";
    case Verdict::kWorse: return "worse";
    case Verdict::kDiffers: return "differs";
    case Verdict::kOnlyOne: return "only in one";
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
  CompareSettings(a, b, run_a == run_b, comparison);
  if (run_a && run_b) {
    CompareRuns(a, b, comparison);
  } else if (!run_a && !run_b) {
    CompareSweeps(a, b, comparison);
  } else {
    CompareRunWithSweep(run_a ? a : b, run_a ? b : a, run_a, comparison);
  }
  return comparison;
}

}  // namespace terrace::replay
