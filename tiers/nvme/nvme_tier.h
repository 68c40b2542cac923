// NvmeTier: one reactor's NVMe: the log of records, their entries in the index store, and the
// budget of writes. What lies where, in RAM, is the cache's business.
//
//   write:    budget -> record in the log (durable: synced) -> entry handed to the index store
//   removal:  its change handed to the index store -> record in the log, on every device
//   start:    the entries of the index store, and the records of the log from the marker on
//
// The log is the truth, the index store is behind it by what it has not written or synced. How far
// behind is noted in it, in the *marker* (index_entry.h): from there on a start reads the log's own
// headers. So nobody waits for the index store to sync.
//
//   T1. An entry is handed to the index store only after its record was written; that of a record
//       that is promised, or moves, after it was synced. An entry that survives a power loss
//       without its record names one that does not verify.
//   T2. A removal is in the log and in the index store before it is answered; it has a higher
//       sequence than what it removes. Its change is handed over in the order of the sequences.
//   T3. No record that was promised lies below the marker without its entry, no removal that was
//       answered without its change: the marker is the lowest sequence whose change has not been
//       handed to the index store, which takes everything in one order (index_journal.h, J1). Who
//       takes so long that the marker passes it all the same (open_sequences.h) makes its change
//       durable before it promises.
//   T4. A removal stays noted in the index store until the marker has passed it: what it ended may
//       stand in the log behind the marker, and its own records may be on other devices.
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
#include "tiers/nvme/log_scan.h"
#include "tiers/nvme/page_pool.h"
#include "tiers/nvme/segment_log.h"
#include "tiers/nvme/write_budget.h"

namespace terrace::nvme {

struct NvmeTierOptions {
  SegmentLogOptions log;
  std::uint64_t block_bytes_max = 4 << 20;  ///< larger blocks stay in DRAM
  std::uint64_t write_bytes_per_day = 0;    ///< of this slice; 0: no limit
  Nanos marker_period = kSecond;            ///< how often the marker follows
  /// The marker waits so long for a record that is being written.
  Nanos marker_patience = 10 * kSecond;
};

/// Single writer (the reactor), readable from any thread.
struct NvmeTierCounters {
  std::atomic<std::uint64_t> blocks_put{0}, blocks_reinserted{0};  ///< records written, by reason
  std::atomic<std::uint64_t> bytes_put{0};                         ///< of the blocks of blocks_put
  std::array<std::atomic<std::uint64_t>, kNotDurableCount> declined{};  ///< [NotDurable]
  std::atomic<std::uint64_t> recovered{0};  ///< blocks that a start found
  /// Records that a start read in the log, from the marker on, and blocks that it found only there.
  std::atomic<std::uint64_t> tail_records{0}, tail_blocks{0};
  std::atomic<std::uint64_t> tail_unreadable{0};  ///< pages where it looked for more
  /// Entries of segments without a header, at start: it is damaged, or could not be read.
  std::atomic<std::uint64_t> unheaded{0};
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

  /// What a start does with what it finds.
  struct Finder {
    /// True when the namespace is known by this id, or is from now on.
    std::function<bool(const IndexedNamespace&)> know;
    /// A block whose record may be there; `leave` more that matter more are to come. False: it is
    /// of no use, its entry is deleted.
    std::function<bool(const IndexedBlock&, std::uint64_t leave)> adopt;
  };
  /// Finds the blocks of this slice, in no particular order: by the entries of the index store, and
  /// by the log from the marker on, which is believed first; then brings the index store up to the
  /// log. `read`: from the devices of the lanes. Before the reactor runs; blocks. kIo, kCorrupt:
  /// the store cannot be read; what was adopted stays adopted. What cannot be written to it, or
  /// read of the log, is left to the next start: the marker stays where it is.
  Status Recover(IndexStore& store, const ReadSlice& read, const Finder& finder);

  /// Recover could not read all of the log's end, or not write what it found.
  [[nodiscard]] bool incomplete() const noexcept { return marker_stays_; }
  /// Segment headers that could not be read when it was made.
  [[nodiscard]] std::uint32_t unreadable_headers() const noexcept { return unreadable_headers_; }

