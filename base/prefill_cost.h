// PrefillCost: what it costs to compute a prompt, as an engine tells it of a namespace.
//
// Model. A GPU computes the token behind `context` others in first_token_s + context *
// per_context_s seconds: the first is the work of the parameters, the second that of attention over
// what comes before. Plain data, any thread.
#pragma once

namespace terrace {

struct PrefillCost {
  double first_token_s = 0;  ///< 0: not told
  double per_context_s = 0;  ///< for each token before it

  /// Seconds of a GPU that no engine needs for a token, and none is faster than.
  static constexpr double kSecondsMax = 1000;
  static constexpr double kSecondsMin = 1e-12;

  [[nodiscard]] bool told() const noexcept { return first_token_s != 0 || per_context_s != 0; }
  /// What may be counted with. False too for what is not a number.
  [[nodiscard]] bool IsPossible() const noexcept {
    return first_token_s >= kSecondsMin && first_token_s <= kSecondsMax && per_context_s >= 0 &&
           per_context_s <= kSecondsMax;
  }
  /// Seconds of a GPU for each of the first `tokens` of a prompt, on average.
  [[nodiscard]] double MeanUntil(double tokens) const noexcept {
    return first_token_s + per_context_s * tokens / 2;
  }
};

}  // namespace terrace
