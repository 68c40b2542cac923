#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>

#include "tools/replay/commands.h"
#include "tools/replay/trace_statistics.h"

namespace terrace::replay {

int UsageError(const std::string& message) {
  std::fprintf(stderr, "terrace-replay: %s\n", message.c_str());
  return kExitUsage;
}

int Generate(const GenerateOptions& options) {
  const Result<TraceReadResult> workload = LoadWorkload(options.source);
  if (!workload.ok()) return UsageError(workload.status().message());
  const Trace& trace = workload->trace;
  std::ofstream file;
  if (!options.out.empty()) {
    errno = 0;
    file.open(options.out, std::ios::binary | std::ios::trunc);
    if (!file) return UsageError("cannot write " + options.out + ": " + std::strerror(errno));
  }
  std::ostream& out = options.out.empty() ? std::cout : file;
  for (std::size_t request = 0; request < trace.requests.size(); ++request) {
    WriteTraceLine(out, trace, request);
  }
  out.flush();
  if (!out) {
    return UsageError("cannot write " + (options.out.empty() ? "the trace" : options.out) + ": " +
                      std::strerror(errno));
  }
  std::fputs(Describe(CollectStatistics(trace, NumberBlocks(trace))).c_str(), stderr);
  return kExitOk;
}

}  // namespace terrace::replay
