// RebuildIndex: the entries of the index store, from the log alone.
//
// Reads every payload, and leaves out what does not match its checksums: what a crash cut off, and
// what the medium damaged. A block that was evicted comes back while its record is still whole.
//
// Thread: one that may block for as long as reading the store takes.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/device_file.h"
#include "base/index_store.h"
#include "tiers/nvme/format.h"
#include "tiers/nvme/log_scan.h"

namespace terrace::nvme {

struct RebuildTotals {
  std::uint64_t records = 0;      ///< found, of all kinds
  std::uint64_t blocks = 0;       ///< that the index now names
  std::uint64_t namespaces = 0;   ///< likewise
  std::uint64_t damaged = 0;      ///< records left out for their payload
  std::uint64_t conflicting = 0;  ///< left out: their namespace id belongs to another namespace
  std::uint64_t unreadable_pages = 0;
};

/// Fills `index`. The entry of the store (kStoreKey) is written last and durably, so that an index
/// without it is known to be half made. `damaged` is called for each record that is left out; it
/// may be empty, like options.passed. options.verify_payloads is taken as true.
///
/// kInvalid: the index holds something. kIo, kCorrupt: of the devices or of the index.
Result<RebuildTotals> RebuildIndex(std::span<const DeviceFile> files, const Superblock& superblock,
                                   IndexStore& index, ScanOptions options,
                                   const std::function<void(const ScannedRecord&)>& damaged);

}  // namespace terrace::nvme
