#include <algorithm>
#include <array>
#include <cmath>

#include "tools/replay/page/compare_rules.h"
#include "tools/replay/page/markup.h"
#include "tools/replay/page/sweep.h"
#include "tools/replay/simulate/nvme_shape.h"

namespace terrace::replay {
namespace {

constexpr Noise kExactRatio{.absolute = 0.00005};
constexpr Noise kExact{.relative = 0.001};
/// Beyond it a run and a simulation are of different caches: of the larger capacity.
constexpr double kCapacityRoom = 0.10;

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

/// The entries of "tiers"; versions before had one pair of tiers, not a list.
std::vector<const Document*> TiersOf(const Document& simulation) {
  const Document& tiers = PartOf(simulation, "tiers");
  if (tiers.is_object()) return {&tiers};
  std::vector<const Document*> found;
  for (const Document& item : tiers) {
    if (item.is_object()) found.push_back(&item);
  }
  return found;
}

const Document* TiersOfPolicy(const std::vector<const Document*>& tiers,
                              const std::string& policy) {
  const auto found = std::ranges::find_if(
      tiers, [&policy](const Document* item) { return TextOf(*item, "policy") == policy; });
  return found == tiers.end() ? nullptr : *found;
}

/// All policies of a simulation have the same tiers: what differs is told once.
void CompareTierSizes(const Document& a, const Document& b, Comparison& comparison) {
  constexpr std::array<SettingRule, 3> kSizes{
      {{"dram_blocks", kOtherTiers}, {"nvme_blocks", kOtherTiers}, {"reactors", nullptr}}};
  for (const SettingRule& rule : kSizes) {
    if (a.value(rule.key, Document()) == b.value(rule.key, Document())) continue;
    ComparedSetting setting{std::string("tiers: ") + rule.key, SettingText(a, rule.key),
                            SettingText(b, rule.key)};
    const bool told = std::ranges::any_of(comparison.settings, [&](const ComparedSetting& other) {
      return other.key == setting.key && other.a == setting.a && other.b == setting.b;
    });
    if (told) continue;
    if (rule.warning != nullptr) {
      comparison.warnings.push_back(setting.key + " differs (" + setting.a + " and " + setting.b +
                                    "): " + rule.warning);
    }
    comparison.settings.push_back(std::move(setting));
  }
}

constexpr std::array kTierRules{
    FigureRule{"block_hit_ratio", "blocks hit", FigureUnit::kRatio, Better::kHigher, kExactRatio},
    FigureRule{"token_hit_ratio", "tokens hit", FigureUnit::kRatio, Better::kHigher, kExactRatio},
    FigureRule{"flop_hit_ratio", "FLOP saved", FigureUnit::kRatio, Better::kHigher, kExactRatio},
    FigureRule{"hits_dram", "hits in DRAM", FigureUnit::kCount, Better::kNeither, kExact},
    FigureRule{"hits_nvme", "hits on NVMe", FigureUnit::kCount, Better::kNeither, kExact},
    FigureRule{"gpu_seconds_saved", "GPU-seconds saved", FigureUnit::kFigure, Better::kHigher,
               kExact},
    FigureRule{"gb_written", "written", FigureUnit::kBytes, Better::kLower, kExact, 1e9}};

void CompareTiers(const Document& a, const Document& b, Comparison& comparison) {
  const std::vector<const Document*> tiers_a = TiersOf(a);
  const std::vector<const Document*> tiers_b = TiersOf(b);
  ComparedGroup group{"Two tiers", {}};
  std::size_t only_a = 0;
  for (const Document* one : tiers_a) {
    const std::string policy = TextOf(*one, "policy");
    const Document* other = TiersOfPolicy(tiers_b, policy);
    if (other == nullptr) {
      ++only_a;
      continue;
    }
    CompareTierSizes(*one, *other, comparison);
    for (const FigureRule& rule : kTierRules) {
      AddFigure(group,
                {(policy.empty() ? "" : policy + ": ") + rule.name, rule.key, rule.unit,
                 FigureOf(*one, rule), FigureOf(*other, rule), rule.noise},
                rule.better);
    }
  }
  if (!group.figures.empty()) comparison.groups.push_back(std::move(group));
  const auto only_b = std::ranges::count_if(tiers_b, [&tiers_a](const Document* item) {
    return TiersOfPolicy(tiers_a, TextOf(*item, "policy")) == nullptr;
  });
  if (only_a > 0 || only_b > 0) {
    comparison.warnings.push_back(
        "the tiers of " + CountText(static_cast<double>(only_a)) + " policies only in A and of " +
        CountText(static_cast<double>(only_b)) + " only in B are left out");
  }
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

/// What the run's tiers hold, as the daemon divides them: records on NVMe have headers.
double CapacityOf(const Document& run) {
  const double block_bytes = std::max(NumberOr(run, "block_bytes", 1), 1.0);
  const double nvme_bytes = NumberOr(run, "nvme_bytes", 0);
  const double reactors = NumberOr(run, "reactors", 1);
  double nvme_blocks = nvme_bytes / block_bytes;
  // A document may say anything: only what a daemon can have is divided as it does.
  if (block_bytes <= static_cast<double>(kNvmeBlockBytesMax) && reactors >= 1 &&
      reactors <= nvme::kSlicesMax && nvme_bytes > 0 && nvme_bytes < 1e18) {
    const auto slices = static_cast<std::uint32_t>(reactors);
    const NvmeShape shape =
        ShapeOfNvme(static_cast<std::uint64_t>(nvme_bytes) + nvme::kSlicesOffset, slices,
                    static_cast<std::uint64_t>(block_bytes));
    if (shape.segments > 0) {
      nvme_blocks = static_cast<double>(shape.segments) *
                    static_cast<double>(shape.records_per_segment) * slices;
    }
  }
  return NumberOr(run, "dram_bytes", 0) / block_bytes + nvme_blocks;
}

/// A result of the simulation that may stand beside the run.
struct SimulatedFigures {
  std::string policy;
  std::optional<double> block_hit_ratio;
  std::optional<double> token_hit_ratio;
  std::optional<double> gpu_seconds_saved;
};

/// Those at one capacity.
struct RunCounterparts {
  double capacity = 0;  ///< blocks
  bool tiers = false;   ///< DRAM and NVMe, as the run has them
  std::vector<SimulatedFigures> figures;
};

/// The tiers with the run's policy; without such the results at the nearest capacity.
RunCounterparts CounterpartsOf(const Document& run, const Document& simulation, double blocks) {
  const std::string policy = TextOf(run, "policy");
  if (const Document* tiers = TiersOfPolicy(TiersOf(simulation), policy);
      tiers != nullptr && !policy.empty()) {
    return {
        .capacity = NumberOr(*tiers, "dram_blocks", 0) + NumberOr(*tiers, "nvme_blocks", 0),
        .tiers = true,
        .figures = {{policy, NumberOf(*tiers, "block_hit_ratio"),
                     NumberOf(*tiers, "token_hit_ratio"), NumberOf(*tiers, "gpu_seconds_saved")}}};
  }
  const Sweep sweep(simulation);
  const auto nearest = std::ranges::min_element(
      sweep.capacities(), {}, [blocks](double capacity) { return std::abs(capacity - blocks); });
  RunCounterparts found;
  if (nearest == sweep.capacities().end()) return found;
  found.capacity = *nearest;
  for (const SweepPoint& point : sweep.points()) {
    if (point.capacity_blocks != *nearest) continue;
    found.figures.push_back({point.policy, Known(point.block_hit_ratio),
                             Known(point.token_hit_ratio), Known(point.gpu_seconds_saved)});
  }
  return found;
}

}  // namespace

void CompareSimulations(const Document& a, const Document& b, Comparison& comparison) {
  CompareSweeps(a, b, comparison);
  CompareTiers(a, b, comparison);
}

void CompareRunWithSimulation(const Document& run, const Document& simulation, bool run_is_a,
                              Comparison& comparison) {
  comparison.warnings.emplace_back(
      "a run and a simulation: only hit ratios and saved GPU-seconds are compared");
  const double blocks = CapacityOf(run);
  const RunCounterparts found = CounterpartsOf(run, simulation, blocks);
  if (found.figures.empty()) return;
  const bool alike =
      std::abs(found.capacity - blocks) <= kCapacityRoom * std::max(found.capacity, blocks);
  if (!alike) {
    comparison.warnings.push_back("the run's tiers hold " + CountText(blocks) +
                                  " blocks, the simulated capacity that is nearest " +
                                  CountText(found.capacity) +
                                  ": more than 10 % apart, so there are no verdicts");
  }
  ComparedGroup group{"The run's tiers of " + CountText(blocks) + " blocks, simulated with " +
                          CountText(found.capacity) + (found.tiers ? " in two tiers" : ""),
                      {}};
  for (const SimulatedFigures& figures : found.figures) {
    const auto add = [&](const char* name, const char* key, FigureUnit unit,
                         std::optional<double> simulated, const Noise& noise) {
      std::optional<double> a = NumberOf(run, key);
      std::optional<double> b = simulated;
      if (!run_is_a) std::swap(a, b);
      AddFigure(group, {figures.policy + ": " + name, key, unit, a, b, noise}, Better::kHigher);
    };
    add("blocks hit", "block_hit_ratio", FigureUnit::kRatio, figures.block_hit_ratio, kHits);
    add("tokens hit", "token_hit_ratio", FigureUnit::kRatio, figures.token_hit_ratio, kHits);
    add("GPU-seconds saved", "gpu_seconds_saved", FigureUnit::kFigure, figures.gpu_seconds_saved,
        kCounts);
  }
  if (!alike) {
    for (ComparedFigure& figure : group.figures) {
      if (figure.verdict != Verdict::kOnlyOne) figure.verdict = Verdict::kNone;
    }
  }
  comparison.groups.push_back(std::move(group));
}

}  // namespace terrace::replay
