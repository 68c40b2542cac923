// A header that was damaged, or that stands for something else, must not pass for one.
#include "tiers/nvme/format.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <string>

namespace terrace::nvme {
namespace {

// The tables of docs/format.md.
static_assert(offsetof(Superblock, version) == 8);
static_assert(offsetof(Superblock, page_bytes) == 12);
static_assert(offsetof(Superblock, store_id) == 16);
static_assert(offsetof(Superblock, salt) == 32);
static_assert(offsetof(Superblock, device) == 40);
static_assert(offsetof(Superblock, devices) == 44);
static_assert(offsetof(Superblock, slices) == 48);
static_assert(offsetof(Superblock, segments) == 52);
static_assert(offsetof(Superblock, segment_bytes) == 56);
static_assert(offsetof(Superblock, device_bytes) == 64);
static_assert(offsetof(Superblock, created_unix_s) == 72);
static_assert(offsetof(SegmentHeader, version) == 8);
static_assert(offsetof(SegmentHeader, device) == 12);
static_assert(offsetof(SegmentHeader, store_id) == 16);
static_assert(offsetof(SegmentHeader, slice) == 32);
static_assert(offsetof(SegmentHeader, segment) == 36);
static_assert(offsetof(SegmentHeader, generation) == 40);
static_assert(offsetof(SegmentHeader, sequence) == 48);
static_assert(offsetof(RecordHeader, version) == 8);
static_assert(offsetof(RecordHeader, kind) == 12);
static_assert(offsetof(RecordHeader, sequence) == 16);
static_assert(offsetof(RecordHeader, device) == 24);
static_assert(offsetof(RecordHeader, slice) == 28);
static_assert(offsetof(RecordHeader, segment) == 32);
static_assert(offsetof(RecordHeader, page) == 36);
static_assert(offsetof(RecordHeader, generation) == 40);
static_assert(offsetof(RecordHeader, namespace_id) == 44);
static_assert(offsetof(RecordHeader, payload_bytes) == 48);
static_assert(offsetof(RecordHeader, group) == 56);
static_assert(offsetof(RecordHeader, shard) == 60);
static_assert(offsetof(RecordHeader, position) == 64);
static_assert(offsetof(RecordHeader, valid_tokens) == 68);
static_assert(offsetof(RecordHeader, fingerprint) == 72);
static_assert(offsetof(RecordHeader, hash) == 88);
static_assert(offsetof(RecordHeader, parent) == 104);
static_assert(offsetof(RecordHeader, key_bytes) == 120);
static_assert(offsetof(RecordHeader, placement_bytes) == 121);
static_assert(offsetof(RecordHeader, tenant_bytes) == 122);
static_assert(offsetof(RecordHeader, name_bytes) == 123);
static_assert(offsetof(RecordHeader, key) == 128);
static_assert(offsetof(RecordHeader, placement) == 192);
static_assert(offsetof(RecordHeader, tenant) == 256);
static_assert(offsetof(RecordHeader, name) == 384);
static_assert(offsetof(RecordHeader, checksums) == 512);

constexpr std::uint64_t kSalt = 0x123456789abcdef0;

Superblock GoodSuperblock() {
  Superblock superblock;
  superblock.store_id = {1, 2};
  superblock.salt = kSalt;
  superblock.device = 1;
  superblock.devices = 2;
  superblock.slices = 3;
  superblock.segments = 8;
  superblock.segment_bytes = 16 * kPageBytes;
  superblock.device_bytes = kSlicesOffset + 3 * 8 * superblock.segment_bytes;
  Seal(superblock);
  return superblock;
}

RecordHeader GoodRecord() {
  RecordHeader header;
  header.sequence = 5;
  header.payload_bytes = 4096;
  header.key_bytes = 3;
  Seal(header, kSalt);
  return header;
}

/// Calls `check` with the header after each of its bits was changed.
template <typename Header, typename Function>
void WithEveryBitFlipped(const Header& good, Function check) {
  for (std::size_t byte = 0; byte < sizeof good; ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      Header bad = good;
      std::as_writable_bytes(std::span(&bad, 1))[byte] ^= static_cast<std::byte>(1 << bit);
      check(bad, "byte " + std::to_string(byte) + " bit " + std::to_string(bit));
    }
  }
}

TEST(FormatTest, NumbersStandWhereTheDocumentSays) {
  const RecordHeader header = GoodRecord();
  const char* const bytes = reinterpret_cast<const char*>(&header);
  EXPECT_EQ(std::string(bytes, 8), "TRRNREC1");
  EXPECT_EQ(bytes[8], 1);    // version
  EXPECT_EQ(bytes[12], 1);   // kind
  EXPECT_EQ(bytes[16], 5);   // sequence
  EXPECT_EQ(bytes[49], 16);  // 4096, little endian
  EXPECT_EQ(bytes[120], 3);
  const Superblock superblock = GoodSuperblock();
  EXPECT_EQ(std::memcmp(&superblock, "TRRNSUP1", 8), 0);
  const SegmentHeader segment;
  EXPECT_EQ(std::memcmp(&segment, "TRRNSEG1", 8), 0);
}

TEST(FormatTest, EveryFlippedBitOfASuperblockIsSeen) {
  ASSERT_TRUE(Check(GoodSuperblock()).ok());
  WithEveryBitFlipped(GoodSuperblock(), [](const Superblock& bad, const std::string& where) {
    ASSERT_FALSE(Check(bad).ok()) << where;
  });
}

TEST(FormatTest, EveryFlippedBitOfASegmentHeaderIsSeen) {
  SegmentHeader good{.generation = 1};
  Seal(good, kSalt);
  ASSERT_TRUE(IsSealed(good, kSalt));
  WithEveryBitFlipped(good, [](const SegmentHeader& bad, const std::string& where) {
    ASSERT_FALSE(IsSealed(bad, kSalt)) << where;
  });
}

TEST(FormatTest, EveryFlippedBitOfARecordHeaderIsSeen) {
  ASSERT_TRUE(IsSealed(GoodRecord(), kSalt));
  WithEveryBitFlipped(GoodRecord(), [](const RecordHeader& bad, const std::string& where) {
    ASSERT_FALSE(IsSealed(bad, kSalt)) << where;
  });
}

TEST(FormatTest, AHeaderOfAnotherSaltIsNone) {
  SegmentHeader segment{.generation = 1};
  Seal(segment, kSalt);
  EXPECT_FALSE(IsSealed(segment, kSalt + 1));
  EXPECT_FALSE(IsSealed(GoodRecord(), kSalt + 1));
  EXPECT_FALSE(IsSealed(GoodRecord(), 0));
}

TEST(FormatTest, AnotherVersionIsNamedAndNothingElseOfIt) {
  Superblock superblock = GoodSuperblock();
  superblock.version = 7;
  superblock.checksum = 0;
  const Status other = Check(superblock);
  EXPECT_EQ(other.code(), StatusCode::kIncompatible);
  EXPECT_EQ(other.message(), "format version 7, this program reads 1");
  RecordHeader record = GoodRecord();
  record.version = 2;
  Seal(record, kSalt);
  EXPECT_FALSE(IsSealed(record, kSalt));
}

TEST(FormatTest, SealedNumbersThatContradictEachOtherAreCorrupt) {
  const auto corrupt = [](void (*change)(Superblock&)) {
    Superblock superblock = GoodSuperblock();
    change(superblock);
    Seal(superblock);
    return Check(superblock).code() == StatusCode::kCorrupt;
  };
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.device = 2; }));
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.devices = 0; }));
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.devices = kDevicesMax + 1; }));
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.slices = 0; }));
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.slices = ~0U; }));
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.segments = 7; }));
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.segment_bytes = 4095; }));
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.segment_bytes = ~0ULL; }));
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.device_bytes -= kPageBytes; }));
  EXPECT_TRUE(corrupt([](Superblock& superblock) { superblock.page_bytes = 512; }));
}

