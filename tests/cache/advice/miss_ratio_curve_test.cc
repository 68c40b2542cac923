// The curve itself; tests/tools/replay/curve_truth_test.cc has it tell the truth of workloads.
#include "cache/advice/miss_ratio_curve.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace terrace {
namespace {

constexpr std::uint64_t kBlock = 1 << 20;

Hash128 Named(std::uint64_t number) {
  return HashBytes128(std::as_bytes(std::span<const std::uint64_t>(&number, 1)));
}

MissRatioCurve::Options Sized(std::uint64_t dram_blocks, std::uint64_t nvme_blocks = 0,
                              std::uint64_t memory = 1 << 20) {
  return {.dram_bytes = dram_blocks * kBlock,
          .nvme_bytes = nvme_blocks * kBlock,
          .nvme_segments = nvme_blocks > 0 ? 8U : 0U,
          .policy = Policies().data(),
          .memory_bytes = memory};
}

class CurveTest : public ::testing::Test {
 protected:
  /// Blocks [first, first + count) of chain `chain` in one request.
  void Use(MissRatioCurve& curve, CurveUse use, std::uint64_t chain, std::uint32_t first,
           std::uint32_t count, bool there) {
    std::optional<Hash128> parent;
    if (first > 0) parent = Named(chain * 1000 + first - 1);
    curve.Begin(use, 1, kBlock, parent);
    for (std::uint32_t i = first; i < first + count; ++i) {
      curve.Add(Named(chain * 1000 + i), there, i, first + count - 1 - i);
    }
    curve.End();
  }
  double HitsAt(const MissRatioCurve& curve, double dram, bool last_hour = false) {
    for (const auto& point : curve.Read(last_hour).points) {
      if (point.point.dram_scale == dram && point.point.nvme_scale == 1) return point.hits;
    }
    return -1;
  }
  ManualClock clock_;
};

TEST_F(CurveTest, AGetInVainAndThePutThatFollowsAreOneReference) {
  MissRatioCurve curve(Sized(8), clock_);
  Use(curve, CurveUse::kGet, 1, 0, 4, false);
  Use(curve, CurveUse::kPut, 1, 0, 4, false);
  EXPECT_EQ(curve.Read(false).references, 4);
  EXPECT_EQ(curve.Read(false).hits, 0);
  Use(curve, CurveUse::kGet, 1, 0, 4, true);
  Use(curve, CurveUse::kPut, 1, 0, 4, true);
  EXPECT_EQ(curve.Read(false).references, 8) << "what is put though it is there was needed once";
  EXPECT_EQ(curve.Read(false).hits, 4);
  EXPECT_EQ(HitsAt(curve, 1), 4);
  EXPECT_TRUE(curve.Validate().ok()) << curve.Validate().ToString();
}

TEST_F(CurveTest, ASmallerCacheMissesWhatItHadToGiveUp) {
  MissRatioCurve curve(Sized(8), clock_);
  for (const std::uint64_t chain : {1U, 2U}) Use(curve, CurveUse::kPut, chain, 0, 4, false);
  for (const std::uint64_t chain : {1U, 2U}) Use(curve, CurveUse::kGet, chain, 0, 4, true);
  EXPECT_EQ(HitsAt(curve, 1), 8);
  EXPECT_EQ(HitsAt(curve, 2), 8);
  EXPECT_LT(HitsAt(curve, 0.5), 8);
  EXPECT_LT(HitsAt(curve, 0.25), 4);
}

TEST_F(CurveTest, ALargerCacheHitsWhatTheRealOneGaveUp) {
  MissRatioCurve curve(Sized(4), clock_);
  for (int round = 0; round < 2; ++round) {
    for (const std::uint64_t chain : {1U, 2U}) Use(curve, CurveUse::kPut, chain, 0, 4, false);
  }
  EXPECT_EQ(curve.Read(false).hits, 0);
  EXPECT_EQ(HitsAt(curve, 1), 0);
  EXPECT_EQ(HitsAt(curve, 2), 8) << "both chains fit twice the DRAM";
}

// The real cache did better than its miniature by four hits; no size can have them beyond all that
// there are.
TEST_F(CurveTest, MemoryOfGpusCountsAsRoomForBlocksThatLeftDram) {
  MissRatioCurve::Options options = Sized(4);
  options.hbm_bytes = 8 * kBlock;
  MissRatioCurve curve(options, clock_);
  for (const std::uint64_t chain : {1U, 2U}) Use(curve, CurveUse::kPut, chain, 0, 4, false);
  for (const std::uint64_t chain : {1U, 2U}) Use(curve, CurveUse::kGet, chain, 0, 4, true);
  const auto hits_at = [&curve](double hbm) {
    for (const auto& point : curve.Read(false).points) {
      if (point.point.hbm_scale == hbm && point.point.dram_scale == 1) return point.hits;
    }
    return -1.0;
  };
  EXPECT_EQ(hits_at(1), 8) << "both chains fit HBM";
  EXPECT_EQ(hits_at(2), 8);
  EXPECT_LT(hits_at(0.5), 8) << "which is no more than what DRAM has";
  EXPECT_EQ(hits_at(0), hits_at(0.5));
  EXPECT_EQ(HitsAt(curve, 0.25), 8);
  EXPECT_TRUE(curve.Validate().ok()) << curve.Validate().ToString();
  EXPECT_EQ(MissRatioCurve::PointsFor(1 << 20, 1 << 20, 1 << 20).size(), 16U);
  EXPECT_EQ(MissRatioCurve::PointsFor(1 << 20, 1 << 20).size(), 12U) << "nothing for nobody's HBM";
}

TEST_F(CurveTest, MemoryOfGpusCountsInASampleToo) {
  MissRatioCurve::Options options = Sized(2000);
  options.hbm_bytes = 6000 * kBlock;
  MissRatioCurve curve(options, clock_);
  for (int round = 0; round < 4; ++round) {
    for (std::uint64_t chain = 1; chain <= 1000; ++chain) {
      Use(curve, round == 0 ? CurveUse::kPut : CurveUse::kGet, chain, 0, 4, round > 0);
    }
  }
  ASSERT_GT(curve.Shift(), 0U) << "all fit the table";
  double without = -1;
  for (const auto& point : curve.Read(false).points) {
    if (point.point.hbm_scale == 0) without = point.hits;
  }
  EXPECT_GT(HitsAt(curve, 0.25), 11'000) << "6,000 blocks hold 4,000";
  EXPECT_LT(without, HitsAt(curve, 0.25)) << "2,000 blocks do not";
}

TEST_F(CurveTest, ASizeThatMissesNothingTwiceIsNotCorrected) {
  MissRatioCurve curve(Sized(4), clock_);
  for (const std::uint64_t chain : {1U, 2U}) Use(curve, CurveUse::kPut, chain, 0, 4, false);
  Use(curve, CurveUse::kGet, 1, 0, 4, true);
  Use(curve, CurveUse::kPut, 2, 0, 4, false);
  EXPECT_EQ(curve.Read(false).references, 16);
  EXPECT_EQ(HitsAt(curve, 1), 4);
  EXPECT_EQ(HitsAt(curve, 2), 8);
  EXPECT_EQ(HitsAt(curve, 4), 8);
}

TEST_F(CurveTest, WhatLiesBehindAGapIsNoHit) {
  MissRatioCurve curve(Sized(64), clock_);
  Use(curve, CurveUse::kPut, 1, 0, 4, false);
  curve.Forget({.namespace_id = 1, .hash = Named(1001)});
  Use(curve, CurveUse::kGet, 1, 0, 1, true);
  // The put of all behind it: a block that is new, then two that are there.
  curve.Begin(CurveUse::kPut, 1, kBlock, Named(1000));
  for (std::uint32_t i = 1; i < 4; ++i) curve.Add(Named(1000 + i), i > 1, i, 3 - i);
  curve.End();
  EXPECT_EQ(curve.Read(false).references, 8);
  EXPECT_EQ(curve.Read(false).hits, 1);
  EXPECT_EQ(HitsAt(curve, 2), 1);
}

TEST_F(CurveTest, AClearedNamespaceIsForgotten) {
  MissRatioCurve curve(Sized(64, 64), clock_);
  Use(curve, CurveUse::kPut, 1, 0, 4, false);
  curve.Clear(1);
  Use(curve, CurveUse::kPut, 1, 0, 4, false);
  for (const auto& point : curve.Read(false).points) EXPECT_EQ(point.hits, 0);
  EXPECT_TRUE(curve.Validate().ok()) << curve.Validate().ToString();
}

TEST_F(CurveTest, TheLastHourForgetsWhatIsOlder) {
  MissRatioCurve curve(Sized(8), clock_);
  Use(curve, CurveUse::kPut, 1, 0, 4, false);
  clock_.Advance(30 * 60 * kSecond);
  Use(curve, CurveUse::kGet, 1, 0, 4, true);
  EXPECT_EQ(curve.Read(true).references, 8);
  clock_.Advance(40 * 60 * kSecond);
  EXPECT_EQ(curve.Read(true).references, 4) << "the put was 70 minutes ago";
  EXPECT_EQ(HitsAt(curve, 1, true), 4);
  clock_.Advance(2 * 3600 * kSecond);
  EXPECT_EQ(curve.Read(true).references, 0) << "nobody came for hours";
  EXPECT_EQ(curve.Read(false).references, 8);
}

// Random operations through a table that is much too small: it must halve its sample and stay
// whole.
TEST_F(CurveTest, ATinyTableStaysWholeUnderEverything) {
  SeededRandom random(4);
  MissRatioCurve curve(Sized(3000, 20'000, 1), clock_);
  for (int round = 0; round < 4000; ++round) {
    const std::uint64_t chain = random.Below(300);
    const auto first = static_cast<std::uint32_t>(random.Below(30));
    const auto use = static_cast<CurveUse>(random.Below(3));
    Use(curve, use, chain, first, 1 + static_cast<std::uint32_t>(random.Below(30)),
        random.Below(2) == 0);
    if (random.Below(20) == 0) {
      curve.Forget({.namespace_id = 1, .hash = Named(chain * 1000 + first)});
    }
    if (random.Below(500) == 0) curve.Clear(1);
    if (round % 100 != 0) continue;
    ASSERT_TRUE(curve.Validate().ok()) << curve.Validate().ToString() << " in round " << round;
  }
  EXPECT_GT(curve.Shift(), 0u) << "the table was never full";
  const CurveFigures figures = curve.Read(false);
  for (const auto& point : figures.points) {
    EXPECT_LE(point.hits, figures.references);
    EXPECT_LE(point.hits, figures.references);
  }
}

/// A clock that takes time each time it is looked at.
class SlowClock final : public Clock {
 public:
  [[nodiscard]] Nanos Now() const override { return now_ += step_; }
  void Skip(Nanos time) { now_ += time; }

 private:
  mutable Nanos now_ = kSecond;
  const Nanos step_ = kMillisecond;
};

TEST_F(CurveTest, WhoTakesTooMuchTimeSamplesLess) {
  SlowClock clock;
  MissRatioCurve curve(Sized(100), clock);
  for (int round = 0; round < 3000; ++round) {
    Use(curve, CurveUse::kPut, static_cast<std::uint64_t>(round), 0, 4, false);
  }
  EXPECT_GT(curve.Shift(), 1u);
  SlowClock idle;
  MissRatioCurve rested(Sized(100), idle);
  for (int round = 0; round < 300; ++round) {
    idle.Skip(kSecond);
    Use(rested, CurveUse::kPut, static_cast<std::uint64_t>(round), 0, 4, false);
  }
  EXPECT_EQ(rested.Shift(), 0u);
}

// A sample that is a thousand times too large was halved once a second, and cost more than all that
// came after.
TEST_F(CurveTest, WhoIsFarOverItsTimeIsSoonWithinIt) {
  SlowClock clock;
  MissRatioCurve curve(Sized(100), clock);
  const Nanos began = clock.Now();
  for (int round = 0; round < 100; ++round) {
    Use(curve, CurveUse::kPut, static_cast<std::uint64_t>(round), 0, 4, false);
  }
  ASSERT_LT(clock.Now() - began, kSecond);
  EXPECT_GT(curve.Shift(), 8u);
}

// One busy minute made every later answer unsure.
TEST_F(CurveTest, TheSampleGrowsAgainWhenThereIsTimeForIt) {
  SlowClock clock;
  MissRatioCurve curve(Sized(100), clock);
  std::uint64_t round = 0;
  const auto use = [&](int times, Nanos pause) {
    for (int i = 0; i < times; ++i) {
      clock.Skip(pause);
      Use(curve, CurveUse::kPut, round++, 0, 4, false);
    }
  };
  use(3000, 0);
  const unsigned busy = curve.Shift();
  EXPECT_GT(busy, 1u);
  use(20, 3 * kSecond);
  EXPECT_EQ(curve.Shift(), busy) << "not at once";
  use(60 * static_cast<int>(busy), 3 * kSecond);
  EXPECT_EQ(curve.Shift(), 0u);
  // Growing in vain is tried less and less often.
  const auto grow = [&] {
    use(3000, 0);
    int calm = 0;
    for (const unsigned before = curve.Shift(); curve.Shift() == before && calm < 5000; ++calm) {
      use(1, 3 * kSecond);
    }
    return calm;
  };
  EXPECT_GT(grow(), 100);
  EXPECT_GT(grow(), 200);
}

TEST_F(CurveTest, MemoryIsAShareOfTheArenaAboveItsFloor) {
  EXPECT_EQ(MissRatioCurve::BytesFor(64 << 20), MissRatioCurve::kBytesMin);
  EXPECT_EQ(MissRatioCurve::BytesFor(32ULL << 30), (32ULL << 30) / 2500);
  for (const std::uint64_t nvme : {std::uint64_t{0}, std::uint64_t{10'000}}) {
    MissRatioCurve curve(Sized(4096, nvme, 4 << 20), clock_);
    EXPECT_LT(curve.Bytes(), 4.5 * (1 << 20));
  }
}

}  // namespace
}  // namespace terrace
