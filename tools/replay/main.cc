// terrace-replay: generates and replays workloads of long prompts against terraced.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "tools/replay/commands.h"
#include "tools/replay/worker.h"

namespace {

using terrace::replay::GenerateOptions;
using terrace::replay::PlanOptions;
using terrace::replay::RunOptions;
using terrace::replay::WorkloadSource;

/// Where worker_pool.cc puts a worker's descriptors.
constexpr int kControlFd = 3;
constexpr int kWorkloadFd = 4;

void AddGeneratorOptions(CLI::App& command, WorkloadSource& source, std::string& kind) {
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

void AddTraceOptions(CLI::App& command, WorkloadSource& source) {
  command.add_option("--trace", source.trace_file,
                     "trace in the Mooncake JSONL format; without it, one is generated");
  command.add_option("--limit", source.read.limit, "use only the first so many requests; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_flag("--skip-bad-lines", source.read.skip_bad_lines,
                   "count broken lines of the trace instead of stopping at the first");
}

void AddRunOptions(CLI::App& command, RunOptions& options) {
  command.add_option("--connect", options.address, "HOST:PORT of the daemon")
      ->capture_default_str();
  command.add_option("--prefill", options.workers.prefill_workers, "prefill worker processes")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--decode", options.workers.decode_workers, "decode worker processes")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--bytes-per-token", options.bytes_per_token,
                  "KV bytes of a token, scaled down from the model's")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--model", options.model,
                  "model whose savings are computed: llama-3-8b, qwen2.5-32b, llama-3-70b, "
                  "deepseek-v3")
      ->capture_default_str();
  command.add_option("--gpu", options.gpu, "GPU it runs on: a100, h100, h100-fp8")
      ->capture_default_str();
  command.add_option("--out", options.out, "directory that report.json is written to");
  command.add_option("--batch", options.batch_blocks, "most blocks of one get or put")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--deadline-ms", options.deadline_ms, "deadline of each call, milliseconds")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--key-seed", options.key_seed, "seed of the keys")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--namespace", options.namespace_name,
                     "namespace to use; default: of model and bytes per token");
  command.add_flag("--keep-blocks", options.keep_blocks,
                   "do not clear the namespace before the run");
  command.add_flag("--lockstep", options.workers.lockstep,
                   "finish each request before the next begins");
  command.add_flag("--tcp", options.tcp_only, "connect over TCP even on the daemon's host");
  command.add_flag("--quiet", options.workers.quiet, "no progress");
  command.add_option("--progress-file", options.workers.progress_file,
                     "file that holds the percentage of requests done, for scripts");
}

/// Sets the kind of workload. @return false, having said why, when there is no such kind.
bool SetKind(const std::string& kind, WorkloadSource& source) {
  const auto parsed = terrace::replay::ParseWorkloadKind(kind);
  if (parsed.ok()) {
    source.generator.kind = *parsed;
  } else {
    terrace::replay::UsageError("--kind: " + parsed.status().message());
  }
  return parsed.ok();
}

int Main(int argc, char** argv) {
  CLI::App app("Generates and replays workloads of long prompts against terraced.",
               "terrace-replay");
  app.require_subcommand(1);
  std::string kind = "mix";
  GenerateOptions generate;
  CLI::App* generate_command =
      app.add_subcommand("generate", "write a seeded workload in the Mooncake JSONL format");
  AddGeneratorOptions(*generate_command, generate.source, kind);
  generate_command->add_option("--out", generate.out, "file; default: standard output");
  PlanOptions plan;
  CLI::App* plan_command =
      app.add_subcommand("plan", "print the tier sizes and statistics of a workload as JSON");
  AddTraceOptions(*plan_command, plan.source);
  AddGeneratorOptions(*plan_command, plan.source, kind);
  plan_command->add_option("--dram", plan.dram, "bytes, or a percentage of the distinct blocks")
      ->capture_default_str();
  plan_command->add_option("--nvme", plan.nvme, "bytes, or a percentage of the distinct blocks")
      ->capture_default_str();
  plan_command->add_option("--bytes-per-token", plan.bytes_per_token, "KV bytes of a token")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  plan_command->add_option("--reactors", plan.reactors, "of the daemon that will run")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  RunOptions run;
  CLI::App* run_command =
      app.add_subcommand("run", "replay a workload against a daemon and verify every byte");
  AddTraceOptions(*run_command, run.source);
  AddGeneratorOptions(*run_command, run.source, kind);
  AddRunOptions(*run_command, run);
  std::string worker_name;
  CLI::App* worker_command = app.add_subcommand("worker", "started by run; not for people");
  worker_command->add_option("name", worker_name)->required();
  worker_command->group("");  // hidden

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? terrace::replay::kExitOk : terrace::replay::kExitUsage;
  }
  if (worker_command->parsed()) {
    return terrace::replay::RunWorker(kControlFd, kWorkloadFd, worker_name);
  }
  for (WorkloadSource* source : {&generate.source, &plan.source, &run.source}) {
    if (!SetKind(kind, *source)) return terrace::replay::kExitUsage;
  }
  if (generate_command->parsed()) return terrace::replay::Generate(generate);
  if (plan_command->parsed()) return terrace::replay::Plan(plan);
  return terrace::replay::Run(run);
}

}  // namespace

int main(int argc, char** argv) {
  // Libraries (the command line, JSON) throw only for bugs and for lack of memory.
  try {
    return Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "terrace-replay: internal error: %s\n", error.what());
    return terrace::replay::kExitFailed;
  }
}
