#include "tools/replay/page/sweep.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "tools/replay/page/markup.h"

namespace terrace::replay {
namespace {

SweepPoint PointOf(const Document& result) {
  const auto number = [&result](std::string_view key) {
    return NumberOr(result, key, std::numeric_limits<double>::quiet_NaN());
  };
  return {.policy = TextOf(result, "policy"),
          .capacity_blocks = number("capacity_blocks"),
          .capacity_share = number("capacity_share"),
          .capacity_gb = number("capacity_gb"),
          .block_hit_ratio = number("block_hit_ratio"),
          .token_hit_ratio = number("token_hit_ratio"),
          .flop_hit_ratio = number("flop_hit_ratio"),
          .blocks_written = number("blocks_written"),
          .gb_written = number("gb_written"),
          .gpu_seconds_saved = number("gpu_seconds_saved"),
          .gb_written_per_gpu_second_saved = number("gb_written_per_gpu_second_saved"),
          .ttft_ms_mean_without = number("ttft_ms_mean_without"),
          .ttft_ms_mean_with = number("ttft_ms_mean_with"),
          .ttft_ms_p50_with = number("ttft_ms_p50_with"),
          .ttft_ms_p99_with = number("ttft_ms_p99_with"),
          .references_per_second = number("references_per_second")};
}

}  // namespace

Sweep::Sweep(const Document& document) {
  for (const Document& result : PartOf(document, "results")) {
    SweepPoint point = PointOf(result);
    if (point.policy.empty() || !std::isfinite(point.capacity_blocks)) continue;
    const auto known = std::ranges::find(policies_, point.policy);
    point.policy_place = static_cast<std::size_t>(known - policies_.begin());
    if (known == policies_.end()) policies_.push_back(point.policy);
    capacities_.push_back(point.capacity_blocks);
    points_.push_back(std::move(point));
  }
  std::ranges::sort(points_, {}, [](const SweepPoint& point) {
    return std::pair(point.capacity_blocks, point.policy_place);
  });
  std::ranges::sort(capacities_);
  const auto doubled = std::ranges::unique(capacities_);
  capacities_.erase(doubled.begin(), doubled.end());
}

const SweepPoint* Sweep::Find(std::string_view policy, double capacity_blocks) const {
  for (auto at =
           std::ranges::lower_bound(points_, capacity_blocks, {}, &SweepPoint::capacity_blocks);
       at != points_.end() && at->capacity_blocks == capacity_blocks; ++at) {
    if (at->policy == policy) return &*at;
  }
  return nullptr;
}

const SweepPoint* Sweep::Best(double capacity_blocks) const {
  const SweepPoint* best = nullptr;
  for (auto at =
           std::ranges::lower_bound(points_, capacity_blocks, {}, &SweepPoint::capacity_blocks);
       at != points_.end() && at->capacity_blocks == capacity_blocks; ++at) {
    if (at->policy == kOptimalPolicy || !std::isfinite(at->block_hit_ratio)) continue;
    if (best == nullptr || at->block_hit_ratio > best->block_hit_ratio) best = &*at;
  }
  return best;
}

bool Sweep::HasOptimum() const {
  return std::ranges::find(policies_, kOptimalPolicy) != policies_.end();
}

std::string CapacityText(const SweepPoint& point) {
  if (!std::isfinite(point.capacity_share)) return CountText(point.capacity_blocks) + " blocks";
  // "5 %", "0.25 %": what was asked for, or near it.
  const double percent = std::round(point.capacity_share * 1e4) / 1e2;
  char text[32];
  std::snprintf(text, sizeof text, "%.4g\xc2\xa0%%", percent);
  return text;
}

}  // namespace terrace::replay
