#include "tools/replay/run/run_totals.h"

#include <algorithm>
#include <tuple>

namespace terrace::replay {

void RunTotals::Add(std::size_t worker, const WorkReport& report, const TraceRequest& request) {
  const bool prefill = report.work == WorkKind::kPrefill;
  if (prefill) {
    ++prefills;
    blocks_looked_up += report.looked_up;
    blocks_matched += report.matched;
    blocks_hit += report.hit;
    tokens_looked_up += request.input_tokens;
    tokens_output += request.output_tokens;
    tokens_hit += report.hit_tokens;
    hits_dram += report.hits_dram;
    hits_nvme += report.hits_nvme;
    if (report.request < hit_tokens.size()) hit_tokens[report.request] = report.hit_tokens;
  } else {
    ++decodes;
    decode_blocks += report.looked_up;
    decode_blocks_missing += report.missing;
  }
  if (prefill) {
    operations.push_back({report.looked_up_at, {OperationKind::kLookUp, report.request}});
  }
  operations.push_back(
      {report.ended_at,
       {prefill ? OperationKind::kStore : OperationKind::kDecode, report.request}});
  bytes_put += report.bytes_put;
  bytes_got += report.bytes_got;
  bytes_verified += report.bytes_verified;
  wrong_bytes += report.wrong_bytes;
  wrong_blocks += report.wrong_blocks;
  get_ns += report.get_ns;
  put_ns += report.put_ns;
  calls_failed += report.calls_failed;
  peer_dead += report.calls_peer_dead;
  regions_replaced += report.regions_replaced;
  for (std::size_t code = 0; code < kStatusCodeCount; ++code) {
    get_status[code] += report.get_status[code];
    put_status[code] += report.put_status[code];
  }
  reconnects[worker] = report.reconnects;
  if (first_call_error.empty() && report.calls_failed > 0) first_call_error = report.text;
}

void RunTotals::Add(const WorkerSummary& summary) {
  match.Merge(summary.match);
  get.Merge(summary.get);
  put.Merge(summary.put);
}

std::vector<Operation> RunTotals::Order() const {
  std::vector<TimedOperation> sorted = operations;
  // The kinds of a request are in the order in which they are done.
  std::ranges::sort(sorted, {}, [](const TimedOperation& timed) {
    return std::tuple(timed.at, timed.operation.request, timed.operation.kind);
  });
  std::vector<Operation> order;
  order.reserve(sorted.size());
  for (const TimedOperation& timed : sorted) order.push_back(timed.operation);
  return order;
}

std::uint64_t RunTotals::Reconnects() const {
  std::uint64_t sum = 0;
  for (const auto& [worker, count] : reconnects) sum += count;
  return sum;
}

double RunTotals::BlockHitRatio() const {
  if (blocks_looked_up == 0) return 0;
  return static_cast<double>(blocks_hit) / static_cast<double>(blocks_looked_up);
}

}  // namespace terrace::replay
