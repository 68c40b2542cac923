#include "tools/replay/report/report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/common/byte_size.h"
#include "tools/replay/report/run_series.h"
#include "tools/replay/report/table_line.h"
#include "tools/replay/trace/ratio.h"

namespace terrace::replay {
namespace {

using Json = nlohmann::ordered_json;

/// 1e9 bytes/s over time that was spent in calls; 0 when there was none.
double GigabytesPerSecond(std::uint64_t bytes, std::uint64_t nanoseconds) {
  return Ratio(bytes, nanoseconds);
}

void AddLatency(Json& json, const std::string& name, const LatencyHistogram& histogram) {
  const auto microseconds = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e3; };
  json[name + "_calls"] = histogram.count();
  json[name + "_us_p50"] = microseconds(histogram.Quantile(0.5));
  json[name + "_us_p99"] = microseconds(histogram.Quantile(0.99));
  json[name + "_us_max"] = microseconds(histogram.max_ns());
}

void AddWait(Json& json, const std::string& name, const LatencyHistogram& histogram) {
  const auto milliseconds = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e6; };
  json[name + "_ms_p50"] = milliseconds(histogram.Quantile(0.5));
  json[name + "_ms_p99"] = milliseconds(histogram.Quantile(0.99));
  json[name + "_ms_max"] = milliseconds(histogram.max_ns());
}

void AddTimeToFirstToken(Json& json, const std::string& name, const TimeToFirstToken& time) {
  json["ttft_ms_mean_" + name] = time.mean_ms;
  json["ttft_ms_p50_" + name] = time.p50_ms;
  json["ttft_ms_p99_" + name] = time.p99_ms;
}

/// What the daemon counted during the run.
struct DaemonCounts {
  std::uint64_t evictions;
  std::uint64_t blocks_put;  ///< to NVMe
  std::uint64_t blocks_reinserted;
  std::uint64_t device_bytes;
};

DaemonCounts CountsOf(const ReportInput& input) {
  const auto counted = [&input](std::uint64_t DaemonView::* counter) {
    return CountedBetween(input.before.*counter, input.after.*counter, input.restarts);
  };
  return {.evictions = counted(&DaemonView::evictions),
          .blocks_put = counted(&DaemonView::nvme_blocks_put),
          .blocks_reinserted = counted(&DaemonView::nvme_blocks_reinserted),
          .device_bytes = counted(&DaemonView::device_bytes_written)};
}

void AddTiers(Json& json, const ReportInput& input) {
  const DaemonCounts counts = CountsOf(input);
  json["evictions"] = counts.evictions;
  json["simulated_evictions"] = input.simulated.evictions;
  json["simulated_blocks_gone"] = input.simulated.blocks_gone;
  json["nvme_bytes_admitted"] = counts.blocks_put * input.parameters.block_bytes;
  json["nvme_blocks_written"] = counts.blocks_put + counts.blocks_reinserted;
  json["simulated_nvme_blocks_written"] = input.simulated.nvme_blocks_written;
  json["nvme_blocks_reinserted"] = counts.blocks_reinserted;
  json["device_bytes_written"] = counts.device_bytes;
  json["nvme_blocks"] = input.after.nvme_blocks;
  json["nvme_used_bytes"] = input.after.nvme_used_bytes;
  json["daemon_restarts"] = input.restarts.restarts();
  json["blocks_recovered"] = input.restarts.blocks_recovered();
}

