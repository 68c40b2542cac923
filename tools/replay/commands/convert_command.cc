#include <cstdio>
#include <memory>
#include <string>

#include "tools/replay/commands/commands.h"
#include "tools/replay/commands/source_options.h"
#include "tools/replay/commands/trace_output.h"
#include "tools/replay/trace/trace_statistics.h"

namespace terrace::replay {

namespace {

struct ConvertOptions {
  SourceOptions source;
  std::string to = "mooncake";
  std::string out;
  bool plain = false;
};

int Convert(ConvertOptions& options) {
  if (options.to != "mooncake") {
    return UsageError("--to: cannot write '" + options.to + "', only mooncake");
  }
  const Status apart =
      CheckAnotherFile("--out", options.out, "--trace", options.source.source.trace_file);
  if (!apart.ok()) return UsageError(apart.message());
  const Result<TraceReadResult> loaded = options.source.Load();
  if (!loaded.ok()) return UsageError(loaded.status().message());
  TellSkippedLines(*loaded);
  const Trace& trace = loaded->trace;
  const Status status =
      WriteTrace(options.out, trace, options.plain ? TraceFields::kPublished : TraceFields::kAll);
  if (!status.ok()) return UsageError(status.message());
  std::fputs(Describe(CollectStatistics(trace, NumberBlocks(trace))).c_str(), stderr);
  return kExitOk;
}

}  // namespace

void AddConvertCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<ConvertOptions>();
  CLI::App* command =
      app.add_subcommand("convert", "write a trace of any format in the Mooncake JSONL format");
  options->source.AddTraceOptions(*command);
  options->source.AddSeedOption(*command);
  command->get_option("--trace")->required();
  command->add_option("--out", options->out, "file; default: standard output");
  command->add_option("--to", options->to, "format that is written: mooncake")
      ->capture_default_str();
  command->add_flag("--plain", options->plain,
                    "only the fields of the published format: no session, turn and category");
  command->callback([options, &chosen] { chosen = [options] { return Convert(*options); }; });
}

}  // namespace terrace::replay
