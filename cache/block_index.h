// BlockIndex: where each block is, and in what state. Preallocated; it never rehashes.
//
// Model. Blocks are dense numbers (BlockId) into an array of entries. A table of slots, half again
// as many as blocks, leads from a locator to its BlockId: open addressing with linear probing,
// where a slot holds 32 bits of the hash (its home follows from them) and the BlockId, so that a
// search reads one or two lines of slots and, almost always, one entry. A removal shifts its
// followers back, so there are no tombstones and a search never grows slower with age.
//
//   B1. States: absent -> reserved (being put) -> published -> absent, and to doomed from reserved
//       or published while a transfer still uses the frame; doomed -> absent.
//   B2. Reserved and published blocks are found by their locator and are on their namespace's
//       list; doomed ones are on neither. At most one block is found per locator.
//   B3. A BlockId is not given out again before Release.
//   B4. A published block has a frame, a record on NVMe, a copy in HBM, or several of them.
//
// Bytes per block of capacity: entry 64, slots 12; with 19 for the policy `terrace` and a bit for
// labels (counted as a byte) that is the 96 allowed (s3fifo takes more).
// Thread: the owning reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "cache/flat_array.h"
#include "cache/locator.h"
#include "cache/policy/eviction_policy.h"
#include "tiers/dram/frame_arena.h"
#include "tiers/nvme/index_entry.h"

namespace terrace {

/// Gets that make a block worth being written again when its segment is reused: the first is
/// usually the reader that it was put for, the second is somebody who saved computing it.
inline constexpr std::uint8_t kReinsertGets = 2;
/// Where the policy knows what a block is worth, which counts too (write_price.h).
inline constexpr std::uint8_t kReinsertGetsKnown = 1;

enum class BlockState : std::uint8_t { kAbsent = 0, kReserved = 1, kPublished = 2, kDoomed = 3 };

/// One block. All zero bytes are an absent block.
struct BlockEntry {
  Hash128 hash;
  std::uint32_t namespace_id;
  FrameId frame;              ///< kNoFrame when the block is not in DRAM
  std::uint32_t position;     ///< in its chain
  std::uint32_t block_bytes;  ///< at most kBlockBytesMax
  BlockId next;               ///< on its namespace's list, or on the free list
  BlockId previous;           ///< on its namespace's list; kNoBlock at the head
  nvme::RecordPlace record;   ///< of its copy on NVMe, if there is one
  BlockId parent;             ///< block before it in its chain when it was reserved, or kNoBlock; a
                              ///< hint: that number may name another block by now
  BlockState state : 2;
  std::uint8_t gets : 2;  ///< since it was put or written again to keep it, up to kReinsertGets
  bool in_hbm : 1;        ///< a copy there can be read (hbm_side.h), as long as its GPU is online
  bool refused : 1;       ///< not worth a write, when it was its turn to leave; until it is used
  /// Of a block that was used since a start, as WritePrice::ToByte has it: what it was worth when
  /// it was last used, or left DRAM; 0: not known. Kept here for the time that it is on NVMe only.
  std::uint8_t value;
  std::uint16_t minute;        ///< of the clock when it was published, of 65,536
  std::uint32_t valid_tokens;  ///< of a published block

  [[nodiscard]] bool InDram() const noexcept { return frame != kNoFrame; }
  /// It would not be lost if it left DRAM.
  [[nodiscard]] bool ElsewhereToo() const noexcept { return record.exists() || in_hbm; }
  [[nodiscard]] Locator locator() const noexcept { return {namespace_id, hash}; }
};
static_assert(sizeof(BlockEntry) == 64, "one cache line a block; see the 96 bytes above");

class BlockIndex {
 public:
  static constexpr std::uint64_t kCapacityMax = 1ULL << 31;  ///< keeps slot numbers in 32 bits

  struct Usage {
    std::uint64_t blocks = 0;
    std::uint64_t bytes = 0;
  };

  /// kInvalid for a capacity of 0 or above kCapacityMax, kIo when memory cannot be had.
  static Result<std::unique_ptr<BlockIndex>> Create(std::uint64_t capacity_blocks);
  BlockIndex(const BlockIndex&) = delete;
  BlockIndex& operator=(const BlockIndex&) = delete;

  /// The block found by a locator, reserved or published; kNoBlock when there is none.
  [[nodiscard]] BlockId Find(const Locator& locator) const noexcept;
  /// First and second step of a batched search: ask the CPU for the slots, then for the entry.
  void PrefetchSlots(const Locator& locator) const noexcept;
  void PrefetchEntry(const Locator& locator) const noexcept;

  /// REQUIRES: id below capacity.
  [[nodiscard]] const BlockEntry& operator[](BlockId id) const noexcept { return entries_[id]; }

