// What stands on an NVMe device, byte for byte. docs/format.md is the same in prose.
//
//   device:  superblock (page 0) | its copy (page 1) | zeros up to 1 MiB | slice 0 | slice 1 | ...
//   slice:   segment 0 | segment 1 | ...                    one slice a reactor, all equally long
//   segment: segment header (1 page) | record | record | ... | what earlier generations left
//   record:  record header (1 page) | payload, padded with whatever to a whole page
//
//   N1. A page is 4 KiB. All numbers are little endian. Every header is one page, and its last 8
//       bytes are the XXH3-64 of the bytes before them: seed 0 in superblocks, the store's salt in
//       the others. The salt is random and never leaves the host, so no client can write a payload
//       that passes for a header.
//   N2. A segment is filled from its first page on and is one generation until it is reused; its
//       header is written and synced before any record of that generation. A header that does not
//       verify is that of generation 0, which holds nothing.
//   N3. A record is true only where it stands: slice, segment, page and generation in it must be
//       those of the place, and the generation that of its segment.
//   N4. Of several records of one block (slice, namespace, hash) the one with the highest sequence
//       counts. A kRemoval of that block, or a kClear of its namespace, with a higher sequence ends
//       it. Removals and clears are written to every device of the slice.
//   N5. Segments of a device's slice are reused in a ring, so a removal outlives what it removed.
//
// Thread: any; everything here is values. A change of any size, offset or meaning is a new
// kFormatVersion.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/checksum.h"
#include "base/limits.h"
#include "base/result.h"

namespace terrace::nvme {

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::uint64_t kSlicesOffset = 1 << 20;  ///< of slice 0 on a device, bytes
inline constexpr std::uint32_t kDevicesMax = 64;
inline constexpr std::uint32_t kSlicesMax = 64;
inline constexpr std::uint32_t kSegmentsPerSliceMin = 8;
inline constexpr std::uint32_t kSegmentsPerSliceMax = 4096;
inline constexpr std::uint64_t kSegmentBytesMax = 1ULL << 30;

inline constexpr std::uint64_t kSuperblockMagic = 0x315055534e525254;  ///< "TRRNSUP1"
inline constexpr std::uint64_t kSegmentMagic = 0x314745534e525254;     ///< "TRRNSEG1"
inline constexpr std::uint64_t kRecordMagic = 0x314345524e525254;      ///< "TRRNREC1"

/// What a device is a part of. Written once, when a store is made.
struct Superblock {
  std::uint64_t magic = kSuperblockMagic;
  std::uint32_t version = kFormatVersion;
  std::uint32_t page_bytes = kPageBytes;
  std::array<std::uint64_t, 2> store_id{};  ///< random; the same on all devices of a store
  std::uint64_t salt = 0;                   ///< random; seed of the other headers' checksums
  std::uint32_t device = 0;                 ///< number of this device in the store
  std::uint32_t devices = 0;
  std::uint32_t slices = 0;
  std::uint32_t segments = 0;       ///< of a slice on this device
  std::uint64_t segment_bytes = 0;  ///< the same on all devices; a multiple of a page
  std::uint64_t device_bytes = 0;   ///< used: kSlicesOffset + slices * segments * segment_bytes
  std::uint64_t created_unix_s = 0;
  std::array<std::byte, 4008> zeros{};
  std::uint64_t checksum = 0;
};

struct SegmentHeader {
  std::uint64_t magic = kSegmentMagic;
  std::uint32_t version = kFormatVersion;
  std::uint32_t device = 0;
  std::array<std::uint64_t, 2> store_id{};
  std::uint32_t slice = 0;
  std::uint32_t segment = 0;  ///< within the slice on this device
  std::uint32_t generation = 0;
  std::uint32_t zero = 0;
  /// Every block in it has a higher one. Not every removal or clear: those take their sequence
  /// before they wait for a place.
  std::uint64_t sequence = 0;
  std::array<std::byte, 4032> zeros{};
  std::uint64_t checksum = 0;
};

enum class RecordKind : std::uint32_t { kBlock = 1, kRemoval = 2, kClear = 3 };

struct RecordHeader {
  std::uint64_t magic = kRecordMagic;
  std::uint32_t version = kFormatVersion;
  RecordKind kind = RecordKind::kBlock;
  std::uint64_t sequence = 0;  ///< rises with every record of a slice, over its devices
  std::uint32_t device = 0;
  std::uint32_t slice = 0;
  std::uint32_t segment = 0;
  std::uint32_t page = 0;  ///< of this header, from the segment's start
  std::uint32_t generation = 0;
  std::uint32_t namespace_id = 0;
  std::uint64_t payload_bytes = 0;  ///< kBlock: the block's; else 0
  std::uint32_t group = 0;          ///< kClear: 0, like the following up to `key`
  std::uint32_t shard = 0;
  std::uint32_t position = 0;  ///< of the block in its chain
  std::uint32_t valid_tokens = 0;
  /// Of the namespace: low, high. kRemoval, kClear: may be zeros, as tenant and name may be empty.
  std::array<std::uint64_t, 2> fingerprint{};
  std::array<std::uint64_t, 2> hash{};    ///< of the block's locator: low, high
  std::array<std::uint64_t, 2> parent{};  ///< of the block before it; zeros: none known
  std::uint8_t key_bytes = 0;
  std::uint8_t placement_bytes = 0;
  std::uint8_t tenant_bytes = 0;
  std::uint8_t name_bytes = 0;
  std::uint32_t zero = 0;
  std::array<std::byte, kKeyBytesMax> key{};
  std::array<std::byte, kKeyBytesMax> placement{};  ///< first key of the block's run
  std::array<char, kNameBytesMax> tenant{};
  std::array<char, kNameBytesMax> name{};  ///< of the namespace
  /// One XXH3-64 per 256 KiB of the payload (base/checksum.h); the rest zeros.
  std::array<std::uint64_t, kBlockBytesMax / kChecksumPieceBytes> checksums{};
  std::array<std::byte, 1528> zeros{};
  std::uint64_t checksum = 0;