  /// kNone: a block of this size may be written now. Else why not; who asks counts it,
  /// once for each block: a put that asks for DURABLE asks again when it waits.
  [[nodiscard]] NotDurable Admit(std::uint64_t block_bytes);
  void CountDeclined(NotDurable reason) noexcept;

  struct WriteRequest {
    RecordHeader* header = nullptr;  ///< as SegmentLog::Append wants it
    std::span<const std::byte> payload;
    bool durable = false;
    SegmentLog::Room room = SegmentLog::Room::kWait;
    /// Asked when the record gets its place, and when it was written, before the index store hears
    /// of it. False: the block has gone meanwhile, and a removal that followed, if it was one.
    std::function<bool()> still_wanted;
  };
  struct Written {
    RecordPlace place;                           ///< exists when the record may be named
    NotDurable not_durable = NotDurable::kNone;  ///< why it does not, or is not durable
  };
  Task<Written> Write(WriteRequest request);
  /// See SegmentLog::Read.
  Task<Status> Read(RecordPlace place, RecordHeader* header, std::span<std::byte> payload,
                    bool limited = true) {
    return log_.Read(place, header, payload, limited);
  }

  /// A record that was written without durability survives power loss from now on, and is found.
  Task<NotDurable> SyncRecord(RecordPlace place);

  /// Whose blocks, or which block, are to be forgotten for good.
  struct Removal {
    RecordKind kind = RecordKind::kRemoval;  ///< or kClear: then only namespace_id counts
    std::uint32_t namespace_id = 0;
    Hash128 hash;
    std::uint32_t group = 0;
    std::uint32_t shard = 0;
    std::span<const std::byte> key;  ///< for who reads the log; outlives the task
    std::uint64_t sequence = 0;  ///< set by BeginRemoval: what is written after it is not removed
    bool handed_over = false;    ///< likewise: the index store has the change, or keeps it
  };
  /// At the moment when the blocks are forgotten, without a wait between. Remove must follow.
  [[nodiscard]] Removal BeginRemoval(Removal removal);
  /// Not ok when the log or the index store could not take it: the block may come back after a
  /// restart. `removal`: from BeginRemoval.
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
  Task<Status> RemoveOn(std::uint32_t lane, Removal removal);
  /// On every lane that is online.
  Task<Status> LogRemoval(Removal removal);
  IndexJournal::Changes ChangeOf(const Removal& removal) const;
  /// Everything of a write up to its entry; its sequence is still open.
  Task<Written> WriteRecord(const WriteRequest* request);
  /// Makes durable what the marker passed before it was handed over.
  Task<Status> PayDebts();
  void StartMarking();  // at the first call: what never ran must not be waited for
  Task<void> KeepMarking();
  Task<Status> Mark(bool final);
  void TellMarker() const noexcept;
  void NoteBudget() noexcept;

  // nvme_recover.cc
  struct Recovery;
  void ReadTail(Recovery& recovery, const ReadSlice& read);
  Status KnowNamespaces(Recovery& recovery, IndexStore& store);
  Status ReadEntries(Recovery& recovery, IndexStore& store);
  void AdoptTail(Recovery& recovery, const ReadSlice& read);

  const NvmeTierOptions options_;
  const std::uint32_t unreadable_headers_;
  IndexJournal& journal_;
  Scheduler& scheduler_;
  PagePool pages_;
  SegmentLog log_;
  WriteBudget budget_;
  NvmeTierCounters counters_;

  std::uint64_t marked_ = 0;      // the marker that is durable
  bool marker_stays_ = false;     // T3 cannot be had for what the start found
  std::uint64_t debts_ = 0;       // changes that the marker had passed, handed over since
  std::uint64_t debts_paid_ = 0;  // of them durable
  bool marking_ = false;          // KeepMarking was begun
  bool closing_ = false;
  Event* sleeper_ = nullptr;  // KeepMarking's, while it waits
  TaskScope background_;
};

}  // namespace terrace::nvme
