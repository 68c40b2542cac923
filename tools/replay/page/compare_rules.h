// What compare.cc and compare_simulations.cc share: rules by which figures and settings of two
// documents are set side by side. Thread: any; nothing is kept.
#pragma once

#include <optional>
#include <string>

#include "tools/replay/page/compare.h"

namespace terrace::replay {

inline constexpr Noise kHits{.absolute = 0.005};
inline constexpr Noise kCounts{.relative = 0.02};

/// What is in the document times `factor` is in the unit.
struct FigureRule {
  const char* key;
  const char* name;
  FigureUnit unit;
  Better better;
  Noise noise;
  double factor = 1;
};

struct SettingRule {
  const char* key;
  const char* warning;  ///< what it makes of the comparison; null: nothing
};
inline constexpr const char* kOtherTiers = "the caches are of different sizes";

/// As text; empty when there is no such scalar.
[[nodiscard]] std::string SettingText(const Document& document, const char* key);
/// In its unit.
[[nodiscard]] std::optional<double> FigureOf(const Document& object, const FigureRule& rule);
/// With its verdict; not at all when neither document has it.
void AddFigure(ComparedGroup& group, ComparedFigure figure, Better better);

/// REQUIRES: both are simulations.
void CompareSimulations(const Document& a, const Document& b, Comparison& comparison);
void CompareRunWithSimulation(const Document& run, const Document& simulation, bool run_is_a,
                              Comparison& comparison);

}  // namespace terrace::replay
