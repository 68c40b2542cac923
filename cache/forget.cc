// Ways for a block to go that are not eviction: remove, clear, a put that failed. And the one place
// where frames are freed.
#include <utility>

#include "base/check.h"
#include "cache/cache_impl.h"

namespace terrace {

BatchAnswer Cache::Impl::Remove(const ChainSlice& chain) {
  BatchAnswer answer;
  const Result<CheckedChain> checked = CheckChain(registry, chain, ChainOrder::kAny);
  if (!checked.ok()) {
    answer.status = checked.status();
    return answer;
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
    Forget(id);
    block.status = StatusCode::kOk;
    ++removed;
  }
  Add(counters.removed, removed);
  return answer;
}

std::uint64_t Cache::Impl::Clear(std::uint32_t namespace_id) {
  const std::uint64_t published = index->UsageOf(namespace_id).blocks;
  while (true) {
    const BlockId id = index->FirstOf(namespace_id);
    if (id == kNoBlock) break;
    Forget(id);
  }
  Add(counters.cleared, published);
  return published;
}

void Cache::Impl::Forget(BlockId id) {
  policy->Remove(id);
  index->Doom(id);
  CountBlocks();
  if (arena->Header((*index)[id].frame).pins == 0) FreeDoomed(id);
}

void Cache::Impl::OnUnpinned(FrameId frame) {
  const BlockId id = arena->Header(frame).block_id;
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
