// RunSeries: what a report has beside its flat keys, for charts: what a run did over time, and how
// its latencies are distributed.
#pragma once

#include <string>

#include "tools/replay/run/coordinator.h"

namespace terrace::replay {

/// `,"timeline": [...],"latency_us": {...}` with line breaks between, one interval or step per
/// line: the end of an object that already has keys. docs/replay.md describes them.
[[nodiscard]] std::string RunSeriesJson(const RunOutcome& outcome);

}  // namespace terrace::replay
