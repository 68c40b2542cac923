// What the flows tell the log of events, and the walk over all blocks that a reader begins with.
#include <algorithm>

#include "cache/cache_impl.h"

namespace terrace {

BlockEvent Cache::Impl::Describe(BlockId id) const {
  const BlockEntry& entry = (*index)[id];
  BlockEvent event;
  event.namespace_id = entry.namespace_id;
  event.identity = entry.hash;
  event.position = entry.position;
  event.valid_tokens = entry.valid_tokens;
  if (entry.record.exists()) event.tiers |= kTierSetNvme;
  if (!entry.InDram()) return event;
  event.tiers |= kTierSetDram;
  const FrameHeader& header = arena->Header(entry.frame);
  event.key = KeyView(header.key, header.key_bytes);
  event.group = header.group;
  event.shard = header.shard;
  return event;
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
