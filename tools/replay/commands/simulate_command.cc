#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "tools/common/progress_bar.h"
#include "tools/replay/commands/commands.h"
#include "tools/replay/commands/hint_option.h"
#include "tools/replay/commands/source_options.h"
#include "tools/replay/page/html_report.h"
#include "tools/replay/report/study_report.h"
#include "tools/replay/run/interrupt.h"
#include "tools/replay/simulate/nvme_shape.h"
#include "tools/replay/simulate/policy_study.h"
#include "tools/replay/simulate/tier_size.h"
#include "tools/replay/trace/trace_statistics.h"

namespace terrace::replay {
namespace {

struct SimulateOptions {
  SourceOptions source;
  std::vector<std::string> policies;    // empty: all
  std::vector<std::string> capacities;  // empty: of kCapacities, unless there are tiers
  std::string dram;                     // empty: no tiers
  std::string nvme;
  std::string nvme_write = "everything";
  std::uint64_t nvme_write_percent = 40;
  std::uint64_t bytes_per_token = 128;  // of the tiers' blocks
  std::uint64_t reactors = 1;
  std::string model = "llama-3-8b";
  std::string gpu = "h100";
  HintOption hints;
  double load_gb_per_s = 12.5;  // 100 Gbit/s Ethernet
  double gpu_hour_price = 2.0;
  std::uint64_t jobs = 0;  // 0: one for each core
  std::string json;        // file; "-": standard output
  std::string html;        // file; empty: none
  bool quiet = false;
};

constexpr const char* kCapacities[] = {"1%", "2%", "5%", "10%", "20%", "50%"};
// As a replay has them by default (run_command.cc).
constexpr std::uint32_t kRunBlocks = 64;
constexpr std::uint32_t kBatchBlocks = 64;

/// Blocks of a capacity as a person wrote it: a number, or a percentage of the distinct blocks.
Result<std::uint64_t> CapacityBlocks(const std::string& text, std::uint64_t distinct) {
  std::uint64_t blocks = 0;
  if (text.find('%') != std::string::npos) {
    const Result<ByteAmount> share = ParseByteAmount(text);
    if (!share.ok()) return Status::Invalid("--capacity " + share.status().message());
    const double exact = share->percent / 100 * static_cast<double>(distinct);
    blocks = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::llround(exact)));
  } else {
    if (text.empty() || text.size() > 18 ||
        text.find_first_not_of("0123456789") != std::string::npos) {
      return Status::Invalid("--capacity '" + text +
                             "' is neither a whole number of blocks nor a percentage");
    }
    blocks = std::stoull(text);
  }
  if (blocks == 0) return Status::Invalid("--capacity is 0 blocks: a cache needs at least one");
  if (blocks > distinct) {
    return Status::Invalid("--capacity " + text + " is more than the " + std::to_string(distinct) +
                           " distinct blocks of the trace");
  }
  return blocks;
}

/// `texts`, each of which may be a list with commas.
std::vector<std::string> SplitLists(const std::vector<std::string>& texts) {
  std::vector<std::string> result;
  for (const std::string& text : texts) {
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find(',', begin), text.size());
      result.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return result;
}

struct Cases {
  std::vector<StudyCase> all;  // the curves, then the tiers
  std::size_t curves = 0;
};

Status AddCurves(const SimulateOptions& options, const std::vector<std::string>& policies,
                 std::uint64_t distinct, Cases& cases) {
  std::vector<std::string> texts = SplitLists(options.capacities);
  if (texts.empty() && options.dram.empty()) {
    texts.assign(std::begin(kCapacities), std::end(kCapacities));
  }
  std::vector<std::uint64_t> capacities;
  for (const std::string& text : texts) {
    const Result<std::uint64_t> blocks = CapacityBlocks(text, distinct);
    if (!blocks.ok()) return blocks.status();
    capacities.push_back(*blocks);
  }
  std::ranges::sort(capacities);
  capacities.erase(std::ranges::unique(capacities).begin(), capacities.end());
  for (const std::string& policy : policies) {
    for (const std::uint64_t capacity : capacities) {
      cases.all.push_back({.policy = policy, .shape = {}, .tiers = {.dram_blocks = capacity}});
    }
  }
  cases.curves = cases.all.size();
  return Status::Ok();
}

