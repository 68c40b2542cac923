// The verifier must find every wrong byte, and a poisoned destination must be wrong everywhere.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tools/replay/run/block_bytes.h"
#include "tools/replay/trace/block_keys.h"

namespace terrace::replay {
namespace {

std::vector<std::byte> Block(BlockSeed seed, std::size_t bytes) {
  std::vector<std::byte> block(bytes);
  ProduceBlock(seed, block);
  return block;
}

TEST(BlockBytesTest, EveryFlippedByteIsFoundWithItsPlace) {
  const BlockSeed seed = SeedOf(NextKey(RootKey(1), 2));
  // Beyond one verified piece of 4 KiB, and not a multiple of it.
  std::vector<std::byte> block = Block(seed, 4096 + 4096 + 8);
  ASSERT_FALSE(FindWrongByte(seed, block).has_value());
  for (std::size_t offset = 0; offset < block.size(); ++offset) {
    const auto flip = static_cast<std::byte>(1U << (offset % 8));
    block[offset] ^= flip;
    const std::optional<WrongByte> wrong = FindWrongByte(seed, block);
    ASSERT_TRUE(wrong.has_value()) << offset;
    EXPECT_EQ(wrong->offset, offset);
    EXPECT_EQ(wrong->count, 1U);
    EXPECT_EQ(wrong->found, block[offset]);
    EXPECT_EQ(wrong->expected, block[offset] ^ flip);
    block[offset] ^= flip;
  }
}

TEST(BlockBytesTest, PoisonIsWrongInEveryByte) {
  const BlockSeed seed = SeedOf(RootKey(3));
  std::vector<std::byte> block(8192);
  PoisonBlock(seed, block);
  const std::optional<WrongByte> wrong = FindWrongByte(seed, block);
  ASSERT_TRUE(wrong.has_value());
  EXPECT_EQ(wrong->offset, 0U);
  EXPECT_EQ(wrong->count, block.size());
}

TEST(BlockBytesTest, ByteThatAGetDidNotWriteIsFound) {
  const BlockSeed seed = SeedOf(RootKey(4));
  const std::vector<std::byte> right = Block(seed, 65536);
  std::vector<std::byte> destination(right.size());
  PoisonBlock(seed, destination);
  std::copy(right.begin(), right.end() - 1, destination.begin());
  const std::optional<WrongByte> wrong = FindWrongByte(seed, destination);
  ASSERT_TRUE(wrong.has_value());
  EXPECT_EQ(wrong->offset, right.size() - 1);
}

TEST(BlockBytesTest, AnotherBlocksBytesAndShiftedBytesAreWrongNearlyEverywhere) {
  const BlockKey key = NextKey(RootKey(5), 1);
  const BlockSeed seed = SeedOf(key);
  const std::vector<std::byte> other = Block(SeedOf(NextKey(key, 2)), 65536);
  // A byte is right by chance with 1/256.
  EXPECT_GT(FindWrongByte(seed, other).value().count, 65536U * 98 / 100);
  std::vector<std::byte> shifted = Block(seed, 65536);
  std::rotate(shifted.begin(), shifted.begin() + 4096, shifted.end());
  EXPECT_GT(FindWrongByte(seed, shifted).value().count, 65536U * 98 / 100);
  const std::vector<std::byte> zero(65536);
  EXPECT_GT(FindWrongByte(seed, zero).value().count, 65536U * 98 / 100);
}

TEST(BlockBytesTest, BytesAreAFunctionOfTheKeyAlone) {
  const BlockSeed seed = SeedOf(NextKey(RootKey(6), 1));
  const std::vector<std::byte> whole = Block(seed, 16384);
  const std::vector<std::byte> part = Block(seed, 4096);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin()));
  // At an address that is not aligned, too.
  std::vector<std::byte> space(4096 + 3);
  ProduceBlock(seed, std::span(space).subspan(3));
  EXPECT_TRUE(std::equal(part.begin(), part.end(), space.begin() + 3));
  EXPECT_FALSE(FindWrongByte(seed, std::span(space).subspan(3)).has_value());
}

}  // namespace
}  // namespace terrace::replay
