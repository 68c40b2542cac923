// The devices of a store: recognised, or made when there is nothing on them.
//
// A device is touched only when it is certain what it is. Where its first two pages are zeros a
// new store may be made; where they are this store's superblock it is opened; everything else is
// refused, with the file and the cause, and stays as it is. An existing store keeps the size and
// the cut with which it was made.
//
// Thread: one that may block, before the reactors run. Sizes are bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/device_file.h"
#include "base/result.h"
#include "tiers/nvme/format.h"
#include "tiers/nvme/geometry.h"

namespace terrace::nvme {

struct StoreOptions {
  std::string folder;              ///< made when missing (its parent exists)
  std::vector<std::string> files;  ///< the devices, in their order; none: FOLDER/log-0
  /// Of the store, shared equally by its devices. 0: all of the files or block devices, which
  /// must exist.
  std::uint64_t capacity_bytes = 0;
  std::uint32_t slices = 0;  ///< reactors. 0: as many as the store has; makes no new one
  std::uint64_t block_bytes_max = kBlockBytesMin;  ///< longest block that will be stored
  std::uint64_t segment_bytes = 0;                 ///< of a new store; 0: ShapeOf chooses
  std::uint64_t now_unix_s = 0;                    ///< noted in a new store
  bool read_only = false;                          ///< makes and mends nothing
};

struct OpenedStore {
  std::vector<DeviceFile> files;  ///< locked, in the order of the devices
  Superblock superblock;          ///< of device 0; another device's differs in `device` only
  bool made_new = false;
  std::vector<std::string> warnings;  ///< for the log: what was mended, what of the wish is ignored
};

/// Opens the store, or makes it when all of its devices are empty, or when all that was made of it
/// is superblocks: of its last devices, by a process that ended meanwhile.
///
/// kMiss: the devices are empty, and `slices` is 0 or `read_only` true. kInvalid: an option; a
/// device is too small, holds something else, or belongs to another store, position, number of
/// slices or of devices. kRetry: a device is in use, maybe for a moment only. kIncompatible:
/// another format version. kCorrupt: superblock and copy are damaged. kIo, kUnsupported: as
/// DeviceFile::Open.
Result<OpenedStore> OpenStore(const StoreOptions& options);

/// The superblock of device `device` of a new store, sealed.
[[nodiscard]] Superblock MakeSuperblock(const StoreGeometry& geometry, std::uint32_t device,
                                        const std::array<std::uint64_t, 2>& store_id,
                                        std::uint64_t salt, std::uint64_t now_unix_s) noexcept;

/// True when the header is that of this segment of this store.
[[nodiscard]] bool IsHeaderOf(const SegmentHeader& header, const Superblock& superblock,
                              std::uint32_t device, std::uint32_t slice,
                              std::uint32_t segment) noexcept;

/// Replaces `headers` by those of all segments of a slice on a device. One that does not verify
/// or cannot be read comes as generation 0. kIo: none can be read.
Status ReadSegmentHeaders(const DeviceFile& file, const Superblock& superblock,
                          std::uint32_t device, std::uint32_t slice,
                          std::vector<SegmentHeader>& headers,
                          std::uint32_t* unreadable_count = nullptr);

}  // namespace terrace::nvme
