#include "cache/block_index.h"

#include <string>
#include <utility>

#include "base/check.h"

namespace terrace {

Result<std::unique_ptr<BlockIndex>> BlockIndex::Create(std::uint64_t capacity_blocks) {
  if (capacity_blocks == 0 || capacity_blocks > kCapacityMax) {
    return Status::Invalid("blocks_max: " + std::to_string(capacity_blocks) + ", must be 1 to " +
                           std::to_string(kCapacityMax));
  }
  auto entries = FlatArray<BlockEntry>::Create(capacity_blocks);
  if (!entries.ok()) return entries.status();
  // Two thirds full at most: 1.5 slots are read for a hit, 4.5 for a miss (linear probing).
  auto slots = FlatArray<Slot>::Create(capacity_blocks + capacity_blocks / 2 + 1);
  if (!slots.ok()) return slots.status();
  return std::unique_ptr<BlockIndex>(
      new BlockIndex(capacity_blocks, std::move(*entries), std::move(*slots)));
}

BlockIndex::BlockIndex(std::uint64_t capacity, FlatArray<BlockEntry> entries, FlatArray<Slot> slots)
    : capacity_(capacity), entries_(std::move(entries)), slots_(std::move(slots)) {}

std::uint32_t BlockIndex::Tag(const Locator& locator) noexcept {
  // The odd constant (2^64 / golden ratio) spreads the small namespace ids over all bits.
  return static_cast<std::uint32_t>(
      (locator.hash.low ^ (locator.namespace_id * 0x9e3779b97f4a7c15ULL)) >> 32);
}

std::size_t BlockIndex::Home(std::uint32_t tag) const noexcept {
  return static_cast<std::size_t>((static_cast<std::uint64_t>(tag) * slots_.size()) >> 32);
}

std::size_t BlockIndex::Next(std::size_t slot) const noexcept {
  return slot + 1 == slots_.size() ? 0 : slot + 1;
}

BlockId BlockIndex::Find(const Locator& locator) const noexcept {
  const std::uint32_t tag = Tag(locator);
  // Ends: a third of the slots is always empty.
  for (std::size_t slot = Home(tag); slots_[slot].id_plus_one != 0; slot = Next(slot)) {
    if (slots_[slot].tag != tag) continue;
    const BlockId id = slots_[slot].id_plus_one - 1;
    if (entries_[id].locator() == locator) return id;
  }
  return kNoBlock;
}

void BlockIndex::PrefetchSlots(const Locator& locator) const noexcept {
  __builtin_prefetch(&slots_[Home(Tag(locator))]);
}

void BlockIndex::PrefetchEntry(const Locator& locator) const noexcept {
  const std::uint32_t tag = Tag(locator);
  for (std::size_t slot = Home(tag); slots_[slot].id_plus_one != 0; slot = Next(slot)) {
    if (slots_[slot].tag != tag) continue;
    __builtin_prefetch(&entries_[slots_[slot].id_plus_one - 1]);
    return;
  }
}

void BlockIndex::InsertSlot(BlockId id) noexcept {
  const std::uint32_t tag = Tag(entries_[id].locator());
  std::size_t slot = Home(tag);
  while (slots_[slot].id_plus_one != 0) slot = Next(slot);
  slots_[slot] = {.tag = tag, .id_plus_one = id + 1};
}

void BlockIndex::EraseSlot(BlockId id) noexcept {
  std::size_t hole = Home(Tag(entries_[id].locator()));
  while (slots_[hole].id_plus_one != id + 1) {
    TERRACE_CHECK(slots_[hole].id_plus_one != 0);
    hole = Next(hole);
  }
  // Shift back every follower whose home does not lie between the hole (exclusive) and itself.
  for (std::size_t slot = Next(hole); slots_[slot].id_plus_one != 0; slot = Next(slot)) {
    const std::size_t home = Home(slots_[slot].tag);
    const bool stays = hole <= slot ? (hole < home && home <= slot) : (hole < home || home <= slot);
    if (stays) continue;
    slots_[hole] = slots_[slot];
    hole = slot;
  }
  slots_[hole] = {};
}

void BlockIndex::LinkToNamespace(BlockId id) {
  BlockEntry& entry = entries_[id];
  if (entry.namespace_id >= namespaces_.size()) namespaces_.resize(entry.namespace_id + 1);
  NamespaceList& list = namespaces_[entry.namespace_id];
  entry.previous = kNoBlock;
  entry.next = list.head;
  if (list.head != kNoBlock) entries_[list.head].previous = id;
  list.head = id;
}

void BlockIndex::UnlinkFromNamespace(BlockId id) noexcept {
  const BlockEntry& entry = entries_[id];
  if (entry.previous != kNoBlock) {
    entries_[entry.previous].next = entry.next;
  } else {
    namespaces_[entry.namespace_id].head = entry.next;
  }
  if (entry.next != kNoBlock) entries_[entry.next].previous = entry.previous;
}

BlockId BlockIndex::Reserve(const Locator& locator, FrameId frame, std::uint32_t position,
                            std::uint32_t block_bytes, BlockId parent) {
  TERRACE_CHECK(!Full());
  BlockId id = free_;
  if (id != kNoBlock) {
    free_ = entries_[id].next;
  } else {
    id = high_water_++;
  }
  ++used_;
  BlockEntry& entry = entries_[id];
  TERRACE_CHECK(entry.state == BlockState::kAbsent);
  entry = {};
  entry.hash = locator.hash;
  entry.namespace_id = locator.namespace_id;
  entry.frame = frame;
  entry.position = position;
  entry.block_bytes = block_bytes;
  entry.parent = parent;
  entry.state = BlockState::kReserved;
  InsertSlot(id);
  LinkToNamespace(id);
  return id;
}

BlockId BlockIndex::ParentOf(BlockId id) const noexcept {
  const BlockEntry& entry = entries_[id];
  if (entry.parent == kNoBlock) return kNoBlock;
  const BlockEntry& parent = entries_[entry.parent];
  const bool found =
      parent.state == BlockState::kReserved || parent.state == BlockState::kPublished;
  return found && parent.namespace_id == entry.namespace_id && parent.position + 1 == entry.position
             ? entry.parent
             : kNoBlock;
}

void BlockIndex::Publish(BlockId id, std::uint32_t valid_tokens, std::uint16_t minute) {
  BlockEntry& entry = entries_[id];
  TERRACE_CHECK(entry.state == BlockState::kReserved);
  entry.state = BlockState::kPublished;
  entry.valid_tokens = valid_tokens;
  entry.minute = minute;
  if (entry.InDram()) ++in_dram_;
  CountRecord(entry, true);
  Usage& usage = namespaces_[entry.namespace_id].usage;
  ++usage.blocks;
  usage.bytes += entry.block_bytes;
  ++published_;
}

void BlockIndex::SetFrame(BlockId id, FrameId frame) {
  BlockEntry& entry = entries_[id];
  TERRACE_CHECK(entry.state == BlockState::kPublished);
  if (entry.InDram()) --in_dram_;
  entry.frame = frame;
  if (entry.InDram()) ++in_dram_;
}

void BlockIndex::SetInHbm(BlockId id, bool in_hbm) {
  TERRACE_CHECK(entries_[id].state == BlockState::kPublished);
  entries_[id].in_hbm = in_hbm;
}

void BlockIndex::CountRecord(const BlockEntry& entry, bool is_there) noexcept {
  if (!entry.record.exists()) return;
  on_nvme_ += is_there ? std::uint64_t{1} : 0 - std::uint64_t{1};
  on_nvme_bytes_ += is_there ? entry.block_bytes : 0 - std::uint64_t{entry.block_bytes};
}

void BlockIndex::SetRecord(BlockId id, const nvme::RecordPlace& record) {
  BlockEntry& entry = entries_[id];
  TERRACE_CHECK(entry.state != BlockState::kAbsent && entry.state != BlockState::kDoomed);
  const bool counted = entry.state == BlockState::kPublished;
  if (counted) CountRecord(entry, false);
  entry.record = record;
  if (counted) CountRecord(entry, true);
}

void BlockIndex::Doom(BlockId id) {
  BlockEntry& entry = entries_[id];
  TERRACE_CHECK(entry.state == BlockState::kReserved || entry.state == BlockState::kPublished);
  TERRACE_CHECK(!entry.in_hbm);  // the copy goes first
  EraseSlot(id);
  UnlinkFromNamespace(id);
  if (entry.state == BlockState::kPublished) {
    Usage& usage = namespaces_[entry.namespace_id].usage;
    --usage.blocks;
    usage.bytes -= entry.block_bytes;
    --published_;
    if (entry.InDram()) --in_dram_;
    CountRecord(entry, false);
  }
  entry.record = {};
  entry.state = BlockState::kDoomed;
}

void BlockIndex::Release(BlockId id) {
  BlockEntry& entry = entries_[id];
  TERRACE_CHECK(entry.state == BlockState::kDoomed);
  entry = {};
  entry.next = free_;
  free_ = id;
  --used_;
}

BlockId BlockIndex::FirstOf(std::uint32_t namespace_id) const noexcept {
  return namespace_id < namespaces_.size() ? namespaces_[namespace_id].head : kNoBlock;
}

BlockIndex::Usage BlockIndex::UsageOf(std::uint32_t namespace_id) const noexcept {
  return namespace_id < namespaces_.size() ? namespaces_[namespace_id].usage : Usage{};
}

std::uint64_t BlockIndex::Bytes() const noexcept {
  return entries_.Bytes() + slots_.Bytes() + namespaces_.capacity() * sizeof(NamespaceList);
}

Status BlockIndex::Validate() const {
  std::uint64_t linked = 0;
  std::uint64_t used = 0;
  std::uint64_t published = 0;
  std::uint64_t in_dram = 0;
  std::uint64_t on_nvme = 0;
  for (BlockId id = 0; id < high_water_; ++id) {
    const BlockEntry& entry = entries_[id];
    if (entry.state == BlockState::kAbsent) continue;
    ++used;
    if (entry.state == BlockState::kPublished) {
      ++published;
      if (entry.InDram()) ++in_dram;
      if (entry.record.exists()) ++on_nvme;
      if (!entry.InDram() && !entry.ElsewhereToo()) {
        return Status::Internal("index: block " + std::to_string(id) + " lies nowhere");
      }
    }
    const bool found = Find(entry.locator()) == id;
    const bool findable = entry.state != BlockState::kDoomed;
    if (findable) ++linked;
    if (found != findable) {
      return Status::Internal("index: block " + std::to_string(id) + " in state " +
                              std::to_string(static_cast<int>(entry.state)) +
                              (found ? " is found" : " is not found") + " by its locator");
    }
  }
  if (in_dram != in_dram_ || on_nvme != on_nvme_) {
    return Status::Internal("index: counts " + std::to_string(in_dram_) + " in DRAM, " +
                            std::to_string(on_nvme_) + " on NVMe; entries say " +
                            std::to_string(in_dram) + " and " + std::to_string(on_nvme));
  }
  if (used != used_ || published != published_) {
    return Status::Internal("index: counts " + std::to_string(used_) + " used, " +
                            std::to_string(published_) + " published; entries say " +
                            std::to_string(used) + " and " + std::to_string(published));
  }
  std::uint64_t filled = 0;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].id_plus_one != 0) ++filled;
  }
  if (filled != linked) {
    return Status::Internal("index: " + std::to_string(filled) + " slots are filled for " +
                            std::to_string(linked) + " blocks");
  }
  return ValidateLists(linked);
}

Status BlockIndex::ValidateLists(std::uint64_t linked) const {
  std::uint64_t on_lists = 0;
  for (std::uint32_t space = 0; space < namespaces_.size(); ++space) {
    Usage usage;
    BlockId previous = kNoBlock;
    for (BlockId id = namespaces_[space].head; id != kNoBlock; id = entries_[id].next) {
      const BlockEntry& entry = entries_[id];
      if (entry.namespace_id != space || entry.previous != previous || ++on_lists > linked) {
        return Status::Internal("index: the list of namespace " + std::to_string(space) +
                                " is broken at block " + std::to_string(id));
      }
      if (entry.state == BlockState::kPublished) {
        ++usage.blocks;
        usage.bytes += entry.block_bytes;
      }
      previous = id;
    }
    const Usage& counted = namespaces_[space].usage;
    if (usage.blocks != counted.blocks || usage.bytes != counted.bytes) {
      return Status::Internal("index: usage of namespace " + std::to_string(space) +
                              " does not match its list");
    }
  }
  if (on_lists != linked) {
    return Status::Internal("index: " + std::to_string(on_lists) + " blocks are on lists, " +
                            std::to_string(linked) + " should be");
  }
  return {};
}

}  // namespace terrace
