// Generates a workload with a wanted live context, by searching how many sessions must be alive.
//
// Model. What decides a benchmark of a cache is its capacity over the live context
// (live_context.h). The generator's knob is the number of sessions; how many blocks that makes
// depends on everything else. So workloads are generated with several numbers of sessions, and
// measured, until the mean live context is within 1 % or two neighbours enclose it; the nearest is
// taken. The same options give the same workload on every machine. Thread: any; nothing is kept.
// Cost: up to 24 workloads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tools/replay/trace/generator.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

struct LiveTarget {
  double amount = 0;     ///< above 0
  bool percent = false;  ///< of the distinct blocks of the workload; otherwise blocks
};

/// "5000" or "12.5%". kInvalid says what is wrong.
Result<LiveTarget> ParseLiveTarget(std::string_view text);

struct LiveWorkload {
  Trace trace;
  std::uint32_t sessions = 0;  ///< alive at a time
  double live_blocks = 0;      ///< mean
  double wanted_blocks = 0;
};
/// @param options `sessions` is not looked at. @return kInvalid also when that live context is out
/// of reach: then the message says what is not.
Result<LiveWorkload> GenerateWithLiveContext(GeneratorOptions options, const LiveTarget& target);

}  // namespace terrace::replay