void AddSetting(Json& json, const ReportInput& input) {
  const RunParameters& parameters = input.parameters;
  const Economics& economics = input.economics;
  json["trace"] = input.trace;
  json["skipped_lines"] = input.skipped_lines;
  json["trace_distinct_blocks"] = input.statistics.distinct_blocks;
  json["trace_infinite_block_hit_ratio"] = input.statistics.InfiniteBlockHitRatio();
  json["trace_infinite_token_hit_ratio"] = input.statistics.InfiniteTokenHitRatio();
  json["address"] = parameters.address;
  json["link"] = input.outcome.link;
  json["prefill_workers"] = input.workers.prefill_workers;
  json["decode_workers"] = input.workers.decode_workers;
  json["lockstep"] = input.workers.lockstep;
  json["batch_blocks"] = parameters.batch_blocks;
  json["block_tokens"] = parameters.block_tokens;
  json["block_bytes"] = parameters.block_bytes;
  json["bytes_per_token"] = parameters.bytes_per_token;
  json["kv_bytes_per_token_real"] = economics.model().kv_bytes_per_token_bf16;
  json["scale"] = economics.model().kv_bytes_per_token_bf16 / parameters.bytes_per_token;
  json["model"] = economics.instance().model;
  json["gpu"] = economics.instance().gpu;
  json["gpus"] = economics.instance().gpus;
  json["weights_precision"] = economics.instance().precision;
  json["dram_bytes"] = input.before.dram_bytes;
  json["nvme_bytes"] = input.before.nvme_bytes;
  json["reactors"] = input.before.reactors;
  json["policy"] = input.before.policy;
  json["simulated_policy"] = input.simulated_policy;
  json["hints"] = HintSettingName(input.hints);
  json["huge_page_share"] = input.after.huge_page_share;
}

void AddCounts(Json& json, const ReportInput& input) {
  const RunTotals& totals = input.outcome.totals;
  json["requests"] = input.outcome.requests_finished;
  json["requests_in_trace"] = input.statistics.requests;
  json["tokens_input"] = totals.tokens_looked_up;
  json["tokens_output"] = totals.tokens_output;
  json["blocks_looked_up"] = totals.blocks_looked_up;
  json["blocks_matched"] = totals.blocks_matched;
  json["blocks_hit"] = totals.blocks_hit;
  json["block_hit_ratio"] = totals.BlockHitRatio();
  json["token_hit_ratio"] = Ratio(totals.tokens_hit, totals.tokens_looked_up);
  json["hits_dram"] = totals.hits_dram;
  json["hits_nvme"] = totals.hits_nvme;
  json["simulated_hits_dram"] = input.simulated.hits_dram;
  json["simulated_hits_nvme"] = input.simulated.hits_nvme;
  json["simulated_block_hit_ratio"] = input.simulated.BlockHitRatio();
  json["hit_ratio_difference_points"] =
      (totals.BlockHitRatio() - input.simulated.BlockHitRatio()) * 100;
  json["decode_blocks"] = totals.decode_blocks;
  json["decode_blocks_missing"] = totals.decode_blocks_missing;
  json["simulated_decode_blocks_missing"] = input.simulated.decode_blocks_missing;
  const auto stored = static_cast<std::size_t>(StatusCode::kOk);
  json["blocks_put"] = totals.put_status[stored];
  json["bytes_put"] = totals.bytes_put;
  json["bytes_got"] = totals.bytes_got;
  json["bytes_verified"] = totals.bytes_verified;
  json["wrong_bytes"] = totals.wrong_bytes;
  json["wrong_blocks"] = totals.wrong_blocks;
  for (int code = 0; code < kStatusCodeCount; ++code) {
    const auto index = static_cast<std::size_t>(code);
    const std::string name(StatusCodeName(static_cast<StatusCode>(code)));
    json["get_blocks_" + name] = totals.get_status[index];
    json["put_blocks_" + name] = totals.put_status[index];
  }
}

void AddTrouble(Json& json, const RunOutcome& outcome) {
  json["worker_errors"] = outcome.worker_errors;
  json["calls_failed"] = outcome.totals.calls_failed;
  json["peer_dead"] = outcome.totals.peer_dead;
  json["first_call_error"] = outcome.totals.first_call_error;
  json["reconnects"] = outcome.totals.Reconnects();
  json["regions_replaced"] = outcome.totals.regions_replaced;
  json["interrupted"] = outcome.interrupted;
  json["failure"] = outcome.failure;
}

std::string Plain(double value) { return Json(value).dump(); }

std::string_view ModeName(Pace pace) {
  switch (pace) {
    case Pace::kAsFastAsPossible: return "as_fast_as_possible";
    case Pace::kOpen: return "open";
    case Pace::kClosed: return "closed";
  }
  return "";
}

/// "recorded", "none" or seconds; empty when there is no loop.
std::string ThinkTime(const PaceOptions& pace) {
  if (pace.pace != Pace::kClosed) return "";
  if (!pace.think.has_value()) return "recorded";
  if (*pace.think == 0) return "none";
  return Plain(static_cast<double>(*pace.think) / 1e9);
}

