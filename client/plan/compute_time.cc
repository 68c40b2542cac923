#include "client/plan/compute_time.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

namespace terrace {

namespace {

constexpr std::size_t kPointsMax = 4096;
constexpr std::uint64_t kContextMax = 1ULL << 40;
constexpr double kRateMin = 1e-3;
constexpr double kRateMax = 1e12;

std::string Shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

Status CheckRate(std::span<const RatePoint> rate, const std::string& name) {
  if (rate.empty()) return Status::Invalid(name + " has no point: the engine's tokens per second");
  if (rate.size() > kPointsMax) {
    return Status::Invalid(name + " has " + std::to_string(rate.size()) + " points, at most " +
                           std::to_string(kPointsMax));
  }
  for (std::size_t i = 0; i < rate.size(); ++i) {
    const std::string place = name + "[" + std::to_string(i) + "]";
    // Written so that what is not a number is refused, too.
    if (!(rate[i].tokens_per_s >= kRateMin && rate[i].tokens_per_s <= kRateMax)) {
      return Status::Invalid(place + ".tokens_per_s is " + Shown(rate[i].tokens_per_s) +
                             ", must be 0.001 to 1e12");
    }
    if (rate[i].context > kContextMax) {
      return Status::Invalid(place + ".context is " + std::to_string(rate[i].context) +
                             ", at most 2^40 (" + std::to_string(kContextMax) + ")");
    }
    if (i > 0 && rate[i].context <= rate[i - 1].context) {
      return Status::Invalid(place + ".context is " + std::to_string(rate[i].context) +
                             ", the one before is " + std::to_string(rate[i - 1].context) +
                             ": contexts must ascend");
    }
  }
  return {};
}

PrefillCost PrefillCostOf(std::span<const RatePoint> rate) {
  if (rate.empty()) return {};
  const double first = 1 / rate.front().tokens_per_s;
  const double last = 1 / rate.back().tokens_per_s;
  if (rate.size() == 1 || last <= first) return {.first_token_s = (first + last) / 2};
  const auto from = static_cast<double>(rate.front().context);
  const double per_context = (last - first) / (static_cast<double>(rate.back().context) - from);
  return {.first_token_s = std::max(first - from * per_context, PrefillCost::kSecondsMin),
          .per_context_s = per_context};
}

ComputeTime::ComputeTime(std::span<const RatePoint> rate) {
  points_.reserve(rate.size() + 1);
  for (const RatePoint& given : rate) {
    Point point{.context = static_cast<double>(given.context), .token_s = 1 / given.tokens_per_s};
    if (!points_.empty()) {
      const Point& before = points_.back();
      point.until_s =
          before.until_s + (point.context - before.context) * (before.token_s + point.token_s) / 2;
    } else {
      point.until_s = point.context * point.token_s;
    }
    points_.push_back(point);
  }
}

double ComputeTime::Until(double tokens) const {
  const auto after = std::ranges::upper_bound(points_, tokens, {}, &Point::context);
  if (after == points_.begin()) return tokens * points_.front().token_s;
  const Point& before = *std::prev(after);
  const double beyond = tokens - before.context;
  if (after == points_.end()) return before.until_s + beyond * before.token_s;
  const double slope = (after->token_s - before.token_s) / (after->context - before.context);
  return before.until_s + beyond * (before.token_s + slope * beyond / 2);
}

}  // namespace terrace
