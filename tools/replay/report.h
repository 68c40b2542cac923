// Report: what a run found, as a flat JSON object for programs and as a table for people.
#pragma once

#include <cstdint>
#include <string>

#include "tools/replay/coordinator.h"
#include "tools/replay/daemon_view.h"
#include "tools/replay/economics.h"
#include "tools/replay/saved_compute.h"
#include "tools/replay/simulate_run.h"
#include "tools/replay/trace_statistics.h"

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
  std::string trace;
  std::uint64_t skipped_lines = 0;
};

/// Blocks that left the daemon's tiers during the run; a lower bound when it was restarted.
[[nodiscard]] std::uint64_t EvictionsOf(const DaemonView& before, const DaemonView& after);

/// One flat object, keys in a fixed order; docs/replay.md describes them.
[[nodiscard]] std::string ReportJson(const ReportInput& input);
[[nodiscard]] std::string ReportTable(const ReportInput& input);

}  // namespace terrace::replay