/// 0 where the recorded times do not matter.
double SpeedOf(const PaceOptions& pace) {
  const bool recorded =
      pace.pace == Pace::kOpen || (pace.pace == Pace::kClosed && !pace.think.has_value());
  return recorded ? pace.speed : 0;
}

void AddPace(Json& json, const ReportInput& input) {
  const PaceOptions& pace = input.workers.pace;
  const RunTiming& timing = input.outcome.timing;
  json["mode"] = ModeName(pace.pace);
  json["speed"] = SpeedOf(pace);
  json["concurrency"] = pace.concurrency;
  json["think_time"] = ThinkTime(pace);
  json["recorded_s"] = input.recorded_s;
  json["requests_late"] = timing.late();
  json["turns_held"] = input.outcome.turns_held;
  AddWait(json, "queue", timing.queue());
  AddWait(json, "prefill", timing.prefill());
  AddWait(json, "request", timing.request());
  json["timeline_interval_s"] = static_cast<double>(input.outcome.timeline.width()) / 1e9;
}

void AddSpeed(Json& json, const RunOutcome& outcome) {
  const RunTotals& totals = outcome.totals;
  AddLatency(json, "match", totals.match);
  AddLatency(json, "get", totals.get);
  AddLatency(json, "put", totals.put);
  json["duration_s"] = outcome.duration_s;
  json["get_gb_per_s"] = GigabytesPerSecond(totals.bytes_got, totals.get_ns);
  json["put_gb_per_s"] = GigabytesPerSecond(totals.bytes_put, totals.put_ns);
  json["total_gb_per_s"] =
      outcome.duration_s > 0
          ? static_cast<double>(totals.bytes_got + totals.bytes_put) / outcome.duration_s / 1e9
          : 0.0;
}

void AddSavings(Json& json, const SavedCompute& savings) {
  json["gpu_seconds_total"] = savings.gpu_seconds_total;
  json["gpu_seconds_saved"] = savings.gpu_seconds_saved;
  AddTimeToFirstToken(json, "without", savings.without);
  AddTimeToFirstToken(json, "with", savings.with);
  AddTimeToFirstToken(json, "planned", savings.planned);
  json["load_gb_per_s"] = savings.load_gb_per_s;
  json["break_even_gb_per_s"] = savings.break_even_gb_per_s;
  json["loads_that_pay"] = savings.loads_that_pay;
  json["savings_assumption"] =
      "computed, not measured: hits are loaded with the real model's bf16 bytes per token at the "
      "get bandwidth of this run; 'planned' loads a hit only where that beats computing it";
}

unsigned long long Number(std::uint64_t value) { return value; }

void LatencyLine(std::string& out, const char* name, const LatencyHistogram& histogram) {
  Line(out, "%-24s p50 %.0f us, p99 %.0f us, max %.0f us (%llu calls)", name,
       static_cast<double>(histogram.Quantile(0.5)) / 1e3,
       static_cast<double>(histogram.Quantile(0.99)) / 1e3,
       static_cast<double>(histogram.max_ns()) / 1e3, Number(histogram.count()));
}

/// Of the daemon, and what stood in for it in the simulation.
std::string EvictionText(const ReportInput& input) {
  const std::string& policy = input.before.policy;
  std::string text = "eviction " + (policy.empty() ? "not told" : policy);
  if (policy == input.simulated_policy) return text;
  return text + " (unknown here, simulated as " + input.simulated_policy + ")";
}

void WorkloadLines(std::string& out, const ReportInput& input) {
  const RunTotals& totals = input.outcome.totals;
  Line(out, "%-24s %s", "trace", input.trace.c_str());
  Line(out, "%-24s %llu of %llu in %.1f s, %u prefill and %u decode workers", "requests",
       Number(input.outcome.requests_finished), Number(input.statistics.requests),
       input.outcome.duration_s, input.workers.prefill_workers, input.workers.decode_workers);
  Line(out, "%-24s %llu in, %llu out", "tokens", Number(totals.tokens_looked_up),
       Number(totals.tokens_output));
  Line(out, "%-24s %llu B a token here, %.0f in the model: 1/%.0f of the real size", "scale",
       Number(input.parameters.bytes_per_token), input.economics.model().kv_bytes_per_token_bf16,
       input.economics.model().kv_bytes_per_token_bf16 / input.parameters.bytes_per_token);
  Line(out, "%-24s DRAM %s (huge pages %.0f %%), NVMe %s; %s; link %s", "tiers",
       FormatByteSize(input.before.dram_bytes).c_str(), input.after.huge_page_share * 100,
       input.before.nvme_bytes == 0 ? "none" : FormatByteSize(input.before.nvme_bytes).c_str(),
       EvictionText(input).c_str(), input.outcome.link.c_str());
  if (input.hints != HintSetting::kNone) {
    Line(out, "%-24s %s", "hints", std::string(HintSettingName(input.hints)).c_str());
  }
}

