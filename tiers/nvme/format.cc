#include "tiers/nvme/format.h"

#include <string>

namespace terrace::nvme {

namespace {

/// XXH3-64 of a header page up to its checksum.
template <typename Header>
std::uint64_t ChecksumOf(const Header& header, std::uint64_t seed) noexcept {
  return SeededHash64(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, checksum)), seed);
}

Status Corrupt(const std::string& what) { return {StatusCode::kCorrupt, "superblock: " + what}; }

}  // namespace

void Seal(Superblock& superblock) noexcept { superblock.checksum = ChecksumOf(superblock, 0); }

void Seal(SegmentHeader& header, std::uint64_t salt) noexcept {
  header.checksum = ChecksumOf(header, salt);
}

void Seal(RecordHeader& header, std::uint64_t salt) noexcept {
  header.checksum = ChecksumOf(header, salt);
}

Status Check(const Superblock& superblock) {
  if (superblock.magic != kSuperblockMagic) {
    return {StatusCode::kMiss, "no Terrace store begins here"};
  }
  // Before the checksum: another version may keep it elsewhere.
  if (superblock.version != kFormatVersion) {
    return {StatusCode::kIncompatible, "format version " + std::to_string(superblock.version) +
                                           ", this program reads " +
                                           std::to_string(kFormatVersion)};
  }
  if (superblock.checksum != ChecksumOf(superblock, 0)) return Corrupt("its checksum is wrong");
  const std::uint64_t slice_bytes = superblock.segments * superblock.segment_bytes;
  if (superblock.page_bytes != kPageBytes || superblock.devices == 0 ||
      superblock.devices > kDevicesMax || superblock.device >= superblock.devices ||
      superblock.slices == 0 || superblock.slices > kSlicesMax ||
      superblock.segments < kSegmentsPerSliceMin || superblock.segments > kSegmentsPerSliceMax ||
      superblock.segment_bytes < 2 * kPageBytes || superblock.segment_bytes > kSegmentBytesMax ||
      superblock.segment_bytes % kPageBytes != 0 ||
      superblock.device_bytes != kSlicesOffset + superblock.slices * slice_bytes) {
    return Corrupt("its numbers contradict each other");
  }
  return {};
}

bool IsSealed(const SegmentHeader& header, std::uint64_t salt) noexcept {
  return header.magic == kSegmentMagic && header.version == kFormatVersion &&
         header.checksum == ChecksumOf(header, salt);
}

bool IsSealed(const RecordHeader& header, std::uint64_t salt) noexcept {
  if (header.magic != kRecordMagic || header.version != kFormatVersion ||
      header.checksum != ChecksumOf(header, salt)) {
    return false;
  }
  if (header.kind != RecordKind::kBlock && header.kind != RecordKind::kRemoval &&
      header.kind != RecordKind::kClear) {
    return false;
  }
  const bool block = header.kind == RecordKind::kBlock;
  return header.payload_bytes <= kBlockBytesMax && block == (header.payload_bytes != 0) &&
         header.key_bytes <= kKeyBytesMax && header.placement_bytes <= kKeyBytesMax &&
         header.tenant_bytes <= kNameBytesMax && header.name_bytes <= kNameBytesMax;
}

}  // namespace terrace::nvme
