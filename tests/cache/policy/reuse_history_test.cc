// What is learned of reuse, against hazards that made the data, and under traffic that would fill
// or mislead it.
#include "cache/policy/reuse_history.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "base/random.h"

namespace terrace {
namespace {

/// Blocks that are used again after a pause drawn from a constant chance per tick.
class Population {
 public:
  Population(ReuseHistory& history, std::uint16_t kind, double chance, std::uint64_t seed)
      : history_(history), kind_(kind), chance_(chance), random_(seed) {}

  /// A new block: used now and again from then on.
  void Add(std::uint32_t tag, std::uint32_t now) { Use(tag, now); }
  /// All uses at `now`.
  void Run(std::uint32_t now) {
    while (!due_.empty() && due_.begin()->first <= now) {
      const std::uint32_t tag = due_.begin()->second;
      due_.erase(due_.begin());
      Use(tag, now);
    }
  }

 private:
  void Use(std::uint32_t tag, std::uint32_t now) {
    if (history_.Samples(tag)) history_.Used(tag, kind_, 1, now);
    const double even = static_cast<double>(random_.Below(1'000'000) + 1) / 1'000'001;
    const double pause = std::ceil(std::log(even) / std::log(1 - chance_));
    due_.emplace(now + static_cast<std::uint32_t>(std::max(1.0, pause)), tag);
  }

