// Blocks of two models in one memory: what is told of their costs must save more than it loses.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "tools/replay/simulate/simulate_run.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/generator.h"
#include "tools/replay/worth/economics.h"

namespace terrace::replay {
namespace {

/// What the daemon knows of the two namespaces, which are of one tenant.
enum class Told : std::uint8_t { kOneNamespace, kNothing, kRate, kCurve };

/// Two generated workloads at once, each for its model on H100.
class TwoModels {
 public:
  struct Load {
    const char* model;
    WorkloadKind kind;
  };
  explicit TwoModels(const std::array<Load, 2>& loads)
      : economics_{Economics::Find(loads[0].model, "h100").value(),
                   Economics::Find(loads[1].model, "h100").value()} {
    const Trace sources[] = {TraceOf(loads[0].kind, 1), TraceOf(loads[1].kind, 2)};
    trace_.block_tokens = sources[0].block_tokens;
    Merge(sources);
    blocks_ = NumberBlocks(trace_);
    units_.resize(blocks_.distinct);
    for (std::size_t request = 0; request < trace_.requests.size(); ++request) {
      for (const std::uint32_t block : blocks_.Of(trace_.requests[request])) {
        units_[block] = UnitsOf(model_of_[request]);
      }
    }
    for (const std::uint8_t units : units_) all_units_ += units;
  }

  /// GPU-seconds that hits save in a memory of so much of all distinct bytes, and what they are of
  /// all that there is to compute, in per cent.
  double Saved(const char* policy, double percent, Told told) const {
    std::vector<RequestCost> costs;
    for (std::size_t request = 0; request < trace_.requests.size(); ++request) {
      costs.push_back(CostOf(request, told));
    }
    SimulatedTiersOptions tiers{
        .dram_blocks = static_cast<std::uint64_t>(all_units_ * percent / 100),
        .distinct_blocks = blocks_.distinct,
        .policy = FindPolicy(policy).value(),
        .block_units = units_};
    RunSimulation run(trace_, blocks_, kChainBlocksMax, tiers, {}, costs);
    double saved = 0;
    double all = 0;
    for (std::size_t request = 0; request < trace_.requests.size(); ++request) {
      const double input = trace_.requests[request].input_tokens;
      const double hit = static_cast<double>(run.Prefill(request)) * trace_.block_tokens;
      saved += Of(request).GpuSeconds(0, std::min(hit, input));
      all += Of(request).GpuSeconds(0, input);
    }
    return 100 * saved / all;
  }

 private:
  static constexpr std::uint64_t kRequests = 6000;
  static constexpr double kUnitBytes = 4 << 20;

  static Trace TraceOf(WorkloadKind kind, std::uint64_t seed) {
    return GenerateTrace({.kind = kind, .requests = kRequests, .seed = seed}).value();
  }
  /// By the share of their time that has passed.
  void Merge(const Trace (&sources)[2]) {
    std::size_t next[2] = {0, 0};
    const auto time = [&](int which) {
      const auto& requests = sources[which].requests;
      if (next[which] == requests.size()) return 2.0;
      return static_cast<double>(requests[next[which]].timestamp_ms) /
             static_cast<double>(requests.back().timestamp_ms);
    };
    while (next[0] < kRequests || next[1] < kRequests) {
      const int which = time(0) <= time(1) ? 0 : 1;
      const auto at = static_cast<std::uint64_t>(time(which) * 1e7);
      const std::size_t request = next[which]++;
      std::vector<std::uint64_t> ids;
      for (const std::uint64_t id : sources[which].BlocksOf(request)) {
        ids.push_back(2 * id + static_cast<std::uint64_t>(which));
      }
      const TraceRequest& entry = sources[which].requests[request];
      ASSERT_TRUE(trace_.Append(at, entry.input_tokens, entry.output_tokens, ids).ok());
      model_of_.push_back(which);
    }
  }
  [[nodiscard]] const Economics& Of(std::size_t request) const {
    return economics_[model_of_[request]];
  }
  [[nodiscard]] double BlockBytes(int model) const {
    return economics_[model].model().kv_bytes_per_token_bf16 * trace_.block_tokens;
  }
  [[nodiscard]] std::uint8_t UnitsOf(int model) const {
    return static_cast<std::uint8_t>(std::round(BlockBytes(model) / kUnitBytes));
  }
  [[nodiscard]] RequestCost CostOf(std::size_t request, Told told) const {
    if (told == Told::kOneNamespace) return {};
    const int model = model_of_[request];
    RequestCost cost{.tenant = 1,
                     .space = static_cast<std::uint32_t>(model + 1),
                     .block_bytes = static_cast<std::uint32_t>(BlockBytes(model))};
    const double tokens = told == Told::kRate ? 1 : trace_.requests[request].input_tokens;
    const double seconds = Of(request).GpuSeconds(0, tokens) / tokens;
    if (told == Told::kNothing) return cost;
    cost.cost_per_byte = static_cast<float>(seconds / Of(request).model().kv_bytes_per_token_bf16);
    return cost;
  }

