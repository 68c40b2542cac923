#include <cstdio>
#include <memory>
#include <string>

#include "tools/replay/commands/commands.h"
#include "tools/replay/commands/source_options.h"
#include "tools/replay/commands/trace_output.h"
#include "tools/replay/trace/live_context.h"
#include "tools/replay/trace/trace_statistics.h"

namespace terrace::replay {

namespace {

struct GenerateOptions {
  SourceOptions source;
  std::string out;  // empty: standard output
  bool plain = false;
};

int Generate(GenerateOptions& options) {
  const Result<TraceReadResult> workload = options.source.Load();
  if (!workload.ok()) return UsageError(workload.status().message());
  const Trace& trace = workload->trace;
  const Status status =
      WriteTrace(options.out, trace, options.plain ? TraceFields::kPublished : TraceFields::kAll);
  if (!status.ok()) return UsageError(status.message());
  TellSkippedLines(*workload);
  const BlockNumbers blocks = NumberBlocks(trace);
  const LiveContext live = MeasureLiveContext(trace, blocks);
  std::fputs(Describe(CollectStatistics(trace, blocks)).c_str(), stderr);
  std::fprintf(stderr, "live context          %.0f blocks on average, %llu at most\n",
               live.mean_blocks, static_cast<unsigned long long>(live.max_blocks));
  return kExitOk;
}

}  // namespace

void AddGenerateCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App* command =
      app.add_subcommand("generate", "write a seeded workload in the Mooncake JSONL format");
  options->source.AddGeneratorOptions(*command);
  command->add_option("--out", options->out, "file; default: standard output");
  command->add_flag("--plain", options->plain,
                    "only the fields of the published format: no session, turn and category");
  command->callback([options, &chosen] { chosen = [options] { return Generate(*options); }; });
}

}  // namespace terrace::replay
