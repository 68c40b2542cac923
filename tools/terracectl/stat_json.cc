// StatJson and NamespacesJson: the same numbers for programs. docs/operations.md names the keys.
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/terracectl/stat_summary.h"

namespace terrace {

namespace {

using Json = nlohmann::ordered_json;

// Whole numbers without a fraction, so that counters read as integers.
Json Number(double value) {
  constexpr double kExactMax = 9007199254740992.0;  // 2^53
  if (value == std::floor(value) && std::abs(value) <= kExactMax) {
    return static_cast<std::int64_t>(value);
  }
  return value;
}

// Null when nothing was looked up: 0 would say that everything missed.
Json Ratio(double part, double whole) {
  if (!(whole > 0)) return nullptr;
  return part / whole;
}

std::string Dump(const Json& json) {
  // Names may be any bytes: what is not UTF-8 is replaced instead of thrown about.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json TierJson(const TierSummary& tier, double get_blocks) {
  return {{"tier", tier.tier},
          {"capacity_bytes", Number(tier.capacity_bytes)},
          {"used_bytes", Number(tier.used_bytes)},
          {"payload_bytes", Number(tier.payload_bytes)},
          {"header_bytes", Number(tier.header_bytes)},
          {"blocks", Number(tier.blocks)},
          {"huge_page_ratio", Ratio(tier.huge_page_bytes, tier.capacity_bytes)},
          {"get_blocks_hit", Number(tier.hits)},
          {"get_hit_ratio", Ratio(tier.hits, get_blocks)},
          {"gets_predicted", Number(tier.predictions)},
          {"prediction_error", Ratio(tier.prediction_error, tier.predictions)},
          {"evicted_blocks", Number(tier.evicted_blocks)},
          {"evicted_bytes", Number(tier.evicted_bytes)}};
}

Json CountsJson(const std::map<std::string, double>& counts) {
  Json json = Json::object();
  for (const auto& [name, count] : counts) json[name] = Number(count);
  return json;
}

Json RequestsJson(const StatSummary& now) {
  Json json;
  json["match"] = {{"requests", Number(now.match_requests)},
                   {"blocks", Number(now.match_blocks)},
                   {"blocks_hit", Number(now.match_hits)},
                   {"hit_ratio", Ratio(now.match_hits, now.match_blocks)}};
  json["get"] = {{"requests", Number(now.get_requests)},
                 {"blocks", Number(now.get_blocks)},
                 {"blocks_hit", Number(now.get_hits)},
                 {"blocks_missed", Number(now.get_misses)},
                 {"blocks_failed", Number(now.get_failures)},
                 {"hit_ratio", Ratio(now.get_hits, now.get_blocks)},
                 {"bytes", Number(now.get_bytes)}};
  json["match"]["missed_by_reason"] = CountsJson(now.match_reasons);
  json["get"]["missed_by_reason"] = CountsJson(now.get_reasons);
  json["put"] = {
      {"requests", Number(now.put_requests)},      {"blocks", Number(now.put_blocks)},
      {"blocks_stored", Number(now.put_stored)},   {"blocks_existing", Number(now.put_existing)},
      {"blocks_pending", Number(now.put_pending)}, {"blocks_no_space", Number(now.put_no_space)},
      {"blocks_failed", Number(now.put_failures)}, {"bytes", Number(now.put_bytes)}};
  return json;
}

Json RatesJson(const StatRates* rates) {
  if (rates == nullptr) return nullptr;
  return {{"seconds", rates->seconds},
          {"restarted", rates->restarted},
          {"match_blocks_per_s", rates->match_blocks},
          {"match_hit_ratio", Ratio(rates->match_hits, rates->match_blocks)},
          {"get_blocks_per_s", rates->get_blocks},
          {"get_hit_ratio", Ratio(rates->get_hits, rates->get_blocks)},
          {"get_bytes_per_s", rates->get_bytes},
          {"put_blocks_per_s", rates->put_blocks},
          {"put_bytes_per_s", rates->put_bytes},
          {"evicted_blocks_per_s", rates->evicted_blocks},
          {"nvme_written_bytes_per_s", rates->nvme_written_bytes},
          {"nvme_read_bytes_per_s", rates->nvme_read_bytes},
          {"cpu_cores", rates->cpu}};
}

Json HbmJson(const HbmSummary& hbm) {
  if (hbm.gpus == 0) return nullptr;
  Json wires = Json::array();
  for (const auto& [wire, reactors] : hbm.wires) {
    wires.push_back(
        {{"path", wire.first}, {"reason", wire.second}, {"reactors", Number(reactors)}});
  }
  return {{"gpus", Number(hbm.gpus)},
          {"gpus_offline", Number(hbm.gpus_offline)},
          {"blocks_copied_in", Number(hbm.copied_in)},
          {"loads", Number(hbm.loads)},
          {"evicted_copies", Number(hbm.evicted_copies)},
          {"failures", Number(hbm.failures)},
          {"pin_failures", Number(hbm.pin_failures)},
          {"lent_blocks", Number(hbm.lent_blocks)},
          {"lent_bytes", Number(hbm.lent_bytes)},
          {"leases_refused", Number(hbm.leases_refused)},
          {"leases_expired", Number(hbm.leases_expired)},
          {"wire", wires.empty()      ? ""
                   : wires.size() > 1 ? "mixed"
                                      : hbm.wires.begin()->first.first},
          {"wire_reason", wires.size() == 1 ? hbm.wires.begin()->first.second : ""},
          {"wires", wires},
          {"straight_bytes", Number(hbm.straight_bytes)}};
}

Json NvmeJson(const NvmeSummary& nvme) {
  return {{"state", nvme.state},
          {"devices", Number(nvme.devices)},
          {"devices_online", Number(nvme.devices_online)},
          {"index_healthy", nvme.index_healthy > 0},
          {"index_failures", Number(nvme.index_failures)},
          {"removals_not_logged", Number(nvme.removals_not_logged)},
          {"blocks_recovered", Number(nvme.recovered_blocks)},
          {"blocks_written", CountsJson(nvme.blocks_written)},
          {"put_bytes", Number(nvme.put_bytes)},
          {"device_written_bytes", Number(nvme.written_bytes)},
          {"device_read_bytes", Number(nvme.read_bytes)},
          {"refused_bytes", Number(nvme.refused_bytes)},
          {"write_share", nvme.write_share},
          {"write_price", nvme.write_price},
          {"write_amplification", Ratio(nvme.written_bytes, nvme.put_bytes)},
          {"write_queue_bytes", Number(nvme.queue_bytes)},
          {"write_budget_left_bytes", Number(nvme.budget_left_bytes)},
          {"segments_reclaimed", Number(nvme.segments_reclaimed)},
          {"loads", Number(nvme.loads)},
          {"loads_failed", CountsJson(nvme.loads_failed)},
          {"blocks_declined", CountsJson(nvme.declined)},
          {"errors", CountsJson(nvme.errors)}};
}

}  // namespace

std::string StatJson(std::string_view address, const StatSummary& now, const StatRates* rates,
                     std::span<const Sample> samples) {
  Json json = {{"address", address},
               {"version", now.version},
               {"policy", now.policy},
               {"uptime_seconds", now.uptime_seconds},
               {"tiers", Json::array()}};
  for (const TierSummary& tier : now.tiers) json["tiers"].push_back(TierJson(tier, now.get_blocks));
  json["nvme"] = NvmeJson(now.nvme);
  json["hbm"] = HbmJson(now.hbm);
  json.update(RequestsJson(now));
  json["rates"] = RatesJson(rates);
  json["memory"] = {{"resident_bytes", Number(now.resident_bytes)},
                    {"index_bytes", Number(now.index_bytes)},
                    {"index_capacity_blocks", Number(now.index_capacity_blocks)}};
  Json named = Json::array();
  for (const auto& [name, count] : now.connections_by_name) {
    named.push_back({{"name", name.first}, {"link", name.second}, {"connections", Number(count)}});
  }
  json["clients"] = {{"connections", Number(now.connections)},
                     {"named", std::move(named)},
                     {"by_link", CountsJson(now.connections_by_link)},
                     {"refused", Number(now.refused)},
                     {"timed_out", Number(now.timed_out)},
                     {"malformed_messages", Number(now.malformed)}};
  json["hints"] = {{"taken", CountsJson(now.hints)}, {"ignored", CountsJson(now.hints_ignored)}};
  json["reactors"] = {{"sleeps_in", CountsJson(now.reactors)},
                      {"stalls", Number(now.stalls)},
                      {"stall_max_seconds", now.stall_max_seconds}};
  Json& all = json["samples"] = Json::object();
  for (const Sample& sample : samples) {
    const std::string labels = sample.labels.empty() ? "" : "{" + sample.labels + "}";
    all[sample.name + labels] = Number(sample.value);
  }
  return Dump(json) + "\n";
}

std::string NamespacesJson(std::span<const NamespaceInfo> namespaces) {
  Json json = Json::array();
  for (const NamespaceInfo& space : namespaces) {
    json.push_back({{"tenant", space.tenant},
                    {"name", space.name},
                    {"blocks", space.blocks},
                    {"bytes", space.bytes},
                    {"fingerprint", space.fingerprint}});
  }
  return Dump(json) + "\n";
}

}  // namespace terrace
