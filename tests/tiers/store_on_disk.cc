#include "tests/tiers/store_on_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/random.h"

namespace terrace::nvme {

namespace {

std::string_view AsText(const auto& header) {
  return {reinterpret_cast<const char*>(&header), sizeof header};
}

template <std::size_t Size, typename Unit>
std::uint8_t Fill(std::array<Unit, Size>& field, std::string_view text) {
  EXPECT_LE(text.size(), Size);
  std::transform(text.begin(), text.end(), field.begin(),
                 [](char letter) { return static_cast<Unit>(letter); });
  return static_cast<std::uint8_t>(text.size());
}

/// As the daemon writes removals and clears: the namespace by its id alone.
RecordHeader Anonymous(RecordHeader header) {
  header.fingerprint = {};
  header.tenant_bytes = header.name_bytes = 0;
  header.tenant = {};
  header.name = {};
  return header;
}

}  // namespace

TestFolder::TestFolder() {
  const auto* const info = testing::UnitTest::GetInstance()->current_test_info();
  path_ =
      "nvme_test." + std::to_string(getpid()) + "." + info->test_suite_name() + "." + info->name();
  std::ranges::replace(path_, '/', '_');
  std::filesystem::remove_all(path_);
  std::filesystem::create_directory(path_);
}

TestFolder::~TestFolder() { std::filesystem::remove_all(path_); }

std::string ReadBytes(const std::string& path, std::uint64_t offset, std::size_t count) {
  std::string bytes(count, '\0');
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_GE(descriptor, 0) << path;
  const ssize_t read = ::pread(descriptor, bytes.data(), count, static_cast<off_t>(offset));
  EXPECT_GE(read, 0) << path;
  bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(read, 0)));
  ::close(descriptor);
  return bytes;
}

void WriteBytes(const std::string& path, std::uint64_t offset, std::string_view bytes) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  EXPECT_GE(descriptor, 0) << path;
  EXPECT_EQ(::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes.size()))
      << path;
  ::close(descriptor);
}

void FlipBit(const std::string& path, std::uint64_t offset, int bit) {
  std::string byte = ReadBytes(path, offset, 1);
  byte[0] = static_cast<char>(byte[0] ^ (1 << bit));
  WriteBytes(path, offset, byte);
}

std::string RowsOf(std::uint64_t seed, std::size_t bytes) {
  SeededRandom random(seed);
  std::array<std::uint64_t, 4> row{};
  for (std::uint64_t& word : row) word = random.Next();
  std::string rows;
  while (rows.size() < bytes) rows += AsText(row);
  rows.resize(bytes);
  return rows;
}

StoreOnDisk::StoreOnDisk(std::string folder, const StoreGeometry& geometry, std::uint64_t salt)
    : folder_(std::move(folder)), geometry_(geometry), salt_(salt) {
  for (std::uint32_t device = 0; device < geometry.devices; ++device) {
    Superblock superblock;
    superblock.store_id = store_id_;
    superblock.salt = salt;
    superblock.device = device;
    superblock.devices = geometry.devices;
    superblock.slices = geometry.slices;
    superblock.segments = geometry.segments;
    superblock.segment_bytes = geometry.segment_bytes;
    superblock.device_bytes = geometry.device_bytes();
    superblock.created_unix_s = 1'700'000'000;
    Seal(superblock);
    WriteBytes(File(device), 0, AsText(superblock));
    WriteBytes(File(device), kPageBytes, AsText(superblock));
    EXPECT_EQ(::truncate(File(device).c_str(), static_cast<off_t>(superblock.device_bytes)), 0);
  }
}

StoreOnDisk::Segment StoreOnDisk::Begin(std::uint32_t device, std::uint32_t slice,
                                        std::uint32_t segment, std::uint32_t generation) {
  SegmentHeader header;
  header.device = device;
  header.store_id = store_id_;
  header.slice = slice;
  header.segment = segment;
  header.generation = generation;
  header.sequence = sequence - 1;
  Seal(header, salt_);
  const Segment begun{
      .device = device, .slice = slice, .segment = segment, .generation = generation};
  WriteBytes(File(device), PageOffset(begun, 0), AsText(header));
  return begun;
}

RecordHeader StoreOnDisk::HeaderOf(std::uint32_t space, std::string_view key) const {
  RecordHeader header;
  header.namespace_id = space;
  header.fingerprint = {space * 3, space * 5};
  header.tenant_bytes = Fill(header.tenant, "tenant-" + std::to_string(space % 2));
  header.name_bytes = Fill(header.name, "space-" + std::to_string(space));
  header.key_bytes = Fill(header.key, key);
  if (!key.empty()) {
    const std::string located = std::string(8, '\0') + std::string(key);
    const Hash128 hash = HashBytes128(std::as_bytes(std::span(located)));
    header.hash = {hash.low, hash.high};
  }
  return header;
}

RecordHeader StoreOnDisk::Put(Segment& segment, std::uint32_t space, std::string_view key,
                              std::string_view payload) {
  RecordHeader header = HeaderOf(space, key);
  header.kind = RecordKind::kBlock;
  header.payload_bytes = payload.size();
  header.position = 7;
  header.valid_tokens = 16;
  header.parent = {sequence, sequence + 1};
  header.placement_bytes = Fill(header.placement, key);
  ChecksumBlock(std::as_bytes(std::span(payload)),
                std::span(header.checksums).first(ChecksumPieceCount(payload.size())));
  Append(segment, header, payload);
  return header;
}

RecordHeader StoreOnDisk::Remove(Segment& segment, std::uint32_t space, std::string_view key) {
  RecordHeader header = Anonymous(HeaderOf(space, key));
  header.kind = RecordKind::kRemoval;
  Append(segment, header, {});
  return header;
}

RecordHeader StoreOnDisk::Clear(Segment& segment, std::uint32_t space) {
  RecordHeader header = Anonymous(HeaderOf(space, {}));
  header.kind = RecordKind::kClear;
  Append(segment, header, {});
  return header;
}

void StoreOnDisk::Append(Segment& segment, RecordHeader& header, std::string_view payload) {
  if (header.sequence == 0) header.sequence = sequence++;
  header.device = segment.device;
  header.slice = segment.slice;
  header.segment = segment.segment;
  header.page = segment.page;
  header.generation = segment.generation;
  Seal(header, salt_);
  ASSERT_LE(segment.page + RecordPages(payload.size()), geometry_.segment_pages());
  WriteBytes(File(segment.device), PageOffset(segment, segment.page), AsText(header));
  WriteBytes(File(segment.device), PageOffset(segment, segment.page + 1), payload);
  segment.page += static_cast<std::uint32_t>(RecordPages(payload.size()));
}

StoreGeometry SmallGeometry(std::uint32_t devices, std::uint32_t slices,
                            std::uint64_t segment_bytes) {
  StoreGeometry geometry;
  geometry.devices = devices;
  geometry.slices = slices;
  geometry.segments = kSegmentsPerSliceMin;
  geometry.segment_bytes = segment_bytes;
  return geometry;
}

}  // namespace terrace::nvme
