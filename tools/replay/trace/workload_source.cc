#include "tools/replay/trace/workload_source.h"

#include <utility>

namespace terrace::replay {

Result<TraceReadResult> LoadWorkload(const WorkloadSource& source) {
  if (!source.trace_file.empty()) return ReadTrace(source.trace_file, source.read);
  GeneratorOptions options = source.generator;
  Result<Trace> trace = GenerateTrace(options);
  if (!trace.ok()) return trace.status();
  TraceReadResult result;
  result.trace = std::move(trace).value();
  if (source.read.limit != 0 && source.read.limit < result.trace.requests.size()) {
    result.trace.requests.resize(source.read.limit);
    const TraceRequest& last = result.trace.requests.back();
    result.trace.hash_ids.resize(last.first_reference + last.block_count);
  }
  return result;
}

}  // namespace terrace::replay
