// NvmeSide: what the cache keeps about its NVMe tier, and the work it does there in the background.
//
// Model. A block has a *frame* in DRAM, a *record* on NVMe, or both (block_index.h, B4). Three
// kinds of work move it between them, each with a file of its own:
//   - write_behind.cc: a published block that the tier admits waits in a queue of bounded bytes and
//     is written; until then eviction passes over it while there is anything else. demote.cc: which
//     ones, and when, where only what is worth it is written.
//   - load_flow.cc: a get of a block without a frame reads its record into a frame. One load serves
//     everybody who wants the block meanwhile; it ends when the device does, not when the reader
//     loses patience, so the frame is nobody else's until then.
//   - reclaim.cc: when the log reuses a segment, blocks that were got often enough are written
//     again, the others lose their record. Here too: what a start finds.
//
//   S1. `segments[s]` names every block whose record lies in segment s; it may name others too,
//       which the entry's own place tells.
//   S2. A frame with block_id kNoBlock belongs to a load, or to its readers when the policy did not
//       keep it; it is freed when its last pin goes.
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
#include "cache/cache_impl.h"
#include "cache/placements.h"
#include "cache/prefetch_queue.h"
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
  struct LoadWaiter {
    Event done;
    Hold pin;
    StatusCode code = StatusCode::kInternal;
  };
  struct Load {
    BlockId id = kNoBlock;
    nvme::RecordPlace place;
    FrameId frame = kNoFrame;
    RequestFacts facts{};    ///< of the first request that wants it, with its tenant
    bool abandoned = false;  ///< the block was forgotten meanwhile
    std::vector<LoadWaiter*> waiters;
  };
  /// kOk: `pin` holds the block's frame. kMiss and kRetry as a get answers them; kTimeout also at
  /// once where reads are limited and its turn comes after the deadline; kPending: look
  /// again, its record has moved, or it came to DRAM or went before the task began; `locator` as in
  /// MakeDurable. `guard` as in AllocateFrame.
  Task<StatusCode> ReadBlock(BlockId id, Locator locator, RequestFacts facts, ChainGuard guard,
                             Nanos deadline, Hold* pin);
  Result<std::shared_ptr<Load>> StartLoad(BlockId id, const RequestFacts& facts,
                                          const ChainGuard& guard, Nanos deadline);
  Task<void> RunLoad(std::shared_ptr<Load> load);
  Task<StatusCode> LoadRecord(std::shared_ptr<Load> load);
  [[nodiscard]] bool Describes(const nvme::RecordHeader& header, BlockId id) const;
  StatusCode FinishLoad(Load& load, const Status& status, const nvme::RecordHeader& header);
  /// Reads the block from a GPU's memory, if it is there: false when it must come from NVMe.
  Task<bool> LoadFromHbm(std::shared_ptr<Load> load, StatusCode* code);
  /// What was loaded is the block's frame from now on, if the policy says so.
  void KeepLoaded(const Load& load, KeyView placement);
  void FillFrame(const Load& load, const nvme::RecordHeader& header, TenantId tenant);

  // reclaim.cc
  Task<void> Reclaim(std::uint32_t segment) override;
  void OnLane(std::uint32_t lane, bool online, const std::string& why) override;
  struct ReclaimState;
  Task<void> ReclaimWorker(ReclaimState& state);
  Task<bool> Reinsert(BlockId id);
  /// A published block whose record is in that segment (S1).
  [[nodiscard]] bool LiesIn(BlockId id, std::uint32_t segment) const;
  void SetRecord(BlockId id, const nvme::RecordPlace& place);
  /// The block's record is gone; the block too unless it is in DRAM.
  void DropRecord(BlockId id, MissReason reason = MissReason::kNvmeReused);
  /// Forgets a block that is on NVMe only, for the sake of room in the index; the one whose segment
  /// goes next. False when there is none.
  bool ForgetOldest();
  Status Recover(IndexStore& store, const nvme::ReadSlice& read);
  bool Know(const nvme::IndexedNamespace& found);
  bool Adopt(const nvme::IndexedBlock& found, std::uint64_t leave);

  /// The block is about to be forgotten: loads and writes of it come to nothing.
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
  std::unordered_map<BlockId, std::shared_ptr<Load>> loads;
  PrefetchQueue prefetches{[this] { return loads.size() > prefetches.active(); }};
  std::uint64_t loose_frames = 0;                    // S2
  std::vector<std::pair<BlockId, Hash128>> parents;  // of blocks just found
  bool closing = false;
  TaskScope background;
};

}  // namespace terrace
