// NvmeSide: what the cache keeps about its NVMe tier, and the work it does there in the background.
//
// Model. A block has a *frame* in DRAM, a *record* on NVMe, or both (block_index.h, B4). Three
// kinds of work move it between them, each with a file of its own:
//   - write_behind.cc: a published block that the tier admits waits in a queue of bounded bytes and
//     is written; until then eviction passes over it while there is anything else. demote.cc: which
//     ones, and when, where only what is worth it is written.
//   - load_flow.cc: a record that a load (block_loads.h) reads into its frame.
//   - reclaim.cc: when the log reuses a segment, blocks that were got often enough are written
//     again, the others lose their record. Here too: what a start finds.
//
//   S1. `segments[s]` names every block whose record lies in segment s; it may name others too,
//       which the entry's own place tells.
//
// Thread: the owning reactor's.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/wait.h"
#include "cache/block_loads.h"
#include "cache/cache_impl.h"
#include "cache/placements.h"
#include "cache/write_price.h"
#include "tiers/nvme/nvme_tier.h"

namespace terrace {

struct NvmeSide final : nvme::SegmentLog::Owner {
  NvmeSide(Cache::Impl& the_cache, const nvme::NvmeTierOptions& options,
           std::vector<nvme::LaneStart> lanes, nvme::IndexJournal& journal, Scheduler& scheduler);

  // write_behind.cc
  /// A block on its way to NVMe.
  struct Write {
    BlockId id = kNoBlock;
    Locator locator;
    std::uint64_t bytes = 0;
    std::array<std::byte, kKeyBytesMax> placement{};
    std::uint8_t placement_bytes = 0;
    WriteReason reason = WriteReason::kPut;
    bool durable = false;
    bool begun = false;
    bool ended = false;
    NotDurable outcome = NotDurable::kNone;  ///< once ended
    std::vector<Event*> waiters;
  };
  /// Queues a published block for writing, if it is admitted. Null: `declined` says why not.
  std::shared_ptr<Write> Queue(BlockId id, KeyView placement, bool durable, NotDurable* declined);
  /// kNone once the block is durable: it waits for its write, or syncs what was written. A task
  /// begins a turn after it was made (task.h): `locator` tells whether the number still is its.
  Task<NotDurable> MakeDurable(BlockId id, Locator locator, KeyView placement, Nanos deadline);
  /// A sync that may take longer than whoever waits for it.
  struct Synced {
    Event done;
    NotDurable outcome = NotDurable::kNone;
  };
  Task<void> SyncOne(std::shared_ptr<Synced> synced, nvme::RecordPlace place);
  [[nodiscard]] bool Waits(BlockId id) const { return pending.contains(id); }
  Task<void> WriteWorker();
  Task<void> WriteOne(std::shared_ptr<Write> write);
  [[nodiscard]] bool StillWanted(const Write& write) const;
  /// The number still is of that block, and it is published.
  [[nodiscard]] bool StillIs(BlockId id, const Locator& locator) const;
  void End(Write& write, NotDurable outcome);
  void CountWritten(WriteReason reason, std::uint64_t bytes);

  // demote.cc
  /// A put has just published it: it is queued, or looked at later.
  void OnPublished(BlockId id, KeyView placement, bool durable);
  /// A load has just brought it to DRAM.
  void OnPromoted(BlockId id, KeyView placement);
  /// A block in DRAM was used.
  void NoteUse(BlockId id);
  /// It is about to leave DRAM for another; it still is in the policy.
  void OnEvict(BlockId id);
  /// It is its turn to leave DRAM: if it has no record it is offered. False: it waits to be
  /// written. REQUIRES: published.
  [[nodiscard]] bool LetGo(BlockId id);
  /// It waits to be written because it was its turn to leave.
  [[nodiscard]] bool Demoting(BlockId id) const;
  /// Queues a block, and those of its chain before it that have no record. Else why one was
  /// declined; kGone: what was before them is on no tier.
  NotDurable QueueChain(BlockId id);
  /// For a clean stop: the most valuable ones first.
  void QueueWhatIsWorthIt();
  /// REQUIRES: price, in DRAM.
  [[nodiscard]] double ValueOf(BlockId id) const;
  /// A record is to be written again when its segment is reused.
  [[nodiscard]] bool WorthKeeping(BlockId id) const;

  // load_flow.cc
  /// kOk: the load's frame has the block; kMiss; kPending: look again, its record has moved.
  Task<StatusCode> LoadRecord(std::shared_ptr<BlockLoads::Load> load);
  [[nodiscard]] bool Describes(const nvme::RecordHeader& header, BlockId id) const;
  StatusCode FinishLoad(BlockLoads::Load& load, const Status& status,
                        const nvme::RecordHeader& header);
  void FillFrame(const BlockLoads::Load& load, const nvme::RecordHeader& header, TenantId tenant);

  // reclaim.cc
  Task<void> Reclaim(std::uint32_t segment) override;
  void OnLane(std::uint32_t lane, bool online, const std::string& why) override;
  struct ReclaimState;
  Task<void> ReclaimWorker(ReclaimState& state);
  Task<bool> Reinsert(BlockId id);
  /// A published block whose record is in that segment (S1).
  [[nodiscard]] bool LiesIn(BlockId id, std::uint32_t segment) const;
  void SetRecord(BlockId id, const nvme::RecordPlace& place);
  /// The block's segment is reused; the block goes too unless it is in DRAM or HBM.
  void DropRecord(BlockId id);
  /// Forgets a block that is not in DRAM, for the sake of room in the index; the one whose segment
  /// goes next. False when there is none.
  bool ForgetOldest();
  Status Recover(IndexStore& store, const nvme::ReadSlice& read);
  bool Know(const nvme::IndexedNamespace& found);
  bool Adopt(const nvme::IndexedBlock& found, std::uint64_t leave);

  /// The block is about to be forgotten: a write of it comes to nothing.
  void OnForget(BlockId id);
  Task<void> Close();

  Cache::Impl& cache;
  Scheduler& scheduler;
  nvme::NvmeTier tier;
  std::function<void(const std::string&, bool, const std::string&)> on_device;

  std::vector<std::vector<BlockId>> segments;  // S1
  std::deque<std::shared_ptr<Write>> queue;
  std::unordered_map<BlockId, std::shared_ptr<Write>> pending;  // queued or under way
  std::uint64_t queue_bytes = 0;
  std::optional<WritePrice> price;  ///< when only what is worth it is written
  Placements placements;            ///< with it: of the blocks in DRAM
  std::uint64_t demoting = 0;       ///< of pending, because it was their turn to leave
  std::size_t writers = 0;
  std::vector<std::pair<BlockId, Hash128>> parents;  // of blocks just found
  bool closing = false;
  TaskScope background;
};

}  // namespace terrace