  [[nodiscard]] bool Full() const noexcept { return used_ == capacity_; }
  /// A new block in state reserved. REQUIRES: not Full(), Find(locator) == kNoBlock.
  BlockId Reserve(const Locator& locator, FrameId frame, std::uint32_t position,
                  std::uint32_t block_bytes, BlockId parent = kNoBlock);
  /// The block before `id` in its chain, while that is found; else kNoBlock.
  [[nodiscard]] BlockId ParentOf(BlockId id) const noexcept;
  /// `minute`: now. REQUIRES: reserved, and from now on as B4 says.
  void Publish(BlockId id, std::uint32_t valid_tokens, std::uint16_t minute = 0);
  /// Where a published block lies from now on; kNoFrame, a place that does not exist, and false
  /// take it away from there.
  void SetFrame(BlockId id, FrameId frame);
  void SetRecord(BlockId id, const nvme::RecordPlace& record);
  void SetInHbm(BlockId id, bool in_hbm);
  void CountGet(BlockId id) noexcept {
    if (entries_[id].gets < kReinsertGets) ++entries_[id].gets;
  }
  void ForgetGets(BlockId id) noexcept { entries_[id].gets = 0; }
  void SetValue(BlockId id, std::uint8_t value) noexcept { entries_[id].value = value; }
  void SetRefused(BlockId id, bool refused) noexcept { entries_[id].refused = refused; }
  /// For blocks found in any order, as a start finds them.
  void SetParent(BlockId id, BlockId parent) noexcept { entries_[id].parent = parent; }
  /// No longer found; doomed until Release. REQUIRES: reserved or published.
  void Doom(BlockId id);
  /// REQUIRES: doomed.
  void Release(BlockId id);

  /// Newest block of a namespace, reserved ones too, and the next older one; kNoBlock at the end.
  [[nodiscard]] BlockId FirstOf(std::uint32_t namespace_id) const noexcept;
  [[nodiscard]] BlockId NextOf(BlockId id) const noexcept { return entries_[id].next; }
  /// Published blocks and their bytes.
  [[nodiscard]] Usage UsageOf(std::uint32_t namespace_id) const noexcept;

  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t used() const noexcept { return used_; }  ///< not absent
  [[nodiscard]] std::uint64_t published() const noexcept { return published_; }
  /// Published blocks that have a frame, and that have a record.
  [[nodiscard]] std::uint64_t in_dram() const noexcept { return in_dram_; }
  [[nodiscard]] std::uint64_t on_nvme() const noexcept { return on_nvme_; }
  /// Bytes of the latter.
  [[nodiscard]] std::uint64_t on_nvme_bytes() const noexcept { return on_nvme_bytes_; }
  /// BlockIds from here on were never given out.
  [[nodiscard]] BlockId high_water() const noexcept { return high_water_; }
  /// Memory of entries, slots and namespace lists, bytes.
  [[nodiscard]] std::uint64_t Bytes() const noexcept;
  /// Checks slots, lists and counts against each other; walks everything. For tests and sim.
  [[nodiscard]] Status Validate() const;

 private:
  struct Slot {
    std::uint32_t tag;          // 32 bits of the hash
    std::uint32_t id_plus_one;  // 0: empty
  };
  static_assert(sizeof(Slot) == 8);
  struct NamespaceList {
    BlockId head = kNoBlock;
    Usage usage;
  };

  BlockIndex(std::uint64_t capacity, FlatArray<BlockEntry> entries, FlatArray<Slot> slots);
  [[nodiscard]] static std::uint32_t Tag(const Locator& locator) noexcept;
  [[nodiscard]] std::size_t Home(std::uint32_t tag) const noexcept;
  [[nodiscard]] std::size_t Next(std::size_t slot) const noexcept;
  void InsertSlot(BlockId id) noexcept;
  void EraseSlot(BlockId id) noexcept;
  void CountRecord(const BlockEntry& entry, bool is_there) noexcept;
  void LinkToNamespace(BlockId id);
  void UnlinkFromNamespace(BlockId id) noexcept;
  [[nodiscard]] Status ValidateLists(std::uint64_t linked) const;

  const std::uint64_t capacity_;
  FlatArray<BlockEntry> entries_;
  FlatArray<Slot> slots_;
  std::vector<NamespaceList> namespaces_;  // [namespace id]; at most 65,537 (registry's limit)
  BlockId free_ = kNoBlock;                // released blocks, linked by `next`
  BlockId high_water_ = 0;
  std::uint64_t used_ = 0;
  std::uint64_t published_ = 0;
  std::uint64_t in_dram_ = 0;
  std::uint64_t on_nvme_ = 0;
  std::uint64_t on_nvme_bytes_ = 0;
};

}  // namespace terrace
