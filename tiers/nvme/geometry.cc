#include "tiers/nvme/geometry.h"

#include <algorithm>
#include <string>

namespace terrace::nvme {

namespace {

constexpr std::uint64_t kMebibyte = 1 << 20;
/// So that a ring of so many segments gives up less than 1 % of a slice at a time.
constexpr std::uint64_t kSegmentsWanted = 128;
/// Longest records that a segment has room for: what its last record does not fill is wasted, on
/// average half a record.
constexpr std::uint64_t kRecordsPerSegmentMin = 4;

constexpr std::uint64_t RoundUp(std::uint64_t bytes, std::uint64_t unit) noexcept {
  return (bytes + unit - 1) / unit * unit;
}

/// Segment header and one of the longest records.
constexpr std::uint64_t SegmentBytesLeast(std::uint64_t block_bytes_max) noexcept {
  return (1 + RecordPages(block_bytes_max)) * kPageBytes;
}

std::uint64_t SegmentBytesFor(std::uint64_t slice_bytes, std::uint64_t block_bytes_max) noexcept {
  const std::uint64_t least = RoundUp(
      kPageBytes + kRecordsPerSegmentMin * RecordPages(block_bytes_max) * kPageBytes, kMebibyte);
  const std::uint64_t wanted = slice_bytes / kSegmentsWanted / kMebibyte * kMebibyte;
  return std::clamp(wanted, least, kSegmentBytesMax);
}
static_assert(kRecordsPerSegmentMin * (kBlockBytesMax + 2 * kPageBytes) + kMebibyte <
              kSegmentBytesMax);

Status CheckArguments(std::uint32_t slices, std::uint64_t block_bytes_max,
                      std::uint64_t segment_bytes) {
  if (slices == 0 || slices > kSlicesMax) {
    return Status::Invalid(std::to_string(slices) + " slices, 1 to " + std::to_string(kSlicesMax));
  }
  if (block_bytes_max < kBlockBytesMin || block_bytes_max > kBlockBytesMax) {
    return Status::Invalid("blocks of up to " + std::to_string(block_bytes_max) + " bytes, " +
                           std::to_string(kBlockBytesMin) + " to " +
                           std::to_string(kBlockBytesMax));
  }
  if (segment_bytes == 0) return {};
  if (segment_bytes % kPageBytes != 0 || segment_bytes > kSegmentBytesMax ||
      segment_bytes < SegmentBytesLeast(block_bytes_max)) {
    return Status::Invalid("segments of " + std::to_string(segment_bytes) +
                           " bytes: a multiple of " + std::to_string(kPageBytes) + " from " +
                           std::to_string(SegmentBytesLeast(block_bytes_max)) + " to " +
                           std::to_string(kSegmentBytesMax) + " for blocks of up to " +
                           std::to_string(block_bytes_max) + " bytes");
  }
  return {};
}

}  // namespace

Result<DeviceGeometry> ShapeOf(std::uint64_t device_bytes, std::uint32_t slices,
                               std::uint64_t block_bytes_max, std::uint64_t segment_bytes_wanted) {
  Status good = CheckArguments(slices, block_bytes_max, segment_bytes_wanted);
  if (!good.ok()) return good;
  const std::uint64_t slice_bytes =
      device_bytes < kSlicesOffset ? 0 : (device_bytes - kSlicesOffset) / slices;
  DeviceGeometry geometry{.slices = slices};
  geometry.segment_bytes = segment_bytes_wanted != 0
                               ? segment_bytes_wanted
                               : SegmentBytesFor(slice_bytes, block_bytes_max);
  const std::uint64_t segments = slice_bytes / geometry.segment_bytes;
  if (segments < kSegmentsPerSliceMin) {
    geometry.segments = kSegmentsPerSliceMin;
    return Status::Invalid("too small: " + std::to_string(device_bytes) + " bytes; " +
                           std::to_string(geometry.device_bytes()) + " are needed for " +
                           std::to_string(slices) + " slices and blocks of up to " +
                           std::to_string(block_bytes_max) + " bytes");
  }
  geometry.segments =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(segments, kSegmentsPerSliceMax));
  return geometry;
}

StoreGeometry GeometryOf(const Superblock& superblock) noexcept {
  StoreGeometry geometry;
  geometry.slices = superblock.slices;
  geometry.segments = superblock.segments;
  geometry.segment_bytes = superblock.segment_bytes;
  geometry.devices = superblock.devices;
  return geometry;
}

}  // namespace terrace::nvme
