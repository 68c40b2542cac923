// Report: what a run found, as a JSON object for programs, flat but for two series at its end, and
// as a table for people.
#pragma once

#include <cstdint>
#include <string>

#include "tools/replay/run/coordinator.h"
#include "tools/replay/run/daemon_view.h"
#include "tools/replay/simulate/simulate_run.h"
#include "tools/replay/trace/trace_hints.h"
#include "tools/replay/trace/trace_statistics.h"
#include "tools/replay/worth/economics.h"
#include "tools/replay/worth/saved_compute.h"

namespace terrace::replay {

struct ReportInput {
  const RunOutcome& outcome;
  const RunParameters& parameters;
  const CoordinatorOptions& workers;
  const TraceStatistics& statistics;
  const Economics& economics;
  const SavedCompute& savings;
  const SimulatedRun& simulated;
  const DaemonView& before;
  const DaemonView& after;
  const RestartNotes& restarts;
  std::string simulated_policy;  ///< the daemon's, unless this program does not know that
  HintSetting hints = HintSetting::kNone;
  std::string trace;
  std::uint64_t skipped_lines = 0;
  double recorded_s = 0;  ///< from the first timestamp of the trace to the last
};

/// What a counter of the daemon rose by during the run: since its last restart, if there was one.
[[nodiscard]] std::uint64_t CountedBetween(std::uint64_t before, std::uint64_t after,
                                           const RestartNotes& restarts);

/// One object, keys in a fixed order; docs/replay.md describes them.
[[nodiscard]] std::string ReportJson(const ReportInput& input);
[[nodiscard]] std::string ReportTable(const ReportInput& input);

}  // namespace terrace::replay
