#include "tools/replay/commands/source_options.h"

#include <cstdio>

namespace terrace::replay {

void SourceOptions::AddGeneratorOptions(CLI::App& command) {
  CLI::Option* requests =
      command.add_option("--requests", source.generator.requests, "requests to generate")
          ->check(CLI::NonNegativeNumber)
          ->capture_default_str();
  AddSeedOption(command);
  CLI::Option* kind_option =
      command.add_option("--kind", kind, "mix, conversation, agent or document")
          ->capture_default_str();
  CLI::Option* sessions = command
                              .add_option("--sessions", source.generator.sessions,
                                          "sessions alive at a time; 0: one for 32 requests")
                              ->check(CLI::NonNegativeNumber)
                              ->capture_default_str();
  CLI::Option* live_blocks =
      command
          .add_option("--live-blocks", source.live_blocks,
                      "wanted blocks of live sessions on average, or a percentage of the distinct "
                      "blocks: searches the number of sessions")
          ->excludes(sessions);
  CLI::Option* rate = command
                          .add_option("--rate", source.generator.rate,
                                      "requests per second on average; 0: as it comes out")
                          ->check(CLI::NonNegativeNumber)
                          ->capture_default_str();
  CLI::Option* think =
      command
          .add_option("--think-time-scale", source.generator.think_time_scale,
                      "pauses between an answer and the next input, times this: 0, 0.001 to 1000")
          ->check(CLI::NonNegativeNumber)
          ->capture_default_str();
  CLI::Option* context =
      command.add_option("--context", source.generator.context_tokens, "longest input, tokens")
          ->check(CLI::NonNegativeNumber)
          ->capture_default_str();
  CLI::Option* trace = command.get_option_no_throw("--trace");
  if (trace == nullptr) return;
  // Who gives one beside a trace believes that it does something. The seed does, to WEKA sessions.
  for (CLI::Option* option : {requests, kind_option, sessions, live_blocks, rate, think, context}) {
    option->excludes(trace);
  }
}

void SourceOptions::AddTraceOptions(CLI::App& command) {
  CLI::Option* trace =
      command.add_option("--trace", source.trace_file,
                         "file, or folder of WEKA sessions; without it, a workload is generated");
  command.add_option("--format", format, "of the trace: mooncake, bailian, weka, or auto")
      ->capture_default_str()
      ->needs(trace);
  command
      .add_option("--block-tokens", source.read.block_tokens,
                  "merge the trace's blocks to this size, tokens; 0: as in the trace")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sessions_per_hour = command
                          .add_option("--sessions-per-hour", source.read.sessions_per_hour,
                                      "WEKA: sessions that start, on average")
                          ->check(CLI::NonNegativeNumber)
                          ->capture_default_str()
                          ->needs(trace);
  command.add_option("--limit", source.read.limit, "use only the first so many requests; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_flag("--skip-bad-lines", source.read.skip_bad_lines,
                "count broken lines of the trace instead of stopping at the first")
      ->needs(trace);
}

void SourceOptions::AddSeedOption(CLI::App& command) {
  command
      .add_option("--seed", source.generator.seed,
                  "seed of the generator, and of the starts of WEKA sessions")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

Result<TraceReadResult> SourceOptions::Load() {
  const Result<TraceFormat> read_as = ParseTraceFormat(format);
  if (!read_as.ok()) return Status::Invalid("--format: " + read_as.status().message());
  source.read.format = *read_as;
  source.read.seed = source.generator.seed;
  if (source.trace_file.empty() && source.read.block_tokens != 0) {
    return Status::Invalid("--block-tokens merges the blocks of a trace: it needs --trace");
  }
  const Result<WorkloadKind> parsed = ParseWorkloadKind(kind);
  if (!parsed.ok()) return Status::Invalid("--kind: " + parsed.status().message());
  source.generator.kind = *parsed;
  Result<TraceReadResult> loaded = LoadWorkload(source);
  if (loaded.ok() && loaded->format != TraceFormat::kWeka && sessions_per_hour != nullptr &&
      sessions_per_hour->count() > 0) {
    return Status::Invalid("--sessions-per-hour is of WEKA sessions, but " + source.trace_file +
                           " was read as " + std::string(TraceFormatName(loaded->format)));
  }
  return loaded;
}

void TellSkippedLines(const TraceReadResult& loaded) {
  for (const std::string& note : loaded.notes) {
    std::fprintf(stderr, "terrace-replay: %s\n", note.c_str());
  }
  if (loaded.skipped_lines == 0) return;
  std::fprintf(stderr, "terrace-replay: skipped %llu %s; first: %s\n",
               static_cast<unsigned long long>(loaded.skipped_lines),
               loaded.format == TraceFormat::kWeka ? "sessions" : "lines",
               loaded.first_skipped.c_str());
}

}  // namespace terrace::replay
