// HbmBlock: a copy of a block in the memory of a GPU, for a Link that takes it from there
// (base/device_region.h). While it lives the copy's frame is in use (HbmSide::BeginRead).
//
// Thread: the owning reactor's. The side outlives it.
#pragma once

#include <memory>
#include <utility>

#include "base/device_region.h"
#include "cache/hbm_side.h"

namespace terrace {

class HbmBlock final : public DeviceSource {
 public:
  /// The GPU with a copy of the block that can be read; null.
  static const DeviceCopier* GpuWith(const HbmSide& side, BlockId id);
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
  /// As it was in DRAM.
  [[nodiscard]] const FrameHeader& header() const noexcept { return copy_->header; }
  /// The copy is of no use: its bytes are wrong (kCorrupt), or it failed.
  void GiveUp(StatusCode why);

 private:
  HbmSide& side_;
  const std::shared_ptr<HbmSide::Copy> copy_;
};

}  // namespace terrace