  ReuseHistory& history_;
  std::uint16_t kind_;
  double chance_;
  SeededRandom random_;
  std::multimap<std::uint32_t, std::uint32_t> due_;  // when, who
};

/// Chance of a use within the step of who reaches it; a pause of n ticks is of age n.
double HazardOf(double chance, std::size_t step) {
  const std::uint32_t first = std::max(1U, AgeOfStep(step));
  return 1 - std::pow(1 - chance, AgeOfStep(step + 1) - first);
}

void ExpectProbabilities(const std::vector<AgeArray>& hazards) {
  for (const AgeArray& kind : hazards) {
    for (const float hazard : kind) {
      ASSERT_GE(hazard, 0);
      ASSERT_LE(hazard, 1);
    }
  }
}

TEST(AgeStepTest, StepsAreHalfOctavesWithoutGaps) {
  EXPECT_EQ(AgeStep(0), 0U);
  EXPECT_EQ(AgeOfStep(0), 0U);
  for (std::size_t step = 1; step < kReuseAges; ++step) {
    EXPECT_EQ(AgeStep(AgeOfStep(step)), step);
    EXPECT_EQ(AgeStep(AgeOfStep(step) - 1), step - 1);
  }
  EXPECT_EQ(AgeStep(0xffffffff), kReuseAges - 1);
}

TEST(ReuseHistoryTest, KnownHazardsAreFound) {
  ReuseHistory history(10'000);
  const std::uint16_t quick = history.AddKind(ReuseHistory::kRoot);
  const std::uint16_t slow = history.AddKind(ReuseHistory::kRoot);
  const std::uint16_t never = history.AddKind(ReuseHistory::kRoot);
  Population quick_ones(history, quick, 0.05, 1);
  Population slow_ones(history, slow, 0.004, 2);
  for (std::uint32_t i = 0; i < 100; ++i) quick_ones.Add(i, 0);
  for (std::uint32_t i = 0; i < 1000; ++i) slow_ones.Add(1000 + i, 0);
  for (std::uint32_t now = 1; now <= 3000; ++now) {
    quick_ones.Run(now);
    slow_ones.Run(now);
    history.Used(100'000 + now, never, 1, now);
    if (history.WantsEstimate()) history.Estimate(now);
  }
  const std::vector<AgeArray>& hazards = history.Estimate(3000);
  ExpectProbabilities(hazards);
  for (std::size_t step = 1; step <= 9; ++step) {  // up to an age of 96 ticks
    const double known = HazardOf(0.05, step);
    EXPECT_NEAR(hazards[quick][step], known, 0.05 + 0.1 * known) << "quick, step " << step;
  }
  for (std::size_t step = 5; step <= 16; ++step) {  // up to 1024
    const double known = HazardOf(0.004, step);
    EXPECT_NEAR(hazards[slow][step], known, 0.03 + 0.15 * known) << "slow, step " << step;
  }
  for (std::size_t step = 4; step <= 14; ++step) EXPECT_LT(hazards[never][step], 0.05) << step;
}

// More blocks than the table has room for: a part of them is followed, and tells the same.
TEST(ReuseHistoryTest, ASampleFindsTheSameHazards) {
  ReuseHistory history(1);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  Population all(history, kind, 0.01, 3);
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    all.Add(i, 0);
    if (history.WantsEstimate()) history.Estimate(0);
  }
  for (std::uint32_t now = 1; now <= 2000; ++now) {
    all.Run(now);
    if (history.WantsEstimate()) history.Estimate(now);
  }
  std::size_t sampled = 0;
  for (std::uint32_t i = 0; i < 20'000; ++i) sampled += history.Samples(i) ? 1 : 0;
  EXPECT_GT(sampled, 100U);
  EXPECT_LT(sampled, 1024U) << "of a table of 1024 entries";
  const std::vector<AgeArray>& hazards = history.Estimate(2000);
  for (std::size_t step = 3; step <= 13; ++step) {  // 8 to 384 ticks
    const double known = HazardOf(0.01, step);
    EXPECT_NEAR(hazards[kind][step], known, 0.03 + 0.15 * known) << "step " << step;
  }
}

// Who has not come back yet is no proof that it never will.
TEST(ReuseHistoryTest, WhoStillWaitsSaysNothingOfLaterAges) {
  ReuseHistory history(10'000);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  for (std::uint32_t i = 0; i < 2000; ++i) history.Used(i, kind, 1, 0);
  for (std::uint32_t i = 0; i < 1000; ++i) history.Used(i, ReuseHistory::kRoot, 1, 100);
  const std::size_t at = AgeStep(100);
  // A thousand of the two thousand that reached it were used in the step, the others wait in it.
  EXPECT_NEAR(history.Estimate(100)[kind][at], 1000.0 / 1500, 0.03);
  for (std::uint32_t i = 0; i < 5000; ++i) history.Used(10'000 + i, kind, 1, 99);
  EXPECT_NEAR(history.Estimate(100)[kind][at], 1000.0 / 1500, 0.03) << "they are 1 tick old";
  EXPECT_NEAR(history.Estimate(300)[kind][at], 1000.0 / 7000, 0.03) << "they passed that age";
}

TEST(ReuseHistoryTest, OldObservationsAreForgotten) {
  ReuseHistory history(1000);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  std::uint32_t now = 0;
  const auto train = [&](std::uint32_t pause, int rounds) {
    for (int round = 0; round < rounds; ++round) {
      for (std::uint32_t i = 0; i < 500; ++i) history.Used(i, kind, 1, now);
      now += pause;
      if (history.WantsEstimate()) history.Estimate(now);
    }
    return history.Estimate(now)[kind];
  };
  const AgeArray first = train(20, 400);  // 200 000 uses
  EXPECT_GT(first[AgeStep(20)], 0.9F);
  const AgeArray second = train(200, 400);
  EXPECT_LT(second[AgeStep(20)], 0.1F);
  EXPECT_GT(second[AgeStep(200)], 0.9F);
}

// Millions of scans are forgotten too: they must not outweigh for ever what is used later.
TEST(ReuseHistoryTest, WhatWasNeverUsedIsForgottenToo) {
  ReuseHistory history(1);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  const std::uint32_t far = AgeOfStep(kReuseAges - 1);
  std::uint32_t now = 0;
  for (std::uint32_t i = 0; i < 400'000; ++i) {
    now += far / 128;
    if (history.Samples(i)) history.Used(i, kind, 1, now);
    if (history.WantsEstimate()) history.Estimate(now);
  }
  std::uint32_t tag = 1'000'000;
  for (int seen = 0; seen < 60'000; ++tag) {
    if (!history.Samples(tag)) continue;
    history.Used(tag, kind, 1, now);
    history.Used(tag, ReuseHistory::kRoot, 1, now + 100);
    now += far / 128;
    if (history.WantsEstimate()) history.Estimate(now);
    ++seen;
  }
  EXPECT_GT(history.Estimate(now)[kind][AgeStep(100)], 0.5F);
}

// Nothing but new blocks: no entry is used again, and the table fills up between two estimates.
TEST(ReuseHistoryTest, ScansAloneNeitherFillTheTableForGoodNorStopTheLearning) {
  ReuseHistory history(1);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  int estimates = 0;
  for (std::uint32_t tag = 0; tag < 1'000'000; ++tag) {
    if (history.Samples(tag)) history.Used(tag, kind, 1, tag / 100);
    if (!history.WantsEstimate()) continue;
    history.Estimate(tag / 100);
    ++estimates;
  }
  EXPECT_GE(estimates, 10);
  std::size_t sampled = 0;
  for (std::uint32_t tag = 0; tag < 1'000'000; ++tag) sampled += history.Samples(tag) ? 1 : 0;
  EXPECT_LT(sampled, 1024U) << "all of one table of 1024 entries";
  EXPECT_LT(history.Estimate(10'000)[kind][12], 0.05F);
}

// From 597 to 640 of 1024 entries there is no room for half as many again.
TEST(ReuseHistoryTest, AFullTableAsksForAnEstimate) {
  for (std::uint32_t before = 300; before <= 640; before += 10) {
    ReuseHistory history(1);
    const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
    std::uint32_t tag = 0;
    for (; tag < before; ++tag) history.Used(tag, kind, 1, 0);
    history.Estimate(0);
    for (int i = 0; i < 2000 && !history.WantsEstimate(); ++i, ++tag) {
      if (history.Samples(tag)) history.Used(tag, kind, 1, 0);
    }
    EXPECT_TRUE(history.WantsEstimate()) << before << " entries before";
  }
}

// A request that began before another one of the same blocks ended tells an older time.
TEST(ReuseHistoryTest, AUseThatIsToldLateIsNoUseAfterAges) {
  ReuseHistory history(1000);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  for (std::uint32_t tag = 0; tag < 1000; ++tag) {
    history.Used(tag, kind, 1, 50);
    history.Used(tag, kind, 1, 8);
  }
  const AgeArray hazards = history.Estimate(60)[kind];
  EXPECT_LT(hazards[kReuseAges - 1], 0.1F);
  for (std::uint32_t tag = 0; tag < 1000; ++tag) history.Used(tag, ReuseHistory::kRoot, 1, 60);
  EXPECT_GT(history.Estimate(60)[kind][AgeStep(10)], 0.5F) << "of the later of the two uses";
}

TEST(ReuseHistoryTest, TicksMayWrap) {
  ReuseHistory history(1000);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  for (std::uint32_t tag = 0; tag < 1000; ++tag) {
    history.Used(tag, kind, 1, 0xfffffff0U);
    history.Used(tag, kind, 1, 4);  // 20 ticks later
  }
  EXPECT_GT(history.Estimate(4)[kind][AgeStep(20)], 0.9F);
}

TEST(ReuseHistoryTest, TagsThatCollideAreOneBlockAndNoHarm) {
  ReuseHistory history(1000);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  const std::uint16_t other = history.AddKind(kind);
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    history.Used(7, i % 2 == 0 ? kind : other, 1 + i % 50, i);
    if (history.WantsEstimate()) ExpectProbabilities(history.Estimate(i));
  }
  EXPECT_GT(history.Estimate(100'000)[kind][0], 0.9F);
}

TEST(ReuseHistoryTest, TheLastKindIsRememberedUntilItIsTooOld) {
  ReuseHistory history(1000);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  const std::uint16_t other = history.AddKind(ReuseHistory::kRoot);
  EXPECT_EQ(history.LastKind(5), ReuseHistory::kRoot);
  history.Rename(5, other);
  EXPECT_EQ(history.LastKind(5), ReuseHistory::kRoot) << "what is unknown has no kind";
  history.Used(5, kind, 1, 10);
  EXPECT_EQ(history.LastKind(5), kind);
  history.Rename(5, other);
  EXPECT_EQ(history.LastKind(5), other);
  history.Estimate(10 + AgeOfStep(kReuseAges - 1) - 1);
  EXPECT_EQ(history.LastKind(5), other);
  history.Estimate(10 + AgeOfStep(kReuseAges - 1));
  EXPECT_EQ(history.LastKind(5), ReuseHistory::kRoot);
}

// A kind that was hardly seen behaves like the one above it, not like nothing that exists.
TEST(ReuseHistoryTest, AKindThatWasHardlySeenLeansOnTheOneAbove) {
  ReuseHistory history(10'000);
  const std::uint16_t kind = history.AddKind(ReuseHistory::kRoot);
  const std::uint16_t rare = history.AddKind(kind);
  for (std::uint32_t i = 0; i < 3000; ++i) history.Used(i, kind, 1, 0);
  history.Used(5000, rare, 1, 0);
  for (std::uint32_t i = 0; i < 2000; ++i) history.Used(i, ReuseHistory::kRoot, 1, 100);
  const std::vector<AgeArray>& hazards = history.Estimate(200);
  const std::size_t at = AgeStep(100);
  EXPECT_NEAR(hazards[kind][at], 2.0 / 3, 0.03);
  EXPECT_NEAR(hazards[rare][at], hazards[kind][at], 0.1);
}

}  // namespace
}  // namespace terrace
