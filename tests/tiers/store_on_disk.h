// A store written byte by byte, as tiers/nvme/format.h says and without the code that is tested.
//
// Thread: one. Its folder stands where the test runs (TMPDIR may be a tmpfs without O_DIRECT).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tiers/nvme/format.h"
#include "tiers/nvme/geometry.h"

namespace terrace::nvme {

/// A folder of the running test, removed at the end.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string Path(std::string_view name) const {
    return path_ + "/" + std::string(name);
  }

 private:
  std::string path_;
};

/// Bytes of a file, `count` from `offset`.
std::string ReadBytes(const std::string& path, std::uint64_t offset, std::size_t count);
void WriteBytes(const std::string& path, std::uint64_t offset, std::string_view bytes);
/// Changes one bit.
void FlipBit(const std::string& path, std::uint64_t offset, int bit = 0);

/// `bytes` of 32-byte rows that all are the same one, made from `seed`: they compress well.
std::string RowsOf(std::uint64_t seed, std::size_t bytes);

class StoreOnDisk {
 public:
  /// Writes superblocks into folder/log-0, log-1, ...
  StoreOnDisk(std::string folder, const StoreGeometry& geometry, std::uint64_t salt = 0x5a17);

  /// A segment as its header and the end of its records.
  struct Segment {
    std::uint32_t device = 0;
    std::uint32_t slice = 0;
    std::uint32_t segment = 0;
    std::uint32_t generation = 1;
    std::uint32_t page = 1;  ///< of the next record
  };
  /// Writes the header of a segment, with the sequence of the last record so far.
  Segment Begin(std::uint32_t device, std::uint32_t slice, std::uint32_t segment,
                std::uint32_t generation = 1);

  /// A block of the namespace `space` ("tenant-T", "space-S"); its key is `key`. Returns its header
  /// as written. The hash is that of cache/locator.h with group and shard 0.
  RecordHeader Put(Segment& segment, std::uint32_t space, std::string_view key,
                   std::string_view payload);
  RecordHeader Remove(Segment& segment, std::uint32_t space, std::string_view key);
  RecordHeader Clear(Segment& segment, std::uint32_t space);
  /// Seals and writes any header at the segment's next page, with the next sequence unless it has
  /// one, and steps over it and its payload.
  void Append(Segment& segment, RecordHeader& header, std::string_view payload);

  /// Without kind, place and sequence.
  [[nodiscard]] RecordHeader HeaderOf(std::uint32_t space, std::string_view key) const;
  [[nodiscard]] std::uint64_t PageOffset(const Segment& segment, std::uint32_t page) const {
    return geometry_.SegmentOffset(segment.slice, segment.segment) +
           std::uint64_t{page} * kPageBytes;
  }
  [[nodiscard]] std::string File(std::uint32_t device) const {
    return folder_ + "/log-" + std::to_string(device);
  }
  [[nodiscard]] const StoreGeometry& geometry() const { return geometry_; }
  [[nodiscard]] std::uint64_t salt() const { return salt_; }
  /// Of the next record; rises over all slices, which the format allows.
  std::uint64_t sequence = 1;

 private:
  std::string folder_;
  StoreGeometry geometry_;
  std::uint64_t salt_;
  std::array<std::uint64_t, 2> store_id_ = {0x1111, 0x2222};
};

/// A geometry as small as the format allows for tests: segments of 16 pages.
StoreGeometry SmallGeometry(std::uint32_t devices, std::uint32_t slices,
                            std::uint64_t segment_bytes = 16 * kPageBytes);

}  // namespace terrace::nvme
