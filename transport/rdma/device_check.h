// DeviceCheck: what a NIC sends of a block that lies on a GPU, summed by that GPU at the same time.
//
// Model. As ChecksumRange (base/frame_range.h) of a block in DRAM: there are sums to send along,
// and the block's own pieces, as far as the range touches them, are compared with the checksums of
// the put. What is wrong in the GPU's memory is found here; what goes wrong on the way is found by
// the client, who compares what came with the sums. The client's memory is not touched: a transfer
// is quiet without it.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/device_region.h"
#include "base/frame_range.h"
#include "base/result.h"
#include "base/task.h"
#include "base/wait.h"

namespace terrace {

class DeviceCheck {
 public:
  /// kUnsupported: the GPU cannot sum such a range: 256 KiB of it, counted through all stretches,
  /// do not lie together, or not at a multiple of 16.
  static Result<std::shared_ptr<DeviceCheck>> Make(std::shared_ptr<DeviceSource> source,
                                                   const FrameRange& range);
  /// Has the GPU sum; holds the source until it has. To be spawned, once.
  static Task<void> Run(std::shared_ptr<DeviceCheck> check);
  /// Ends by the deadline (kTimeout). kCorrupt: the GPU has other bytes than were put; otherwise as
  /// DeviceCopier::Copy.
  Task<Status> Await(Nanos deadline);
  /// One for every 256 KiB of the range. REQUIRES: Await was ok.
  [[nodiscard]] std::span<const std::uint64_t> sums() const noexcept { return sums_; }

 private:
  using Sums = std::vector<DeviceCopier::Sum>;
  [[nodiscard]] Status PlanRange(const RangeView& view);
  void PlanPieces(const RangeView& view);
  [[nodiscard]] Task<Status> Sum();
  static Task<Status> SumAll(DeviceCopier* gpu, Sums* sums);

  std::shared_ptr<DeviceSource> source_;  ///< null once it has ended
  Sums range_;                            ///< of a range that cuts pieces
  Sums pieces_;                           ///< of the block, and what they must have:
  std::vector<std::uint64_t> stored_;
  std::vector<std::uint64_t> sums_;
  Status status_;
  Event ended_;
};

}  // namespace terrace