TEST(FormatTest, SealedLengthsBeyondTheirFieldsAreNoRecord) {
  const auto refused = [](void (*change)(RecordHeader&)) {
    RecordHeader header = GoodRecord();
    change(header);
    Seal(header, kSalt);
    return !IsSealed(header, kSalt);
  };
  EXPECT_TRUE(refused([](RecordHeader& header) { header.key_bytes = kKeyBytesMax + 1; }));
  EXPECT_TRUE(refused([](RecordHeader& header) { header.placement_bytes = 255; }));
  EXPECT_TRUE(refused([](RecordHeader& header) { header.tenant_bytes = kNameBytesMax + 1; }));
  EXPECT_TRUE(refused([](RecordHeader& header) { header.name_bytes = 255; }));
  EXPECT_TRUE(refused([](RecordHeader& header) { header.payload_bytes = kBlockBytesMax + 1; }));
  EXPECT_TRUE(refused([](RecordHeader& header) { header.payload_bytes = 0; }));
  EXPECT_TRUE(refused([](RecordHeader& header) { header.kind = RecordKind::kRemoval; }));
  EXPECT_TRUE(refused([](RecordHeader& header) {
    header.kind = static_cast<RecordKind>(4);
    header.payload_bytes = 0;
  }));
}

}  // namespace
}  // namespace terrace::nvme