Status AddTiers(const SimulateOptions& options, const std::vector<std::string>& policies,
                const Trace& trace, const TraceStatistics& statistics, Cases& cases) {
  if (options.dram.empty()) {
    if (options.nvme.empty()) return Status::Ok();
    return Status::Invalid("--nvme needs --dram: what is on NVMe came through DRAM");
  }
  const Result<ByteAmount> dram = ParseByteAmount(options.dram);
  if (!dram.ok()) return Status::Invalid("--dram " + dram.status().message());
  const Result<ByteAmount> nvme = ParseByteAmount(options.nvme.empty() ? "0" : options.nvme);
  if (!nvme.ok()) return Status::Invalid("--nvme " + nvme.status().message());
  if (options.reactors == 0 || options.reactors > nvme::kSlicesMax) {
    return Status::Invalid("--reactors must be from 1 to " + std::to_string(nvme::kSlicesMax));
  }
  const Result<std::uint64_t> block_bytes = BlockBytes(options.bytes_per_token, trace.block_tokens);
  if (!block_bytes.ok()) return block_bytes.status();
  const auto tier_bytes = [&](const ByteAmount& amount, std::uint64_t least_bytes) {
    return TierBytes(amount, statistics.distinct_blocks, statistics.longest_request_blocks,
                     *block_bytes, least_bytes);
  };
  const double write_share =
      options.nvme_write == "worth" ? static_cast<double>(options.nvme_write_percent) / 100 : 0;
  const auto reactors = static_cast<std::uint32_t>(options.reactors);
  const std::uint64_t nvme_bytes = tier_bytes(*nvme, NvmeBytesMin(reactors));
  const NvmeShape shape = ShapeOfNvme(nvme_bytes, reactors, *block_bytes);
  if (nvme_bytes > 0 && shape.segments == 0) {
    return Status::Invalid("--nvme " + options.nvme + " is too small for its segments: at least " +
                           FormatByteSize(NvmeBytesMin(reactors)) + " for blocks of " +
                           FormatByteSize(*block_bytes) + " (at most " +
                           FormatByteSize(kNvmeBlockBytesMax) + ")");
  }
  const std::uint64_t dram_blocks = tier_bytes(*dram, kTierBytesMin) / *block_bytes;
  if (dram_blocks / reactors == 0) {
    return Status::Invalid("--dram " + options.dram + " is too small for a block on each of " +
                           std::to_string(reactors) + " reactors");
  }
  for (const std::string& policy : policies) {
    if (policy == kOptimalPolicy) continue;
    cases.all.push_back({.policy = policy,
                         .shape = {.batch_blocks = kBatchBlocks, .decodes = true},
                         .tiers = {.dram_blocks = dram_blocks,
                                   .slices = reactors,
                                   .run_blocks = kRunBlocks,
                                   .nvme_segments = shape.segments,
                                   .nvme_records_per_segment = shape.records_per_segment,
                                   .nvme_write_share = write_share}});
  }
  return Status::Ok();
}

Status CheckOptions(const SimulateOptions& options, const std::vector<std::string>& policies) {
  for (const std::string& policy : policies) {
    Status status = CheckStudyPolicy(policy);
    if (!status.ok()) return Status::Invalid("--policy: " + status.message());
  }
  // Written so that NaN fails too.
  if (!(options.load_gb_per_s > 0 && options.load_gb_per_s <= 1e6)) {
    return Status::Invalid("--load-gb-per-s must be above 0 and at most 1000000");
  }
  constexpr std::uint64_t kJobsMax = 1024;
  if (options.jobs > kJobsMax) {
    return Status::Invalid("--jobs must be at most " + std::to_string(kJobsMax));
  }
  return Status::Ok();
}

/// What is written, after minutes maybe, must not be in place of the trace or of each other.
Status CheckFiles(const SimulateOptions& options) {
  const std::string& trace = options.source.source.trace_file;
  Status status = CheckAnotherFile("--json", options.json, "--trace", trace);
  if (status.ok()) status = CheckAnotherFile("--html", options.html, "--trace", trace);
  if (status.ok()) status = CheckAnotherFile("--html", options.html, "--json", options.json);
  return status;
}

/// The same with the option that it is about.
Status Named(const char* option, const Status& status) {
  if (status.ok()) return status;
  return Status(status.code(), std::string(option) + ": " + status.message());
}

std::uint64_t MemoryBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

Result<std::vector<StudyResult>> RunCases(const SimulateOptions& options, const Trace& trace,
                                          const BlockNumbers& blocks, const Cases& cases,
                                          const Economics& economics, ProgressBar& bar) {
  const InterruptNote interrupt;
  const std::string text = std::to_string(cases.all.size()) + " simulations";
  const auto jobs =
      options.jobs != 0 ? options.jobs : std::max(1U, std::thread::hardware_concurrency());
  return RunPolicyStudy(trace, blocks, cases.all, economics,
                        {.threads = static_cast<std::uint32_t>(jobs),
                         .load_bytes_per_s = options.load_gb_per_s * 1e9,
                         .progress = [&](std::uint64_t references) {
                           if (bar.Due()) bar.Draw(references, text);
                           return !InterruptNote::Asked();
                         }});
}

