#include "tools/replay/page/chart_scale.h"

#include <algorithm>
#include <cmath>

namespace terrace::replay {

bool Drawable(double value) noexcept { return std::isfinite(value) && std::abs(value) <= 1e30; }

double RoundStep(double step) noexcept {
  const double power = std::pow(10, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= step * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

ChartScale::ChartScale(bool logarithmic, double least, double most, double start,
                       double end) noexcept
    : logarithmic_(logarithmic), least_(least), most_(most), start_(start), end_(end) {
  if (logarithmic_) {
    most_ = std::max(most_, 1e-30);
    least_ = std::clamp(least_, 1e-30, most_);
    if (most_ / least_ < 1.5) {
      least_ /= 2;
      most_ *= 2;
    }
  } else if (most_ - least_ <= std::max(std::abs(most_) * 1e-12, 1e-30)) {
    most_ = least_ + std::max(1.0, std::abs(least_) * 0.1);
  }
}

double ChartScale::At(double value) const noexcept {
  const double inside = std::clamp(value, least_, most_);
  const double share = logarithmic_ ? std::log(inside / least_) / std::log(most_ / least_)
                                    : (inside - least_) / (most_ - least_);
  return start_ + share * (end_ - start_);
}

std::vector<double> ChartScale::Ticks(int count) const {
  std::vector<double> ticks;
  if (!logarithmic_) {
    const double step = RoundStep((most_ - least_) / std::max(count, 1));
    // Whole multiples, not sums: 0.30000000000000004 is no label.
    const double first = std::ceil(least_ / step - 1e-9);
    for (int at = 0; at <= count + 1; ++at) {
      const double tick = (first + at) * step;
      if (tick > most_ + step * 1e-9) break;
      ticks.push_back(tick == 0 ? 0 : tick);  // no -0
    }
    return ticks;
  }
  const double decades = std::log10(most_ / least_);
  const int every = std::max(1, static_cast<int>(std::ceil(decades / std::max(count, 1))));
  const bool between = decades <= count / 3.0;
  const int first = static_cast<int>(std::floor(std::log10(least_)));
  const int last = static_cast<int>(std::floor(std::log10(most_) + 1e-9));
  for (int power = first; power <= last; ++power) {
    if ((power - first) % every != 0) continue;
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double tick = factor * std::pow(10, power);
      if (tick < least_ * (1 - 1e-9) || tick > most_ * (1 + 1e-9)) continue;
      if (factor == 1.0 || between) ticks.push_back(tick);
    }
  }
  return ticks;
}

}  // namespace terrace::replay
