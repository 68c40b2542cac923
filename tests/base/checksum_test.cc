// The checksums against the plain functions of the xxHash library: what the dispatcher picks at
// run time must never change a stored or sent value.
#include "base/checksum.h"

#include <gtest/gtest.h>
#include <xxhash.h>

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
    EXPECT_EQ(CopyAndChecksum64(destination, source), Checksum64(source)) << size;
    EXPECT_EQ(destination, source) << size;
  }
}

}  // namespace
}  // namespace terrace
