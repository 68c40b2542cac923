// Ready queue, timers, random numbers and holds: the plain parts of base.
#include "base/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/link.h"
#include "base/random.h"
#include "base/wait.h"
#include "tests/base/scheduler_loop.h"

namespace terrace {
namespace {

TEST(SchedulerTest, TimersFireInOrderOfTimeThenOfAdding) {
  ManualClock clock;
  Scheduler scheduler(clock);
  std::vector<int> fired;
  const Nanos start = clock.Now();
  scheduler.AddTimer(start + 30, [&] { fired.push_back(3); });
  scheduler.AddTimer(start + 10, [&] { fired.push_back(1); });
  scheduler.AddTimer(start + 10, [&] { fired.push_back(2); });
  EXPECT_EQ(scheduler.NextTimer(), start + 10);
  EXPECT_EQ(scheduler.RunTimers(start + 9), 0U);
  EXPECT_EQ(scheduler.RunTimers(start + 29), 2U);
  EXPECT_EQ(scheduler.RunTimers(start + 100), 1U);
  EXPECT_EQ(fired, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(scheduler.NextTimer(), kForever);
}

TEST(SchedulerTest, CancelledTimerNeverFires) {
  ManualClock clock;
  Scheduler scheduler(clock);
  int fired = 0;
  const auto timer = scheduler.AddTimer(5, [&] { ++fired; });
  scheduler.AddTimer(5, [&] { ++fired; });
  scheduler.CancelTimer(timer);
  scheduler.RunTimers(10);
  EXPECT_EQ(fired, 1);
}

TEST(SchedulerTest, CallbackMayAddAndCancelTimers) {
  ManualClock clock;
  Scheduler scheduler(clock);
  std::vector<int> fired;
  const auto doomed = scheduler.AddTimer(7, [&] { fired.push_back(7); });
  scheduler.AddTimer(5, [&] {
    fired.push_back(5);
    scheduler.CancelTimer(doomed);
    scheduler.AddTimer(6, [&] { fired.push_back(6); });
  });
  EXPECT_EQ(scheduler.RunTimers(10), 2U);
  EXPECT_EQ(fired, (std::vector<int>{5, 6}));
}

/// Notes its number, first waiting for its turn to do `work`.
Task<void> DoLongWork(LongWork work, int number, std::vector<int>& done) {
  co_await work;
  done.push_back(number);
}
Task<void> Answer(int number, std::vector<int>& done) {
  co_await Yield{};
  done.push_back(number);
}

TEST(SchedulerTest, LongWorkLetsAnswersOutBetweenItsParts) {
  SchedulerLoop loop;
  std::vector<int> done;
  TaskScope scope;
  constexpr LongWork kBlock{.bytes = 1 << 20};
  scope.Spawn(Answer(0, done));
  for (int number = 1; number <= 3; ++number) scope.Spawn(DoLongWork(kBlock, number, done));
  scope.Spawn(DoLongWork({.bytes = 1 << 20, .ends_request = true}, 4, done));
  scope.Spawn(DoLongWork({.bytes = 100}, 5, done));
  loop.scheduler().RunReady(100);
  EXPECT_EQ(done, (std::vector<int>{5, 0})) << "short work does not wait";
  loop.scheduler().RunReady(100);
  EXPECT_EQ(done, (std::vector<int>{5, 0, 4})) << "one long one a call";
  scope.Spawn(Answer(6, done));
  loop.RunReady();
  EXPECT_EQ(done, (std::vector<int>{5, 0, 4, 6, 1, 2, 3}));
  scope.Spawn(DoLongWork(kBlock, 7, done));
  EXPECT_EQ(loop.scheduler().RunReady(1), 1U);
  EXPECT_EQ(done.back(), 7) << "alone, it need not wait";
  loop.RunReady();
}

TEST(SchedulerTest, LongWorkThatBeginsARequestIsNotPassedOverForEver) {
  SchedulerLoop loop;
  std::vector<int> done;
  TaskScope scope;
  constexpr LongWork kPush{.bytes = 1 << 20, .ends_request = true};
  scope.Spawn(DoLongWork(kPush, 2, done));
  scope.Spawn(DoLongWork({.bytes = 1 << 20}, 1, done));
  for (int busy = 0; busy < 100; ++busy) {
    scope.Spawn(DoLongWork(kPush, 2, done));  // there is always another one that is nearly done
    loop.scheduler().RunReady(100);
  }
  EXPECT_NE(std::find(done.begin(), done.end(), 1), done.end());
  loop.RunReady();
}

TEST(SchedulerTest, LongWorkIsNotPassedOverForEver) {
  SchedulerLoop loop;
  std::vector<int> done;
  TaskScope scope;
  scope.Spawn(Answer(0, done));
  scope.Spawn(DoLongWork({.bytes = 1 << 20}, 1, done));
  for (int busy = 0; busy < 20; ++busy) {
    scope.Spawn(Answer(2, done));  // there is always something else
    loop.scheduler().RunReady(100);
  }
  EXPECT_NE(std::find(done.begin(), done.end(), 1), done.end());
  loop.RunReady();
}

/// One flow that copies or hashes on and on, e.g. a large block in slices.
Task<void> WorkOn(LongWork work, int times, int& done) {
  for (int i = 0; i < times; ++i) {
    co_await work;
    ++done;
  }
}

TEST(SchedulerTest, WorkThatIsAloneLeavesTheThreadToTheLoopNowAndThen) {
  SchedulerLoop loop;
  TaskScope scope;
  for (const std::size_t bytes : {std::size_t{1} << 20, LongWork::kShortBytes - 1}) {
    int done = 0;
    scope.Spawn(WorkOn({.bytes = bytes, .ends_request = true}, 10'000, done));
    // What is not ready yet (a message, a timer, a completion) is only looked at in between.
    loop.scheduler().RunReady(256);
    EXPECT_GT(done, 0);
    EXPECT_LE(static_cast<std::uint64_t>(done) * bytes, 32U << 20) << bytes << " bytes at a time";
    loop.RunReady();
    EXPECT_EQ(done, 10'000);
  }
}

TEST(SchedulerTest, CurrentScopesNest) {
  ManualClock clock;
  Scheduler outer(clock);
  Scheduler inner(clock);
  EXPECT_FALSE(Scheduler::HasCurrent());
  {
    const Scheduler::CurrentScope one(outer);
    {
      const Scheduler::CurrentScope two(inner);
      EXPECT_EQ(&Scheduler::Current(), &inner);
    }
    EXPECT_EQ(&Scheduler::Current(), &outer);
  }
  EXPECT_FALSE(Scheduler::HasCurrent());
}

TEST(SchedulerDeathTest, CurrentOutsideAScopeAborts) {
  EXPECT_DEATH((void)Scheduler::Current(), "invariant failed");
}

TEST(ManualClockTest, NeverGoesBack) {
  ManualClock clock;
  clock.Advance(100);
  const Nanos now = clock.Now();
  clock.AdvanceTo(now - 50);
  EXPECT_EQ(clock.Now(), now);
}

TEST(SteadyClockTest, Advances) {
  const SteadyClock clock;
  const Nanos first = clock.Now();
  EXPECT_GT(first, 0);
  EXPECT_GE(clock.Now(), first);
}

TEST(SeededRandomTest, SameSeedGivesTheSameNumbersForEver) {
  // Computed apart, in another language, from the published algorithm.
  SeededRandom zero(0);
  EXPECT_EQ(zero.Next(), 0x99ec5f36cb75f2b4U);
  EXPECT_EQ(zero.Next(), 0xbf6e1f784956452aU);
  SeededRandom forty_two(42);
  EXPECT_EQ(forty_two.Next(), 0x15780b2e0c2ec716U);
  for (int i = 0; i < 998; ++i) forty_two.Next();
  EXPECT_EQ(forty_two.Next(), 0x8de5848c61ab8968U);
}

TEST(RandomTest, BoundsHold) {
  SeededRandom random(7);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_LT(random.Below(10), 10U);
    const std::uint64_t value = random.Between(3, 5);
    ASSERT_TRUE(value >= 3 && value <= 5);
    seen.insert(value);
    const double unit = random.Unit();
    ASSERT_TRUE(unit >= 0 && unit < 1);
    ASSERT_FALSE(random.Chance(0));
    ASSERT_TRUE(random.Chance(1));
  }
  EXPECT_EQ(seen.size(), 3U);
  EXPECT_EQ(random.Below(1), 0U);
}

TEST(SystemRandomTest, DoesNotRepeat) {
  SystemRandom random;
  EXPECT_NE(random.Next(), random.Next());
}

class CountingOwner final : public Hold::Owner {
 public:
  void Release(std::uint64_t token) noexcept override { released.push_back(token); }
  std::vector<std::uint64_t> released;
};

TEST(HoldTest, ReleasesExactlyOnceHoweverItIsMoved) {
  CountingOwner owner;
  std::byte bytes[4] = {};
  {
    Hold first(bytes, &owner, 1);
    Hold second = std::move(first);
    EXPECT_FALSE(static_cast<bool>(first));  // NOLINT: a moved-from Hold is empty by contract
    EXPECT_TRUE(static_cast<bool>(second));
    EXPECT_EQ(second.bytes().size(), 4U);
    Hold third(bytes, &owner, 3);
    third = std::move(second);
    EXPECT_EQ(owner.released, std::vector<std::uint64_t>{3});
    Hold& same = third;
    third = std::move(same);
    EXPECT_TRUE(static_cast<bool>(third));
  }
  EXPECT_EQ(owner.released, (std::vector<std::uint64_t>{3, 1}));
}

}  // namespace
}  // namespace terrace
