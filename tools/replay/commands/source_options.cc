#include "tools/replay/commands/source_options.h"

#include <cstdio>

namespace terrace::replay {

void SourceOptions::AddGeneratorOptions(CLI::App& command) {
  CLI::Option* requests =
      command.add_option("--requests", source.generator.requests, "requests to generate")
          ->check(CLI::NonNegativeNumber)
          ->capture_default_str();
  if (CLI::Option* trace = command.get_option_no_throw("--trace")) requests->excludes(trace);
  command.add_option("--seed", source.generator.seed, "seed of the generator")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--kind", kind, "mix, conversation, agent or document")->capture_default_str();
  command
      .add_option("--sessions", source.generator.sessions,
                  "sessions alive at a time; 0: one for 32 requests")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--context", source.generator.context_tokens, "longest input, tokens")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

void SourceOptions::AddTraceOptions(CLI::App& command) {
  command.add_option("--trace", source.trace_file,
                     "trace in the Mooncake JSONL format; without it, one is generated");
  command.add_option("--limit", source.read.limit, "use only the first so many requests; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_flag("--skip-bad-lines", source.read.skip_bad_lines,
                   "count broken lines of the trace instead of stopping at the first");
}

Result<TraceReadResult> SourceOptions::Load() {
  const Result<WorkloadKind> parsed = ParseWorkloadKind(kind);
  if (!parsed.ok()) return Status::Invalid("--kind: " + parsed.status().message());
  source.generator.kind = *parsed;
  return LoadWorkload(source);
}

void TellSkippedLines(const TraceReadResult& loaded) {
  if (loaded.skipped_lines == 0) return;
  std::fprintf(stderr, "terrace-replay: skipped %llu lines; first: %s\n",
               static_cast<unsigned long long>(loaded.skipped_lines), loaded.first_skipped.c_str());
}

}  // namespace terrace::replay