  const Economics economics_[2];
  Trace trace_;
  std::vector<int> model_of_;  // by request
  BlockNumbers blocks_;
  std::vector<std::uint8_t> units_;  // by block
  double all_units_ = 0;
};

constexpr double kPercents[] = {2, 5};
/// With TERRACE_TWO_MODELS set the whole table, as docs/policy.md has it.
constexpr double kAllPercents[] = {1, 2, 5, 10, 20, 50};
constexpr Told kCompared[] = {Told::kOneNamespace, Told::kCurve};
constexpr Told kAllTold[] = {Told::kOneNamespace, Told::kNothing, Told::kRate, Told::kCurve};
/// What may be lost at any size, points: which blocks are near is chance.
constexpr double kLostMost = 1;

TEST(TwoModelsTest, WhatIsToldOfTheirCostsSavesMoreThanItLoses) {
  const std::array<TwoModels::Load, 2> mixes[] = {
      {{{"llama-3-8b", WorkloadKind::kConversation}, {"llama-3-70b", WorkloadKind::kConversation}}},
      {{{"llama-3-8b", WorkloadKind::kConversation}, {"llama-3-70b", WorkloadKind::kAgent}}},
      {{{"llama-3-70b", WorkloadKind::kConversation}, {"llama-3-8b", WorkloadKind::kAgent}}},
      {{{"deepseek-v3", WorkloadKind::kMix}, {"llama-3-70b", WorkloadKind::kConversation}}}};
  const bool whole = std::getenv("TERRACE_TWO_MODELS") != nullptr;
  const std::span<const double> percents =
      whole ? std::span<const double>(kAllPercents) : kPercents;
  const std::span<const Told> tolds = whole ? std::span<const Told>(kAllTold) : kCompared;
  for (const auto& mix : mixes) {
    const TwoModels models(mix);
    std::printf("%s and %s, %% of GPU-seconds saved at\n         ", mix[0].model, mix[1].model);
    for (const double percent : percents) std::printf(" %6g%%", percent);
    double sums[4] = {};
    std::vector<double> as_one;
    std::size_t at = 0;
    const char* const names[] = {"as one", "nothing", "rate", "curve"};
    for (const Told told : tolds) {
      const auto row = static_cast<std::size_t>(told);
      std::printf("\n%-9s", names[row]);
      for (const double percent : percents) {
        const double saved = models.Saved("terrace", percent, told);
        sums[row] += saved;
        if (told == Told::kOneNamespace) as_one.push_back(saved);
        if (told == Told::kCurve) EXPECT_GT(saved, as_one[at++] - kLostMost) << percent;
        std::printf(" %7.2f", saved);
      }
    }
    std::printf("\n");
    EXPECT_GT(sums[3], sums[0]);
  }
}

}  // namespace
}  // namespace terrace::replay
