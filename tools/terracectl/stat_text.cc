// StatText and NamespacesText: tables for people.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

#include "tools/common/byte_size.h"
#include "tools/terracectl/stat_summary.h"
#include "tools/terracectl/text_table.h"

namespace terrace {

namespace {

constexpr auto kLeft = TextTable::Align::kLeft;
constexpr auto kRight = TextTable::Align::kRight;

std::string Bytes(double bytes) {
  constexpr double kShownMax = 1e18;  // what a daemon gone wrong sends must not overflow here
  return FormatByteSize(bytes > 0 ? static_cast<std::uint64_t>(std::min(bytes, kShownMax)) : 0);
}

std::string Tiers(const StatSummary& now) {
  TextTable table(
      {"tier", "capacity", "used", "", "blocks", "hits", "hit ratio", "huge pages", "evicted"},
      {kLeft, kRight, kRight, kRight, kRight, kRight, kRight, kRight, kRight});
  for (const TierSummary& tier : now.tiers) {
    table.AddRow(
        {Printable(tier.tier), Bytes(tier.capacity_bytes), Bytes(tier.used_bytes),
         FormatShare(tier.used_bytes, tier.capacity_bytes), FormatCount(tier.blocks),
         FormatCount(tier.hits), FormatShare(tier.hits, now.get_blocks),
         // Pages are memory's business.
         tier.tier == "nvme" ? "-" : FormatShare(tier.huge_page_bytes, tier.capacity_bytes),
         FormatCount(tier.evicted_blocks)});
  }
  return table.ToString();
}

// With rates, the columns "now" show the time between the two samples.
std::string Requests(const StatSummary& now, const StatRates* rates) {
  std::vector<std::string> titles = {"", "requests", "blocks", "hit", "hit ratio", "bytes"};
  std::vector<TextTable::Align> aligns = {kLeft, kRight, kRight, kRight, kRight, kRight};
  if (rates != nullptr) {
    titles.insert(titles.end(), {"blocks/s", "hit ratio now", "bytes/s"});
    aligns.insert(aligns.end(), 3, kRight);
  }
  TextTable table(std::move(titles), std::move(aligns));
  const auto add = [&](std::vector<std::string> cells, const std::vector<std::string>& recent) {
    if (rates != nullptr) cells.insert(cells.end(), recent.begin(), recent.end());
    table.AddRow(std::move(cells));
  };
  const StatRates recent = rates != nullptr ? *rates : StatRates();
  add({"match", FormatCount(now.match_requests), FormatCount(now.match_blocks),
       FormatCount(now.match_hits), FormatShare(now.match_hits, now.match_blocks), "-"},
      {FormatCount(recent.match_blocks), FormatShare(recent.match_hits, recent.match_blocks), "-"});
  add({"get", FormatCount(now.get_requests), FormatCount(now.get_blocks), FormatCount(now.get_hits),
       FormatShare(now.get_hits, now.get_blocks), Bytes(now.get_bytes)},
      {FormatCount(recent.get_blocks), FormatShare(recent.get_hits, recent.get_blocks),
       Bytes(recent.get_bytes)});
  add({"put", FormatCount(now.put_requests), FormatCount(now.put_blocks), "-", "-",
       Bytes(now.put_bytes)},
      {FormatCount(recent.put_blocks), "-", Bytes(recent.put_bytes)});
  return table.ToString();
}

// ", 3 write_budget, 1 offline" behind a title, or nothing.
std::string Counts(std::string_view title, const std::map<std::string, double>& counts,
                   std::string_view margin = "         ") {
  std::string text;
  for (const auto& [name, count] : counts) {
    text += text.empty() ? std::string(title) : ", ";
    text += FormatCount(count) + " " + Printable(name);
  }
  return text.empty() ? text : std::string(margin) + text + "\n";
}

// The reasons that count most, or nothing.
std::string Reasons(std::string_view title, const std::map<std::string, double>& counts) {
  constexpr std::size_t kShown = 4;
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [reason, count] : counts) order.emplace_back(count, reason);
  std::sort(order.rbegin(), order.rend());
  std::string text;
  for (std::size_t i = 0; i < std::min(order.size(), kShown); ++i) {
    text += (i == 0 ? "" : ", ") + FormatCount(order[i].first) + " " + Printable(order[i].second);
  }
  if (order.size() > kShown) text += ", ...";
  return text.empty() ? text : "         " + std::string(title) + text + "\n";
}

// How far what gets took is from what was predicted; nothing without predictions.
std::string Predictions(const StatSummary& now) {
  std::string text;
  for (const TierSummary& tier : now.tiers) {
    if (!(tier.predictions > 0)) continue;
    text += (text.empty() ? "loads    " : "; ") + Printable(tier.tier) + ": " +
            FormatCount(tier.predictions) + " gets predicted, off by " +
            FormatShare(tier.prediction_error, tier.predictions) + " in the mean";
  }
  return text.empty() ? text : text + "\n";
}

std::string Facts(const StatSummary& now, const StatRates* rates) {
  std::string text = "put      " + FormatCount(now.put_stored) + " stored, " +
                     FormatCount(now.put_existing) + " existed, " + FormatCount(now.put_pending) +
                     " pending, " + FormatCount(now.put_no_space) + " without room, " +
                     FormatCount(now.put_failures) + " failed\n";
  text += "get      " + FormatCount(now.get_misses) + " missed, " + FormatCount(now.get_failures) +
          " failed, " + FormatCount(now.key_mismatches) + " keys mismatched\n";
  text += Reasons("gets missed: ", now.get_reasons);
  text += Reasons("matches missed: ", now.match_reasons);
  text += Predictions(now);
  text += "memory   " + Bytes(now.resident_bytes) + " resident, index " + Bytes(now.index_bytes) +
          " for " + FormatCount(now.index_capacity_blocks) + " blocks";
  text += now.policy.empty() ? "\n" : ", policy " + Printable(now.policy) + "\n";
  text += Counts("hints    ", now.hints, "") + Counts("hints ignored: ", now.hints_ignored);
  text += "clients  " + FormatCount(now.connections) + " connections";
  const char* separator = ": ";
  for (const auto& [link, count] : now.connections_by_link) {
    if (!(count > 0)) continue;
    text += separator + FormatCount(count) + " " + Printable(link);
    separator = ", ";
  }
  text += "; " + FormatCount(now.refused) + " refused, " + FormatCount(now.timed_out) +
          " timed out, " + FormatCount(now.malformed) + " malformed messages\n";
  for (const auto& [name, count] : now.connections_by_name) {
    text += "         " + Printable(name.first) + ": " + FormatCount(count) + " " +
            Printable(name.second) + "\n";
  }
  text += "reactors ";
  separator = "";
  for (const auto& [sleeps_in, count] : now.reactors) {
    text += separator + FormatCount(count) + " asleep in " + Printable(sleeps_in);
    separator = ", ";
  }
  char stalls[96];
  std::snprintf(stalls, sizeof(stalls), "; %s stalls, longest %.0f ms",
                FormatCount(now.stalls).c_str(), now.stall_max_seconds * 1e3);
  text += stalls;
  if (rates != nullptr) {
    text += ", CPU " + FormatShare(rates->cpu, 1) + " of a core, " +
            FormatCount(rates->evicted_blocks) + " evictions/s";
  }
  return text + "\n";
}

struct WireReason {
  std::string_view name;
  std::string_view words;
};
constexpr WireReason kWireReasons[] = {
    {"registered", "GPUDirect RDMA"},
    {"off", "hbm.direct is off"},
    {"no_nic", "no NIC for RDMA"},
    {"ucx_without_cuda", "UCX without CUDA"},
    {"lent", "its memory may be lent"},
    {"ucx_too_old", "a UCX older than 1.16"},
    {"registration_failed", "the NIC refused the memory: the daemon's log says more, hbm_wire"},
};

std::string Wires(const HbmSummary& hbm) {
  std::string text;
  for (const auto& [wire, reactors] : hbm.wires) {
    text += text.empty() ? "         gpu memory on the wire: " : "; ";
    if (hbm.wires.size() > 1) text += "on " + FormatCount(reactors) + " reactors ";
    text += wire.first == "staged"     ? "staged through DRAM"
            : wire.first == "straight" ? "straight by the NIC"
                                       : Printable(wire.first);
    const auto* const known = std::ranges::find(kWireReasons, wire.second, &WireReason::name);
    text += " (" +
            (known != std::end(kWireReasons) ? std::string(known->words) : Printable(wire.second)) +
            ")";
  }
  if (hbm.straight_bytes > 0) text += ", " + Bytes(hbm.straight_bytes) + " sent straight";
  return text.empty() ? text : text + "\n";
}

std::string Hbm(const HbmSummary& hbm) {
  if (hbm.gpus == 0) return "";
  std::string text = "hbm      " + FormatCount(hbm.gpus - hbm.gpus_offline) + " of " +
                     FormatCount(hbm.gpus) + " GPUs online";
  if (hbm.gpus_offline > 0) text += " (the others are LOST until a restart)";
  text += ", " + FormatCount(hbm.copied_in) + " blocks copied in, " + FormatCount(hbm.loads) +
          " read, " + FormatCount(hbm.evicted_copies) + " gave way, " + FormatCount(hbm.failures) +
          " failed\n";
  if (hbm.pin_failures > 0) {
    text += "         " + FormatCount(hbm.pin_failures) +
            " extents of DRAM could not be pinned for the GPUs\n";
  }
  if (hbm.lent_blocks + hbm.leases_refused + hbm.leases_expired > 0) {
    text += "         " + FormatCount(hbm.lent_blocks) + " blocks (" + Bytes(hbm.lent_bytes) +
            ") lent where they lie, " + FormatCount(hbm.leases_refused) + " refused, " +
            FormatCount(hbm.leases_expired) + " expired\n";
  }
  return text + Wires(hbm);
}

std::string NvmeBudget(double left_bytes) {
  if (left_bytes > 0) return "write budget " + Bytes(left_bytes) + " left";
  if (left_bytes < 0) return "write budget overdrawn by " + Bytes(-left_bytes);
  return "no write budget";
}

std::string Nvme(const StatSummary& now, const StatRates* rates) {
  const NvmeSummary& nvme = now.nvme;
  if (nvme.state.empty()) return "";  // an older daemon
  if (nvme.state == "disabled") {
    return "nvme     DISABLED after crashes; the daemon's log says more (nvme_disabled)\n";
  }
  std::string text = "nvme     " + Printable(nvme.state);
  if (nvme.state != "on") return text + "\n";
  text += ", " + FormatCount(nvme.devices_online) + " of " + FormatCount(nvme.devices) +
          " devices online, index " + (nvme.index_healthy > 0 ? "healthy" : "FAILING") + ", " +
          FormatCount(nvme.recovered_blocks) + " blocks found at start\n";
  text += "         " + Bytes(nvme.written_bytes) + " written";
  if (nvme.put_bytes > 0) {
    char amplification[64];
    std::snprintf(amplification, sizeof(amplification), " (%.2f times what was put)",
                  nvme.written_bytes / nvme.put_bytes);
    text += amplification;
  }
  text += ", " + Bytes(nvme.read_bytes) + " read";
  if (rates != nullptr) {
    text += ", " + Bytes(rates->nvme_written_bytes) + "/s written, " +
            Bytes(rates->nvme_read_bytes) + "/s read";
  }
  text += ", " + Bytes(nvme.queue_bytes) + " queued, " + NvmeBudget(nvme.budget_left_bytes) + "\n";
  if (nvme.write_share > 0) {
    char worth[160];
    std::snprintf(worth, sizeof(worth),
                  "         only what is worth it: up to %.0f %% of what is put, from a reuse of "
                  "%.1f %% on; ",
                  nvme.write_share * 100, nvme.write_price * 100);
    text += worth + Bytes(nvme.refused_bytes) + " left DRAM unwritten\n";
  }
  if (now.get_tokens > 0) {
    text += "         " + Bytes(nvme.written_bytes / now.get_tokens * 1e6) +
            " written per million tokens got\n";
  }
  text += Counts("declined: ", nvme.declined) + Counts("loads failed: ", nvme.loads_failed) +
          Counts("errors: ", nvme.errors);
  if (nvme.index_failures > 0 || nvme.removals_not_logged > 0) {
    text += "         index failed " + FormatCount(nvme.index_failures) + " times, " +
            FormatCount(nvme.removals_not_logged) + " removals may come back after a restart\n";
  }
  return text;
}

}  // namespace

std::string StatText(std::string_view address, const StatSummary& now, const StatRates* rates) {
  std::string text = "terraced " + Printable(now.version) + " at " + Printable(address) + ", up " +
                     FormatDuration(now.uptime_seconds) + "\n";
  if (rates != nullptr && rates->restarted) text += "the daemon was restarted meanwhile\n";
  text += "\n" + Tiers(now) + "\n" + Requests(now, rates) + "\n" + Facts(now, rates) +
          Hbm(now.hbm) + Nvme(now, rates);
  return text;
}

std::string NamespacesText(std::span<const NamespaceInfo> namespaces) {
  if (namespaces.empty()) return "no namespaces\n";
  TextTable table({"tenant", "namespace", "blocks", "bytes", "fingerprint"},
                  {kLeft, kLeft, kRight, kRight, kLeft});
  for (const NamespaceInfo& space : namespaces) {
    table.AddRow({Printable(space.tenant), Printable(space.name),
                  FormatCount(static_cast<double>(space.blocks)), FormatByteSize(space.bytes),
                  Printable(space.fingerprint)});
  }
  return table.ToString();
}

}  // namespace terrace
