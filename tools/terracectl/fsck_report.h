// What terracectl fsck found, for people and for programs.
//
// Thread: any; pure functions.
#pragma once

#include <string>
#include <vector>

#include "tiers/nvme/index_rebuild.h"
#include "tools/terracectl/store_check.h"

namespace terrace {

struct RebuildReport {
  nvme::RebuildTotals totals;
  std::vector<std::string> left_out;  ///< records, the first kDamageLinesMax
  std::vector<std::string> warnings;  ///< of the superblocks
};

/// Lines that end with "clean", or with "DAMAGED: N" and what is wrong.
[[nodiscard]] std::string FsckText(const StoreReport& report);
/// One JSON object and a newline: "clean" and every count of StoreReport under its name.
[[nodiscard]] std::string FsckJson(const StoreReport& report);
[[nodiscard]] std::string RebuildText(const RebuildReport& report);
[[nodiscard]] std::string RebuildJson(const RebuildReport& report);

}  // namespace terrace
