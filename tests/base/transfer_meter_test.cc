#include "base/transfer_meter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/random.h"

namespace terrace {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr TransferMeter::Rate kPrior = {.latency_s = 100e-6, .bytes_per_s = 2e9};

/// A source with a latency and a bandwidth, as many operations under way as its reader likes.
class Source {
 public:
  Source(double latency_s, double bytes_per_s) : latency_s_(latency_s), bytes_per_s_(bytes_per_s) {}

  /// Reads `blocks` one behind the other, `depth` under way; then idles.
  void Read(TransferMeter& meter, int blocks, std::uint64_t block_bytes, int depth = 4) {
    now_ += kMillisecond;
    int begun = 0;
    for (; begun < std::min(depth, blocks); ++begun) meter.Begin(now_);
    now_ += Nanos(latency_s_ * 1e9);
    for (int ended = 0; ended < blocks; ++ended) {
      now_ += Nanos(static_cast<double>(block_bytes) / bytes_per_s_ * noise() * 1e9);
      if (begun < blocks) {
        meter.Begin(now_);
        ++begun;
      }
      meter.End(now_, block_bytes);
    }
  }
  void Become(double latency_s, double bytes_per_s) {
    latency_s_ = latency_s;
    bytes_per_s_ = bytes_per_s;
  }
  void Idle(Nanos time) { now_ += time; }
  void SetNoise(double share) { noise_ = share; }
  [[nodiscard]] Nanos now() const { return now_; }

 private:
  double noise() { return 1 + noise_ * (2 * random_.Unit() - 1); }

  double latency_s_;
  double bytes_per_s_;
  double noise_ = 0;
  SeededRandom random_{7};
  Nanos now_ = kSecond;
};

TEST(TransferMeter, BeforeTheFirstSampleItSaysThePrior) {
  const TransferMeter meter(kPrior);
  EXPECT_EQ(meter.Expected(kSecond).bytes_per_s, 2e9);
  EXPECT_EQ(meter.Expected(100 * kSecond).latency_s, 100e-6);
}

TEST(TransferMeter, OneLongReadTeachesTheBandwidthHoweverFarThePriorIsOff) {
  for (const double bandwidth : {50e6, 200e6, 1e9, 3e9, 12e9}) {
    TransferMeter meter(kPrior);
    Source source(80e-6, bandwidth);
    source.Read(meter, 64, kMiB);
    const double learned = meter.Expected(source.now()).bytes_per_s;
    EXPECT_NEAR(learned / bandwidth, 1, 0.03) << bandwidth;
  }
}

TEST(TransferMeter, LatencyAndBandwidthAreToldApart) {
  TransferMeter meter(kPrior);
  Source source(2e-3, 500e6);
  for (int i = 0; i < 20; ++i) {
    source.Read(meter, 1, 64 << 10);
    source.Read(meter, 16, kMiB);
  }
  EXPECT_NEAR(meter.Expected(source.now()).bytes_per_s / 500e6, 1, 0.05);
  EXPECT_NEAR(meter.Expected(source.now()).latency_s / 2e-3, 1, 0.1);
}

TEST(TransferMeter, SmallReadsDoNotSpoilTheBandwidth) {
  TransferMeter meter(kPrior);
  Source source(200e-6, 1e9);
  source.Read(meter, 64, kMiB);
  for (int i = 0; i < 500; ++i) source.Read(meter, 1, 4096, 1);
  EXPECT_NEAR(meter.Expected(source.now()).bytes_per_s / 1e9, 1, 0.15);
  EXPECT_NEAR(meter.Expected(source.now()).latency_s / 200e-6, 1, 0.1);
}

TEST(TransferMeter, OneOutlierMovesItLittleAndIsSoonForgotten) {
  TransferMeter meter(kPrior);
  Source source(100e-6, 1e9);
  for (int i = 0; i < 10; ++i) source.Read(meter, 16, kMiB);
  source.Become(100e-6, 1e7);  // somebody held the machine up
  source.Read(meter, 4, kMiB);
  EXPECT_GT(meter.Expected(source.now()).bytes_per_s, 0.6e9);
  source.Become(100e-6, 1e9);
  for (int i = 0; i < 8; ++i) source.Read(meter, 16, kMiB);
  EXPECT_NEAR(meter.Expected(source.now()).bytes_per_s / 1e9, 1, 0.1);
}

TEST(TransferMeter, AChangeForGoodIsLearnedWithinAFewReads) {
  TransferMeter meter(kPrior);
  Source source(100e-6, 3e9);
  for (int i = 0; i < 10; ++i) source.Read(meter, 64, kMiB);
  for (const double bandwidth : {50e6, 3e9}) {
    source.Become(100e-6, bandwidth);
    for (int i = 0; i < 12; ++i) source.Read(meter, 16, kMiB);
    EXPECT_NEAR(meter.Expected(source.now()).bytes_per_s / bandwidth, 1, 0.2) << bandwidth;
  }
}

TEST(TransferMeter, NoiseOfATenthStaysBelowThat) {
  TransferMeter meter(kPrior);
  Source source(100e-6, 1e9);
  source.SetNoise(0.3);
  for (int i = 0; i < 30; ++i) {
    source.Read(meter, 32, kMiB);
    if (i > 5) EXPECT_NEAR(meter.Expected(source.now()).bytes_per_s / 1e9, 1, 0.06) << i;
  }
}

TEST(TransferMeter, AnIdleNightLeadsBackToThePriorAndAMinuteDoesNot) {
  TransferMeter meter(kPrior);
  Source source(100e-6, 20e6);
  for (int i = 0; i < 4; ++i) source.Read(meter, 16, kMiB);
  source.Idle(60 * kSecond);
  EXPECT_LT(meter.Expected(source.now()).bytes_per_s, 30e6);
  source.Idle(8 * 3600 * kSecond);
  EXPECT_GT(meter.Expected(source.now()).bytes_per_s, 1.9e9);
}

TEST(TransferMeter, WhatFailedTeachesNothing) {
  TransferMeter meter(kPrior);
  meter.Begin(0);
  meter.Begin(0);
  meter.End(10 * kSecond, 0);
  meter.End(11 * kSecond, kMiB);
  EXPECT_EQ(meter.samples(), 0u);
  meter.Begin(12 * kSecond);
  meter.End(12 * kSecond + kMillisecond, kMiB);
  EXPECT_EQ(meter.samples(), 1u);
}

TEST(TransferMeter, NothingThatCanHappenMakesItNonsense) {
  SeededRandom random(3);
  TransferMeter meter(kPrior);
  Nanos now = 0;
  std::uint64_t under_way = 0;
  for (int i = 0; i < 20'000; ++i) {
    now += static_cast<Nanos>(random.Below(3) == 0 ? random.Below(1ULL << 40) : random.Below(1000));
    if (under_way > 0 && random.Below(2) == 0) {
      meter.End(now, random.Below(3) == 0 ? 0 : 1 + random.Below(64 * kMiB));
      --under_way;
    } else {
      meter.Begin(now);
      ++under_way;
    }
    const TransferMeter::Rate rate = meter.Expected(now);
    ASSERT_TRUE(rate.bytes_per_s >= 1e3 && rate.bytes_per_s <= 1e12) << i;
    ASSERT_TRUE(rate.latency_s >= 1e-6 && rate.latency_s <= 10) << i;
  }
}

}  // namespace
}  // namespace terrace
