#include <iostream>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "tools/replay/commands.h"
#include "tools/replay/nvme_shape.h"
#include "tools/replay/tier_size.h"
#include "tools/replay/trace_statistics.h"

namespace terrace::replay {

Result<std::uint64_t> BlockBytes(std::uint64_t bytes_per_token) {
  const std::uint64_t least = kBlockBytesMin / kBlockTokens;
  const std::uint64_t most = kBlockBytesMax / kBlockTokens;
  if (bytes_per_token < least || bytes_per_token > most) {
    return Status::Invalid("bytes per token is " + std::to_string(bytes_per_token) +
                           ", must be from " + std::to_string(least) + " to " +
                           std::to_string(most) + " (blocks of 512 tokens from 4 KiB to 64 MiB)");
  }
  return bytes_per_token * kBlockTokens;
}

int Plan(const PlanOptions& options) {
  const Result<std::uint64_t> block_bytes = BlockBytes(options.bytes_per_token);
  if (!block_bytes.ok()) return UsageError(block_bytes.status().message());
  const Result<ByteAmount> dram = ParseByteAmount(options.dram);
  if (!dram.ok()) return UsageError("--dram " + dram.status().message());
  const Result<ByteAmount> nvme = ParseByteAmount(options.nvme);
  if (!nvme.ok()) return UsageError("--nvme " + nvme.status().message());
  if (options.reactors == 0 || options.reactors > nvme::kSlicesMax) {
    return UsageError("--reactors must be from 1 to " + std::to_string(nvme::kSlicesMax));
  }
  const Result<TraceReadResult> workload = LoadWorkload(options.source);
  if (!workload.ok()) return UsageError(workload.status().message());
  const Trace& trace = workload->trace;
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
  json["bytes_per_token"] = options.bytes_per_token;
  json["block_bytes"] = *block_bytes;
  json["distinct_bytes"] = statistics.distinct_blocks * *block_bytes;
  json["dram_bytes"] = tier(*dram, kTierBytesMin);
  json["nvme_bytes"] = tier(*nvme, NvmeBytesMin(options.reactors));
  std::cout << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  return kExitOk;
}

}  // namespace terrace::replay
