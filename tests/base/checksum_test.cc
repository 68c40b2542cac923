// The checksums against the plain functions of the xxHash library: what the dispatcher picks at
// run time must never change a stored or sent value.
#include "base/checksum.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <vector>

#include "base/random.h"

namespace terrace {
namespace {

std::vector<std::byte> RandomBytes(std::size_t size, std::uint64_t seed) {
  SeededRandom random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.Next());
  return bytes;
}

TEST(ChecksumTest, MatchesThePlainLibraryAtEverySizeAndAlignment) {
  const std::vector<std::byte> bytes = RandomBytes((1 << 20) + 64, 1);
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 600; ++size) sizes.push_back(size);
  for (const std::size_t size :
       {1023UL, 1024UL, 1025UL, 4096UL, 65536UL, 262144UL, 262145UL, 1048575UL, 1048576UL}) {
    sizes.push_back(size);
  }
  for (const std::size_t size : sizes) {
    for (const std::size_t shift : {0UL, 1UL, 7UL, 33UL}) {
      const std::span<const std::byte> part(bytes.data() + shift, size);
      ASSERT_EQ(Checksum64(part), XXH3_64bits(part.data(), size)) << size << " at " << shift;
    }
  }
}

TEST(ChecksumTest, KnownValuesNeverChange) {
  // They stand in files and on the wire.
  EXPECT_EQ(Checksum64({}), 0x2d06800538d394c2U);
  EXPECT_EQ(ToHex(HashBytes128({})), "99aa06d3014798d86001c324468d497f");
}

TEST(ChecksumTest, BlockIsCheckedInPieces) {
  EXPECT_EQ(ChecksumPieceCount(0), 0U);
  EXPECT_EQ(ChecksumPieceCount(1), 1U);
  EXPECT_EQ(ChecksumPieceCount(kChecksumPieceBytes), 1U);
  EXPECT_EQ(ChecksumPieceCount(kChecksumPieceBytes + 1), 2U);
  std::vector<std::byte> block = RandomBytes(3 * kChecksumPieceBytes + 100, 2);
  std::vector<std::uint64_t> checksums(ChecksumPieceCount(block.size()));
  ASSERT_EQ(checksums.size(), 4U);
  ChecksumBlock(block, checksums);
  EXPECT_EQ(checksums[3], Checksum64(std::span(block).last(100)));
  EXPECT_TRUE(VerifyBlock(block, checksums));
  EXPECT_FALSE(VerifyBlock(block, std::span(checksums).first(3)));
  for (const std::size_t at : {std::size_t{0}, kChecksumPieceBytes, block.size() - 1}) {
    block[at] ^= std::byte{1};
    EXPECT_FALSE(VerifyBlock(block, checksums)) << "flipped bit at " << at;
    block[at] ^= std::byte{1};
  }
  EXPECT_TRUE(VerifyBlock({}, {}));
}

TEST(ChecksumTest, CopyingInStepsGivesTheChecksumOfTheWhole) {
  for (const std::size_t size :
       {0UL, 1UL, 255UL, 16384UL, 16385UL, 262144UL, 4095UL, 4097UL, 300001UL}) {
    std::vector<std::byte> source(size);
    for (std::size_t i = 0; i < size; ++i) source[i] = static_cast<std::byte>(i * 131 >> 3);
    std::vector<std::byte> destination(size, std::byte{0xee});
    const CopyPart whole{destination.data(), source.data(), size};
    ChecksumCopy copy;
    copy.Copy({&whole, 1});
    EXPECT_EQ(copy.Finish(), Checksum64(source)) << size;
    EXPECT_EQ(destination, source) << size;
  }
}

/// Parts of sizes that divide nothing, to places in reverse order with gaps between them.
struct ScatteredParts {
  explicit ScatteredParts(std::size_t rounds) {
    constexpr std::size_t kSizes[] = {1, 4096, 8192, 63, 0, 4097, 12'345, 7, 0};
    for (std::size_t i = 0; i < source.size(); ++i) {
      source[i] = static_cast<std::byte>(i * 131 >> 3);
    }
    std::size_t to = destination.size();
    std::size_t from = 0;
    for (std::size_t i = 0; i < rounds * std::size(kSizes); ++i) {
      const std::size_t size = kSizes[i % std::size(kSizes)];
      to -= size + 5;
      parts.push_back({destination.data() + to, source.data() + from, size});
      std::copy_n(source.data() + from, size, expected.data() + to);
      in_order.insert(in_order.end(), source.data() + from, source.data() + from + size);
      from += size + 3;
    }
  }
  std::vector<std::byte> source = std::vector<std::byte>(100'000);
  std::vector<std::byte> destination = std::vector<std::byte>(120'000, std::byte{0xee});
  std::vector<std::byte> expected = destination;
  std::vector<std::byte> in_order;
  std::vector<CopyPart> parts;
};

TEST(ChecksumTest, CopyingPartsToScatteredPlacesGivesTheChecksumOfTheirBytesInOrder) {
  ScatteredParts past_caches(3);
  ChecksumCopy copy;
  copy.Copy(std::span(past_caches.parts).first(4));
  copy.Copy({});
  copy.Copy(std::span(past_caches.parts).subspan(4));
  EXPECT_EQ(copy.Finish(), Checksum64(past_caches.in_order));
  EXPECT_EQ(past_caches.destination, past_caches.expected);

  ScatteredParts into_cache(3);
  ChecksumCopy near;
  near.CopyIntoCache(into_cache.parts);
  EXPECT_EQ(near.Finish(), Checksum64(into_cache.in_order));
  EXPECT_EQ(into_cache.destination, into_cache.expected);

  ScatteredParts unhashed(3);
  CopyColdParts(unhashed.parts);
  EXPECT_EQ(unhashed.destination, unhashed.expected);
}

TEST(ChecksumTest, CopyingEveryAlignmentHashesWhatStandsThereAndTouchesNothingElse) {
  std::vector<std::byte> source(200);
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i * 37);
  for (std::size_t to = 0; to < 64; ++to) {
    for (const std::size_t size : {0UL, 1UL, 63UL, 64UL, 65UL, 130UL}) {
      std::vector<std::byte> destination(300, std::byte{0xee});
      const CopyPart part{destination.data() + to, source.data() + to, size};
      ChecksumCopy copy;
      copy.Copy({&part, 1});
      EXPECT_EQ(copy.Finish(), Checksum64({part.from, size}));
      for (std::size_t i = 0; i < destination.size(); ++i) {
        const bool inside = i >= to && i < to + size;
        ASSERT_EQ(destination[i], inside ? source[i] : std::byte{0xee}) << size << " to " << to;
      }
    }
  }
}

}  // namespace
}  // namespace terrace
