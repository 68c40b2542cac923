// When the requests of a trace are due: no earlier, none forgotten, and each option out of bounds
// named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tools/replay/run/arrivals.h"

namespace terrace::replay {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kCentury_ms = 100ULL * 365 * 86'400 * 1000;

std::vector<TraceRequest> RequestsAt(std::initializer_list<std::uint64_t> timestamps_ms) {
  std::vector<TraceRequest> requests;
  for (const std::uint64_t timestamp : timestamps_ms) {
    requests.push_back({.timestamp_ms = timestamp});
  }
  return requests;
}

PaceOptions Open(double speed = 1) { return {.pace = Pace::kOpen, .speed = speed}; }
PaceOptions Closed(std::uint32_t concurrency, std::optional<Nanos> think = std::nullopt) {
  return {.pace = Pace::kClosed, .concurrency = concurrency, .think = think};
}

TEST(ArrivalsTest, AsFastAsPossibleNeedsNoTimestampAndNoTurn) {
  std::vector<TraceRequest> requests = RequestsAt({0, 5'000, kCentury_ms});
  for (TraceRequest& request : requests) request.session = 0;
  Arrivals arrivals(requests, {});
  for (std::uint64_t request = 0; request < 3; ++request) {
    EXPECT_EQ(arrivals.NextDue(), 0);
    EXPECT_EQ(arrivals.Take(7), (Arrival{.request = request, .due = 7}));
  }
  EXPECT_EQ(arrivals.Take(7), std::nullopt);
  EXPECT_EQ(arrivals.NextDue(), std::nullopt);
}

TEST(ArrivalsTest, RequestIsDueAtItsTimestampCountedFromTheFirstAndNoEarlier) {
  const std::vector<TraceRequest> requests = RequestsAt({86'400'000, 86'400'000, 86'400'030});
  Arrivals arrivals(requests, Open(10));
  EXPECT_EQ(arrivals.NextDue(), 0);
  EXPECT_EQ(arrivals.Take(0), (Arrival{.request = 0, .due = 0}));
  EXPECT_EQ(arrivals.Take(0), (Arrival{.request = 1, .due = 0}));
  EXPECT_EQ(arrivals.NextDue(), 3 * kMillisecond);
  EXPECT_EQ(arrivals.Take(3 * kMillisecond - 1), std::nullopt);
  EXPECT_EQ(arrivals.Take(3 * kMillisecond), (Arrival{.request = 2, .due = 3 * kMillisecond}));
  EXPECT_EQ(arrivals.NextDue(), std::nullopt);
}

TEST(ArrivalsTest, BacklogKeepsItsOrderAndTheTimesAtWhichItWasDue) {
  Arrivals arrivals(RequestsAt({}), Open());
  EXPECT_EQ(arrivals.Take(0), std::nullopt);  // a trace without requests
  const std::vector<TraceRequest> requests = RequestsAt({0, 1, 2, 3});
  Arrivals late(requests, Open());
  for (std::uint64_t request = 0; request < 4; ++request) {
    const Nanos due = static_cast<Nanos>(request) * kMillisecond;
    EXPECT_EQ(late.NextDue(), due);
    EXPECT_EQ(late.Take(kSecond), (Arrival{.request = request, .due = due}));
  }
}

TEST(ArrivalsTest, TurnWaitsForTheOneBeforeItAndHoldsUpNobodyElse) {
  std::vector<TraceRequest> requests = RequestsAt({0, 1, 2, 3});
  requests[0].session = 4;
  requests[1].session = 4;
  requests[3].session = 4;
  Arrivals arrivals(requests, Open());
  ASSERT_EQ(arrivals.Take(0)->request, 0U);
  // Both later turns are due; only what does not belong to the session goes.
  EXPECT_EQ(arrivals.Take(10 * kMillisecond)->request, 2U);
  EXPECT_EQ(arrivals.Take(10 * kMillisecond), std::nullopt);
  EXPECT_EQ(arrivals.NextDue(), std::nullopt) << "only an end can bring the next one";
  EXPECT_EQ(arrivals.turns_held(), 0U);
  arrivals.Ended(0, 20 * kMillisecond);
  EXPECT_EQ(arrivals.turns_held(), 1U);
  EXPECT_EQ(arrivals.NextDue(), kMillisecond);
  EXPECT_EQ(arrivals.Take(20 * kMillisecond), (Arrival{.request = 1, .due = kMillisecond}));
  EXPECT_EQ(arrivals.Take(20 * kMillisecond), std::nullopt);
  arrivals.Ended(1, 21 * kMillisecond);
  EXPECT_EQ(arrivals.Take(21 * kMillisecond)->request, 3U);
  EXPECT_EQ(arrivals.turns_held(), 2U);
}

TEST(ArrivalsTest, TurnThatWasNotDueYetWhenTheOneBeforeItEndedWasNotHeld) {
  std::vector<TraceRequest> requests = RequestsAt({0, 50});
  requests[0].session = requests[1].session = 0;
  Arrivals arrivals(requests, Open());
  ASSERT_TRUE(arrivals.Take(0).has_value());
  arrivals.Ended(0, 10 * kMillisecond);
  EXPECT_EQ(arrivals.Take(10 * kMillisecond), std::nullopt);
  EXPECT_EQ(arrivals.NextDue(), 50 * kMillisecond);
  EXPECT_EQ(arrivals.Take(50 * kMillisecond)->request, 1U);
  EXPECT_EQ(arrivals.turns_held(), 0U);
}

TEST(ArrivalsTest, ClosedLoopThinksAfterTheEndAsLongAsRecordedAtItsSpeed) {
  std::vector<TraceRequest> requests = RequestsAt({1'000, 2'000, 9'000});
  requests[0].session = requests[2].session = 0;  // 8 s between its turns
  requests[1].session = 1;
  PaceOptions pace = Closed(1);
  pace.speed = 4;
  Arrivals arrivals(requests, pace);
  EXPECT_EQ(arrivals.Take(5), (Arrival{.request = 0, .due = 0}));
  EXPECT_EQ(arrivals.NextDue(), std::nullopt);
  arrivals.Ended(0, kSecond);
  EXPECT_EQ(arrivals.NextDue(), 3 * kSecond);
  EXPECT_EQ(arrivals.Take(3 * kSecond - 1), std::nullopt) << "the place is taken while it thinks";
  EXPECT_EQ(arrivals.Take(4 * kSecond), (Arrival{.request = 2, .due = 3 * kSecond}));
  arrivals.Ended(2, 5 * kSecond);
  EXPECT_EQ(arrivals.Take(5 * kSecond), (Arrival{.request = 1, .due = 5 * kSecond}));
  arrivals.Ended(1, 6 * kSecond);
  EXPECT_EQ(arrivals.NextDue(), std::nullopt);
}

TEST(ArrivalsTest, ThinkTimeThatIsGivenDoesNotDependOnTheTrace) {
  std::vector<TraceRequest> requests = RequestsAt({0, kCentury_ms});
  requests[0].session = requests[1].session = 0;
  for (const Nanos think : {Nanos{0}, kSecond}) {
    ASSERT_TRUE(CheckPace(Closed(1, think), requests).ok());
    Arrivals arrivals(requests, Closed(1, think));
    ASSERT_TRUE(arrivals.Take(0).has_value());
    arrivals.Ended(0, kSecond);
    EXPECT_EQ(arrivals.NextDue(), kSecond + think);
  }
}

TEST(ArrivalsTest, ClosedLoopWithoutSessionsIsOfRequests) {
  const std::vector<TraceRequest> requests = RequestsAt({0, 0, 7'000, 8'000});
  Arrivals arrivals(requests, Closed(3));
  for (std::uint64_t request = 0; request < 3; ++request) {
    EXPECT_EQ(arrivals.Take(0)->request, request);
  }
  EXPECT_EQ(arrivals.Take(100), std::nullopt);
  arrivals.Ended(1, 100);
  EXPECT_EQ(arrivals.Take(100), (Arrival{.request = 3, .due = 100}));
}

TEST(ArrivalsTest, MoreConcurrencyThanSessionsIsAllOfThem) {
  const std::vector<TraceRequest> requests = RequestsAt({0, 1});
  Arrivals arrivals(requests, Closed(kConcurrencyMax));
  EXPECT_EQ(arrivals.Take(0)->request, 0U);
  EXPECT_EQ(arrivals.Take(0)->request, 1U);
  arrivals.Ended(0, 1);
  EXPECT_EQ(arrivals.NextDue(), std::nullopt);
}

TEST(CheckPaceTest, ValuesThatMakeNoSenseAreNamed) {
  const std::vector<TraceRequest> requests = RequestsAt({0, 1'000});
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double speed : {0.0, -1.0, std::nan(""), 1e300, -1e300, infinity, 1e-300}) {
    EXPECT_THAT(CheckPace(Open(speed), requests).message(), HasSubstr("--speed is")) << speed;
  }
  for (const double speed : {kSpeedMin, 1.0, kSpeedMax}) {
    EXPECT_TRUE(CheckPace(Open(speed), requests).ok()) << speed;
  }
  for (const std::uint32_t concurrency : {0U, kConcurrencyMax + 1}) {
    EXPECT_THAT(CheckPace(Closed(concurrency), requests).message(), HasSubstr("--concurrency is"));
  }
  for (const Nanos think : {Nanos{-1}, kThinkMax + 1, kForever}) {
    EXPECT_THAT(CheckPace(Closed(1, think), requests).message(), HasSubstr("--think-time"));
  }
}

TEST(CheckPaceTest, TraceOfCenturiesIsRefusedUnlessItIsFastEnough) {
  const std::vector<TraceRequest> requests = RequestsAt({0, kTimestampMax});
  EXPECT_THAT(CheckPace(Open(1), requests).message(),
              HasSubstr("days at --speed 1, more than 30; raise --speed"));
  EXPECT_FALSE(CheckPace(Open(kSpeedMin), requests).ok());
  EXPECT_FALSE(CheckPace(Open(kSpeedMax / 1000), requests).ok());
  EXPECT_FALSE(CheckPace(Closed(1), requests).ok());
  EXPECT_TRUE(CheckPace(Open(kSpeedMax), requests).ok());  // eleven days and a half
  EXPECT_TRUE(CheckPace({}, requests).ok());
  Arrivals arrivals(requests, Open(kSpeedMax));
  ASSERT_TRUE(arrivals.Take(0).has_value());
  EXPECT_EQ(arrivals.NextDue(), 1'000'000 * kSecond);
}

}  // namespace
}  // namespace terrace::replay
