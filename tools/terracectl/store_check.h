// CheckStore: does a stopped store hold what its index says, and is it whole?
//
// Reads every segment once, in order, and verifies every payload. A record that the index names
// and that is not there as named is damage, and so is an index that cannot be read. What a crash
// or the daemon's lazy ways leave behind is counted, and is no damage: records of blocks that were
// evicted, replaced or removed; index entries of segments that were reused; records whose payload
// a crash cut off, which no index names.
//
// Thread: one that may block for as long as reading the store takes. In memory: about 200 bytes a
// block of one slice.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/index_store.h"
#include "base/result.h"
#include "tiers/nvme/index_entry.h"
#include "tiers/nvme/store.h"

namespace terrace {

inline constexpr std::size_t kDamageLinesMax = 20;

struct StoreReport {
  std::uint32_t devices = 0;
  nvme::StoreGeometry geometry;
  std::uint64_t segments_used = 0;  ///< over devices and slices
  std::uint64_t bytes_read = 0;
  std::uint64_t unreadable_pages = 0;

  std::uint64_t records = 0;     ///< blocks, removals and clears
  std::uint64_t blocks = 0;      ///< records of blocks with a whole payload
  std::uint64_t live = 0;        ///< of these: no removal, clear or newer record ends them
  std::uint64_t live_bytes = 0;  ///< their payloads
  std::uint64_t stale = 0;       ///< of these: the others
  std::uint64_t unfinished = 0;  ///< payload not whole, and not in the index

  std::uint64_t index_entries = 0;   ///< of blocks
  std::uint64_t index_reused = 0;    ///< their segment was reused since
  std::uint64_t index_outdated = 0;  ///< the log, or a clear in the index, has ended them
  std::uint64_t not_indexed = 0;     ///< live blocks that the index does not name

  std::uint64_t damaged = 0;
  std::vector<std::string> damage;  ///< what and where, the first kDamageLinesMax

  void AddDamage(std::string line);
  [[nodiscard]] bool clean() const noexcept { return damaged == 0; }
};

/// `index` null: only the devices are looked at. `passed` is called with the bytes of the slices
/// that were passed since the last call. kIo: a device cannot be read at all.
Result<StoreReport> CheckStore(const nvme::OpenedStore& store, IndexStore* index,
                               const std::function<void(std::uint64_t bytes)>& passed);

/// "device 1 (FILE) slice 0 segment 3 page 17 (byte 1245184)".
[[nodiscard]] std::string PlaceText(const nvme::OpenedStore& store, std::uint32_t slice,
                                    const nvme::RecordPlace& place);

}  // namespace terrace
