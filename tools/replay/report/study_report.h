// StudyReport: what a study of policies found, as JSON for programs and as a table for people.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "tools/replay/simulate/policy_study.h"
#include "tools/replay/trace/trace.h"
#include "tools/replay/trace/trace_hints.h"
#include "tools/replay/trace/trace_statistics.h"
#include "tools/replay/worth/economics.h"

namespace terrace::replay {

struct StudyReportInput {
  const Trace& trace;
  const TraceStatistics& statistics;
  const Economics& economics;
  HintSetting hints = HintSetting::kNone;
  std::span<const StudyResult> curves;  ///< one tier: "results"
  std::span<const StudyResult> tiers;   ///< DRAM over NVMe: "tiers"
  double load_bytes_per_s = 0;
  double gpu_hour_price = 0;  ///< dollars
  double seconds = 0;         ///< that the study took
  std::uint64_t memory_bytes = 0;
};

/// docs/benchmarking.md describes the keys.
[[nodiscard]] nlohmann::ordered_json StudyJson(const StudyReportInput& input);
[[nodiscard]] std::string StudyTable(const StudyReportInput& input);

}  // namespace terrace::replay
