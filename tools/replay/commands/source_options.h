// The options that say where a command's workload comes from.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/result.h"
#include "tools/replay/trace/trace.h"
#include "tools/replay/trace/workload_source.h"

namespace terrace::replay {

struct SourceOptions {
  WorkloadSource source;
  std::string kind = "mix";     ///< of the generator, by name
  std::string format = "auto";  ///< of the trace, by name

  /// Of AddTraceOptions; the command's, and as long-lived. Null: the command has no such option.
  const CLI::Option* sessions_per_hour = nullptr;

  /// Of the generator. After AddTraceOptions, if both: they exclude --trace, but for the seed.
  void AddGeneratorOptions(CLI::App& command);
  void AddTraceOptions(CLI::App& command);
  /// Part of the generator's options; alone for who reads a trace only.
  void AddSeedOption(CLI::App& command);
  /// The workload. @return what is wrong with an option, the file or a line of it.
  Result<TraceReadResult> Load();
};

/// Says on standard error how many lines of a trace were skipped, if any, and what else a person
/// should know about it.
void TellSkippedLines(const TraceReadResult& loaded);

}  // namespace terrace::replay
