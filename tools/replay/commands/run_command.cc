#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>

#include "base/limits.h"
#include "client/terrace.hpp"
#include "tools/replay/commands/commands.h"
#include "tools/replay/commands/hint_option.h"
#include "tools/replay/commands/pace_options.h"
#include "tools/replay/commands/source_options.h"
#include "tools/replay/page/html_report.h"
#include "tools/replay/report/report.h"
#include "tools/replay/run/block_exchange.h"
#include "tools/replay/run/daemon_view.h"
#include "tools/replay/run/daemon_watch.h"
#include "tools/replay/run/interrupt.h"
#include "tools/replay/simulate/nvme_shape.h"
#include "tools/replay/simulate/simulate_run.h"
#include "tools/replay/trace/trace_statistics.h"
#include "tools/replay/worth/saved_compute.h"

namespace terrace::replay {
namespace {

using std::chrono::seconds;

/// For clearing the namespace.
constexpr seconds kCallTimeout{10};
/// What a worker pauses per request while the daemon is gone, ms: about one prefill.
constexpr std::uint32_t kOutagePauseMs = 20;
/// Blocks placed together on one reactor.
constexpr std::uint32_t kRunBlocks = 64;
constexpr std::uint32_t kBatchBlocksMax = 4096;

struct RunOptions {
  SourceOptions source;
  CoordinatorOptions workers;
  PaceCommandOptions pace;
  HintOption hints;
  std::string address = "127.0.0.1:7420";
  std::string namespace_name;  // empty: made of model and bytes per token
  std::uint64_t bytes_per_token = 128;
  std::uint32_t batch_blocks = 64;
  std::uint32_t deadline_ms = 10'000;
  std::uint64_t key_seed = 1;
  bool tcp_only = false;
  bool keep_blocks = false;  // do not clear the namespace first
  std::string model = "llama-3-8b";
  std::string gpu = "h100";
  std::string out;  // directory of report.json and report.html; empty: no files
  std::optional<double> gpu_hour_dollars;
};

Status CopyText(const std::string& text, char* out, std::size_t capacity, const char* name) {
  if (text.empty() || text.size() >= capacity) {
    return Status::Invalid(std::string(name) + " must have 1 to " + std::to_string(capacity - 1) +
                           " bytes");
  }
  std::memcpy(out, text.c_str(), text.size() + 1);
  return Status::Ok();
}

Result<RunParameters> MakeParameters(const RunOptions& options, std::uint32_t block_tokens) {
  const Result<std::uint64_t> block_bytes = BlockBytes(options.bytes_per_token, block_tokens);
  if (!block_bytes.ok()) return block_bytes.status();
  if (options.batch_blocks == 0 || options.batch_blocks > kBatchBlocksMax) {
    return Status::Invalid("--batch must be from 1 to " + std::to_string(kBatchBlocksMax));
  }
  const auto workers = {options.workers.prefill_workers, options.workers.decode_workers};
  if (std::ranges::any_of(workers, [](auto count) { return count == 0 || count > kWorkersMax; })) {
    return Status::Invalid("--prefill and --decode must be from 1 to " +
                           std::to_string(kWorkersMax));
  }
  if (options.deadline_ms == 0) return Status::Invalid("--deadline-ms must be at least 1");
  RunParameters parameters;
  parameters.key_seed = options.key_seed;
  parameters.block_bytes = *block_bytes;
  parameters.block_tokens = block_tokens;
  parameters.bytes_per_token = static_cast<std::uint32_t>(options.bytes_per_token);
  parameters.batch_blocks = options.batch_blocks;
  parameters.run_blocks = kRunBlocks;
  parameters.deadline_ms = options.deadline_ms;
  parameters.tcp_only = options.tcp_only ? 1 : 0;
  // In lockstep nothing overlaps, and the daemon writes to NVMe beside what it answers.
  parameters.durable_puts = options.workers.lockstep ? 1 : 0;
  parameters.outage_pause_ms = kOutagePauseMs;
  const std::string name =
      !options.namespace_name.empty()
          ? options.namespace_name
          : "replay-" + options.model + "-" + std::to_string(options.bytes_per_token);
  Status status =
      CopyText(options.address, parameters.address, sizeof parameters.address, "--connect");
  if (status.ok()) {
    status =
        CopyText(name, parameters.namespace_name, sizeof parameters.namespace_name, "--namespace");
  }
  if (status.ok()) {
    status = CopyText(options.model, parameters.model, sizeof parameters.model, "--model");
  }
  if (!status.ok()) return status;
  return parameters;
}

/// The file for the progress is tried before the run: whoever waits for it would wait in vain.
Status PrepareProgressFile(const std::string& path) {
  if (path.empty()) return Status::Ok();
  errno = 0;
  const std::ofstream file(path, std::ios::trunc);
  if (file) return Status::Ok();
  return Status(StatusCode::kIo,
                "--progress-file: cannot write " + path + ": " + std::strerror(errno));
}

/// The report's directory is made, and tried, before the run: not to lose an hour's result.
Status PrepareOutput(const std::string& directory) {
  if (directory.empty()) return Status::Ok();
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return Status(StatusCode::kIo, "--out: cannot make " + directory + ": " + error.message());
  }
  errno = 0;
  const std::ofstream file(directory + "/report.json", std::ios::app);
  if (!file) {
    return Status(StatusCode::kIo,
                  "--out: cannot write " + directory + "/report.json: " + std::strerror(errno));
  }
  return Status::Ok();
}

/// The progress and the report must not be written over the trace.
Status CheckFiles(const RunOptions& options) {
  const std::string& trace = options.source.source.trace_file;
  Status status =
      CheckAnotherFile("--progress-file", options.workers.progress_file, "--trace", trace);
  if (options.out.empty()) return status;
  for (const char* name : {"/report.json", "/report.html"}) {
    if (status.ok()) status = CheckAnotherFile("--out", options.out + name, "--trace", trace);
  }
  return status;
}

/// Blocks of an earlier run would be hits that this one did not earn.
Status ClearLeftovers(Client& client, const RunParameters& parameters) {
  const Result<std::uint64_t> cleared =
      client.ClearNamespace(parameters.namespace_name, In(kCallTimeout));
  if (cleared.ok() || cleared.code() == StatusCode::kMiss) return Status::Ok();
  return cleared.status();
}

int Finish(const RunOptions& options, const ReportInput& input) {
  std::cout << ReportTable(input);
  if (!options.out.empty()) {
    const std::string json = ReportJson(input);
    const Document document = Document::parse(json, nullptr, /*allow_exceptions=*/false);
    Status status = WriteText(options.out + "/report.json", json);
    if (status.ok()) {
      status =
          WriteText(options.out + "/report.html", HtmlReport(document, options.gpu_hour_dollars));
    }
    if (!status.ok()) {
      std::fprintf(stderr, "terrace-replay: %s\n", status.message().c_str());
      return kExitFailed;
    }
    std::cout << "report                   " << options.out << "/report.json\n"
              << "  for people             " << options.out << "/report.html\n";
  }
  std::cout.flush();
  if (!input.outcome.failure.empty()) {
    std::fprintf(stderr, "terrace-replay: %s\n", input.outcome.failure.c_str());
    return kExitFailed;
  }
  return input.outcome.interrupted ? kExitInterrupted : kExitOk;
}

/// The daemon's, or the default where this program has no such policy; the report says so.
const PolicyKind& SimulatedPolicy(const DaemonView& view) {
  const auto policy = FindPolicy(view.policy);
  return policy.ok() ? **policy : Policies().front();
}

SimulatedRun Simulate(const Trace& trace, const BlockNumbers& blocks, const RunOutcome& outcome,
                      std::span<const TraceHint> hints, const RunParameters& parameters,
                      const DaemonView& view) {
  // The daemon tells what its slices hold; the device has its superblock in front of them.
  const std::uint64_t device_bytes =
      view.nvme_bytes == 0 ? 0 : view.nvme_bytes + nvme::kSlicesOffset;
  const auto reactors = static_cast<std::uint32_t>(view.reactors);
  const NvmeShape nvme = ShapeOfNvme(device_bytes, reactors, parameters.block_bytes);
  return SimulateRun(trace, blocks, outcome.totals.Order(), parameters.batch_blocks,
                     {.dram_blocks = view.dram_bytes / parameters.block_bytes,
                      .distinct_blocks = blocks.distinct,
                      .slices = reactors,
                      .run_blocks = parameters.run_blocks,
                      .nvme_segments = nvme.segments,
                      .nvme_records_per_segment = nvme.records_per_segment,
                      .policy = &SimulatedPolicy(view),
                      .nvme_write_share = view.nvme_write_share},
                     hints);
}

double MeanSeconds(const LatencyHistogram& histogram) {
  if (histogram.count() == 0) return 0;
  return static_cast<double>(histogram.total_ns()) / static_cast<double>(histogram.count()) / 1e9;
}

int RunLoaded(const RunOptions& options, const RunParameters& parameters,
              const Economics& economics, const TraceReadResult& loaded, HintSetting setting,
              Client& client) {
  const Trace& trace = loaded.trace;
  const BlockNumbers blocks = NumberBlocks(trace);
  const TraceStatistics statistics = CollectStatistics(trace, blocks);
  const std::vector<TraceHint> hints = HintsOf(trace, blocks, setting);
  const SteadyClock clock;
  DaemonWatch watch(client, clock);
  const DaemonView before = watch.Look();
  Result<SharedWorkload> workload = SharedWorkload::Create(parameters, trace, hints);
  if (!workload.ok()) return UsageError(workload.status().message());
  if (InterruptNote::Asked()) return kExitInterrupted;
  const Result<RunOutcome> outcome = RunWorkload(*workload, options.workers, watch, clock);
  if (outcome.code() == StatusCode::kCancelled) return kExitInterrupted;
  if (!outcome.ok()) return UsageError(outcome.status().ToString());
  const DaemonView after = watch.Look();
  const RunTotals& totals = outcome->totals;
  const double load_bytes_per_s = totals.get_ns == 0 ? 0
                                                     : static_cast<double>(totals.bytes_got) /
                                                           static_cast<double>(totals.get_ns) * 1e9;
  const SavedCompute savings = ComputeSavings(economics, trace, totals.hit_tokens, load_bytes_per_s,
                                              MeanSeconds(totals.match));
  const SimulatedRun simulated = Simulate(trace, blocks, *outcome, hints, parameters, before);
  return Finish(options, {.outcome = *outcome,
                          .parameters = parameters,
                          .workers = options.workers,
                          .statistics = statistics,
                          .economics = economics,
                          .savings = savings,
                          .simulated = simulated,
                          .before = before,
                          .after = after,
                          .restarts = watch.notes(),
                          .simulated_policy = std::string(SimulatedPolicy(before).name),
                          .hints = setting,
                          .trace = trace.source,
                          .skipped_lines = loaded.skipped_lines,
                          .recorded_s = RecordedSeconds(trace.requests)});
}

int Run(RunOptions& options) {
  const InterruptNote interrupt;
  const Result<Economics> economics = Economics::Find(options.model, options.gpu);
  if (!economics.ok()) return UsageError(economics.status().message());
  Status status = CheckFiles(options);
  if (status.ok()) status = PrepareOutput(options.out);
  if (status.ok()) status = PrepareProgressFile(options.workers.progress_file);
  if (!status.ok()) return UsageError(status.message());
  const Result<PaceOptions> pace = options.pace.Read(options.workers.lockstep);
  if (!pace.ok()) return UsageError(pace.status().message());
  options.workers.pace = *pace;
  const Result<HintSetting> hints = options.hints.Read();
  if (!hints.ok()) return UsageError(hints.status().message());
  const Result<TraceReadResult> loaded = options.source.Load();
  if (!loaded.ok()) return UsageError(loaded.status().message());
  status = CheckPace(*pace, loaded->trace.requests);
  if (!status.ok()) return UsageError(status.message());
  const Result<RunParameters> parameters = MakeParameters(options, loaded->trace.block_tokens);
  if (!parameters.ok()) return UsageError(parameters.status().message());
  TellSkippedLines(*loaded);
  const Result<std::unique_ptr<Client>> client =
      Client::Connect(BlockExchange::Options(*parameters, "replay"));
  if (!client.ok()) {
    return UsageError("no daemon at " + options.address + ": " + client.status().ToString());
  }
  if (!options.keep_blocks) {
    status = ClearLeftovers(**client, *parameters);
    if (!status.ok()) return UsageError("clearing the namespace: " + status.ToString());
  }
  return RunLoaded(options, *parameters, *economics, *loaded, *hints, **client);
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
  AddPriceOption(command, options.gpu_hour_dollars);
  command.add_option("--out", options.out,
                     "directory that report.json and report.html are written to");
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
  options.pace.Add(command);
  options.hints.Add(command);
  command.add_flag("--tcp", options.tcp_only, "connect over TCP even on the daemon's host");
  command.add_flag("--quiet", options.workers.quiet, "no progress");
  command.add_option("--progress-file", options.workers.progress_file,
                     "file that holds the percentage of requests done, for scripts");
}

}  // namespace

void AddRunCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<RunOptions>();
  CLI::App* command =
      app.add_subcommand("run", "replay a workload against a daemon and verify every byte");
  options->source.AddTraceOptions(*command);
  options->source.AddGeneratorOptions(*command);
  AddRunOptions(*command, *options);
  command->callback([options, &chosen] { chosen = [options] { return Run(*options); }; });
}

}  // namespace terrace::replay
