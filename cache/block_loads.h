// BlockLoads: blocks on their way to DRAM, from a GPU's memory (hbm_side.h) or from NVMe
// (nvme_side.h).
//
// Model. A get of a block without a frame reads it into one. One load serves everybody who wants
// the block meanwhile; it ends when the device does, not when the reader loses patience, so the
// frame is nobody else's until then. What a GPU does not bring comes from NVMe, if it is there.
//
//   S2. A frame with block_id kNoBlock belongs to a load, or to its readers when the policy did not
//       keep it; it is freed when its last pin goes.
//   S3. A load of a GPU that went offline is given up: whoever waits looks again, and another load
//       may begin. Its frame stays its own until the GPU has answered.
//
// Thread: the owning reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/wait.h"
#include "cache/cache_impl.h"
#include "cache/prefetch_queue.h"
#include "tiers/hbm/hbm_tier.h"

namespace terrace {

struct BlockLoads {
  struct Waiter {
    Event done;
    Hold pin;
    StatusCode code = StatusCode::kInternal;
  };
  struct Load {
    BlockId id = kNoBlock;
    nvme::RecordPlace place;
    FrameId frame = kNoFrame;
    RequestFacts facts{};              ///< of the first request that wants it, with its tenant
    TierKind from = TierKind::kNvme;   ///< where its bytes came from, or come from now
    const HbmTier* reading = nullptr;  ///< the GPU that is asked now
    bool abandoned = false;            ///< the block was forgotten meanwhile, or S3
    std::vector<Waiter*> waiters;
  };
  /// What a reader gets: where the bytes came from, and a pin on their frame.
  struct Loaded {
    Hold pin;
    TierKind from = TierKind::kNvme;
  };

  explicit BlockLoads(Cache::Impl& the_cache) : cache(the_cache) {}

  /// kOk: `loaded` holds the block's frame. kMiss and kRetry as a get answers them; kTimeout also
  /// at once where reads are limited and its turn comes after the deadline; kPending: look again,
  /// its record has moved, or it came to DRAM or went before the task began: a task begins a turn
  /// after it was made (task.h), `locator` tells whether the number still is its. `guard` as in
  /// AllocateFrame.
  Task<StatusCode> ReadBlock(BlockId id, Locator locator, RequestFacts facts, ChainGuard guard,
                             Nanos deadline, Loaded* loaded);
  /// What was loaded is the block's frame from now on, if the policy says so. `placement`: the key
  /// of a record that may be written later.
  void Keep(const Load& load, KeyView placement);
  /// The block is about to be forgotten: a load of it comes to nothing.
  void OnForget(BlockId id);
  /// S3.
  void GiveUp(const HbmTier& tier);
  [[nodiscard]] bool Loads(BlockId id) const { return loads.contains(id); }

  Result<std::shared_ptr<Load>> Start(BlockId id, const RequestFacts& facts,
                                      const ChainGuard& guard, Nanos deadline);
  Task<void> Run(std::shared_ptr<Load> load);
  /// Reads the block from a GPU's memory, if it is there: false when it must come from NVMe.
  Task<bool> LoadFromHbm(std::shared_ptr<Load> load, StatusCode* code);
  static void Answer(Load& load, StatusCode code, FrameArena& arena);

  Cache::Impl& cache;
  std::unordered_map<BlockId, std::shared_ptr<Load>> loads;
  PrefetchQueue prefetches{[this] { return loads.size() > prefetches.active(); }};
  std::uint64_t loose_frames = 0;  // S2
  bool gpus_closed = false;        ///< nothing is read from GPUs any more
  bool closing = false;            ///< NVMe takes no reads any more
  TaskScope background;
};

}  // namespace terrace
