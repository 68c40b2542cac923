#include "tools/terracectl/fsck_report.h"

#include <nlohmann/json.hpp>

#include "tools/common/byte_size.h"
#include "tools/terracectl/text_table.h"

namespace terrace {

namespace {

using Json = nlohmann::ordered_json;

/// "  records          12,345  blocks, removals and clears".
void AddLine(std::string& text, const std::string& name, std::uint64_t count,
             const std::string& meaning = "") {
  constexpr std::size_t kNameColumns = 16;
  constexpr std::size_t kCountColumns = 14;
  const std::string number = FormatCount(static_cast<double>(count));
  text += "  " + name + std::string(kNameColumns - std::min(name.size(), kNameColumns), ' ') +
          std::string(kCountColumns - std::min(number.size(), kCountColumns), ' ') + number +
          (meaning.empty() ? "" : "  ") + meaning + '\n';
}

std::string Lines(const std::vector<std::string>& lines, std::uint64_t all) {
  std::string text;
  for (const std::string& line : lines) text += "  " + Printable(line) + '\n';
  if (all > lines.size()) text += "  ... and " + std::to_string(all - lines.size()) + " more\n";
  return text;
}

/// File names may hold anything: what is not UTF-8 is replaced.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace

std::string FsckText(const StoreReport& report) {
  const nvme::StoreGeometry& geometry = report.geometry;
  std::string text = std::to_string(geometry.devices) + " devices, " +
                     std::to_string(geometry.slices) + " slices of " +
                     std::to_string(geometry.segments) + " segments of " +
                     FormatByteSize(geometry.segment_bytes) + " on each\n";
  AddLine(text, "segments used", report.segments_used, FormatByteSize(report.bytes_read) + " read");
  AddLine(text, "records", report.records, "blocks, removals and clears");
  AddLine(text, "live", report.live, "blocks, " + FormatByteSize(report.live_bytes));
  AddLine(text, "stale", report.stale, "blocks replaced, removed or cleared");
  AddLine(text, "unfinished", report.unfinished, "cut off by a crash; not in the index");
  AddLine(text, "index entries", report.index_entries);
  AddLine(text, "  reused", report.index_reused, "their segment holds something newer");
  AddLine(text, "  outdated", report.index_outdated, "the log has something newer");
  AddLine(text, "not indexed", report.not_indexed, "live blocks: evicted, or newer than the index");
  if (report.clean()) return text + "clean\n";
  return text + "DAMAGED: " + std::to_string(report.damaged) + '\n' +
         Lines(report.damage, report.damaged);
}

std::string FsckJson(const StoreReport& report) {
  return Dump({{"clean", report.clean()},
               {"devices", report.geometry.devices},
               {"slices", report.geometry.slices},
               {"segments", report.geometry.segments},
               {"segment_bytes", report.geometry.segment_bytes},
               {"segments_used", report.segments_used},
               {"bytes_read", report.bytes_read},
               {"unreadable_pages", report.unreadable_pages},
               {"records", report.records},
               {"blocks", report.blocks},
               {"live", report.live},
               {"live_bytes", report.live_bytes},
               {"stale", report.stale},
               {"unfinished", report.unfinished},
               {"index_entries", report.index_entries},
               {"index_reused", report.index_reused},
               {"index_outdated", report.index_outdated},
               {"not_indexed", report.not_indexed},
               {"damaged", report.damaged},
               {"damage", report.damage}});
}

std::string RebuildText(const RebuildReport& report) {
  const nvme::RebuildTotals& totals = report.totals;
  std::string text = "rebuilt the index from the log\n";
  AddLine(text, "records", totals.records, "blocks, removals and clears");
  AddLine(text, "blocks", totals.blocks, "that the index now names");
  AddLine(text, "namespaces", totals.namespaces);
  AddLine(text, "damaged", totals.damaged, "left out: their payload is not whole");
  AddLine(text, "conflicting", totals.conflicting, "left out: their namespace is another one");
  AddLine(text, "unreadable pages", totals.unreadable_pages);
  return text + Lines(report.left_out, totals.damaged) +
         Lines(report.warnings, report.warnings.size());
}

std::string RebuildJson(const RebuildReport& report) {
  return Dump({{"rebuilt", true},
               {"records", report.totals.records},
               {"blocks", report.totals.blocks},
               {"namespaces", report.totals.namespaces},
               {"damaged", report.totals.damaged},
               {"conflicting", report.totals.conflicting},
               {"unreadable_pages", report.totals.unreadable_pages},
               {"left_out", report.left_out},
               {"warnings", report.warnings}});
}

}  // namespace terrace
