// DevicePlan: a block's move between its frame and device memory of a client, cut into steps.
//
// Model. The range's bytes are counted as in frame_range.h. Copies are as long as they lie together
// on both sides. What is summed are the range's own 256 KiB pieces, where one lies together on the
// device; a piece that does not is summed part by part, each compared with the same bytes of the
// frame (kOdd), and so is one that begins where a GPU cannot sum it.
//
// Thread: any; a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/device_region.h"
#include "base/frame_range.h"

namespace terrace {

struct DeviceStep {
  /// What a sum is compared with.
  struct Compared {
    static constexpr std::size_t kOdd = ~std::size_t{0};
    std::size_t piece = kOdd;            ///< of the range, all of it; or
    std::span<const std::byte> frame{};  ///< kOdd: these bytes
  };
  std::vector<DeviceCopier::Part> parts;
  std::vector<DeviceCopier::Sum> sums;
  std::vector<Compared> compared;       ///< one for each of `sums`
  std::vector<std::size_t> odd_pieces;  ///< of the range: summed in parts, all or some of them here
  std::uint64_t bytes = 0;
};

/// What one step copies, about: 0.15 ms of PCIe 5, after which cancels and deadlines are looked at.
inline constexpr std::uint64_t kDeviceStepBytes = 8ULL << 20;

/// The steps of moving `view` to or from `places`, which together are as long.
std::vector<DeviceStep> PlanDeviceMove(const RangeView& view,
                                       std::span<const std::span<std::byte>> places);

}  // namespace terrace
