// NvmeShape: how the daemon divides its NVMe tier, counted in blocks of one size. For the
// simulation, and for the least size that a plan may come to.
//
// Pure functions; any thread.
#pragma once

#include <cstdint>

#include "tiers/nvme/format.h"
#include "tiers/nvme/geometry.h"

namespace terrace::replay {

/// Largest block that the tier takes with the daemon's default configuration, bytes. Larger ones
/// stay in DRAM only.
inline constexpr std::uint64_t kNvmeBlockBytesMax = 4 << 20;

/// Of one slice: what one reactor has.
struct NvmeShape {
  std::uint32_t segments = 0;             ///< 0: no tier, or none that holds such blocks
  std::uint64_t records_per_segment = 0;  ///< 0 exactly when segments is
};

/// Least bytes of a segment: room for four of the largest records, in whole MiB.
[[nodiscard]] constexpr std::uint64_t NvmeSegmentBytesMin() noexcept {
  constexpr std::uint64_t kMiB = 1 << 20;
  return (4 * (kNvmeBlockBytesMax + nvme::kPageBytes) + kMiB - 1) / kMiB * kMiB;
}

/// Least bytes of the tier: each of `reactors` needs its smallest number of smallest segments.
[[nodiscard]] constexpr std::uint64_t NvmeBytesMin(std::uint64_t reactors) noexcept {
  return nvme::kSlicesOffset + reactors * nvme::kSegmentsPerSliceMin * NvmeSegmentBytesMin();
}

/// nvme_bytes: of the device, its first MiB included; 0, or less than NvmeBytesMin: no tier.
/// REQUIRES: reactors >= 1.
[[nodiscard]] inline NvmeShape ShapeOfNvme(std::uint64_t nvme_bytes, std::uint32_t reactors,
                                           std::uint64_t block_bytes) {
  if (nvme_bytes == 0 || block_bytes > kNvmeBlockBytesMax) return {};
  const auto shape = nvme::ShapeOf(nvme_bytes, reactors, kNvmeBlockBytesMax);
  if (!shape.ok()) return {};
  // The first page of a segment is its header.
  const std::uint64_t pages = shape->segment_pages() - 1;
  return {.segments = shape->segments,
          .records_per_segment = pages / nvme::RecordPages(block_bytes)};
}

}  // namespace terrace::replay
