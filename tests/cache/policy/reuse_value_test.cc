// What a place is worth, against a search over every tick that one could stop at.
#include "cache/policy/reuse_value.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "base/random.h"

namespace terrace {
namespace {

/// By age step.
AgeArray AllOf(const AgeArray& hazards) {
  AgeArray index{};
  for (std::size_t step = 0; step < kReuseAges; ++step) index[step] = ReuseIndex(hazards, step);
  return index;
}

constexpr std::uint32_t kEnd = 2 * 32768;  // where the last step ends

std::uint32_t EndOf(std::size_t step) { return step + 1 < kReuseAges ? AgeOfStep(step + 1) : kEnd; }

/// Uses of a step are spread evenly over its ticks; every tick is tried as the last one.
double BestOfAllStops(const AgeArray& hazards, std::size_t from) {
  double alive = 1;
  double held = 0;
  double best = 0;
  for (std::size_t step = from; step < kReuseAges; ++step) {
    const std::uint32_t ticks = EndOf(step) - AgeOfStep(step);
    const double used = alive * static_cast<double>(hazards[step]) / ticks;
    for (std::uint32_t tick = 0; tick < ticks; ++tick) {
      held += alive - used / 2;
      alive -= used;
      best = std::max(best, (1 - alive) / held);
    }
  }
  return best;
}

AgeArray RandomHazards(SeededRandom& random) {
  AgeArray hazards{};
  const double most = random.Chance(0.3) ? 0.05 : 0.95;
  for (float& hazard : hazards) {
    if (random.Chance(0.8)) {
      hazard = static_cast<float>(most * static_cast<double>(random.Below(1000)) / 1000);
    }
  }
  return hazards;
}

TEST(ReuseIndexTest, IsTheBestOfAllAgesToStopAt) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRandom random(seed);
    const AgeArray hazards = RandomHazards(random);
    const AgeArray index = AllOf(hazards);
    for (std::size_t from = 0; from < kReuseAges; ++from) {
      const double best = BestOfAllStops(hazards, from);
      ASSERT_NEAR(index[from], best, 1e-4 * best + 1e-12) << "seed " << seed << " from " << from;
    }
  }
}

// Before a usual pause ends a block must not look worse the closer that is.
TEST(ReuseIndexTest, RisesTowardsThePauseAndIsNothingAfterIt) {
  AgeArray hazards{};
  hazards[15] = 0.8F;
  const AgeArray index = AllOf(hazards);
  for (std::size_t step = 1; step <= 15; ++step) EXPECT_GT(index[step], index[step - 1]) << step;
  for (std::size_t step = 16; step < kReuseAges; ++step) EXPECT_EQ(index[step], 0) << step;
}

TEST(ReuseIndexTest, WhatIsNeverOrAlwaysUsedIsNoDivisionByZero) {
  EXPECT_EQ(AllOf({}), AgeArray{});
  AgeArray sure{};
  sure.fill(1);
  for (const float value : AllOf(sure)) {
    EXPECT_GT(value, 0);
    EXPECT_LE(value, 1);  // the shortest step has 2 ticks: after one on the average
  }
}

TEST(ReuseBeforeTest, NothingHappensInNoTime) {
  AgeArray hazards{};
  hazards.fill(0.5F);
  EXPECT_EQ(ReuseBefore(hazards, 0, 0), 0);
  EXPECT_EQ(ReuseBefore(hazards, 100, 100), 0);
  EXPECT_EQ(ReuseBefore(hazards, 100, 7), 0);
}

TEST(ReuseBeforeTest, AWholeStepHasItsHazardAndMoreTimeMoreChance) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRandom random(seed);
    const AgeArray hazards = RandomHazards(random);
    double alive = 1;
    for (std::size_t step = 0; step < kReuseAges; ++step) {
      const double hazard = static_cast<double>(hazards[step]);
      ASSERT_NEAR(ReuseBefore(hazards, AgeOfStep(step), EndOf(step)), hazard, 1e-6);
      alive *= 1 - hazard;
      ASSERT_NEAR(ReuseBefore(hazards, 0, EndOf(step)), 1 - alive, 1e-6);
    }
    const auto age = static_cast<std::uint32_t>(random.Below(5000));
    double before = 0;
    for (std::uint32_t until = age; until < 2 * kEnd; until += 1 + until / 50) {
      const double now = ReuseBefore(hazards, age, until);
      ASSERT_GE(now, before) << "seed " << seed << " until " << until;
      ASSERT_LE(now, 1);
      before = now;
    }
  }
}

TEST(ReuseBeforeTest, AgesBeyondTheLastStepKnowNothing) {
  AgeArray hazards{};
  hazards.fill(0.5F);
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint32_t>::max();
  EXPECT_EQ(ReuseBefore(hazards, kEnd, kMost), 0);
  EXPECT_EQ(ReuseBefore(hazards, kMost, kMost), 0);
  EXPECT_EQ(ReuseBefore(hazards, kMost - 1, 5), 0) << "the end of the time wrapped";
  EXPECT_NEAR(ReuseBefore(hazards, 0, kMost), 1, 1e-6);
}

}  // namespace
}  // namespace terrace
