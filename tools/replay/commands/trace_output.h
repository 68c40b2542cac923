// Writes a whole trace as Mooncake JSONL. Thread: main.
#pragma once

#include <string>

#include "base/status.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

/// @param path file; empty: standard output. @return kIo "cannot write ...", with the cause.
Status WriteTrace(const std::string& path, const Trace& trace, TraceFields fields);

}  // namespace terrace::replay
