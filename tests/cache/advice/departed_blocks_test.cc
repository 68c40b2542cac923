#include "cache/advice/departed_blocks.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace terrace {
namespace {

Locator Named(std::uint64_t number, std::uint32_t space = 1) {
  return {.namespace_id = space,
          .hash = HashBytes128(std::as_bytes(std::span<const std::uint64_t>(&number, 1)))};
}

TEST(DepartedBlocks, ReasonAndAgeAreThoseOfTheLatestDeparture) {
  DepartedBlocks departed = DepartedBlocks::Create(DepartedBlocks::kBytesMin).value();
  EXPECT_EQ(departed.Find(Named(1), kSecond).reason, MissReason::kNeverSeen);
  departed.Note(Named(1), MissReason::kEvicted, 10 * kSecond);
  EXPECT_EQ(departed.Find(Named(1), 25 * kSecond).reason, MissReason::kEvicted);
  EXPECT_EQ(departed.Find(Named(1), 25 * kSecond).age, 15 * kSecond);
  EXPECT_EQ(departed.Find(Named(1, 2), 25 * kSecond).reason, MissReason::kNeverSeen)
      << "another namespace's block of the same key";
  departed.Note(Named(1), MissReason::kRemoved, 30 * kSecond);
  EXPECT_EQ(departed.Find(Named(1), 30 * kSecond).reason, MissReason::kRemoved);
  EXPECT_EQ(departed.Find(Named(1), 30 * kSecond).age, 0);
}

TEST(DepartedBlocks, AFullTableForgetsTheOldestAndNeverInvents) {
  DepartedBlocks departed = DepartedBlocks::Create(1 << 12).value();
  const std::uint64_t count = 4 * departed.capacity();
  for (std::uint64_t i = 0; i < count; ++i) {
    departed.Note(Named(i), MissReason::kEvicted, static_cast<Nanos>(i) * kSecond);
  }
  std::uint64_t known = 0;
  const Nanos now = static_cast<Nanos>(count) * kSecond;
  for (std::uint64_t i = 0; i < count; ++i) {
    const DepartedBlocks::Departure left = departed.Find(Named(i), now);
    if (left.reason == MissReason::kNeverSeen) continue;
    ++known;
    EXPECT_EQ(left.age, now - static_cast<Nanos>(i) * kSecond);
  }
  EXPECT_GT(known, departed.capacity() * 9 / 10) << "places stand empty";
  std::uint64_t recent = 0;
  for (std::uint64_t i = count - departed.capacity() / 4; i < count; ++i) {
    if (departed.Find(Named(i), now).reason == MissReason::kEvicted) ++recent;
  }
  EXPECT_GT(recent, departed.capacity() / 4 * 95 / 100) << "what left last is forgotten first";
  for (std::uint64_t i = count; i < 2 * count; ++i) {
    EXPECT_EQ(departed.Find(Named(i), now).reason, MissReason::kNeverSeen);
  }
}

TEST(DepartedBlocks, OneThatKeepsNothingSaysSo) {
  DepartedBlocks none;
  none.Note(Named(1), MissReason::kEvicted, kSecond);
  EXPECT_EQ(none.Find(Named(1), kSecond).reason, MissReason::kNeverSeen);
}

TEST(DepartedBlocks, MemoryIsAShareOfTheArenaWithinLimits) {
  EXPECT_EQ(DepartedBlocks::BytesFor(2 << 20), DepartedBlocks::kBytesMin);
  EXPECT_LE(DepartedBlocks::BytesFor(64ULL << 30), (64ULL << 30) / 2000);
  EXPECT_EQ(DepartedBlocks::BytesFor(1ULL << 50), DepartedBlocks::kBytesMax);
}

}  // namespace
}  // namespace terrace