void WaitLine(std::string& out, const char* name, const LatencyHistogram& histogram) {
  Line(out, "%-24s p50 %.1f ms, p99 %.1f ms, max %.1f ms", name,
       static_cast<double>(histogram.Quantile(0.5)) / 1e6,
       static_cast<double>(histogram.Quantile(0.99)) / 1e6,
       static_cast<double>(histogram.max_ns()) / 1e6);
}

void PaceLines(std::string& out, const ReportInput& input) {
  const PaceOptions& pace = input.workers.pace;
  const RunTiming& timing = input.outcome.timing;
  if (pace.pace == Pace::kOpen) {
    Line(out, "%-24s open loop at %g times the recorded speed: %.1f s in %.1f s", "pace",
         pace.speed, input.recorded_s, input.outcome.duration_s);
    Line(out, "%-24s %llu began over %lld ms late; %llu held by the turn before", "requests",
         Number(timing.late()), static_cast<long long>(kLateAfter / kMillisecond),
         Number(input.outcome.turns_held));
  } else if (pace.pace == Pace::kClosed) {
    const std::string think = ThinkTime(pace) + (pace.think.has_value() ? " s" : "");
    Line(out, "%-24s closed loop, %u sessions, %s think time%s", "pace", pace.concurrency,
         think.c_str(), pace.think.has_value() ? "" : (" at speed " + Plain(pace.speed)).c_str());
  }
  if (pace.pace != Pace::kAsFastAsPossible) WaitLine(out, "waited for a worker", timing.queue());
  WaitLine(out, "request from arrival", timing.request());
}

void HitLines(std::string& out, const ReportInput& input) {
  const RunTotals& totals = input.outcome.totals;
  Line(out, "%-24s %llu of %llu looked up: %.2f %% (contiguous prefix)", "blocks hit",
       Number(totals.blocks_hit), Number(totals.blocks_looked_up), totals.BlockHitRatio() * 100);
  Line(out, "%-24s %.2f %%", "tokens hit", Ratio(totals.tokens_hit, totals.tokens_looked_up) * 100);
  Line(out, "%-24s DRAM %llu, NVMe %llu (simulated: %llu, %llu)", "hits by tier",
       Number(totals.hits_dram), Number(totals.hits_nvme), Number(input.simulated.hits_dram),
       Number(input.simulated.hits_nvme));
  Line(out, "%-24s %.2f %%, %+.2f points apart; infinite cache %.2f %%", "simulated",
       input.simulated.BlockHitRatio() * 100,
       (totals.BlockHitRatio() - input.simulated.BlockHitRatio()) * 100,
       input.statistics.InfiniteBlockHitRatio() * 100);
  Line(out, "%-24s %llu of %llu blocks were gone", "decode", Number(totals.decode_blocks_missing),
       Number(totals.decode_blocks));
  Line(out, "%-24s put %s, got %s, verified %s", "bytes", FormatByteSize(totals.bytes_put).c_str(),
       FormatByteSize(totals.bytes_got).c_str(), FormatByteSize(totals.bytes_verified).c_str());
  Line(out, "%-24s %llu", "wrong bytes", Number(totals.wrong_bytes));
}

