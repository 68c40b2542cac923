#include "tools/replay/trace/workload_source.h"

#include <cmath>
#include <string>
#include <utility>

#include "tools/replay/trace/live_target.h"

namespace terrace::replay {
namespace {

Result<TraceReadResult> Generate(const WorkloadSource& source) {
  TraceReadResult result;
  if (source.live_blocks.empty()) {
    Result<Trace> trace = GenerateTrace(source.generator);
    if (!trace.ok()) return trace.status();
    result.trace = std::move(trace).value();
    return result;
  }
  const Result<LiveTarget> target = ParseLiveTarget(source.live_blocks);
  if (!target.ok()) return Status::Invalid("--live-blocks: " + target.status().message());
  Result<LiveWorkload> found = GenerateWithLiveContext(source.generator, *target);
  if (!found.ok()) return found.status();
  result.notes.push_back(std::to_string(found->sessions) +
                         " sessions alive at a time make a live "
                         "context of " +
                         std::to_string(std::llround(found->live_blocks)) + " blocks on average; " +
                         std::to_string(std::llround(found->wanted_blocks)) + " were asked for");
  result.trace = std::move(found->trace);
  return result;
}

}  // namespace

Result<TraceReadResult> LoadWorkload(const WorkloadSource& source) {
  if (!source.trace_file.empty()) return ReadTrace(source.trace_file, source.read);
  Result<TraceReadResult> result = Generate(source);
  if (result.ok() && source.read.limit != 0) result->trace.KeepFirst(source.read.limit);
  return result;
}

}  // namespace terrace::replay
