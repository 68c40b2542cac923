// Where a command's workload comes from: a trace file, or the generator.
#pragma once

#include <string>

#include "base/result.h"
#include "tools/replay/trace/generator.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

struct WorkloadSource {
  std::string trace_file;  ///< empty: generate
  GeneratorOptions generator;
  std::string live_blocks;  ///< wanted live context, as in live_target.h; empty: by the sessions
  TraceReadOptions read;
};

/// The trace, with the lines that were skipped (none of a generated one) and notes.
Result<TraceReadResult> LoadWorkload(const WorkloadSource& source);

}  // namespace terrace::replay
