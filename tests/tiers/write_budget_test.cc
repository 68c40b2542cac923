#include "tiers/nvme/write_budget.h"

#include <gtest/gtest.h>

namespace terrace::nvme {
namespace {

constexpr std::uint64_t kPerHour = 1'000'000;
constexpr std::uint64_t kPerDay = 24 * kPerHour;

TEST(WriteBudgetTest, AnHoursWorthMayGoAtOnceAndThenTheDaysRate) {
  ManualClock clock;
  WriteBudget budget(kPerDay, clock);
  EXPECT_TRUE(budget.limited());
  EXPECT_TRUE(budget.Allows());
  EXPECT_DOUBLE_EQ(budget.Left(), kPerHour);
  budget.Spend(kPerHour);
  EXPECT_FALSE(budget.Allows());
  clock.Advance(WriteBudget::kHour / 2);
  EXPECT_TRUE(budget.Allows());
  EXPECT_NEAR(budget.Left(), kPerHour / 2.0, 1);
}

TEST(WriteBudgetTest, WhatIsNotWrittenIsNotSavedUpForAStorm) {
  ManualClock clock;
  WriteBudget budget(kPerDay, clock);
  clock.Advance(WriteBudget::kDay);
  EXPECT_DOUBLE_EQ(budget.Left(), kPerHour);
}

TEST(WriteBudgetTest, AnOverdraftIsPaidBackBeforeMoreIsAllowed) {
  ManualClock clock;
  WriteBudget budget(kPerDay, clock);
  budget.Spend(3 * kPerHour);
  EXPECT_LT(budget.Left(), 0);
  clock.Advance(WriteBudget::kHour * 3 / 2);
  EXPECT_FALSE(budget.Allows());
  clock.Advance(WriteBudget::kHour);
  EXPECT_TRUE(budget.Allows());
}

TEST(WriteBudgetTest, ADayOfGreedWritesADaysBudget) {
  ManualClock clock;
  WriteBudget budget(kPerDay, clock);
  constexpr std::uint64_t kBlock = 10'000;
  std::uint64_t written = 0;
  for (Nanos minute = 0; minute < 24 * 60; ++minute) {
    for (; budget.Allows(); written += kBlock) budget.Spend(kBlock);
    clock.Advance(60 * kSecond);
  }
  EXPECT_GT(written, kPerDay);
  EXPECT_LT(written, kPerDay + kPerHour + 2 * kBlock);
}

TEST(WriteBudgetTest, ZeroIsNoLimit) {
  ManualClock clock;
  WriteBudget budget(0, clock);
  budget.Spend(~std::uint64_t{0} / 4);
  EXPECT_FALSE(budget.limited());
  EXPECT_TRUE(budget.Allows());
  EXPECT_EQ(budget.Left(), 0);
}

}  // namespace
}  // namespace terrace::nvme
