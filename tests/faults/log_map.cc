#include "tests/faults/log_map.h"

#include <cstring>

#include "tiers/nvme/geometry.h"

namespace terrace::faults {

namespace {

template <typename Header>
Header At(std::span<const std::byte> medium, std::uint64_t offset) {
  Header header;
  std::memcpy(static_cast<void*>(&header), medium.data() + offset, sizeof header);
  return header;
}

}  // namespace

std::uint64_t SegmentOffset(std::span<const std::byte> medium, std::uint32_t segment) {
  return nvme::GeometryOf(At<nvme::Superblock>(medium, 0)).SegmentOffset(0, segment);
}

std::vector<RecordAt> RecordsOn(std::span<const std::byte> medium) {
  const nvme::StoreGeometry geometry = nvme::GeometryOf(At<nvme::Superblock>(medium, 0));
  std::vector<RecordAt> records;
  for (std::uint32_t segment = 0; segment < geometry.segments; ++segment) {
    const std::uint64_t begin = geometry.SegmentOffset(0, segment);
    std::uint64_t page = 1;
    while (page < geometry.segment_pages()) {
      const std::uint64_t offset = begin + page * nvme::kPageBytes;
      const auto header = At<nvme::RecordHeader>(medium, offset);
      const bool block =
          header.magic == nvme::kRecordMagic && header.kind == nvme::RecordKind::kBlock;
      if (block) {
        records.push_back(
            {.offset = offset, .payload_bytes = header.payload_bytes, .segment = segment});
      }
      page += block ? nvme::RecordPages(header.payload_bytes) : 1;
    }
  }
  return records;
}

void FlipBit(std::span<std::byte> bytes, std::uint64_t bit) {
  bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
}

}  // namespace terrace::faults
