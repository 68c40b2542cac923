// NvmeTier: one reactor's NVMe: the log of records, their entries in the index store, and the
// budget of writes. What lies where, in RAM, is the cache's business.
//
//   write: budget -> record in the log -> entry in the index store (durable: both synced at once)
//
//   T1. An entry is handed to the index store only after its record was written; that of a record
//       that moves, after it was synced. Until a new one is synced too, an entry that survives a
//       power loss names a record that does not verify.
//   T2. A removal is in the log and in the index store before it is answered; it has a higher
//       sequence than what it removes.
//
// Thread: the owning reactor's, except Counters() and log().Counters().
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/ack.h"
#include "base/clock.h"
#include "base/index_store.h"
#include "base/scheduler.h"
#include "base/task.h"
#include "tiers/nvme/index_journal.h"
#include "tiers/nvme/page_pool.h"
#include "tiers/nvme/segment_log.h"
#include "tiers/nvme/write_budget.h"

namespace terrace::nvme {

struct NvmeTierOptions {
  SegmentLogOptions log;
  std::uint64_t block_bytes_max = 4 << 20;  ///< larger blocks stay in DRAM
  std::uint64_t write_bytes_per_day = 0;    ///< of this slice; 0: no limit
};

/// Single writer (the reactor), readable from any thread.
struct NvmeTierCounters {
  std::atomic<std::uint64_t> blocks_put{0}, blocks_reinserted{0};  ///< records written, by reason
  std::atomic<std::uint64_t> bytes_put{0};                         ///< of the blocks of blocks_put
  std::array<std::atomic<std::uint64_t>, kNotDurableCount> declined{};  ///< [NotDurable]
  std::atomic<std::uint64_t> recovered{0};    ///< blocks that a start found
  std::atomic<std::uint64_t> stale{0};        ///< entries of reused segments, dropped at start
  std::atomic<std::uint64_t> bad_entries{0};  ///< entries that were none
  /// Bytes, when a block was last offered or written; 0 without a limit.
  std::atomic<std::int64_t> budget_left{0};
};

class NvmeTier {
 public:
  /// `journal` and `scheduler` outlive the tier, the devices of `lanes` too.
  NvmeTier(const NvmeTierOptions& options, std::vector<LaneStart> lanes, SegmentLog::Owner& owner,
           IndexJournal& journal, Scheduler& scheduler);

  /// Reads the entries of this slice: `adopt` is called for each whose record may be there, in no
  /// particular order; false: the entry is of no use and is deleted. Before the reactor runs;
  /// blocks. kIo, kCorrupt: the store's words; what was adopted stays adopted.
  Status Recover(IndexStore& store, const std::function<bool(const IndexedBlock&)>& adopt);

  /// kNone: a block of this size may be written now. Else why not; counted.
  [[nodiscard]] NotDurable Admit(std::uint64_t block_bytes);
  void CountDeclined(NotDurable reason) noexcept;

  struct WriteRequest {
    RecordHeader* header = nullptr;  ///< as SegmentLog::Append wants it
    std::span<const std::byte> payload;
    bool durable = false;
    SegmentLog::Room room = SegmentLog::Room::kWait;
    /// Asked when the record was written, before the index store hears of it. False: the block
    /// has gone meanwhile, a removal follows the record.
    std::function<bool()> still_wanted;
  };
  struct Written {
    RecordPlace place;                           ///< exists unless the write failed
    NotDurable not_durable = NotDurable::kNone;  ///< of a durable write
  };
  Task<Written> Write(WriteRequest request);
  /// See SegmentLog::Read.
  Task<Status> Read(RecordPlace place, RecordHeader* header, std::span<std::byte> payload) {
    return log_.Read(place, header, payload);
  }

  /// A record that was written without durability, and its entry, survive power loss from now on.
  Task<NotDurable> SyncRecord(RecordPlace place);

  /// Every entry handed to the index store so far survives power loss from now on.
  Task<Status> SyncEntries();

  /// Whose blocks, or which block, are to be forgotten for good.
  struct Removal {
    RecordKind kind = RecordKind::kRemoval;  ///< or kClear: then only namespace_id counts
    std::uint32_t namespace_id = 0;
    Hash128 hash;
    std::uint32_t group = 0;
    std::uint32_t shard = 0;
    std::span<const std::byte> key;  ///< for who reads the log; outlives the task
    /// From log().TakeSequence() at the moment when the blocks were forgotten: what is written
    /// after it is not removed.
    std::uint64_t sequence = 0;
  };
  /// Not ok when the log or the index store could not take it: the block may come back after a
  /// restart.
  Task<Status> Remove(Removal removal);
  /// The entry's record was found to be wrong or gone: no start shall look for it again.
  void DropEntry(std::uint32_t namespace_id, const Hash128& hash);

  [[nodiscard]] SegmentLog& log() noexcept { return log_; }
  [[nodiscard]] const SegmentLog& log() const noexcept { return log_; }
  [[nodiscard]] PagePool& pages() noexcept { return pages_; }
  [[nodiscard]] const NvmeTierOptions& options() const noexcept { return options_; }
  [[nodiscard]] const NvmeTierCounters& Counters() const noexcept { return counters_; }
  /// Bytes of the slice, over its devices.
  [[nodiscard]] std::uint64_t CapacityBytes() const noexcept;

  /// Syncs every lane, ends the background work.
  Task<void> Close();

 private:
  Task<Status> RemoveOn(std::uint32_t lane, Removal removal, SegmentLog::Room room);
  /// On every lane that is online.
  Task<Status> LogRemoval(Removal removal, SegmentLog::Room room);
  Task<void> SyncInLog(RecordPlace place, bool* synced);
  void NoteBudget() noexcept;

  const NvmeTierOptions options_;
  IndexJournal& journal_;
  PagePool pages_;
  SegmentLog log_;
  WriteBudget budget_;
  NvmeTierCounters counters_;
};

}  // namespace terrace::nvme
