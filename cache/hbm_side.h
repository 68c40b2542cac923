// HbmSide: what the cache keeps in the memory of GPUs: copies of blocks that are used again.
//
// Model. A block's copy there is one more: B4 (block_index.h) does not count it, so that a GPU that
// is lost costs time and no block, and a restart finds what it found without one. A block that gets
// were answered with kReinsertGets times from DRAM is copied in while others go on; when it has
// left DRAM since, a get reads it from there instead of from NVMe. Of several GPUs the one with
// most room takes it. The copy goes with the block, for others by a policy of its own, and when its
// bytes do not have the checksums that the block was put with.
//
//   G1. `copies` names a block's copy while the block is known; a copy that bytes are still on
//   their
//       way to or from gives its frame back when they have come.
//   G2. A copy is read only once it is ready: filled, and its checksums compared on the GPU.
//
// Memory: about 400 bytes a copy and the policy's state for every block of the index; so blocks
// below kBlockBytesMin are not copied. Thread: the owning reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "cache/cache_impl.h"
#include "tiers/hbm/hbm_tier.h"

namespace terrace {

struct HbmSide {
  static constexpr std::uint64_t kBlockBytesMin = 64 << 10;
  static constexpr std::size_t kPromotionsMax = 64;  ///< under way
  static constexpr int kCandidatesMax = 64;          ///< looked at for room

  struct Copy {
    BlockId id = kNoBlock;
    HbmTier* tier = nullptr;
    FrameId frame = kNoFrame;
    FrameHeader header;  ///< as in DRAM
    std::vector<std::uint64_t> checksums;
    std::vector<std::byte> placement;  ///< key of the record that may be written later
    bool ready = false;
    bool dropped = false;     ///< no longer in `copies`
    std::uint32_t users = 0;  ///< moves under way
  };

  /// REQUIRES: tiers, which outlive the side; the cache's NVMe side.
  HbmSide(Cache::Impl& the_cache, std::vector<HbmTier*> the_tiers);

  /// The block was used in DRAM.
  void NoteUse(BlockId id);
  /// It can be read from here now.
  [[nodiscard]] bool Holds(BlockId id) const;
  /// Its copy, in use until EndRead; null unless Holds.
  std::shared_ptr<Copy> BeginRead(BlockId id);
  /// Fills a frame with the block and its checksums: ok, or the copy is of no use and is dropped.
  /// The bytes are the caller's.
  Task<Status> ReadAndEnd(std::shared_ptr<Copy> copy, FrameId into);
  /// The block is about to be forgotten.
  void OnForget(BlockId id) { Drop(id); }
  /// Ends the moves under way. No call after it.
  Task<void> Close();

  [[nodiscard]] bool Wants(BlockId id) const;
  void StartPromotion(BlockId id);
  Task<void> Promote(std::shared_ptr<Copy> copy, Hold pin);
  /// A frame of that tier, made free by dropping others if need be; kNoFrame.
  FrameId MakeRoom(HbmTier& tier, std::uint64_t block_bytes);
  [[nodiscard]] bool MayGo(const HbmTier& tier, FrameId frame) const;
  void Drop(BlockId id);
  void EndUse(Copy& copy);
  void CountTiers();
  [[nodiscard]] Status Validate() const;

  Cache::Impl& cache;
  const std::vector<HbmTier*> tiers;
  std::unique_ptr<EvictionPolicy> policy;  ///< of the ready copies
  std::unordered_map<BlockId, std::shared_ptr<Copy>> copies;
  std::vector<std::unordered_map<FrameId, BlockId>> owners;  ///< by tier
  std::size_t promotions = 0;
  bool closing = false;
  TaskScope background;

 private:
  [[nodiscard]] std::size_t NumberOf(const HbmTier& tier) const;
};

}  // namespace terrace
