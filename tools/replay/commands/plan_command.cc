#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/replay/commands/commands.h"
#include "tools/replay/commands/source_options.h"
#include "tools/replay/simulate/nvme_shape.h"
#include "tools/replay/simulate/tier_size.h"
#include "tools/replay/trace/trace_statistics.h"

namespace terrace::replay {

namespace {

struct PlanOptions {
  SourceOptions source;
  std::string dram = "5%";
  std::string nvme = "20%";
  std::uint64_t bytes_per_token = 128;
  std::uint64_t reactors = 1;  // of the daemon: each needs a least share of the NVMe tier
};

int Plan(PlanOptions& options) {
  const Result<ByteAmount> dram = ParseByteAmount(options.dram);
  if (!dram.ok()) return UsageError("--dram " + dram.status().message());
  const Result<ByteAmount> nvme = ParseByteAmount(options.nvme);
  if (!nvme.ok()) return UsageError("--nvme " + nvme.status().message());
  if (options.reactors == 0 || options.reactors > nvme::kSlicesMax) {
    return UsageError("--reactors must be from 1 to " + std::to_string(nvme::kSlicesMax));
  }
  const Result<TraceReadResult> workload = options.source.Load();
  if (!workload.ok()) return UsageError(workload.status().message());
  const Trace& trace = workload->trace;
  const Result<std::uint64_t> block_bytes = BlockBytes(options.bytes_per_token, trace.block_tokens);
  if (!block_bytes.ok()) return UsageError(block_bytes.status().message());
  const TraceStatistics statistics = CollectStatistics(trace, NumberBlocks(trace));
  const auto tier = [&](const ByteAmount& amount, std::uint64_t least_bytes) {
    return TierBytes(amount, statistics.distinct_blocks, statistics.longest_request_blocks,
                     *block_bytes, least_bytes);
  };
  nlohmann::ordered_json json;
  json["trace"] = trace.source;
  json["requests"] = statistics.requests;
  json["skipped_lines"] = workload->skipped_lines;
  json["tokens_input"] = statistics.tokens_input;
  json["tokens_output"] = statistics.tokens_output;
  json["block_references"] = statistics.block_references;
  json["distinct_blocks"] = statistics.distinct_blocks;
  json["longest_request_blocks"] = statistics.longest_request_blocks;
  json["infinite_block_hit_ratio"] = statistics.InfiniteBlockHitRatio();
  json["infinite_token_hit_ratio"] = statistics.InfiniteTokenHitRatio();
  json["block_tokens"] = trace.block_tokens;
  json["bytes_per_token"] = options.bytes_per_token;
  json["block_bytes"] = *block_bytes;
  json["distinct_bytes"] = statistics.distinct_blocks * *block_bytes;
  json["dram_bytes"] = tier(*dram, kTierBytesMin);
  json["nvme_bytes"] = tier(*nvme, NvmeBytesMin(options.reactors));
  std::cout << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  return kExitOk;
}

}  // namespace

void AddPlanCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<PlanOptions>();
  CLI::App* command =
      app.add_subcommand("plan", "print the tier sizes and statistics of a workload as JSON");
  options->source.AddTraceOptions(*command);
  options->source.AddGeneratorOptions(*command);
  command->add_option("--dram", options->dram, "bytes, or a percentage of the distinct blocks")
      ->capture_default_str();
  command->add_option("--nvme", options->nvme, "bytes, or a percentage of the distinct blocks")
      ->capture_default_str();
  command->add_option("--bytes-per-token", options->bytes_per_token, "KV bytes of a token")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--reactors", options->reactors, "of the daemon that will run")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->callback([options, &chosen] { chosen = [options] { return Plan(*options); }; });
}

}  // namespace terrace::replay
