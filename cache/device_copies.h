// HbmBlock: a copy of a block in the memory of a GPU, for a Link that takes it from there
// (base/device_region.h), or lends it. While it lives the copy's frame is in use
// (HbmSide::BeginRead), and so it is while it is lent.
//
// Thread: the owning reactor's. The side outlives it.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "base/device_region.h"
#include "base/link.h"
#include "cache/hbm_side.h"

namespace terrace {

class HbmBlock final : public DeviceSource,
                       public std::enable_shared_from_this<HbmBlock>,
                       private Hold::Owner {
 public:
  /// The GPU with a copy of the block that can be read; null.
  static const DeviceCopier* GpuWith(const HbmSide& side, BlockId id);
  /// A copy of the block that can be lent to who can map memory of the GPU of that UUID is there.
  static bool MayLend(const HbmSide& side, BlockId id, std::string_view gpu);
  /// Null when no copy of the block can be read.
  static std::shared_ptr<HbmBlock> Begin(HbmSide& side, BlockId id);
  HbmBlock(HbmSide& side, std::shared_ptr<HbmSide::Copy> copy)
      : side_(side), copy_(std::move(copy)) {}
  ~HbmBlock() override { side_.EndUse(*copy_); }
  HbmBlock(const HbmBlock&) = delete;
  HbmBlock& operator=(const HbmBlock&) = delete;

  [[nodiscard]] std::uint64_t bytes() const noexcept override { return copy_->header.block_bytes; }
  [[nodiscard]] std::span<std::byte> memory() const noexcept override {
    return copy_->tier->Memory(copy_->frame, copy_->header.block_bytes);
  }
  [[nodiscard]] std::span<const std::uint64_t> checksums() const noexcept override {
    return copy_->checksums;
  }
  [[nodiscard]] DeviceCopier& copier() const noexcept override { return *copy_->tier; }
  Task<Status> CopyTo(std::span<const std::span<std::byte>> places) override {
    return copy_->tier->CopyTo(copy_->frame, places, copy_->checksums);
  }
  /// Has the GPU compare it with its checksums. kCorrupt, or kIo: it does not have them any more,
  /// and is given up, also when nobody waits for that any more: kTimeout, after `deadline`, and
  /// kCancelled, after HbmSide::EndChecks. The request outlives the task. REQUIRES: owned by a
  /// shared_ptr.
  Task<Status> Check(const GetRequest& request, Nanos deadline);
  /// Can be lent, and is still the block's.
  [[nodiscard]] bool lendable() const noexcept {
    return copy_->lendable && !copy_->dropped && copy_->tier->health().ok();
  }
  /// Its memory, not to be followed; in use until the Hold goes, which is before this object's side
  /// does. REQUIRES: lendable, and owned by a shared_ptr.
  [[nodiscard]] Hold Lend();
  [[nodiscard]] LentPlace place() const { return copy_->tier->PlaceForLending(copy_->frame); }
  [[nodiscard]] HbmTier& tier() const noexcept { return *copy_->tier; }
  /// As it was in DRAM.
  [[nodiscard]] const FrameHeader& header() const noexcept { return copy_->header; }
  /// The copy is of no use: its bytes are wrong (kCorrupt), or it failed.
  void GiveUp(StatusCode why);

 private:
  void Release(std::uint64_t token) noexcept override;
  static Task<void> RunCheck(std::shared_ptr<HbmBlock> block,
                             std::shared_ptr<HbmSide::Check> check);

  HbmSide& side_;
  std::shared_ptr<HbmBlock> lent_;  ///< itself, while a Hold of it is somewhere
  const std::shared_ptr<HbmSide::Copy> copy_;
};

}  // namespace terrace
