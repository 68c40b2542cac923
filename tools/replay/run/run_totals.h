// RunTotals: the sums over what the workers of a run reported.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "tools/replay/run/latency_histogram.h"
#include "tools/replay/run/worker_protocol.h"
#include "tools/replay/simulate/operation.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

using StatusCounts = std::array<std::uint64_t, kStatusCodeCount>;

struct TimedOperation {
  Nanos at = 0;
  Operation operation;
};

struct RunTotals {
  // Prefill: contiguous prefix.
  std::uint64_t prefills = 0;
  std::uint64_t blocks_looked_up = 0;
  std::uint64_t blocks_matched = 0;
  std::uint64_t blocks_hit = 0;
  std::uint64_t tokens_looked_up = 0;
  std::uint64_t tokens_hit = 0;
  std::uint64_t tokens_output = 0;  ///< of the requests that were prefilled
  std::uint64_t hits_dram = 0;
  std::uint64_t hits_nvme = 0;
  // Decode: every block.
  std::uint64_t decodes = 0;
  std::uint64_t decode_blocks = 0;
  std::uint64_t decode_blocks_missing = 0;
  // Both.
  std::uint64_t bytes_put = 0;
  std::uint64_t bytes_got = 0;
  std::uint64_t bytes_verified = 0;
  std::uint64_t wrong_bytes = 0;
  std::uint64_t wrong_blocks = 0;
  std::uint64_t get_ns = 0;
  std::uint64_t put_ns = 0;
  std::uint64_t calls_failed = 0;
  std::uint64_t peer_dead = 0;
  std::uint64_t regions_replaced = 0;
  StatusCounts get_status{};
  StatusCounts put_status{};
  std::unordered_map<std::size_t, std::uint64_t> reconnects;  ///< by worker
  LatencyHistogram match, get, put;
  std::vector<TimedOperation> operations;  ///< see Order
  /// Tokens of each request's hit; kNotPrefilled for requests that were not prefilled.
  std::vector<std::uint32_t> hit_tokens;
  std::string first_call_error;

  /// request: of the trace, the one that the report is about.
  void Add(std::size_t worker, const WorkReport& report, const TraceRequest& request);
  void Add(const WorkerSummary& summary);
  /// What prefills looked up, in the order in which their matches were answered; what they stored
  /// and what decodes got, in that in which they ended.
  [[nodiscard]] std::vector<Operation> Order() const;
  [[nodiscard]] std::uint64_t Reconnects() const;
  [[nodiscard]] double BlockHitRatio() const;
};

}  // namespace terrace::replay
