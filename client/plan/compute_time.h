// ComputeTime: how long an engine computes the tokens of a prompt. Pure; any thread.
//
// A transformer's work for the token at position p is a + b * p operations (a: twice the parameters
// that are active; b: attention over all that comes before), so the time for one token is linear in
// the context: 1 / rate(p) = (a + b * p) / R. Between two points of the curve it is interpolated
// so, which makes two points exact for such a model; beyond the ends it stays as it is.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/prefill_cost.h"
#include "base/status.h"
#include "client/types.hpp"

namespace terrace {

/// kInvalid names what is wrong: no point, too many, contexts that do not ascend or are beyond
/// 2^40, rates that are not 0.001 to 1e12.
Status CheckRate(std::span<const RatePoint> rate, const std::string& name = "rate");

/// The straight line through the first and the last point, never falling. Nothing told when there
/// is no point. REQUIRES: CheckRate was ok, or rate is empty.
[[nodiscard]] PrefillCost PrefillCostOf(std::span<const RatePoint> rate);

class ComputeTime {
 public:
  /// REQUIRES: CheckRate was ok.
  explicit ComputeTime(std::span<const RatePoint> rate);

  /// Seconds for the first `tokens` of a prompt.
  [[nodiscard]] double Until(double tokens) const;
  /// For tokens [from, to).
  [[nodiscard]] double Between(std::uint64_t from, std::uint64_t to) const {
    return Until(static_cast<double>(to)) - Until(static_cast<double>(from));
  }

 private:
  struct Point {
    double context = 0;
    double token_s = 0;  // seconds of the token there
    double until_s = 0;  // of all before it
  };
  std::vector<Point> points_;  // contexts strictly ascending
};

}  // namespace terrace
