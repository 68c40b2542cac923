// Sweep: the results of a simulation, ordered for tables and charts: by policy and capacity.
// Thread: any; immutable once made. What a document lacks is NaN, which figures show as a dash.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tools/replay/report/document.h"
#include "tools/replay/simulate/policy_study.h"  // kOptimalPolicy, which others are compared with

namespace terrace::replay {

struct SweepPoint {
  std::string policy;
  std::size_t policy_place = 0;  ///< among the Sweep's policies
  double capacity_blocks = 0;
  double capacity_share = 0;  ///< of the distinct blocks
  double capacity_gb = 0;
  double block_hit_ratio = 0;
  double token_hit_ratio = 0;
  double flop_hit_ratio = 0;
  double blocks_written = 0;
  double gb_written = 0;
  double gpu_seconds_saved = 0;
  double gb_written_per_gpu_second_saved = 0;
  double ttft_ms_mean_without = 0;
  double ttft_ms_mean_with = 0;
  double ttft_ms_p50_with = 0;
  double ttft_ms_p99_with = 0;
  double references_per_second = 0;
};

class Sweep {
 public:
  /// Results that are no objects, or lack policy or capacity, are left out.
  explicit Sweep(const Document& document);

  [[nodiscard]] const std::vector<SweepPoint>& points() const noexcept { return points_; }
  /// In the order of their first result.
  [[nodiscard]] const std::vector<std::string>& policies() const noexcept { return policies_; }
  /// Blocks, rising, each once.
  [[nodiscard]] const std::vector<double>& capacities() const noexcept { return capacities_; }
  /// Of that policy and capacity; null when there is none. Points into this Sweep.
  [[nodiscard]] const SweepPoint* Find(std::string_view policy, double capacity_blocks) const;
  /// The best by block hit ratio that is not the optimum; null when there is none.
  [[nodiscard]] const SweepPoint* Best(double capacity_blocks) const;
  [[nodiscard]] bool HasOptimum() const;

 private:
  std::vector<SweepPoint> points_;  // by capacity, then by policy
  std::vector<std::string> policies_;
  std::vector<double> capacities_;
};

/// "5 %" of the distinct blocks, or "1,234 blocks" when the share is not known.
[[nodiscard]] std::string CapacityText(const SweepPoint& point);

}  // namespace terrace::replay
