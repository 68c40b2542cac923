// Walks the records of a store from its devices alone, in large sequential reads: all of them, or
// those at the end of the log that the index may not know yet.
//
// Trusts what tiers/nvme/format.h says and nothing else: a page is a record's header when it is
// sealed with the salt, names the place where it stands, and has the generation of its segment; a
// block also a sequence above the segment's. Pages that are no header are passed one at a time, so
// a hole that a crash left hides nothing behind it. So are the pages of a record whose payload is
// damaged.
//
// Thread: one that may block for minutes; the daemon's reactors do not run.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/device_file.h"
#include "tiers/nvme/format.h"
#include "tiers/nvme/index_entry.h"

namespace terrace::nvme {

struct ScannedRecord {
  const RecordHeader& header;
  RecordPlace place;
  /// Of the payload: kCorrupt or kIo, with the piece that it is. Ok when it was not to be verified.
  Status payload;
};

struct ScanOptions {
  bool verify_payloads = true;
  /// Called with the bytes of the slice that were passed since the last call; may be empty.
  std::function<void(std::uint64_t bytes)> passed;
};

struct ScanTotals {
  std::uint64_t segments = 0;          ///< that have a header
  std::uint64_t records = 0;           ///< of all kinds, damaged payloads included
  std::uint64_t damaged = 0;           ///< with a damaged payload
  std::uint64_t unreadable_pages = 0;  ///< where headers were looked for
  std::uint64_t bytes_read = 0;
  std::uint64_t sequence_max = 0;  ///< of the headers of segments and records that were seen
};

/// Reads from a device of a slice, blocking: `offset` from the slice's start there. Offset, length
/// and memory as DeviceFile::ReadNow wants them.
using ReadSlice =
    std::function<Status(std::uint32_t device, std::uint64_t offset, std::span<std::byte> bytes)>;
/// From files[i], device i of the store, which outlive it.
[[nodiscard]] ReadSlice ReadSliceOf(std::span<const DeviceFile> files, const Superblock& superblock,
                                    std::uint32_t slice);

/// Calls `visit` for each record of a slice: device by device, by segment and page. files[i] is
/// device i of the store. kIo: no segment header of a device can be read; what else cannot be read
/// is counted, and passed.
Result<ScanTotals> ScanSlice(std::span<const DeviceFile> files, const Superblock& superblock,
                             std::uint32_t slice, const ScanOptions& options,
                             const std::function<void(const ScannedRecord&)>& visit);

/// Calls `visit` for each record of a slice whose sequence is `from` or higher, by its header
/// alone: over the payloads it hops. headers[i]: all of device i, as ReadSegmentHeaders gives them.
/// Looks into no segment that is too old to hold one, so a sequence near the newest costs the last
/// few segments of each device. What cannot be read is counted, and passed.
ScanTotals ScanTail(const ReadSlice& read, const Superblock& superblock,
                    std::span<const std::vector<SegmentHeader>> headers, std::uint64_t from,
                    const std::function<void(const ScannedRecord&)>& visit);

/// Ok when a block stands at `page` of the segment with this header, and its payload is whole.
Status CheckBlockAt(const ReadSlice& read, const Superblock& superblock,
                    const SegmentHeader& segment, std::uint32_t page);

/// True when the header stands in its place: at `page` of the segment with this header.
[[nodiscard]] bool IsRecordAt(const RecordHeader& header, const Superblock& superblock,
                              const SegmentHeader& segment, std::uint32_t page) noexcept;

}  // namespace terrace::nvme
