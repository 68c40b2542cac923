#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include "tools/replay/commands/commands.h"
#include "tools/replay/commands/source_options.h"
#include "tools/replay/trace/trace_statistics.h"

namespace terrace::replay {

namespace {

struct GenerateOptions {
  SourceOptions source;
  std::string out;  // empty: standard output
};

int Generate(GenerateOptions& options) {
  const Result<TraceReadResult> workload = options.source.Load();
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

}  // namespace

void AddGenerateCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<GenerateOptions>();
  CLI::App* command =
      app.add_subcommand("generate", "write a seeded workload in the Mooncake JSONL format");
  options->source.AddGeneratorOptions(*command);
  command->add_option("--out", options->out, "file; default: standard output");
  command->callback([options, &chosen] { chosen = [options] { return Generate(*options); }; });
}

}  // namespace terrace::replay
