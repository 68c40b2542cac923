// The arithmetic that the GPU's kernel shares, on the host, against the library that everything
// else is checked with.
#include "tiers/hbm/xxh3_pieces.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/checksum.h"
#include "base/random.h"

namespace terrace::xxh3 {
namespace {

std::vector<std::byte> RandomBytes(std::size_t size) {
  SeededRandom random(11);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.Next());
  return bytes;
}

void ExpectSame(const std::byte* from, std::size_t bytes) {
  ASSERT_EQ(HashPiece(kSecret, from, static_cast<std::uint32_t>(bytes)), Checksum64({from, bytes}))
      << bytes << " bytes";
}

TEST(Xxh3PiecesTest, AShortLengthOrATailIsNotHashedOtherwiseThanOnTheHost) {
  const std::vector<std::byte> bytes = RandomBytes(4096 + 8);
  for (std::size_t size = 0; size <= 4096; ++size) {
    for (const std::size_t shift : {0UL, 1UL, 7UL}) ExpectSame(bytes.data() + shift, size);
  }
}

TEST(Xxh3PiecesTest, ALongPieceIsNotHashedOtherwiseThanOnTheHost) {
  const std::vector<std::byte> bytes = RandomBytes(kChecksumPieceBytes);
  for (const std::size_t size : {65535UL, 65536UL, 65537UL, 262143UL, 262144UL}) {
    ExpectSame(bytes.data(), size);
  }
  SeededRandom random(12);
  for (int round = 0; round < 300; ++round) {
    ExpectSame(bytes.data(), random.Below(kChecksumPieceBytes + 1));
  }
}

TEST(Xxh3PiecesTest, TheOrderOfSummingWithinABlockDoesNotMatter) {
  const std::vector<std::byte> block = RandomBytes(kBlockBytes);
  std::uint64_t forwards[kLanes] = {};
  SumStripes(kSecret, block.data(), kBlockStripes, forwards);
  std::uint64_t backwards[kLanes] = {};
  for (std::uint32_t stripe = kBlockStripes; stripe-- > 0;) {
    for (std::uint32_t lane = kLanes; lane > 0;) {
      lane -= 2;
      const std::byte* at = block.data() + stripe * kStripeBytes + lane * 8;
      AddLanes(backwards[lane], backwards[lane + 1], Read64(at), Read64(at + 8),
               kSecret.words[KeyWord(stripe, lane)], kSecret.words[KeyWord(stripe, lane + 1)]);
    }
  }
  for (std::uint32_t lane = 0; lane < kLanes; ++lane) EXPECT_EQ(forwards[lane], backwards[lane]);
}

}  // namespace
}  // namespace terrace::xxh3
