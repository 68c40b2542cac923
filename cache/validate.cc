// Cross-checks of index, policy and arena, for tests and the simulation.
#include <string>
#include <vector>

#include "base/checksum.h"
#include "cache/block_loads.h"
#include "cache/cache_impl.h"
#include "cache/hbm_side.h"

namespace terrace {

namespace {

Status Broken(BlockId id, const std::string& what) {
  return Status::Internal("block " + std::to_string(id) + ": " + what);
}

}  // namespace

Status Cache::Impl::Validate() const {
  Status status = index->Validate();
  std::vector<BlockId> owner_of_page(arena->Stats().capacity_bytes / kBlockBytesMin, kNoBlock);
  std::uint64_t framed = loads->loose_frames;
  for (BlockId id = 0; id < index->high_water() && status.ok(); ++id) {
    const BlockEntry& entry = (*index)[id];
    if (entry.state == BlockState::kAbsent || !entry.InDram()) continue;
    ++framed;
    if (entry.frame >= owner_of_page.size()) return Broken(id, "frame is outside the arena");
    // Two blocks in one frame, or in frames that overlap, are found by their pages.
    const std::uint64_t pages = (entry.block_bytes + kBlockBytesMin - 1) / kBlockBytesMin;
    for (std::uint64_t page = entry.frame; page < entry.frame + pages; ++page) {
      if (page >= owner_of_page.size()) return Broken(id, "frame reaches beyond the arena");
      if (owner_of_page[page] != kNoBlock) {
        return Broken(id, "shares page " + std::to_string(page) + " with block " +
                              std::to_string(owner_of_page[page]));
      }
      owner_of_page[page] = id;
    }
    status = ValidateBlock(id);
  }
  if (status.ok() && arena->Stats().frames != framed) {
    status = Status::Internal(std::to_string(arena->Stats().frames) + " frames for " +
                              std::to_string(framed) + " blocks and loads");
  }
  if (status.ok() && counters.blocks.load() != index->published()) {
    status = Status::Internal("counter blocks is " + std::to_string(counters.blocks.load()) +
                              ", published are " + std::to_string(index->published()));
  }
  if (status.ok()) status = retention.Validate();
  if (status.ok()) status = ValidateMisses();
  if (status.ok() && hbm != nullptr) status = hbm->Validate();
  return status.ok() ? ValidatePolicy() : status;
}

Status Cache::Impl::ValidateBlock(BlockId id) const {
  const BlockEntry& entry = (*index)[id];
  const FrameHeader& header = arena->Header(entry.frame);
  if (header.block_id != id) {
    return Broken(id, "its frame says block " + std::to_string(header.block_id));
  }
  if (header.namespace_id != entry.namespace_id || header.position != entry.position ||
      header.block_bytes != entry.block_bytes) {
    return Broken(id, "its frame's header differs from the index");
  }
  const Namespace* space = registry.Find(entry.namespace_id);
  if (space == nullptr || space->tenant_id != header.tenant ||
      space->BlockBytes(header.group) != entry.block_bytes) {
    return Broken(id, "namespace, tenant or block size is wrong");
  }
  const KeyView key(header.key, header.key_bytes);
  if (!(HashLocator(options.locator_hash, header.group, header.shard, key) == entry.hash)) {
    return Broken(id, "its key does not have its locator's hash");
  }
  if (entry.state != BlockState::kPublished) {
    return header.pins != 0 ? Status() : Broken(id, "reserved or doomed, but nobody pins it");
  }
  if (!VerifyBlock(arena->Payload(entry.frame), arena->Checksums(entry.frame))) {
    return Broken(id, "its bytes do not have its checksums");
  }
  return {};
}

Status Cache::Impl::ValidatePolicy() const {
  std::vector<bool> held(index->high_water());
  std::uint64_t count = 0;
  for (BlockId id = policy->First(); id != kNoBlock; id = policy->After(id)) {
    if (id >= held.size() || held[id]) return Broken(id, "the policy lists it twice or wrongly");
    held[id] = true;
    const BlockState state = (*index)[id].state;
    if (state != BlockState::kReserved && state != BlockState::kPublished) {
      return Broken(id, "in the policy, but absent or doomed");
    }
    if (!(*index)[id].InDram()) return Broken(id, "in the policy, but not in DRAM");
    ++count;
  }
  std::uint64_t expected = 0;
  for (BlockId id = 0; id < index->high_water(); ++id) {
    const BlockState state = (*index)[id].state;
    if (!(*index)[id].InDram()) continue;
    if (state == BlockState::kReserved || state == BlockState::kPublished) ++expected;
  }
  if (count == expected) return {};
  return Status::Internal("the policy holds " + std::to_string(count) + " blocks, the index " +
                          std::to_string(expected));
}

}  // namespace terrace
