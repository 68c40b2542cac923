// AdviceText: advice for people.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/common/byte_size.h"
#include "tools/terracectl/advise_command.h"
#include "tools/terracectl/text_table.h"

namespace terrace {

namespace {

std::string Bytes(double bytes) {
  constexpr double kShownMax = 1e18;  // what a daemon gone wrong sends must not overflow here
  return FormatByteSize(bytes > 0 ? static_cast<std::uint64_t>(std::min(bytes, kShownMax)) : 0);
}

std::string Text(const char* format, double number) {
  char text[64];
  std::snprintf(text, sizeof(text), format, number);
  return text;
}

std::string Percent(double ratio) { return Text("%.1f %%", 100 * ratio); }
std::string Points(double ratio) { return Text("%+.1f points", 100 * ratio); }

std::string Table(const Advice& advice, const Advice::Window& window) {
  using Align = TextTable::Align;
  const bool nvme = advice.nvme_bytes > 0;
  const bool hbm = advice.hbm_bytes > 0;
  std::vector<std::string> titles = {"DRAM"};
  std::vector<Align> aligns = {Align::kRight};
  const auto add = [&](const char* title) {
    titles.emplace_back(title);
    aligns.push_back(Align::kRight);
  };
  if (nvme) add("NVMe");
  if (hbm) add("HBM");
  for (const char* title : {"hit ratio", "+-", "change"}) add(title);
  if (nvme) add(hbm ? "from DRAM, HBM" : "from DRAM");
  for (const char* title : {"saved/s", "points per GiB"}) add(title);
  TextTable table(titles, aligns);
  const Advice::Row* now = PresentRow(window);
  for (const Advice::Row& row : window.rows) {
    const bool present = &row == now;
    std::vector<std::string> cells = {Bytes(row.dram_bytes) + Text(" x%g", row.dram_scale)};
    if (nvme) cells.push_back(Bytes(row.nvme_bytes) + Text(" x%g", row.nvme_scale));
    if (hbm) cells.push_back(Bytes(row.hbm_bytes) + Text(" x%g", row.hbm_scale));
    cells.push_back(Percent(row.hit_ratio));
    cells.push_back(present ? "exact" : Text("%.1f", 100 * row.standard_error));
    cells.push_back(present ? "now" : Text("%+.1f", 100 * (row.hit_ratio - now->hit_ratio)));
    if (nvme) cells.push_back(Percent(row.dram_hit_ratio));
    cells.push_back(Bytes(row.saved_bytes_per_s));
    cells.push_back(present ? "" : Text("%.2g", 100 * row.gain_per_gib));
    table.AddRow(std::move(cells));
  }
  return table.ToString();
}

const char* NameOf(Advice::Tier tier) {
  return tier == Advice::Tier::kDram ? "DRAM" : tier == Advice::Tier::kNvme ? "NVMe" : "HBM";
}

/// What twice of a tier would bring.
std::string More(const Advice::Window& window, Advice::Tier tier, const Advice::Row& now) {
  const Advice::Row* row = FindRow(window, tier, 2);
  if (row == nullptr) return "";
  const double gain = row->hit_ratio - now.hit_ratio;
  std::string text =
      std::string("Twice the ") + NameOf(tier) + " (" + Bytes(row->Bytes(tier)) + "): ";
  if (gain < 0.0005 && gain < 2 * row->standard_error + 0.0005) {
    text += "no more hits";
  } else {
    text += "hit ratio " + Percent(now.hit_ratio) + " -> " + Percent(row->hit_ratio) + ", " +
            Points(gain) + " +- " + Text("%.1f", 100 * row->standard_error) + ", " +
            Bytes(row->saved_bytes_per_s - now.saved_bytes_per_s) + "/s more is read, not computed";
  }
  if (row->nvme_bytes > 0 && row->dram_hit_ratio > now.dram_hit_ratio + 0.0005) {
    text += "; " + Points(row->dram_hit_ratio - now.dram_hit_ratio) +
            (row->hbm_bytes > 0 ? " from DRAM and HBM" : " from DRAM");
  }
  if (row->unfilled) text += "; what was seen since the start does not fill it";
  return text + ".\n";
}

/// What of a tier could be given up.
std::string Less(const Advice::Window& window, Advice::Tier tier, const Advice::Row& now) {
  const Advice::Row* row = SmallestRow(window, tier);
  if (row == nullptr) {
    return std::string("None of the ") + NameOf(tier) + " can be given up for less than 1 point.\n";
  }
  return Text("%.0f %%", 100 * (1 - row->Scale(tier))) + " of the " + NameOf(tier) + " (" +
         Bytes(now.Bytes(tier) - row->Bytes(tier)) +
         ") could be given up: " + Points(row->hit_ratio - now.hit_ratio) + " +- " +
         Text("%.1f", 100 * row->standard_error) + ".\n";
}

}  // namespace

std::string AdviceText(const Advice& advice) {
  const Advice::Window& window = advice.Best();
  if (!window.known) return "this daemon gives no advice: it is of an older version\n";
  const bool hour = &window == &advice.hour;
  std::string text = "Of " + std::string(hour ? "the last hour" : "all since the start") + " (" +
                     FormatDuration(window.seconds) + "): " + FormatCount(window.references) +
                     " blocks were needed, " + FormatCount(window.sampled) + " of these sampled";
  if (advice.sampling_ratio > 0) {
    text += Text(" (1 of %.0f)", 1 / advice.sampling_ratio);
  }
  if (window.references > 0) text += ", " + FormatShare(window.hits, window.references) + " hit";
  text += ".\n";
  const Advice::Row* now = PresentRow(window);
  if (!window.Enough() || now == nullptr) {
    return text + "Not enough yet: advice needs " + FormatCount(kSampledMin) + " sampled blocks.\n";
  }
  text += "\n" + Table(advice, window) + "\n";
  std::vector<Advice::Tier> tiers = {Advice::Tier::kDram};
  if (advice.nvme_bytes > 0) tiers.push_back(Advice::Tier::kNvme);
  if (advice.hbm_bytes > 0) tiers.push_back(Advice::Tier::kHbm);
  for (const Advice::Tier tier : tiers) text += More(window, tier, *now);
  for (const Advice::Tier tier : tiers) {
    if (tier == Advice::Tier::kDram && HbmHidesDram(*now)) continue;
    text += Less(window, tier, *now);
  }
  text += "Learned with " + Bytes(advice.memory_bytes) + " of memory and " +
          Text("%.2f s", advice.cpu_seconds) + " of CPU";
  if (advice.uptime_seconds > 0) {
    text += Text(" (%.3f %% of a core)", 100 * advice.cpu_seconds / advice.uptime_seconds);
  }
  return text + ".\n";
}

}  // namespace terrace
