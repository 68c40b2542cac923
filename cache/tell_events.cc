// What the flows tell the log of events, and the walk over all blocks that a reader begins with.
#include <algorithm>

#include "cache/cache_impl.h"
#include "cache/hbm_side.h"

namespace terrace {

BlockEvent Cache::Impl::Describe(BlockId id) const {
  const BlockEntry& entry = (*index)[id];
  BlockEvent event;
  event.namespace_id = entry.namespace_id;
  event.identity = entry.hash;
  event.position = entry.position;
  event.valid_tokens = entry.valid_tokens;
  event.tiers = TiersBeside(id);
  if (entry.InDram()) event.tiers |= kTierSetDram;
  const FrameHeader* const known = HeaderOf(id);
  if (known == nullptr) return event;
  const FrameHeader& header = *known;
  event.key = KeyView(header.key, header.key_bytes);
  event.group = header.group;
  event.shard = header.shard;
  return event;
}

TierSet Cache::Impl::TiersBeside(BlockId id) const {
  const BlockEntry& entry = (*index)[id];
  TierSet tiers = 0;
  if (entry.in_hbm) tiers |= kTierSetHbm;
  if (entry.record.exists()) tiers |= kTierSetNvme;
  return tiers;
}

const FrameHeader* Cache::Impl::HeaderOf(BlockId id) const {
  const BlockEntry& entry = (*index)[id];
  if (entry.InDram()) return &arena->Header(entry.frame);
  return hbm == nullptr ? nullptr : hbm->HeaderOf(id);
}

void Cache::Impl::TellMoved(BlockId id) {
  const TierSet in_dram = (*index)[id].InDram() ? kTierSetDram : 0;
  TellMoved(id, in_dram | TiersBeside(id));
}

void Cache::Impl::TellCommitted(BlockId id, KeyView placement, const PutOrigin& origin) {
  if (!events.enabled()) return;
  BlockEvent event = Describe(id);
  event.kind = EventKind::kCommitted;
  event.placement = placement;
  event.parent = origin.parent;
  event.tokens = origin.tokens;
  events.Append(event);
}

void Cache::Impl::TellMoved(BlockId id, TierSet tiers) {
  if (!events.enabled()) return;
  BlockEvent event = Describe(id);
  event.kind = EventKind::kMoved;
  event.tiers = tiers;
  events.Append(event);
}

void Cache::Impl::TellRemoved(BlockId id, EventCause why) {
  // What goes with its namespace is told once, after it.
  if (!events.enabled() || why == EventCause::kCleared) return;
  if ((*index)[id].state != BlockState::kPublished) return;
  BlockEvent event = Describe(id);
  event.kind = EventKind::kRemoved;
  event.cause = why;
  event.tiers = 0;
  events.Append(event);
}

void Cache::Impl::TellCleared(std::uint32_t namespace_id) {
  BlockEvent event;
  event.kind = EventKind::kCleared;
  event.cause = EventCause::kCleared;
  event.namespace_id = namespace_id;
  events.Append(event);
}

BlockId Cache::WalkBlocks(BlockId from, std::uint32_t looks,
                          const std::function<bool(const BlockEvent&)>& visit) const {
  const BlockIndex& index = *impl_->index;
  const BlockId end = std::min<BlockId>(index.high_water(), from + std::min(looks, ~from));
  for (BlockId id = from; id < end; ++id) {
    if (index[id].state != BlockState::kPublished) continue;
    BlockEvent event = impl_->Describe(id);
    if (const BlockId parent = index.ParentOf(id); parent != kNoBlock) {
      event.parent_identity = index[parent].hash;
      if (index[parent].state == BlockState::kPublished) event.parent = impl_->Describe(parent).key;
    }
    if (!visit(event)) return id;
  }
  return std::max(from, end);
}

BlockId Cache::WalkEnd() const noexcept { return impl_->index->high_water(); }

}  // namespace terrace
