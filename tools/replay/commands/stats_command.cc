#include <iostream>
#include <memory>

#include "tools/replay/commands/commands.h"
#include "tools/replay/commands/source_options.h"
#include "tools/replay/trace/trace_profile.h"

namespace terrace::replay {

namespace {

struct StatsOptions {
  SourceOptions source;
  bool json = false;
};

int PrintStats(StatsOptions& options) {
  const Result<TraceReadResult> loaded = options.source.Load();
  if (!loaded.ok()) return UsageError(loaded.status().message());
  TellSkippedLines(*loaded);
  const TraceProfile profile = ProfileTrace(loaded->trace);
  if (options.json) {
    std::cout << ProfileJson(profile, loaded->trace, TraceFormatName(loaded->format),
                             loaded->skipped_lines)
              << '\n';
  } else {
    std::cout << ProfileTable(profile);
  }
  std::cout.flush();
  return kExitOk;
}

}  // namespace

void AddStatsCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<StatsOptions>();
  CLI::App* command = app.add_subcommand(
      "stats", "what a workload holds: tokens, blocks, reuse, live context, sessions");
  options->source.AddTraceOptions(*command);
  options->source.AddGeneratorOptions(*command);
  command->add_flag("--json", options->json, "for programs");
  command->callback([options, &chosen] { chosen = [options] { return PrintStats(*options); }; });
}

}  // namespace terrace::replay