void TierLines(std::string& out, const ReportInput& input) {
  const DaemonCounts counts = CountsOf(input);
  Line(out, "%-24s %llu blocks left DRAM", "evictions", Number(counts.evictions));
  if (input.before.nvme_bytes > 0) {
    Line(out, "%-24s %s for %s of blocks; %llu blocks written again to keep them",
         "written to the device", FormatByteSize(counts.device_bytes).c_str(),
         FormatByteSize(counts.blocks_put * input.parameters.block_bytes).c_str(),
         Number(counts.blocks_reinserted));
    Line(out, "%-24s %llu blocks in %s", "on NVMe at the end", Number(input.after.nvme_blocks),
         FormatByteSize(input.after.nvme_used_bytes).c_str());
  }
  if (input.restarts.restarts() > 0) {
    Line(out, "%-24s %llu; %llu blocks were there again after the last", "restarts of the daemon",
         Number(input.restarts.restarts()), Number(input.restarts.blocks_recovered()));
  }
}

void SavingLines(std::string& out, const ReportInput& input) {
  const SavedCompute& savings = input.savings;
  const Instance& instance = input.economics.instance();
  Line(out, "%-24s %.0f of %.0f GPU-seconds, %.1f %% (computed for %s on %.0fx %s)",
       "compute saved", savings.gpu_seconds_saved, savings.gpu_seconds_total,
       savings.gpu_seconds_total > 0 ? savings.gpu_seconds_saved / savings.gpu_seconds_total * 100
                                     : 0.0,
       std::string(instance.model).c_str(), instance.gpus, std::string(instance.gpu).c_str());
  const auto line = [&out](const char* name, const TimeToFirstToken& time) {
    Line(out, "%-24s mean %.0f ms, p50 %.0f ms, p99 %.0f ms", name, time.mean_ms, time.p50_ms,
         time.p99_ms);
  };
  line("first token without", savings.without);
  line("first token with", savings.with);
  line("  loading when it pays", savings.planned);
  Line(out, "%-24s %.2f GB/s here, break-even %.2f GB/s; %.0f %% of hits load faster than compute",
       "  load bandwidth", savings.load_gb_per_s, savings.break_even_gb_per_s,
       savings.loads_that_pay * 100);
}

void TroubleLines(std::string& out, const ReportInput& input) {
  const RunOutcome& outcome = input.outcome;
  if (input.skipped_lines > 0)
    Line(out, "%-24s %llu", "lines skipped", Number(input.skipped_lines));
  if (outcome.totals.calls_failed > 0) {
    Line(out, "%-24s %llu (daemon gone: %llu), reconnects %llu; first: %s", "calls without answer",
         Number(outcome.totals.calls_failed), Number(outcome.totals.peer_dead),
         Number(outcome.totals.Reconnects()), outcome.totals.first_call_error.c_str());
  }
  if (outcome.interrupted) Line(out, "%-24s by a signal: the figures cover a part", "interrupted");
  if (!outcome.failure.empty()) out += "FAILED: " + outcome.failure + "\n";
}

}  // namespace

std::uint64_t CountedBetween(std::uint64_t before, std::uint64_t after,
                             const RestartNotes& restarts) {
  // A restarted daemon counts from 0 again. Without an answer at the end, `after` is 0.
  return restarts.restarts() > 0 || after < before ? after : after - before;
}

std::string ReportJson(const ReportInput& input) {
  Json json;
  json["kind"] = "run";
  AddCounts(json, input);
  AddTiers(json, input);
  AddPace(json, input);
  AddSpeed(json, input.outcome);
  AddSavings(json, input.savings);
  AddTrouble(json, input.outcome);
  AddSetting(json, input);
  std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace);
  text.resize(text.rfind('\n'));  // of the closing brace
  return text + RunSeriesJson(input.outcome) + "\n}\n";
}

std::string ReportTable(const ReportInput& input) {
  std::string out;
  WorkloadLines(out, input);
  PaceLines(out, input);
  HitLines(out, input);
  TierLines(out, input);
  LatencyLine(out, "match", input.outcome.totals.match);
  LatencyLine(out, "get (a batch)", input.outcome.totals.get);
  LatencyLine(out, "put (a batch)", input.outcome.totals.put);
  const RunTotals& totals = input.outcome.totals;
  Line(out, "%-24s get %.2f GB/s, put %.2f GB/s within calls", "throughput",
       GigabytesPerSecond(totals.bytes_got, totals.get_ns),
       GigabytesPerSecond(totals.bytes_put, totals.put_ns));
  SavingLines(out, input);
  TroubleLines(out, input);
  return out;
}

}  // namespace terrace::replay