  [[nodiscard]] std::span<const std::byte> Key() const noexcept {
    return std::span(key).first(key_bytes);
  }
  [[nodiscard]] std::string_view Tenant() const noexcept { return {tenant.data(), tenant_bytes}; }
  [[nodiscard]] std::string_view Name() const noexcept { return {name.data(), name_bytes}; }
  [[nodiscard]] std::span<const std::uint64_t> Checksums() const noexcept {
    return std::span(checksums).first(ChecksumPieceCount(payload_bytes));
  }
};

// Format version 1, and what a stranger's reader relies on.
static_assert(sizeof(Superblock) == kPageBytes && offsetof(Superblock, checksum) == 4088);
static_assert(sizeof(SegmentHeader) == kPageBytes && offsetof(SegmentHeader, checksum) == 4088);
static_assert(sizeof(RecordHeader) == kPageBytes && offsetof(RecordHeader, checksum) == 4088);
static_assert(offsetof(Superblock, salt) == 32 && offsetof(Superblock, segment_bytes) == 56);
static_assert(offsetof(SegmentHeader, slice) == 32 && offsetof(SegmentHeader, sequence) == 48);
static_assert(offsetof(RecordHeader, sequence) == 16 && offsetof(RecordHeader, segment) == 32);
static_assert(offsetof(RecordHeader, payload_bytes) == 48 && offsetof(RecordHeader, hash) == 88);
static_assert(offsetof(RecordHeader, key_bytes) == 120 && offsetof(RecordHeader, key) == 128);
static_assert(offsetof(RecordHeader, tenant) == 256 && offsetof(RecordHeader, checksums) == 512);

/// Pages of a record: its header and its payload.
[[nodiscard]] constexpr std::uint64_t RecordPages(std::uint64_t payload_bytes) noexcept {
  return 1 + (payload_bytes + kPageBytes - 1) / kPageBytes;
}

/// Sets the checksum. `salt` as in N1.
void Seal(Superblock& superblock) noexcept;
void Seal(SegmentHeader& header, std::uint64_t salt) noexcept;
void Seal(RecordHeader& header, std::uint64_t salt) noexcept;

/// kMiss: no superblock here (another magic). kCorrupt: the checksum, or numbers that contradict
/// each other. kIncompatible: another version, named. The message says what is wrong.
Status Check(const Superblock& superblock);
/// True when the header is one, of the current version, whose checksum matches.
[[nodiscard]] bool IsSealed(const SegmentHeader& header, std::uint64_t salt) noexcept;
/// Likewise, and its kind is one and its lengths are within their limits.
[[nodiscard]] bool IsSealed(const RecordHeader& header, std::uint64_t salt) noexcept;

}  // namespace terrace::nvme
