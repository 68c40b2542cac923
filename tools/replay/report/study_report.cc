#include "tools/replay/report/study_report.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "tools/replay/report/table_line.h"
#include "tools/replay/trace/ratio.h"

namespace terrace::replay {
namespace {

using Json = nlohmann::ordered_json;

double Real(std::uint64_t value) { return static_cast<double>(value); }

/// Of the real model's bf16 KV, bytes.
double BlockBytes(const StudyReportInput& input) {
  return input.economics.model().kv_bytes_per_token_bf16 * input.trace.block_tokens;
}

/// The price in writes; nothing when nothing was saved, as 0 would be the best of prices.
std::optional<double> WrittenPerSecond(double gigabytes, const SavedCompute& savings) {
  if (!(savings.gpu_seconds_saved > 0)) return std::nullopt;
  return gigabytes / savings.gpu_seconds_saved;
}

/// What both kinds of results have.
void AddFound(Json& json, const StudyReportInput& input, const StudyResult& result,
              std::uint64_t blocks_written) {
  const SavedCompute& savings = result.savings;
  const double gigabytes = Real(blocks_written) * BlockBytes(input) / 1e9;
  json["block_hit_ratio"] =
      Ratio(Real(result.run.blocks_hit), Real(input.statistics.block_references));
  json["token_hit_ratio"] = Ratio(Real(result.tokens_hit), Real(input.statistics.tokens_input));
  json["flop_hit_ratio"] = savings.FlopHitRatio();
  json["blocks_written"] = blocks_written;
  json["gb_written"] = gigabytes;
  json["gpu_seconds_saved"] = savings.gpu_seconds_saved;
  const std::optional<double> price = WrittenPerSecond(gigabytes, savings);
  json["gb_written_per_gpu_second_saved"] = price ? Json(*price) : Json(nullptr);
  json["dollars_saved"] = savings.gpu_seconds_saved / 3600 * input.gpu_hour_price;
  json["ttft_ms_mean_without"] = savings.without.mean_ms;
  json["ttft_ms_mean_with"] = savings.with.mean_ms;
  json["ttft_ms_mean_planned"] = savings.planned.mean_ms;
  json["ttft_ms_p50_without"] = savings.without.p50_ms;
  json["ttft_ms_p50_with"] = savings.with.p50_ms;
  json["ttft_ms_p99_without"] = savings.without.p99_ms;
  json["ttft_ms_p99_with"] = savings.with.p99_ms;
  json["references_per_second"] = Ratio(Real(input.statistics.block_references), result.seconds);
  json["bytes_per_block"] = result.policy_bytes;
}

Json CurvePoint(const StudyReportInput& input, const StudyResult& result) {
  Json json;
  json["policy"] = result.policy;
  json["capacity_blocks"] = result.tiers.dram_blocks;
  json["capacity_share"] =
      Ratio(Real(result.tiers.dram_blocks), Real(input.statistics.distinct_blocks));
  json["capacity_gb"] = Real(result.tiers.dram_blocks) * BlockBytes(input) / 1e9;
  AddFound(json, input, result, result.run.blocks_put);
  return json;
}

Json TiersPoint(const StudyReportInput& input, const StudyResult& result) {
  Json json;
  json["policy"] = result.policy;
  json["dram_blocks"] = result.tiers.dram_blocks;
  json["nvme_blocks"] = std::uint64_t{result.tiers.nvme_segments} *
                        result.tiers.nvme_records_per_segment * result.tiers.slices;
  json["reactors"] = result.tiers.slices;
  json["nvme_write"] = result.tiers.nvme_write_share > 0 ? "worth" : "everything";
  json["nvme_write_percent"] =
      result.tiers.nvme_write_share > 0 ? result.tiers.nvme_write_share * 100 : 100;
  json["nvme_blocks_refused"] = result.run.nvme_blocks_refused;
  json["hits_dram"] = result.run.hits_dram;
  json["hits_nvme"] = result.run.hits_nvme;
  AddFound(json, input, result, result.run.nvme_blocks_written);
  return json;
}

/// One line for each policy, one column for each capacity.
void HitTable(std::string& out, const StudyReportInput& input) {
  std::vector<std::uint64_t> capacities;
  std::vector<std::string> policies;
  for (const StudyResult& result : input.curves) {
    if (std::ranges::find(policies, result.policy) == policies.end()) {
      policies.push_back(result.policy);
    }
    capacities.push_back(result.tiers.dram_blocks);
  }
  std::ranges::sort(capacities);
  capacities.erase(std::ranges::unique(capacities).begin(), capacities.end());
  std::string heads;
  char cell[40];
  for (const std::uint64_t capacity : capacities) {
    std::snprintf(cell, sizeof cell, " %10llu", static_cast<unsigned long long>(capacity));
    heads += cell;
  }
  Line(out, "block hit ratio, contiguous prefix, %% (infinite cache %.2f %%)",
       input.statistics.InfiniteBlockHitRatio() * 100);
  out += "capacity    " + heads + "   references/s\n";
  for (const std::string& policy : policies) {
    std::string row;
    double slowest = 0;
    for (const std::uint64_t capacity : capacities) {
      const auto found = std::ranges::find_if(input.curves, [&](const StudyResult& result) {
        return result.policy == policy && result.tiers.dram_blocks == capacity;
      });
      if (found == input.curves.end()) continue;
      std::snprintf(
          cell, sizeof cell, " %10.2f",
          100 * Ratio(Real(found->run.blocks_hit), Real(input.statistics.block_references)));
      row += cell;
      slowest = std::max(slowest, found->seconds);
    }
    std::snprintf(cell, sizeof cell, "%-12s", policy.c_str());
    Line(out, "%s%s   %10.2f M", cell, row.c_str(),
         Ratio(Real(input.statistics.block_references), slowest) / 1e6);
  }
}

void FoundLine(std::string& out, const StudyReportInput& input, const StudyResult& result,
               const std::string& capacity, std::uint64_t blocks_written) {
  const SavedCompute& savings = result.savings;
  const double gigabytes = Real(blocks_written) * BlockBytes(input) / 1e9;
  char price[40] = "-";
  if (const std::optional<double> written = WrittenPerSecond(gigabytes, savings)) {
    std::snprintf(price, sizeof price, "%.2f", *written);
  }
  Line(out, "%-10s %22s  %6.2f %6.2f %6.2f  %9llu %10s  %11.0f %10.2f  %8.0f",
       result.policy.c_str(), capacity.c_str(),
       100 * Ratio(Real(result.run.blocks_hit), Real(input.statistics.block_references)),
       100 * Ratio(Real(result.tokens_hit), Real(input.statistics.tokens_input)),
       100 * savings.FlopHitRatio(), static_cast<unsigned long long>(blocks_written), price,
       savings.gpu_seconds_saved, savings.gpu_seconds_saved / 3600 * input.gpu_hour_price,
       savings.with.mean_ms);
}

void FoundHead(std::string& out, const char* capacity, const char* written) {
  Line(out, "%-10s %22s  %6s %6s %6s  %9s %10s  %11s %10s  %8s", "policy", capacity, "block",
       "token", "FLOP", written, "GB/GPU-s", "GPU-s saved", "$ saved", "TTFT ms");
}

}  // namespace

Json StudyJson(const StudyReportInput& input) {
  const TraceStatistics& statistics = input.statistics;
  const Economics& economics = input.economics;
  Json json;
  json["kind"] = "simulate";
  json["trace"] = input.trace.source;
  json["requests"] = statistics.requests;
  json["duration_s"] = Real(statistics.duration_ms) / 1e3;
  json["tokens_input"] = statistics.tokens_input;
  json["tokens_output"] = statistics.tokens_output;
  json["block_tokens"] = input.trace.block_tokens;
  json["block_references"] = statistics.block_references;
  json["distinct_blocks"] = statistics.distinct_blocks;
  json["infinite_block_hit_ratio"] = statistics.InfiniteBlockHitRatio();
  json["infinite_token_hit_ratio"] = statistics.InfiniteTokenHitRatio();
  json["model"] = economics.instance().model;
  json["gpu"] = economics.instance().gpu;
  json["gpus"] = economics.instance().gpus;
  json["weights_precision"] = economics.instance().precision;
  json["kv_bytes_per_token"] = economics.model().kv_bytes_per_token_bf16;
  json["block_bytes"] = BlockBytes(input);
  json["hints"] = HintSettingName(input.hints);
  json["load_gb_per_s"] = input.load_bytes_per_s / 1e9;
  json["gpu_hour_price"] = input.gpu_hour_price;
  const auto& some = input.curves.empty() ? input.tiers : input.curves;
  json["gpu_seconds_total"] = some.empty() ? 0.0 : some.front().savings.gpu_seconds_total;
  json["seconds"] = input.seconds;
  json["memory_mib"] = Real(input.memory_bytes) / (1 << 20);
  json["results"] = Json::array();
  for (const StudyResult& result : input.curves)
    json["results"].push_back(CurvePoint(input, result));
  if (!input.tiers.empty()) {
    json["tiers"] = Json::array();
    for (const StudyResult& result : input.tiers)
      json["tiers"].push_back(TiersPoint(input, result));
  }
  return json;
}

std::string StudyTable(const StudyReportInput& input) {
  std::string out = Describe(input.statistics);
  const Instance& instance = input.economics.instance();
  const auto& some = input.curves.empty() ? input.tiers : input.curves;
  Line(out, "compute               %.0f GPU-seconds without a cache (%s on %.0fx %s)",
       some.empty() ? 0.0 : some.front().savings.gpu_seconds_total,
       std::string(instance.model).c_str(), instance.gpus, std::string(instance.gpu).c_str());
  Line(out, "first token           mean %.0f ms without a cache; hits are loaded at %.1f GB/s",
       some.empty() ? 0.0 : some.front().savings.without.mean_ms, input.load_bytes_per_s / 1e9);
  if (input.hints != HintSetting::kNone) {
    Line(out, "hints                 %s", std::string(HintSettingName(input.hints)).c_str());
  }
  Line(out, "study                 %.1f s, %.0f MiB of memory\n", input.seconds,
       Real(input.memory_bytes) / (1 << 20));
  if (!input.curves.empty()) {
    HitTable(out, input);
    out += '\n';
    FoundHead(out, "blocks", "stored");
    for (const StudyResult& result : input.curves) {
      FoundLine(out, input, result, std::to_string(result.tiers.dram_blocks),
                result.run.blocks_put);
    }
  }
  if (!input.tiers.empty()) {
    if (!input.curves.empty()) out += '\n';
    if (const double share = input.tiers.front().tiers.nvme_write_share; share > 0) {
      Line(out, "written to NVMe: what is worth it, up to %.0f %% of what is put", share * 100);
    }
    FoundHead(out, "DRAM + NVMe blocks", "to NVMe");
    for (const StudyResult& result : input.tiers) {
      const std::uint64_t nvme = std::uint64_t{result.tiers.nvme_segments} *
                                 result.tiers.nvme_records_per_segment * result.tiers.slices;
      FoundLine(out, input, result,
                std::to_string(result.tiers.dram_blocks) + " + " + std::to_string(nvme),
                result.run.nvme_blocks_written);
    }
  }
  return out;
}

}  // namespace terrace::replay
