// The price of a write to NVMe, and the placement keys that wait with the blocks.
#include "cache/write_price.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/random.h"
#include "cache/placements.h"

namespace terrace {
namespace {

constexpr std::uint64_t kBlock = 64 << 10;
constexpr std::uint64_t kCapacity = 10'000 * kBlock;

/// Puts, offers and writes `blocks` blocks with values from 0 to 1; the bytes written, and the
/// least value among them in the second half.
struct Offered {
  std::uint64_t written = 0;
  double least = 1;
};
Offered OfferEvenly(WritePrice& price, int blocks, std::uint64_t other_writes = 0) {
  SeededRandom random(7);
  Offered run;
  for (int i = 0; i < blocks; ++i) {
    price.Came(kBlock, true);
    if (other_writes > 0) price.Wrote(other_writes);
    const double value = static_cast<double>(random.Below(1'000'000)) / 1e6;
    if (!price.Offer(value, kBlock)) continue;
    price.Wrote(kBlock);
    run.written += kBlock;
    if (i > blocks / 2 && value < run.least) run.least = value;
  }
  return run;
}

TEST(WritePriceTest, WhatIsWrittenStaysWithinTheShareOfWhatIsPut) {
  for (const double share : {0.1, 0.4, 0.9}) {
    WritePrice price(share, kCapacity);
    const Offered run = OfferEvenly(price, 100'000);
    EXPECT_LE(static_cast<double>(run.written), (share + 0.01) * 100'000 * kBlock) << share;
    EXPECT_GE(static_cast<double>(run.written), (share - 0.02) * 100'000 * kBlock) << share;
  }
}

TEST(WritePriceTest, TheHighestSavingsAreWrittenFirst) {
  WritePrice price(0.4, kCapacity);
  const Offered run = OfferEvenly(price, 100'000);
  EXPECT_GT(run.least, 0.5);  // the upper 40 % of even values begin at 0.6
  EXPECT_TRUE(price.Pays(0.9));
  EXPECT_FALSE(price.Pays(0.3));
}

TEST(WritePriceTest, WhatIsWrittenForOtherReasonsIsTakenFromTheRest) {
  WritePrice price(0.4, kCapacity);
  const Offered run = OfferEvenly(price, 100'000, kBlock / 5);
  // A quarter of the capacity may be owed at the end.
  EXPECT_LE(static_cast<double>(run.written), (0.2 * 100'000 + 10'000.0 / 4) * kBlock);
  EXPECT_GE(static_cast<double>(run.written), 0.15 * 100'000 * kBlock);
}

TEST(WritePriceTest, BlocksOfOneValueAreWrittenUpToTheBudgetAndNotAllOrNone) {
  WritePrice price(0.25, kCapacity);
  std::uint64_t written = 0;
  for (int i = 0; i < 100'000; ++i) {
    price.Came(kBlock, true);
    if (!price.Offer(0.5, kBlock)) continue;
    price.Wrote(kBlock);
    written += kBlock;
  }
  EXPECT_NEAR(static_cast<double>(written) / (100'000.0 * kBlock), 0.25, 0.01);
}

TEST(WritePriceTest, WhatIsOwedIsPaidBackBeforeMoreIsWritten) {
  WritePrice price(0.4, kCapacity);
  price.Wrote(kCapacity);
  EXPECT_LT(price.credit(), 0);
  EXPECT_FALSE(price.Offer(0.999, kBlock));
  price.Unwrote(kCapacity);
  EXPECT_TRUE(price.Offer(0.999, kBlock));
}

TEST(WritePriceTest, WhatAPolicyDoesNotKnowIsWorthAnyPrice) {
  WritePrice price(0.4, kCapacity);
  price.Wrote(kCapacity);
  EXPECT_TRUE(price.Offer(1, kBlock));
  EXPECT_TRUE(WritePrice::Unknown(WritePrice::FromByte(WritePrice::ToByte(1))));
}

TEST(WritePriceTest, ARecordStaysForLongerWhenLessIsWritten) {
  WritePrice all(1, kCapacity);
  WritePrice some(0.25, kCapacity);
  for (int i = 0; i < 40'000; ++i) {
    for (WritePrice* price : {&all, &some}) price->Came(kBlock, true);
    all.Wrote(kBlock);
    if (i % 4 == 0) some.Wrote(kBlock);
  }
  EXPECT_NEAR(static_cast<double>(all.Horizon()), 10'000, 100);
  EXPECT_NEAR(static_cast<double>(some.Horizon()), 40'000, 400);
  EXPECT_EQ(WritePrice(0.4, kCapacity).Horizon(), 1U) << "before anything came";
}

TEST(WritePriceTest, AByteHoldsAValueToAnEighthOfAnOctave) {
  for (const double value : {0.999, 0.5, 0.1, 0.01, 0.0001}) {
    EXPECT_NEAR(WritePrice::FromByte(WritePrice::ToByte(value)) / value, 1, 0.1) << value;
  }
  EXPECT_LT(WritePrice::FromByte(WritePrice::ToByte(0)), 1e-4);
}

std::vector<std::byte> Key(const std::string& text) {
  std::vector<std::byte> key;
  for (const char letter : text) key.push_back(static_cast<std::byte>(letter));
  return key;
}

TEST(PlacementsTest, BlocksOfOneRunShareACopyAndTheLastOneFreesIt) {
  Placements placements(8);
  const auto run = Key("first");
  placements.Keep(0, kNoBlock, run);
  placements.Keep(1, 0, run);
  placements.Keep(2, 1, run);
  placements.Keep(3, 2, Key("second"));
  EXPECT_EQ(placements.copies(), 2U);
  placements.Drop(0);
  placements.Drop(0);
  placements.Drop(1);
  ASSERT_TRUE(placements.Has(2));
  EXPECT_TRUE(std::ranges::equal(placements.Of(2), run));
  placements.Keep(2, kNoBlock, Key("third"));
  EXPECT_TRUE(std::ranges::equal(placements.Of(2), Key("third")));
  placements.Drop(2);
  placements.Drop(3);
  EXPECT_EQ(placements.copies(), 0U);
  EXPECT_FALSE(placements.Has(2));
}

}  // namespace
}  // namespace terrace
