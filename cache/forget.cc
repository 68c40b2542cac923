// Ways for a block to go that are not eviction: remove, clear, a put that failed. And the one place
// where frames are freed.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/canary.h"
#include "base/check.h"
#include "base/counter.h"
#include "base/crash_point.h"
#include "cache/block_loads.h"
#include "cache/cache_impl.h"
#include "cache/hbm_side.h"
#include "cache/nvme_side.h"
#include "cache/reservations.h"

namespace terrace {

namespace {
/// Removals told to NVMe at once.
constexpr std::size_t kRemovalsAtOnce = 16;

MissReason ReasonOf(EventCause why) noexcept {
  switch (why) {
    case EventCause::kEvicted: return MissReason::kEvicted;
    case EventCause::kRequested: return MissReason::kRemoved;
    case EventCause::kCorrupt: return MissReason::kCorrupt;
    case EventCause::kLost: return MissReason::kDevice;
    case EventCause::kCleared: return MissReason::kCleared;
    case EventCause::kNone: break;
  }
  return MissReason::kPutFailed;  // it was reserved, and never published
}
}  // namespace

/// Lives in the frame of Remove.
struct Cache::Impl::RemoveState {
  struct Told {
    nvme::NvmeTier::Removal removal;
    std::uint32_t index = 0;  ///< in the answer
  };
  std::vector<Told> to_tell;
  std::size_t next = 0;
  BatchAnswer answer;
};

Task<BatchAnswer> Cache::Impl::Remove(const ChainSlice& chain) {
  const FlowCount counted(*this);
  RemoveState state;
  BatchAnswer& answer = state.answer;
  const Result<CheckedChain> checked = CheckChain(registry, chain, ChainOrder::kAny);
  if (!checked.ok()) {
    answer.status = checked.status();
    co_return std::move(answer);
  }
  answer.blocks.resize(checked->keys);
  std::uint64_t removed = 0;
  for (const WantedBlock& wanted : WantedBlocks(chain, checked->keys, options.locator_hash)) {
    BlockAnswer& block = answer.blocks[wanted.index];
    // A block that is being put is not stored yet: this remove comes before that put.
    const BlockId id = FindBlock(chain, wanted.hash, wanted.key).id;
    if (id == kNoBlock || (*index)[id].state != BlockState::kPublished) {
      block.status = StatusCode::kMiss;
      continue;
    }
    // Also one without a record: the index store may name one that was dropped from here, and whose
    // segment has not been overwritten yet.
    if (nvme != nullptr) {
      const nvme::NvmeTier::Removal removal{.kind = nvme::RecordKind::kRemoval,
                                            .namespace_id = chain.namespace_id,
                                            .hash = wanted.hash,
                                            .group = chain.group,
                                            .shard = chain.shard,
                                            .key = wanted.key};
      state.to_tell.push_back({.removal = nvme->tier.BeginRemoval(removal), .index = wanted.index});
    }
    Forget(id, EventCause::kRequested);
    block.status = StatusCode::kOk;
    ++removed;
  }
  Count(counters.removed, removed);
  if (removed > 0) CrashHere(CrashPoint::kRemoveForgotten);
  TaskScope workers;
  const std::size_t window = std::min(kRemovalsAtOnce, state.to_tell.size());
  for (std::size_t worker = 0; worker < window; ++worker) workers.Spawn(RemoveWorker(state));
  co_await workers.Join();
  co_return std::move(answer);
}

Task<void> Cache::Impl::RemoveWorker(RemoveState& state) {
  while (state.next < state.to_tell.size()) {
    const RemoveState::Told& told = state.to_tell[state.next++];
    if (CanaryIs(Canary::kForgetTombstone)) continue;
    const Status status = co_await nvme->tier.Remove(told.removal);
    if (status.ok()) continue;
    Count(counters.removals_not_logged);
    state.answer.blocks[told.index].status = StatusCode::kIo;
  }
}

Task<std::uint64_t> Cache::Impl::Clear(std::uint32_t namespace_id) {
  const FlowCount counted(*this);
  nvme::NvmeTier::Removal removal;
  removal.kind = nvme::RecordKind::kClear;
  removal.namespace_id = namespace_id;
  if (nvme != nullptr) removal = nvme->tier.BeginRemoval(removal);
  const std::uint64_t published = index->UsageOf(namespace_id).blocks;
  while (true) {
    const BlockId id = index->FirstOf(namespace_id);
    if (id == kNoBlock) break;
    Forget(id, EventCause::kCleared);
  }
  curve->Clear(namespace_id);
  if (published > 0) TellCleared(namespace_id);
  Count(counters.cleared, published);
  CrashHere(CrashPoint::kClearForgotten);
  if (nvme != nullptr && !(co_await nvme->tier.Remove(removal)).ok()) {
    Count(counters.removals_not_logged);
  }
  co_return published;
}

void Cache::Impl::Forget(BlockId id, EventCause why, MissReason reason) {
  TellRemoved(id, why);
  if (reason == MissReason::kNone) reason = ReasonOf(why);
  departed.Note((*index)[id].locator(), reason, clock.Now());
  // The curve knows of room itself, and clears a namespace as a whole.
  if (why != EventCause::kEvicted && why != EventCause::kCleared) {
    curve->Forget((*index)[id].locator());
  }
  const bool in_dram = (*index)[id].InDram();
  if (in_dram && why == EventCause::kEvicted) policy->Evict(id);
  if (in_dram && why != EventCause::kEvicted) policy->Remove(id);
  if (policy->Keeps(id)) {
    retention.OnForget(id);
    CountRetained();
  }
  if (hbm != nullptr) hbm->OnForget(id);
  if (nvme != nullptr) nvme->OnForget(id);
  loads->OnForget(id);
  leases.OnForget(id);
  arrivals.Tell(Arrivals::Of((*index)[id].locator()));  // whoever brought it has given up
  index->Doom(id);
  CountBlocks();
  if (!in_dram) {
    index->Release(id);
  } else if (arena->Header((*index)[id].frame).pins == 0) {
    FreeDoomed(id);
  } else {
    reservations->OnForgotten(id);  // its pin may be the one
  }
}

void Cache::Impl::OnUnpinned(FrameId frame) {
  const BlockId id = arena->Header(frame).block_id;
  if (id == kNoBlock) {  // loaded, and not kept
    arena->Header(frame).namespace_id = 0;
    arena->Free(frame);
    --loads->loose_frames;
    return;
  }
  TERRACE_CHECK((*index)[id].frame == frame);
  if ((*index)[id].state == BlockState::kDoomed) FreeDoomed(id);
}

void Cache::Impl::FreeDoomed(BlockId id) {
  const FrameId frame = (*index)[id].frame;
  arena->Header(frame).namespace_id = 0;
  index->Release(id);
  arena->Free(frame);
}

}  // namespace terrace