int Simulate(SimulateOptions& options) {
  std::vector<std::string> policies = SplitLists(options.policies);
  if (policies.empty()) policies = StudyPolicies();
  Status status = CheckOptions(options, policies);
  if (status.ok()) status = CheckFiles(options);
  if (!status.ok()) return UsageError(status.message());
  const Result<Economics> economics = Economics::Find(options.model, options.gpu);
  if (!economics.ok()) return UsageError(economics.status().message());
  const Result<HintSetting> setting = options.hints.Read();
  if (!setting.ok()) return UsageError(setting.status().message());
  const Result<TraceReadResult> loaded = options.source.Load();
  if (!loaded.ok()) return UsageError(loaded.status().message());
  TellSkippedLines(*loaded);
  const Trace& trace = loaded->trace;
  const BlockNumbers blocks = NumberBlocks(trace);
  const TraceStatistics statistics = CollectStatistics(trace, blocks);
  const std::vector<TraceHint> hints = HintsOf(trace, blocks, *setting);
  Cases cases;
  status = AddCurves(options, policies, statistics.distinct_blocks, cases);
  if (status.ok()) status = AddTiers(options, policies, trace, statistics, cases);
  if (!status.ok()) return UsageError(status.message());
  for (StudyCase& entry : cases.all) entry.shape.hints = hints;
  if (cases.all.empty()) return UsageError("--policy: optimal alone has no tiers, only capacities");

  const SteadyClock clock;
  ProgressBar bar(cases.all.size() * statistics.block_references, options.quiet, clock);
  const auto results = RunCases(options, trace, blocks, cases, *economics, bar);
  if (!results.ok()) return kExitInterrupted;
  bar.Finish(cases.all.size() * statistics.block_references,
             std::to_string(cases.all.size()) + " simulations");
  const std::span<const StudyResult> all = *results;
  const StudyReportInput input{.trace = trace,
                               .statistics = statistics,
                               .economics = *economics,
                               .hints = *setting,
                               .curves = all.first(cases.curves),
                               .tiers = all.subspan(cases.curves),
                               .load_bytes_per_s = options.load_gb_per_s * 1e9,
                               .gpu_hour_price = options.gpu_hour_price,
                               .seconds = bar.seconds(),
                               .memory_bytes = MemoryBytes()};
  const nlohmann::ordered_json document = StudyJson(input);
  const std::string json =
      document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (options.json == "-") {
    std::cout << json;
  } else {
    std::cout << StudyTable(input);
  }
  if (!options.json.empty() && options.json != "-") {
    status = Named("--json", WriteText(options.json, json));
  }
  if (status.ok() && !options.html.empty()) {
    status = Named("--html", WriteText(options.html, HtmlReport(document)));
  }
  return status.ok() ? kExitOk : UsageError(status.message());
}

}  // namespace

void AddSimulateCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<SimulateOptions>();
  CLI::App* command = app.add_subcommand(
      "simulate", "what policies and capacities would hit on a trace, without a daemon");
  options->source.AddTraceOptions(*command);
  options->source.AddGeneratorOptions(*command);
  std::string names;
  for (const std::string& name : StudyPolicies()) names += (names.empty() ? "" : ", ") + name;
  command->add_option("--policy", options->policies, "policies, of " + names + "; default: all");
  command->add_option("--capacity", options->capacities,
                      "capacities, in blocks or per cent of the distinct blocks; default: 1, 2, 5, "
                      "10, 20 and 50 %");
  command->add_option("--dram", options->dram,
                      "simulate the daemon's tiers: bytes of DRAM, or a percentage of the distinct "
                      "blocks, as plan does");
  command->add_option("--nvme", options->nvme, "NVMe under it, likewise; default: none");
  command
      ->add_option("--nvme-write", options->nvme_write,
                   "what is written to it, as nvme.write has it: everything or worth")
      ->check(CLI::IsMember({"everything", "worth"}))
      ->capture_default_str();
  command
      ->add_option("--nvme-write-percent", options->nvme_write_percent,
                   "with worth: most blocks written, in per cent of those put")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{100}))
      ->capture_default_str();
  command
      ->add_option("--bytes-per-token", options->bytes_per_token,
                   "KV bytes of a token in those tiers, as run has it")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--reactors", options->reactors, "of the daemon with those tiers")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--model", options->model,
                   "model whose savings are computed: llama-3-8b, qwen2.5-32b, llama-3-70b, "
                   "deepseek-v3")
      ->capture_default_str();
  command->add_option("--gpu", options->gpu, "GPU it runs on: a100, h100, h100-fp8")
      ->capture_default_str();
  command
      ->add_option("--load-gb-per-s", options->load_gb_per_s,
                   "path that hits are loaded over, 10^9 bytes/s")
      ->capture_default_str();
  command->add_option("--gpu-hour-price", options->gpu_hour_price, "dollars for an hour of a GPU")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command->add_option("--jobs", options->jobs, "simulations at once; 0: one for each core")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--json", options->json, "file for the results; - : standard output");
  command->add_option("--html", options->html, "file for the results as a page with charts");
  options->hints.Add(*command);
  command->add_flag("--quiet", options->quiet, "no progress");
  command->callback([options, &chosen] { chosen = [options] { return Simulate(*options); }; });
}

}  // namespace terrace::replay
