// A loop that is run by the threads that wait for it, and by its keeper when none does.
#include "base/shared_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "base/random.h"
#include "base/wait.h"
#include "tests/base/shared_loop_fixture.h"

namespace terrace {
namespace {

using testing::kLong;
using testing::kRounds;
using testing::Rounds;
using testing::SharedLoopTest;
using testing::Waiter;

TEST_P(SharedLoopTest, WhoWaitsServesWhatArrivesHimself) {
  Waiter waiter;
  std::atomic<std::thread::id> served_by{};
  WatchPipe(waiter.signal, served_by);
  waiter.Start(*loop_, In(kLong));
  WaitUntilRunBy(waiter.id);
  WritePipe();
  waiter.thread.join();
  EXPECT_TRUE(waiter.set);
  EXPECT_EQ(served_by.load(), waiter.id.load()) << "another thread had to be woken";
}

TEST_P(SharedLoopTest, KeeperServesWhatArrivesWhileNobodyWaits) {
  Signal arrived;
  std::atomic<std::thread::id> served_by{};
  WatchPipe(arrived, served_by);
  const Nanos begin = clock_.Now();
  Rounds rounds(clock_);
  for (int round = 0; round < kRounds; ++round) {
    served_by = std::thread::id();
    WritePipe();
    while (served_by.load() == std::thread::id() && clock_.Now() < begin + kLong) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_EQ(served_by.load(), keeper_.get_id());
    Signal never;  // drives, then leaves it to the keeper again
    EXPECT_FALSE(loop_->DriveUntil(never, In(0)));
    rounds.End();
  }
  EXPECT_TRUE(rounds.WereFast());
}

TEST_P(SharedLoopTest, WhatIsEnqueuedByWhoWaitsRunsAtOnceWhoeverDrives) {
  Rounds rounds(clock_);
  for (int round = 0; round < kRounds; ++round) {
    std::array<Signal, 2> done;  // one is waited for by the driver, one by a follower
    std::vector<std::thread> threads;
    for (Signal& signal : done) {
      threads.emplace_back([this, &signal] {
        loop_->Enqueue([this, &signal] {
          reactor_->scheduler().AddTimer(In(kMillisecond), [&signal] { signal.Set(); });
        });
        EXPECT_TRUE(loop_->DriveUntil(signal, In(kLong)));
      });
    }
    for (std::thread& thread : threads) thread.join();
    rounds.End();
  }
  EXPECT_TRUE(rounds.WereFast());
}

TEST_P(SharedLoopTest, TimerOfWhoDoesNotWaitFiresInTime) {
  Rounds rounds(clock_);
  for (int round = 0; round < kRounds; ++round) {
    LetSleep();
    Signal fired;
    OnLoop([this, &fired] {
      reactor_->scheduler().AddTimer(In(kMillisecond), [&fired] { fired.Set(); });
    });
    ASSERT_TRUE(fired.WaitUntil(In(kLong)));
    rounds.End();
  }
  EXPECT_TRUE(rounds.WereFast()) << "the keeper slept past timers";
}

TEST_P(SharedLoopTest, TimerThatADriverLeavesBehindFiresInTime) {
  Rounds rounds(clock_);
  for (int round = 0; round < kRounds; ++round) {
    LetSleep();
    Signal fired;
    Signal done;
    loop_->Enqueue([this, &fired, &done] {
      reactor_->scheduler().AddTimer(In(kMillisecond), [&fired] { fired.Set(); });
      done.Set();
    });
    ASSERT_TRUE(loop_->DriveUntil(done, In(kLong)));
    ASSERT_TRUE(fired.WaitUntil(In(kLong)));
    rounds.End();
  }
  EXPECT_TRUE(rounds.WereFast()) << "the keeper was not told";
}

TEST_P(SharedLoopTest, TimerOfAnotherWakesASleepingDriver) {
  Waiter driver;
  driver.Start(*loop_, In(kLong));
  WaitUntilRunBy(driver.id);
  Rounds rounds(clock_);
  for (int round = 0; round < kRounds; ++round) {
    LetSleep();
    Signal fired;
    OnLoop([this, &fired] {
      reactor_->scheduler().AddTimer(In(kMillisecond), [&fired] { fired.Set(); });
    });
    ASSERT_TRUE(fired.WaitUntil(In(kLong)));
    rounds.End();
  }
  EXPECT_TRUE(rounds.WereFast()) << "the driver slept past timers of others";
  SetOnLoop(driver.signal);
  driver.thread.join();
  EXPECT_TRUE(driver.set);
}

TEST_P(SharedLoopTest, DriverWhoseSignalIsSetInAnothersTurnIsWoken) {
  Rounds rounds(clock_);
  for (int round = 0; round < kRounds; ++round) {
    Waiter driver;
    driver.Start(*loop_, In(kLong));
    WaitUntilRunBy(driver.id);
    SetOnLoop(driver.signal);
    driver.thread.join();
    ASSERT_TRUE(driver.set);
    rounds.End();
  }
  EXPECT_TRUE(rounds.WereFast()) << "the driver slept on";
}

TEST_P(SharedLoopTest, FollowerIsMadeTheDriverWhenTheDriverIsServed) {
  Waiter driver;
  driver.Start(*loop_, In(kLong));
  WaitUntilRunBy(driver.id);
  std::array<Waiter, 3> followers;
  for (Waiter& follower : followers) follower.Start(*loop_, In(kLong));
  SetOnLoop(driver.signal);
  driver.thread.join();
  EXPECT_TRUE(driver.set);
  // Each in turn drives, and is served by itself.
  for (std::size_t left = followers.size(); left > 0; --left) {
    std::atomic<std::thread::id> runs{};
    const Nanos end = In(kLong);
    Waiter* now = nullptr;
    while (now == nullptr && clock_.Now() < end) {
      Signal ran;
      reactor_->Post([&] {
        runs = std::this_thread::get_id();
        ran.Set();
      });
      ASSERT_TRUE(ran.WaitUntil(In(kLong)));
      for (Waiter& follower : followers) {
        if (!follower.done && follower.id.load() == runs.load()) now = &follower;
      }
    }
    ASSERT_NE(now, nullptr) << "the keeper, or nobody, took over";
    SetOnLoop(now->signal);
    now->thread.join();
    EXPECT_TRUE(now->set);
  }
}

TEST_P(SharedLoopTest, DriverThatIsLateLeavesNobodyBehind) {
  for (int round = 0; round < 20; ++round) {
    Waiter late;
    Waiter patient;
    late.Start(*loop_, In(5 * kMillisecond));
    patient.Start(*loop_, In(kLong));
    late.thread.join();
    EXPECT_FALSE(late.set);
    EXPECT_FALSE(patient.done);
    SetOnLoop(patient.signal);
    patient.thread.join();
    EXPECT_TRUE(patient.set);
  }
}

TEST_P(SharedLoopTest, FollowerThatIsLateIsNotWaitedFor) {
  Waiter driver;
  driver.Start(*loop_, In(kLong));
  WaitUntilRunBy(driver.id);
  Waiter late;
  late.Start(*loop_, In(5 * kMillisecond));
  late.thread.join();
  EXPECT_FALSE(late.set);
  SetOnLoop(driver.signal);
  driver.thread.join();
  EXPECT_TRUE(driver.set);
  Signal after;  // the loop is not left to one that has gone
  reactor_->Post([&after] { after.Set(); });
  EXPECT_TRUE(after.WaitUntil(In(kLong)));
}

TEST_P(SharedLoopTest, WhoSubmitsOrIsLateDoesNotWaitForADriverThatIsHeldUp) {
  Waiter driver;
  driver.Start(*loop_, In(kLong));
  WaitUntilRunBy(driver.id);
  std::latch held(1);
  std::latch release(1);
  reactor_->Post([&] {
    held.count_down();
    release.wait();
  });
  held.wait();
  bool ran = false;
  OnLoop([&ran] { ran = true; });  // returns though the loop stands still
  Waiter follower;
  follower.Start(*loop_, In(5 * kMillisecond));
  follower.thread.join();
  EXPECT_FALSE(follower.set);
  EXPECT_FALSE(driver.done);
  release.count_down();
  SetOnLoop(driver.signal);
  driver.thread.join();
  EXPECT_TRUE(driver.set);
  EXPECT_TRUE(ran);
}

Task<void> KeepBusy(const std::atomic<bool>* stop) {
  while (!*stop) co_await Yield{};
}

TEST_P(SharedLoopTest, DriverOfALoopThatIsNeverIdleIsLetGo) {
  std::atomic<bool> stop{false};
  TaskScope scope;
  Waiter served;
  OnLoop([&] { scope.Spawn(KeepBusy(&stop)); });
  served.Start(*loop_, In(kLong));
  SetOnLoop(served.signal);
  served.thread.join();
  EXPECT_TRUE(served.set);
  Waiter late;
  late.Start(*loop_, In(5 * kMillisecond));
  late.thread.join();
  EXPECT_FALSE(late.set);
  stop = true;
  std::atomic<bool> ended{false};
  const Nanos end = In(kLong);
  while (!ended && clock_.Now() < end) {
    reactor_->Post([&] { ended = scope.live() == 0; });
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(ended);
  StopKeeper();
}

TEST_P(SharedLoopTest, StopLetsTheKeeperGoAndWaitersWaitUntilTheirDeadline) {
  std::array<Waiter, 3> waiters;
  waiters[0].Start(*loop_, In(2 * kSecond));
  WaitUntilRunBy(waiters[0].id);
  for (std::size_t i = 1; i < waiters.size(); ++i) waiters[i].Start(*loop_, In(2 * kSecond));
  StopKeeper();
  bool ran = false;
  OnLoop([&ran] { ran = true; });
  for (Waiter& waiter : waiters) {
    waiter.thread.join();
    EXPECT_FALSE(waiter.set);
  }
  EXPECT_FALSE(ran) << "what the loop's callbacks use is gone";
  Signal set;
  set.Set();
  EXPECT_TRUE(loop_->DriveUntil(set, In(0)));
}

TEST_P(SharedLoopTest, NothingIsLostOrDoneTwiceWhenManyComeAndGo) {
  constexpr int kThreads = 8;
  constexpr int kEach = 400;
  std::atomic<int> ran = 0;
  std::atomic<int> unserved = 0;
  std::atomic<int> stray = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      SeededRandom random(static_cast<std::uint64_t>(thread) + 1);
      for (int i = 0; i < kEach; ++i) {
        const auto signal = std::make_shared<Signal>();
        const std::uint64_t kind = random.Below(4);
        const Nanos delay = static_cast<Nanos>(random.Below(300)) * kMicrosecond;
        OnLoop([this, &ran, signal, kind, delay] {
          ++ran;
          if (kind == 0) return signal->Set();
          reactor_->scheduler().AddTimer(In(delay), [signal] { signal->Set(); });
        });
        if (kind == 3) {  // may be too late, and then nobody waits any more
          [[maybe_unused]] const bool set = loop_->DriveUntil(*signal, In(delay));
        } else if (!loop_->DriveUntil(*signal, In(kLong))) {
          ++unserved;
        }
        if (Scheduler::HasCurrent()) ++stray;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(unserved, 0);
  EXPECT_EQ(stray, 0);
  EXPECT_EQ(ran, kThreads * kEach);
}

INSTANTIATE_TEST_SUITE_P(DriverSleepsAtOnceOrPollsFirst, SharedLoopTest,
                         ::testing::Values(Nanos{0}, 300 * kMicrosecond));

}  // namespace
}  // namespace terrace
