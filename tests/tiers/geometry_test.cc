// Stores that are too small, too large or oddly cut must be refused or laid out within the format.
#include "tiers/nvme/geometry.h"

#include <gtest/gtest.h>

#include <string>

#include "base/random.h"

namespace terrace::nvme {
namespace {

constexpr std::uint64_t kMebibyte = 1 << 20;
constexpr std::uint64_t kGibibyte = 1 << 30;

TEST(GeometryTest, CutsASliceInto128SegmentsOfWholeMebibytes) {
  const auto shape = ShapeOf(64 * kGibibyte, 4, 4 * kMebibyte);
  ASSERT_TRUE(shape.ok()) << shape.status().ToString();
  EXPECT_EQ(shape->segment_bytes, 127 * kMebibyte);  // the first MiB of the device is not a slice's
  EXPECT_EQ(shape->segments, 129u);
  EXPECT_EQ(shape->SliceOffset(0), kSlicesOffset);
  EXPECT_EQ(shape->SliceOffset(3), kSlicesOffset + 3 * shape->slice_bytes());
  EXPECT_EQ(shape->SegmentOffset(1, 2), shape->SliceOffset(1) + 2 * shape->segment_bytes);
  EXPECT_LE(shape->device_bytes(), 64 * kGibibyte);
}

TEST(GeometryTest, ASegmentHoldsFourOfTheLongestRecords) {
  const auto shape = ShapeOf(kGibibyte, 1, 8 * kMebibyte);
  ASSERT_TRUE(shape.ok()) << shape.status().ToString();
  EXPECT_EQ(shape->segment_bytes, 33 * kMebibyte);
  EXPECT_GE(shape->segment_pages(), 1 + 4 * RecordPages(8 * kMebibyte));
}

TEST(GeometryTest, LeavesWhatIsBeyondTheLargestSliceUnused) {
  const auto shape = ShapeOf(std::uint64_t{10} << 40, 1, 4096);
  ASSERT_TRUE(shape.ok()) << shape.status().ToString();
  EXPECT_EQ(shape->segment_bytes, kSegmentBytesMax);
  EXPECT_EQ(shape->segments, kSegmentsPerSliceMax);
}

TEST(GeometryTest, NamesTheBytesThatItTakes) {
  for (const std::uint64_t wanted : {std::uint64_t{0}, std::uint64_t{8 * kMebibyte}}) {
    const std::uint64_t segment = wanted != 0 ? wanted : 17 * kMebibyte;
    const std::uint64_t needed = kSlicesOffset + 2 * 8 * segment;
    const auto small = ShapeOf(needed - 1, 2, 4 * kMebibyte, wanted);
    ASSERT_EQ(small.code(), StatusCode::kInvalid);
    EXPECT_NE(small.status().message().find(std::to_string(needed)), std::string::npos)
        << small.status().ToString();
    EXPECT_TRUE(ShapeOf(needed, 2, 4 * kMebibyte, wanted).ok());
  }
  EXPECT_EQ(ShapeOf(0, 1, 4096).code(), StatusCode::kInvalid);
}

TEST(GeometryTest, RefusesWhatTheFormatCannotHold) {
  EXPECT_EQ(ShapeOf(kGibibyte, 0, 4096).code(), StatusCode::kInvalid);
  EXPECT_EQ(ShapeOf(kGibibyte, kSlicesMax + 1, 4096).code(), StatusCode::kInvalid);
  EXPECT_EQ(ShapeOf(kGibibyte, 1, 0).code(), StatusCode::kInvalid);
  EXPECT_EQ(ShapeOf(kGibibyte, 1, kBlockBytesMax + 1).code(), StatusCode::kInvalid);
  EXPECT_EQ(ShapeOf(kGibibyte, 1, 4096, 3 * kPageBytes - 1).code(), StatusCode::kInvalid);
  EXPECT_EQ(ShapeOf(kGibibyte, 1, 4096, 2 * kPageBytes).code(), StatusCode::kInvalid);
  EXPECT_EQ(ShapeOf(kGibibyte, 1, 4096, 2 * kSegmentBytesMax).code(), StatusCode::kInvalid);
  EXPECT_TRUE(ShapeOf(kGibibyte, 1, 4096, 3 * kPageBytes).ok());
}

TEST(GeometryTest, EveryShapeIsOneThatASuperblockMayHave) {
  SeededRandom random(7);
  for (int round = 0; round < 10'000; ++round) {
    const std::uint64_t bytes = random.Next() >> random.Between(20, 50);
    const auto slices = static_cast<std::uint32_t>(random.Between(1, kSlicesMax));
    const std::uint64_t block = random.Between(kBlockBytesMin, kBlockBytesMax);
    const auto shape = ShapeOf(bytes, slices, block);
    if (!shape.ok()) continue;
    Superblock superblock{.devices = 1,
                          .slices = slices,
                          .segments = shape->segments,
                          .segment_bytes = shape->segment_bytes,
                          .device_bytes = shape->device_bytes()};
    Seal(superblock);
    const Status checked = Check(superblock);
    ASSERT_TRUE(checked.ok()) << checked.ToString() << ", " << bytes << " bytes";
    ASSERT_LE(shape->device_bytes(), bytes);
    ASSERT_GE(shape->payload_bytes_max(), block);
  }
}

TEST(GeometryTest, NumbersSegmentsOverTheDevices) {
  Superblock superblock{.device = 1,
                        .devices = 3,
                        .slices = 2,
                        .segments = 8,
                        .segment_bytes = kMebibyte,
                        .device_bytes = kSlicesOffset + 16 * kMebibyte};
  Seal(superblock);
  ASSERT_TRUE(Check(superblock).ok());
  const StoreGeometry geometry = GeometryOf(superblock);
  EXPECT_EQ(geometry.device_bytes(), superblock.device_bytes);
  EXPECT_EQ(geometry.store_segments(), 24u);
  EXPECT_EQ(geometry.StoreSegment(2, 7), 23u);
  EXPECT_EQ(geometry.DeviceOf(17), 2u);
  EXPECT_EQ(geometry.SegmentOnDevice(17), 1u);
}

}  // namespace
}  // namespace terrace::nvme
