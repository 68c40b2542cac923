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
  std::vector<std::string> titles = {"DRAM"};
  std::vector<Align> aligns = {Align::kRight};
  const auto add = [&](const char* title) {
    titles.emplace_back(title);
    aligns.push_back(Align::kRight);
  };
  if (nvme) add("NVMe");
  for (const char* title : {"hit ratio", "+-", "change"}) add(title);
  if (nvme) add("from DRAM");
  for (const char* title : {"saved/s", "points per GiB"}) add(title);
  TextTable table(titles, aligns);
  const Advice::Row* now = FindRow(window, 1, 1);
  for (const Advice::Row& row : window.rows) {
    const bool present = &row == now;
    std::vector<std::string> cells = {Bytes(row.dram_bytes) + Text(" x%g", row.dram_scale)};
    if (nvme) cells.push_back(Bytes(row.nvme_bytes) + Text(" x%g", row.nvme_scale));
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

/// What twice of a tier would bring.
std::string More(const char* tier, const Advice::Row* row, const Advice::Row& now) {
  if (row == nullptr) return "";
  const double bytes = tier == std::string_view("DRAM") ? row->dram_bytes : row->nvme_bytes;
  const double gain = row->hit_ratio - now.hit_ratio;
  std::string text = std::string("Twice the ") + tier + " (" + Bytes(bytes) + "): ";
  if (gain < 0.0005 && gain < 2 * row->standard_error + 0.0005) {
    text += "no more hits";
  } else {
    text += "hit ratio " + Percent(now.hit_ratio) + " -> " + Percent(row->hit_ratio) + ", " +
            Points(gain) + " +- " + Text("%.1f", 100 * row->standard_error) + ", " +
            Bytes(row->saved_bytes_per_s - now.saved_bytes_per_s) + "/s more is read, not computed";
  }
  if (row->nvme_bytes > 0 && row->dram_hit_ratio > now.dram_hit_ratio + 0.0005) {
    text += "; " + Points(row->dram_hit_ratio - now.dram_hit_ratio) + " from DRAM";
  }
  if (row->unfilled) text += "; what was seen since the start does not fill it";
  return text + ".\n";
}

/// What of a tier could be given up.
std::string Less(const char* tier, const Advice::Row* row, const Advice::Row& now, double have) {
  if (row == nullptr) {
    return std::string("None of the ") + tier + " can be given up for less than 1 point.\n";
  }
  const bool dram = tier == std::string_view("DRAM");
  const double scale = dram ? row->dram_scale : row->nvme_scale;
  return Text("%.0f %%", 100 * (1 - scale)) + " of the " + tier + " (" + Bytes(have * (1 - scale)) +
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
  const Advice::Row* now = FindRow(window, 1, 1);
  if (!window.Enough() || now == nullptr) {
    return text + "Not enough yet: advice needs " + FormatCount(kSampledMin) + " sampled blocks.\n";
  }
  text += "\n" + Table(advice, window) + "\n";
  text += More("DRAM", FindRow(window, 2, 1), *now);
  if (advice.nvme_bytes > 0) text += More("NVMe", FindRow(window, 1, 2), *now);
  text += Less("DRAM", SmallestDram(window), *now, advice.dram_bytes);
  if (advice.nvme_bytes > 0) text += Less("NVMe", SmallestNvme(window), *now, advice.nvme_bytes);
  text += "Learned with " + Bytes(advice.memory_bytes) + " of memory and " +
          Text("%.2f s", advice.cpu_seconds) + " of CPU";
  if (advice.uptime_seconds > 0) {
    text += Text(" (%.3f %% of a core)", 100 * advice.cpu_seconds / advice.uptime_seconds);
  }
  return text + ".\n";
}

}  // namespace terrace
