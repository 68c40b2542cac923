#include "cache/policy/reuse_value.h"

#include <algorithm>
#include <cmath>

namespace terrace {
namespace {

/// The last step is as long as all before it.
double Ticks(std::size_t step) {
  const double begin = AgeOfStep(step);
  return step + 1 < kReuseAges ? AgeOfStep(step + 1) - begin : begin;
}

}  // namespace

float ReuseIndex(const AgeArray& hazards, std::size_t from) {
  double alive = 1;
  double held = 0;
  double best = 0;
  for (std::size_t step = from; step < kReuseAges; ++step) {
    const double used = alive * static_cast<double>(hazards[step]);
    held += Ticks(step) * (alive - used / 2);
    alive -= used;
    best = std::max(best, (1 - alive) / held);
  }
  return static_cast<float>(best);
}

double ReuseBefore(const AgeArray& hazards, std::uint32_t age, std::uint32_t until) {
  double alive = 1;
  for (std::size_t step = AgeStep(age); step < kReuseAges; ++step) {
    const double begin = AgeOfStep(step);
    const double end = begin + Ticks(step);
    const double from = std::max(begin, static_cast<double>(age));
    const double to = std::min(end, static_cast<double>(until));
    if (to <= from) break;
    alive *= std::pow(1 - static_cast<double>(hazards[step]), (to - from) / (end - begin));
  }
  return 1 - alive;
}

}  // namespace terrace
