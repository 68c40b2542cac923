// Making room: the policy says who goes first; pins and the chain being put say who may not.
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/counter.h"
#include "base/crash_point.h"
#include "cache/cache_impl.h"
#include "cache/hbm_side.h"
#include "cache/nvme_side.h"

namespace terrace {

namespace {
/// Candidates looked at before an allocation gives up. What the policy offers first is pinned only
/// in a cache that is busy as a whole.
constexpr int kCandidatesMax = 64;
/// Blocks among the first candidates that are leased, and that one allocation gets out of the way:
/// they may be many, and all of them the coldest. They become the hottest, so that the next one
/// need not look at them again.
constexpr int kLeasedMax = 8192;
/// Blocks among the first candidates that are being written to NVMe (write_behind.cc), and pinned
/// so long: a device that hangs must not stand in the way.
constexpr int kWritingMax = 64;
/// Likewise those that wait for that because it was their turn to leave (demote.cc): a chain more
/// than may wait at once.
constexpr int kDemotingMax = 2048;
/// Likewise those of the chain that room is made for.
constexpr int kGuardedMax = 1024;
/// Frames in the way looked at before an allocation gives up, over all candidates; one candidate
/// is always looked at, though an extent of small frames is more than this.
constexpr std::size_t kFramesInTheWayMax = 65'536;
/// Rounds of eviction for one allocation; the first one makes room, by the arena's contract, but
/// for an extent whose memory must be replaced first.
constexpr int kRoundsMax = 4;
/// Blocks let go of by labels whose time is over, for one allocation.
constexpr std::size_t kExpireMax = 256;
}  // namespace

// Of a GPU that was lost the copies stand in the index for some turns yet (HbmSide::GiveUpAll).
bool Cache::Impl::ElsewhereToo(BlockId id) const {
  return (*index)[id].record.exists() || (hbm != nullptr && hbm->Holds(id));
}

bool Cache::Impl::Evictable(BlockId id, const ChainGuard& guard) {
  if (id == kNoBlock) return false;  // a frame that is being loaded
  const BlockEntry& entry = (*index)[id];
  if (entry.state != BlockState::kPublished || arena->Header(entry.frame).pins != 0) return false;
  return !Guarded(id, guard);
}

// A block is useless without its ancestors: they stay, and the deeper block is refused. What is on
// NVMe or in HBM as well stays all the same.
bool Cache::Impl::Guarded(BlockId id, const ChainGuard& guard) const {
  const BlockEntry& entry = (*index)[id];
  const bool may_go = ElsewhereToo(id) && !guard.spares_written;
  return !may_go && entry.position < guard.position && guard.blocks->Contains(id);
}

void Cache::Impl::Evict(BlockId id, MissReason reason) {
  Count(counters.evictions);
  Count(counters.evicted_bytes, (*index)[id].block_bytes);
  if (policy->Keeps(id)) Count(counters.retained_evictions);
  if (nvme != nullptr) nvme->OnEvict(id);
  if (!ElsewhereToo(id)) return Forget(id, EventCause::kEvicted, reason);
  const FrameId frame = (*index)[id].frame;
  policy->Evict(id);
  TellMoved(id, TiersBeside(id));
  index->SetFrame(id, kNoFrame);
  arena->Header(frame).namespace_id = 0;
  arena->Free(frame);
  CountBlocks();
  CrashHere(CrashPoint::kBlockEvicted);
}

NewBlock Cache::Impl::AsNew(BlockId id) const {
  const BlockEntry& entry = (*index)[id];
  const BlockId parent = index->ParentOf(id);
  return {.block = id,
          .parent = parent != kNoBlock && (*index)[parent].InDram() ? parent : kNoBlock,
          .identity = entry.hash.low,
          .position = entry.position};
}

void Cache::Impl::PutOff(BlockId id) { policy->PutOff(AsNew(id)); }

void Cache::Impl::TouchInDram(std::vector<BlockId> found, const RequestFacts& request) {
  if (hbm != nullptr) hbm->Touch(found, request);
  std::erase_if(found, [this](BlockId id) { return !(*index)[id].InDram(); });
  policy->Touch(found, request);
  counters.hints_ignored.store(policy->IgnoredHints(), std::memory_order_relaxed);
  for (const BlockId id : found) {
    if (nvme != nullptr) nvme->NoteUse(id);
    if (hbm != nullptr) hbm->NoteUse(id);
  }
}

Result<FrameId> Cache::Impl::AllocateFrame(TenantId tenant, std::uint64_t block_bytes,
                                           const ChainGuard& guard) {
  Result<FrameId> frame = arena->Allocate(tenant, block_bytes);
  for (int round = 0; round < kRoundsMax && frame.code() == StatusCode::kRetry; ++round) {
    if (!EvictFor(tenant, block_bytes, guard)) break;
    frame = arena->Allocate(tenant, block_bytes);
  }
  if (frame.code() != StatusCode::kRetry) return frame;
  return Status(StatusCode::kRetry, "no frame of " + std::to_string(block_bytes) +
                                        " bytes is free, and nothing may be evicted for it");
}

bool Cache::Impl::EvictFor(TenantId tenant, std::uint64_t block_bytes, const ChainGuard& guard) {
  if (retention.Expire(clock.Now(), kExpireMax) > 0) CountRetained();
  // What waits to be written to NVMe would be lost: only when nothing else can go. What a label
  // keeps goes after all that.
  for (const bool kept : {false, true}) {
    if (kept && policy->FirstKept() == kNoBlock) return false;
    for (const bool unwritten : {false, true}) {
      if (unwritten && nvme == nullptr) continue;
      const Among among{.unwritten = unwritten, .kept = kept};
      if (EvictAmong(tenant, block_bytes, guard, among)) return true;
    }
  }
  return false;
}

bool Cache::Impl::IsLeased(BlockId id) const {
  return leases.HasBlocks() && (*index)[id].state == BlockState::kPublished &&
         arena->Header((*index)[id].frame).pins != 0;
}

/// Leased blocks that were met on a walk: they go out of the way when it has ended, since a walk
/// over a policy knows no changes.
struct Cache::Impl::PutOffAtEnd {
  Impl& cache;
  std::vector<BlockId> blocks{};
  ~PutOffAtEnd() {
    for (const BlockId block : blocks) cache.PutOff(block);
  }
};

struct Cache::Impl::PassedOver {
  int writing = 0;
  int demoting = 0;
  int guarded = 0;
};

bool Cache::Impl::PassesOver(BlockId id, const ChainGuard& guard, Among among,
                             PassedOver& passed) const {
  if (nvme != nullptr && nvme->Waits(id)) {
    const bool pinned = arena->Header((*index)[id].frame).pins != 0;
    if (pinned && passed.writing < kWritingMax) return ++passed.writing > 0;
    const bool demoting = !among.unwritten && nvme->Demoting(id);
    if (demoting && passed.demoting < kDemotingMax) return ++passed.demoting > 0;
  }
  if (passed.guarded >= kGuardedMax || !Guarded(id, guard)) return false;
  return ++passed.guarded > 0;
}

bool Cache::Impl::EvictAmong(TenantId tenant, std::uint64_t block_bytes, const ChainGuard& guard,
                             Among among) {
  const auto may_go = [&](BlockId id) {
    if (!Evictable(id, guard) || (!among.kept && policy->Keeps(id))) return false;
    if (nvme == nullptr || (among.unwritten && nvme->Waits(id))) return true;
    return nvme->LetGo(id);
  };
  BlockId candidate = among.kept ? policy->FirstKept() : policy->First();
  PutOffAtEnd put_off{.cache = *this};
  std::size_t frames_looked_at = 0;
  int leased = 0;
  PassedOver passed;
  for (int looked = 0; looked < kCandidatesMax && candidate != kNoBlock; ++looked) {
    if (frames_looked_at > kFramesInTheWayMax) break;
    if (!among.kept && policy->Keeps(candidate)) break;  // so are all behind it
    if (PassesOver(candidate, guard, among, passed)) {
      candidate = policy->After(candidate);
      --looked;
      continue;
    }
    if (leased < kLeasedMax && IsLeased(candidate)) {
      put_off.blocks.push_back(std::exchange(candidate, policy->After(candidate)));
      ++leased;
      --looked;
      continue;
    }
    if (may_go(candidate)) {
      const std::vector<FrameId> in_the_way =
          arena->FramesInTheWay((*index)[candidate].frame, tenant, block_bytes);
      frames_looked_at += in_the_way.size();
      bool all_may_go = !in_the_way.empty();
      for (const FrameId frame : in_the_way) {
        if (!all_may_go) break;
        all_may_go = may_go(arena->Header(frame).block_id);
      }
      if (all_may_go) {
        for (const FrameId frame : in_the_way) Evict(arena->Header(frame).block_id);
        return true;
      }
    }
    candidate = policy->After(candidate);
  }
  return false;
}

bool Cache::Impl::MakeIndexRoom(const ChainGuard& chain) {
  ChainGuard guard = chain;
  guard.spares_written = true;  // who leaves the index leaves every tier
  if (index->Full() && nvme != nullptr && nvme->ForgetOldest()) return true;
  if (index->Full() && hbm != nullptr && hbm->ForgetFirst(guard)) return true;
  BlockId candidate = policy->First();
  PutOffAtEnd put_off{.cache = *this};
  int leased = 0;
  for (int looked = 0; index->Full() && looked < kCandidatesMax; ++looked) {
    if (candidate == kNoBlock) break;
    const BlockId next = policy->After(candidate);
    if (leased < kLeasedMax && IsLeased(candidate)) {
      put_off.blocks.push_back(std::exchange(candidate, next));
      ++leased;
      --looked;
      continue;
    }
    if (Evictable(candidate, guard) && !leases.Marks(candidate)) {
      // Its place in the index is wanted, so its record and its copy go with it.
      if (nvme != nullptr && (*index)[candidate].record.exists()) {
        Count(counters.index_evictions);
        nvme->tier.DropEntry((*index)[candidate].namespace_id, (*index)[candidate].hash);
        index->SetRecord(candidate, {});
      }
      if (hbm != nullptr) hbm->OnForget(candidate);
      Evict(candidate, MissReason::kIndexFull);
    }
    candidate = next;
  }
  return !index->Full();
}

}  // namespace terrace
