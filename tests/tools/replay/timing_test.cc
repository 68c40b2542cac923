// What a report says about time: waiting must not be hidden, and nothing may get lost when a run is
// longer than its timeline.
#include <gtest/gtest.h>

#include <numeric>

#include "base/random.h"
#include "tools/replay/run/run_timing.h"
#include "tools/replay/run/timeline.h"

namespace terrace::replay {
namespace {

TEST(RunTimingTest, WaitingForAWorkerIsPartOfTheRequestsTime) {
  RunTiming timing(Pace::kOpen);
  // Due at the same moment; the second one has to wait for the first one's worker.
  timing.PrefillStarted({.request = 0, .due = 0}, 0);
  timing.PrefillEnded(0, 400 * kMillisecond);
  timing.PrefillStarted({.request = 1, .due = 0}, 400 * kMillisecond);
  timing.DecodeEnded(0, 500 * kMillisecond);
  timing.PrefillEnded(1, 700 * kMillisecond);
  timing.DecodeEnded(1, kSecond);
  EXPECT_EQ(timing.queue().count(), 2U);
  EXPECT_EQ(timing.queue().max_ns(), 400'000'000U);
  EXPECT_EQ(timing.prefill().max_ns(), 400'000'000U);
  EXPECT_EQ(timing.request().max_ns(), 1'000'000'000U);
  EXPECT_EQ(timing.late(), 1U);
}

TEST(RunTimingTest, WakeUpOfAFewMillisecondsIsNotLate) {
  RunTiming timing(Pace::kOpen);
  timing.PrefillStarted({.request = 0, .due = kSecond}, kSecond + kLateAfter);
  EXPECT_EQ(timing.late(), 0U);
  timing.PrefillStarted({.request = 1, .due = kSecond}, kSecond + kLateAfter + 1);
  EXPECT_EQ(timing.late(), 1U);
}

TEST(RunTimingTest, RequestThatNeverEndedIsInTheQueueTimeOnly) {
  RunTiming timing(Pace::kClosed);
  timing.PrefillStarted({.request = 5, .due = 0}, kSecond);
  EXPECT_EQ(timing.queue().count(), 1U);
  EXPECT_EQ(timing.prefill().count(), 0U);
  EXPECT_EQ(timing.request().count(), 0U);
  timing.DecodeEnded(6, kSecond);  // never started: nothing to count from
  EXPECT_EQ(timing.request().count(), 0U);
}

TEST(RunTimingTest, AsFastAsPossibleHasNoQueue) {
  RunTiming timing;
  timing.PrefillStarted({.request = 0, .due = 3}, 3);
  timing.PrefillEnded(0, 5);
  timing.DecodeEnded(0, 10);
  EXPECT_EQ(timing.queue().count(), 0U);
  EXPECT_EQ(timing.request().max_ns(), 7U);
}

WorkReport Prefill(std::uint32_t looked_up, std::uint32_t dram, std::uint32_t nvme) {
  WorkReport report;
  report.looked_up = looked_up;
  report.hits_dram = dram;
  report.hits_nvme = nvme;
  report.bytes_got = dram + nvme;
  report.bytes_put = looked_up - dram - nvme;
  return report;
}

TEST(TimelineTest, OperationsAreCountedInTheIntervalInWhichTheyEnd) {
  Timeline timeline;
  EXPECT_TRUE(timeline.intervals().empty());
  timeline.Add(0, Prefill(10, 3, 2));
  timeline.Add(3 * Timeline::kFirstWidth - 1, Prefill(4, 0, 0));
  WorkReport decode;
  decode.work = WorkKind::kDecode;
  decode.looked_up = 10;
  decode.hits_dram = 10;
  decode.bytes_got = 7;
  timeline.Add(3 * Timeline::kFirstWidth, decode);
  ASSERT_EQ(timeline.intervals().size(), 4U);
  EXPECT_EQ(timeline.intervals()[0].blocks_looked_up, 10U);
  EXPECT_EQ(timeline.intervals()[0].hits_dram, 3U);
  EXPECT_EQ(timeline.intervals()[0].hits_nvme, 2U);
  EXPECT_EQ(timeline.intervals()[0].blocks_missed, 5U);
  EXPECT_EQ(timeline.intervals()[1].blocks_looked_up, 0U);
  EXPECT_EQ(timeline.intervals()[2].blocks_missed, 4U);
  // A decode's blocks are no hits of a prefill, but its bytes were moved.
  EXPECT_EQ(timeline.intervals()[3].requests, 1U);
  EXPECT_EQ(timeline.intervals()[3].hits_dram, 0U);
  EXPECT_EQ(timeline.intervals()[3].bytes_got, 7U);
}

TEST(TimelineTest, LongRunKeepsItsSumsAndItsSize) {
  const std::uint64_t seed = SystemRandom().Next();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  Timeline timeline;
  std::uint64_t looked_up = 0;
  Nanos now = 0;
  // From microseconds between operations to days.
  for (int shift = 10; shift < 47; ++shift) {
    for (int step = 0; step < 20; ++step) {
      now += static_cast<Nanos>(random.Below(1ULL << shift));
      const auto blocks = static_cast<std::uint32_t>(random.Below(100));
      timeline.Add(now, Prefill(blocks, blocks / 2, 0));
      looked_up += blocks;
      ASSERT_LE(timeline.intervals().size(), Timeline::kIntervalsMax);
      // The last one is where it belongs, and at least half of the room is used.
      ASSERT_EQ(timeline.intervals().size(), static_cast<std::size_t>(now / timeline.width()) + 1);
      ASSERT_TRUE(timeline.width() == Timeline::kFirstWidth ||
                  timeline.intervals().size() >= Timeline::kIntervalsMax / 2);
    }
  }
  EXPECT_GT(timeline.width(), kSecond);
  std::uint64_t sum = 0;
  for (const TimelineInterval& interval : timeline.intervals()) {
    sum += interval.blocks_looked_up;
    EXPECT_EQ(interval.blocks_looked_up,
              interval.hits_dram + interval.hits_nvme + interval.blocks_missed);
  }
  EXPECT_EQ(sum, looked_up);
}

}  // namespace
}  // namespace terrace::replay
