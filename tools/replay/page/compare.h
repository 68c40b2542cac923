// Comparison: two reports side by side, with the differences that matter.
//
// Model. Settings that differ come first, so that nobody compares apples with pears; those that
// make figures incomparable (the trace, the tiers, the model, ...) are warned of. Then the figures,
// by importance, each with a verdict. The rule of the verdicts: a difference within the noise of
// its figure is "same". The noise of a run: half a point for hit ratios (with several workers the
// order of operations is not fixed), 2 % for counts and bytes, 10 % for bandwidths, durations and
// medians, 25 % for 99th percentiles; wrong bytes and failures have none. A maximum is a single
// event, and gets no verdict. Simulations are exact: their noise is what rounding shows, 0.005
// points and 0.1 %. Beyond the noise it is "better" or "worse" where the figure has a good
// direction, else "differs".
//
// A run and a simulation have hit ratios and saved GPU-seconds in common: the run is compared with
// the simulated tiers of its policy, or else with every policy at the simulated capacity that is
// nearest to its tiers together. Where the capacities are more than 10 % apart there is no verdict.
// Thread: any; immutable once made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/replay/report/document.h"

namespace terrace::replay {

enum class Verdict : std::uint8_t { kSame, kBetter, kWorse, kDiffers, kOnlyOne, kNone };
[[nodiscard]] std::string_view VerdictName(Verdict verdict) noexcept;

enum class FigureUnit : std::uint8_t { kCount, kRatio, kBytes, kSeconds, kFigure };

enum class Better : std::uint8_t { kHigher, kLower, kNeither };

/// Differences up to the larger of both are noise.
struct Noise {
  double absolute = 0;
  double relative = 0;  ///< of the larger of the two figures
};

struct ComparedFigure {
  std::string name;  ///< for people
  std::string key;   ///< in the documents
  FigureUnit unit = FigureUnit::kFigure;
  std::optional<double> a;  ///< in the unit: seconds, bytes, ratio
  std::optional<double> b;
  Noise noise;
  Verdict verdict = Verdict::kSame;
};

struct ComparedGroup {
  std::string name;
  std::vector<ComparedFigure> figures;
};

struct ComparedSetting {
  std::string key;
  std::string a;  ///< as text; empty: not in that document
  std::string b;
};

struct Comparison {
  std::vector<std::string> warnings;      ///< why the two are not comparable, or only partly
  std::vector<ComparedSetting> settings;  ///< those that differ
  std::vector<ComparedGroup> groups;      ///< the most important first

  [[nodiscard]] std::uint64_t Count(Verdict verdict) const noexcept;
};

[[nodiscard]] Verdict VerdictOf(std::optional<double> a, std::optional<double> b, Better better,
                                const Noise& noise) noexcept;

/// REQUIRES: KindOf is ok for both.
[[nodiscard]] Comparison Compare(const Document& a, const Document& b);

}  // namespace terrace::replay
