// terrace-replay advise: what a daemon's curve would say of a trace, beside the truth.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "tools/common/byte_size.h"
#include "tools/replay/commands/commands.h"
#include "tools/replay/commands/source_options.h"
#include "tools/replay/simulate/curve_study.h"

namespace terrace::replay {
namespace {

struct AdviseOptions {
  SourceOptions source;
  std::string policy = std::string(kDefaultPolicy);
  double dram_percent = 5;
  double nvme_percent = 0;
  std::string memory = "1MiB";
};

// As a replay has it by default (run_command.cc).
constexpr std::uint32_t kBatchBlocks = 64;
constexpr std::uint32_t kSegments = 64;  // of the NVMe tier

int Advise(AdviseOptions& options) {
  const Result<const PolicyKind*> policy = FindPolicy(options.policy);
  if (!policy.ok()) return UsageError("--policy: " + policy.status().message());
  const Result<std::uint64_t> memory = ParseByteSize(options.memory);
  if (!memory.ok()) return UsageError("--memory " + memory.status().message());
  const Result<TraceReadResult> loaded = options.source.Load();
  if (!loaded.ok()) return UsageError(loaded.status().message());
  TellSkippedLines(*loaded);
  const BlockNumbers blocks = NumberBlocks(loaded->trace);
  const auto share = [&](double percent) {
    return static_cast<std::uint64_t>(std::llround(percent / 100 * blocks.distinct));
  };
  SimulatedTiersOptions tiers{
      .dram_blocks = std::max<std::uint64_t>(share(options.dram_percent), 1),
      .distinct_blocks = blocks.distinct,
      .policy = *policy};
  if (share(options.nvme_percent) >= 2 * kSegments) {
    tiers.nvme_segments = kSegments;
    tiers.nvme_records_per_segment = share(options.nvme_percent) / kSegments;
  } else if (options.nvme_percent > 0) {
    return UsageError("--nvme is less than " + std::to_string(2 * kSegments) + " blocks");
  }
  const CurveStudy study =
      StudyCurve(loaded->trace, blocks, tiers, {.batch_blocks = kBatchBlocks}, *memory);
  std::printf("%s, DRAM of %llu blocks, 1 of %u sampled, %.0f of %.0f references seen, %s\n\n",
              options.policy.c_str(), static_cast<unsigned long long>(tiers.dram_blocks),
              1U << study.shift, study.sampled, study.references,
              FormatByteSize(study.bytes).c_str());
  std::printf("%8s %8s %10s %10s %8s %8s\n", "DRAM x", "NVMe x", "told %", "truth %", "off by",
              "+-");
  for (const CurveStudy::Point& point : study.points) {
    std::printf("%8g %8g %10.2f %10.2f %+8.2f %8.2f\n", point.size.dram_scale,
                point.size.nvme_scale, 100 * point.estimated, 100 * point.exact,
                100 * (point.estimated - point.exact), 100 * point.standard_error);
  }
  return std::fflush(stdout) == 0 ? kExitOk : kExitFailed;
}

}  // namespace

void AddAdviseCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<AdviseOptions>();
  CLI::App* command = app.add_subcommand(
      "advise", "what a daemon of one size would say of others on a trace, beside the truth");
  options->source.AddTraceOptions(*command);
  options->source.AddGeneratorOptions(*command);
  command->add_option("--policy", options->policy, "of the daemon")->capture_default_str();
  command->add_option("--dram", options->dram_percent, "of the daemon, % of the distinct blocks")
      ->check(CLI::Range(0.001, 100.0))
      ->capture_default_str();
  command->add_option("--nvme", options->nvme_percent, "likewise; 0: none")
      ->check(CLI::Range(0.0, 1000.0))
      ->capture_default_str();
  command->add_option("--memory", options->memory, "for the miniature caches, about")
      ->capture_default_str();
  command->callback([options, &chosen] { chosen = [options] { return Advise(*options); }; });
}

}  // namespace terrace::replay
