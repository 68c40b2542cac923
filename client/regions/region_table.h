// RegionTable: the registered memory of a client, and who may still write into it.
//
//   R1. A region is removed only when no call uses it and none is in doubt.
//   R2. A region in doubt takes no new calls: its bytes may change at any moment.
//   R3. An id is never used twice, by no table of the process: an id of another Client, one that is
//       gone for instance, is unknown here.
//
// Thread: any; one mutex, held for the length of one call's checks.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "client/regions/region_memory.h"
#include "client/terrace.hpp"
#include "transport/channel.h"

namespace terrace {

/// Most regions of one client; the daemon's default limit for a peer.
inline constexpr std::size_t kRegionsMax = 4096;

class RegionTable;

/// The use of some regions by one call; gives them back when it is destroyed. Move-only.
class RegionUse {
 public:
  RegionUse() noexcept = default;
  RegionUse(RegionTable* table, std::vector<std::uint32_t> regions) noexcept
      : table_(table), regions_(std::move(regions)) {}
  RegionUse(RegionUse&& other) noexcept;
  RegionUse& operator=(RegionUse&& other) noexcept;
  ~RegionUse() { Release(); }

  /// From now on it counts as a doubt: the call has ended, its memory may still change.
  void TurnToDoubt();
  /// Nobody will say when the doubt is over: it stays.
  void LeaveDoubt() noexcept { table_ = nullptr; }
  void Release();

 private:
  RegionTable* table_ = nullptr;
  std::vector<std::uint32_t> regions_;
  bool doubt_ = false;
};

class RegionTable {
 public:
  struct Region {
    std::uint32_t id = 0;
    ClientMemory memory;
  };

  RegionTable() = default;
  RegionTable(const RegionTable&) = delete;
  RegionTable& operator=(const RegionTable&) = delete;

  /// What Add says of the caller's memory before it looks at the table.
  static Status Check(const void* base, std::uint64_t length);
  /// The caller's memory. kInvalid for null, a length of 0 or an end past the address space;
  /// kRetry when the table is full.
  Result<Region> Add(void* base, std::uint64_t length);
  /// Memory of our own. kRetry when the table is full.
  Result<Region> Add(RegionMemory memory);
  /// The caller's memory on a GPU. No call may use it before SetAccess said ok. As the first.
  Result<Region> AddDevice(void* base, std::uint64_t length, DeviceExport exported);
  /// What the daemon said of such a region, in the session `epoch`; not heeded when a later session
  /// has said something, or the region is gone.
  void SetAccess(std::uint32_t region, std::uint64_t epoch, Status access);
  /// A daemon is about to be told of such a region, or to forget it.
  void NoteDaemon(std::uint32_t region, std::shared_ptr<const DaemonProcess> daemon);
  /// Those that were, and have not exited: they may have it mapped. `but_last`: the last one said
  /// that it has not.
  [[nodiscard]] std::vector<std::shared_ptr<const DaemonProcess>> DaemonsOf(std::uint32_t region,
                                                                            bool but_last) const;
  /// Begins to remove a region: of a GPU's no call takes it any more, and its memory must first be
  /// let go of by the daemon. True: it is one. As Remove.
  Result<bool> BeginRemove(std::uint32_t region);
  /// Takes a region out and hands over its memory if it was ours. kRetry while it is used or in
  /// doubt; kInvalid when unknown.
  Result<RegionMemory> Remove(std::uint32_t region);

  [[nodiscard]] std::span<std::byte> Memory(std::uint32_t region) const;
  [[nodiscard]] std::vector<Region> All() const;

  /// Finds the memory of each block and counts the use. kInvalid names the block whose region is
  /// unknown or that does not lie in it; kRetry when a region is in doubt. `memory` gets one entry
  /// per block.
  Result<RegionUse> Use(std::span<const BlockBuffer> blocks, std::uint64_t block_bytes,
                        std::vector<std::span<std::byte>>& memory);

  /// The same for lists of pieces, `lists`[i][j] of an argument `list`: kInvalid names it as
  /// list[i].pieces[j]. `memory` gets one entry per piece, of all lists one after the other.
  Result<RegionUse> UsePieces(const char* list, std::span<const std::span<const MemoryPiece>> lists,
                              std::vector<std::span<std::byte>>& memory);

  /// Ok when no call uses the region and none is in doubt; kTimeout at `deadline`; kInvalid when
  /// unknown.
  Status Quiesce(std::uint32_t region, Nanos deadline);

 private:
  friend class RegionUse;
  struct Entry {
    std::span<std::byte> memory;
    RegionMemory owned;
    std::uint64_t uses = 0;
    std::uint64_t doubts = 0;
    std::uint64_t last_call = 0;  // the call that counted it last, so that each counts it once
    std::shared_ptr<const DeviceExport> device;  // memory of a GPU; with these:
    std::uint64_t epoch = 0;                     // of the session that `access` is of
    Status access;                               // why no call may use it; ok: they may
    bool removing = false;
    std::vector<std::shared_ptr<const DaemonProcess>> daemons{};  // last the one of now

    [[nodiscard]] ClientMemory Memory() const { return {memory, owned.file(), device}; }
  };
  /// Whether a new call may use the region, and what it is told if not: kRetry when it is in doubt,
  /// or what the daemon said of it. `named` begins the text.
  static bool MayUse(const Entry& entry) { return entry.doubts == 0 && entry.access.ok(); }
  static Status RefuseUse(const Entry& entry, std::uint32_t region, const std::string& named);
  Result<Region> Insert(std::span<std::byte> memory, RegionMemory owned);

  mutable std::mutex mutex_;
  std::condition_variable quieter_;
  // All guarded by mutex_.
  std::unordered_map<std::uint32_t, Entry> regions_;
  std::uint64_t calls_ = 0;
};

}  // namespace terrace
