// Where slices and segments lie on a device (tiers/nvme/format.h). Daemon and simulation both lay
// their stores out with ShapeOf, so that the simulation runs what runs in production.
//
// All devices of a store have the same geometry: that of the smallest.
//
// Thread: any; values. Sizes and offsets are bytes.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "tiers/nvme/format.h"

namespace terrace::nvme {

/// The geometry of one device.
struct DeviceGeometry {
  std::uint32_t slices = 0;
  std::uint32_t segments = 0;  ///< of a slice
  std::uint64_t segment_bytes = 0;

  [[nodiscard]] std::uint64_t slice_bytes() const noexcept { return segments * segment_bytes; }
  /// What is used of the device; ShapeOf may leave up to a segment a slice at its end.
  [[nodiscard]] std::uint64_t device_bytes() const noexcept {
    return kSlicesOffset + slices * slice_bytes();
  }
  [[nodiscard]] std::uint64_t SliceOffset(std::uint32_t slice) const noexcept {
    return kSlicesOffset + slice * slice_bytes();
  }
  [[nodiscard]] std::uint64_t SegmentOffset(std::uint32_t slice,
                                            std::uint32_t segment) const noexcept {
    return SliceOffset(slice) + segment * segment_bytes;
  }
  /// Of a segment, its header's page included.
  [[nodiscard]] std::uint32_t segment_pages() const noexcept {
    return static_cast<std::uint32_t>(segment_bytes / kPageBytes);
  }
  /// The longest payload whose record fits into a segment.
  [[nodiscard]] std::uint64_t payload_bytes_max() const noexcept {
    return segment_bytes - 2 * kPageBytes;
  }
  friend bool operator==(const DeviceGeometry&, const DeviceGeometry&) = default;
};

/// The geometry of a store: `devices` times the same. In RecordPlace, segments are numbered over
/// the devices.
struct StoreGeometry : DeviceGeometry {
  std::uint32_t devices = 0;

  [[nodiscard]] std::uint32_t StoreSegment(std::uint32_t device,
                                           std::uint32_t segment) const noexcept {
    return device * segments + segment;
  }
  [[nodiscard]] std::uint32_t DeviceOf(std::uint32_t store_segment) const noexcept {
    return store_segment / segments;
  }
  [[nodiscard]] std::uint32_t SegmentOnDevice(std::uint32_t store_segment) const noexcept {
    return store_segment % segments;
  }
  /// Of a slice, on all devices.
  [[nodiscard]] std::uint32_t store_segments() const noexcept { return devices * segments; }
};

/// The geometry of a device of `device_bytes` (of the smallest one, in a store of several), for
/// blocks of up to `block_bytes_max`. segment_bytes_wanted 0: a 128th of a slice, in whole MiB, but
/// at least four of the longest records and at most 1 GiB; else a multiple of a page that holds
/// at least one. Slices of more than kSegmentsPerSliceMax segments leave the rest unused.
///
/// kInvalid: an argument is out of its range, or the device has not the bytes for
/// kSegmentsPerSliceMin segments a slice; the message names the bytes that it takes.
Result<DeviceGeometry> ShapeOf(std::uint64_t device_bytes, std::uint32_t slices,
                               std::uint64_t block_bytes_max,
                               std::uint64_t segment_bytes_wanted = 0);

/// What a superblock says. REQUIRES: Check(superblock) was ok.
[[nodiscard]] StoreGeometry GeometryOf(const Superblock& superblock) noexcept;

}  // namespace terrace::nvme
