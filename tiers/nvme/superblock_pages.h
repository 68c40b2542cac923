// The first two pages of a device: the superblock and its copy, judged together.
//
// Thread: one that may block.
#pragma once

#include <cstdint>
#include <string>

#include "base/device_file.h"
#include "base/result.h"
#include "tiers/nvme/format.h"

namespace terrace::nvme {

struct SuperblockPages {
  bool fresh = false;              ///< both pages are zeros: nobody's
  Superblock superblock;           ///< when not fresh
  std::string damage;              ///< what is wrong with one of the pages; empty: nothing
  std::uint32_t damaged_page = 0;  ///< which of them, when there is damage
};

/// kInvalid: holds something else. kIncompatible: another version in either page. kCorrupt: a
/// superblock was there, and neither page is whole. kIo. The message names file and cause.
Result<SuperblockPages> ReadSuperblockPages(const DeviceFile& file);

/// Makes a device ours: the copy first, so that after power loss in between it is found.
Status WriteSuperblockPages(DeviceFile& file, const Superblock& superblock);

/// Writes the damaged page again, and never the whole one. REQUIRES: there is damage.
Status MendSuperblockPage(DeviceFile& file, const SuperblockPages& pages);

}  // namespace terrace::nvme
