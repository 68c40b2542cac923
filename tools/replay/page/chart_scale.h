// ChartScale: where a value stands on an axis, and which values get a tick.
// Thread: any; immutable once made.
#pragma once

#include <vector>

namespace terrace::replay {

/// Whether a chart can show the number: what is not finite, or beyond 1e30, it leaves out.
[[nodiscard]] bool Drawable(double value) noexcept;

class ChartScale {
 public:
  /// Values from `least` to `most` over pixels from `start` to `end` (which may be smaller). An
  /// axis that would have no length gets one. A logarithmic one begins above 0.
  ChartScale(bool logarithmic, double least, double most, double start, double end) noexcept;

  /// Values outside of the axis stand at its ends.
  [[nodiscard]] double At(double value) const noexcept;
  /// At most about `count` round values on the axis, rising.
  [[nodiscard]] std::vector<double> Ticks(int count) const;
  [[nodiscard]] double least() const noexcept { return least_; }
  [[nodiscard]] double most() const noexcept { return most_; }

 private:
  bool logarithmic_;
  double least_;
  double most_;
  double start_;  // pixels
  double end_;
};

/// The round number (1, 2, 2.5, 5 times a power of ten) that is at least `step`. REQUIRES: > 0.
[[nodiscard]] double RoundStep(double step) noexcept;

}  // namespace terrace::replay
