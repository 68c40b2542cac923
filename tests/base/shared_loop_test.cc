// A loop that is run by the threads that wait for it, and by its keeper when none does.
#include "base/shared_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "base/wait.h"

namespace terrace {
namespace {

constexpr Nanos kLong = 30 * kSecond;  // longer than anything here takes, on any machine
// A lost wake-up costs up to 250 ms (Reactor::kSleepMax). So many rounds of a few milliseconds each
// end within kRoundsMax, and do not when one wake-up in four is lost.
constexpr int kRounds = 60;
constexpr Nanos kRoundsMax = 4 * kSecond;

/// The parameter: how long a driver polls before it sleeps.
class SharedLoopTest : public testing::TestWithParam<Nanos> {
 protected:
  void SetUp() override {
    auto reactor = Reactor::Create({.shared = true}, clock_);
    ASSERT_TRUE(reactor.ok()) << reactor.status().ToString();
    reactor_ = std::move(reactor.value());
    auto loop = SharedLoop::Create(*reactor_, GetParam());
    ASSERT_TRUE(loop.ok()) << loop.status().ToString();
    loop_ = std::move(loop.value());
    ASSERT_EQ(pipe2(pipe_.data(), O_NONBLOCK | O_CLOEXEC), 0);
    keeper_ = std::thread([this] {
      keeper_id_ = ::gettid();
      loop_->Run();
    });
    while (keeper_id_ == 0) std::this_thread::yield();
  }
  void TearDown() override {
    StopKeeper();
    loop_.reset();
    reactor_.reset();
    close(pipe_[0]);
    close(pipe_[1]);
  }
  void StopKeeper() {
    reactor_->Stop();
    if (keeper_.joinable()) keeper_.join();
  }

  [[nodiscard]] Nanos In(Nanos time) const { return clock_.Now() + time; }
  /// On this thread, or on that of whoever is in a turn.
  void OnLoop(std::function<void()> function) {
    loop_->Enqueue(std::move(function));
    loop_->RunPosted();
  }
  void SetOnLoop(Signal& signal) {
    OnLoop([&signal] { signal.Set(); });
  }
  /// Returns when `thread` runs the turns: no other does until it leaves.
  void WaitUntilRunBy(const std::atomic<std::thread::id>& thread) {
    const auto seen = std::make_shared<std::atomic<std::thread::id>>();
    const Nanos end = In(kLong);
    while (*seen != thread.load() || thread.load() == std::thread::id()) {
      ASSERT_LT(clock_.Now(), end);
      reactor_->Post([seen] { *seen = std::this_thread::get_id(); });
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  /// Sets `signal` and names the thread as soon as the pipe is written to.
  void WatchPipe(Signal& signal, std::atomic<std::thread::id>& served_by) {
    Signal watched;
    OnLoop([&] {
      reactor_->Watch(pipe_[0], [&] {
        char byte = 0;
        while (read(pipe_[0], &byte, 1) == 1) {
          served_by = std::this_thread::get_id();
          signal.Set();
        }
      });
      watched.Set();
    });
    ASSERT_TRUE(loop_->DriveUntil(watched, In(kLong)));
  }
  /// Lets whoever has nothing to do fall asleep.
  static void LetSleep() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }
  void WritePipe() const { ASSERT_EQ(write(pipe_[1], "x", 1), 1); }

  SteadyClock clock_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<SharedLoop> loop_;
  std::array<int, 2> pipe_{};
  std::atomic<int> keeper_id_{0};
  std::thread keeper_;
};

/// A thread in DriveUntil.
struct Waiter {
  Signal signal;
  std::atomic<std::thread::id> id{};
  std::atomic<bool> done{false};
  bool set = false;
  std::thread thread;

  void Start(SharedLoop& loop, Nanos deadline) {
    thread = std::thread([this, &loop, deadline] {
      id = std::this_thread::get_id();
      set = loop.DriveUntil(signal, deadline);
      done = true;
    });
  }
};

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
  for (int round = 0; round < kRounds; ++round) {
    served_by = std::thread::id();
    WritePipe();
    while (served_by.load() == std::thread::id() && clock_.Now() < begin + kLong) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_EQ(served_by.load(), keeper_.get_id());
    Signal never;  // drives, then leaves it to the keeper again
    EXPECT_FALSE(loop_->DriveUntil(never, In(0)));
  }
  EXPECT_LT(clock_.Now() - begin, kRoundsMax);
}

TEST_P(SharedLoopTest, WhatIsEnqueuedByWhoWaitsRunsAtOnceWhoeverDrives) {
  const Nanos begin = clock_.Now();
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
  }
  EXPECT_LT(clock_.Now() - begin, kRoundsMax);
}

TEST_P(SharedLoopTest, TimerOfWhoDoesNotWaitFiresInTime) {
  const Nanos begin = clock_.Now();
  for (int round = 0; round < kRounds; ++round) {
    LetSleep();
    Signal fired;
    OnLoop([this, &fired] {
      reactor_->scheduler().AddTimer(In(kMillisecond), [&fired] { fired.Set(); });
    });
    ASSERT_TRUE(fired.WaitUntil(In(kLong)));
  }
  EXPECT_LT(clock_.Now() - begin, kRoundsMax) << "the keeper slept past timers";
}

TEST_P(SharedLoopTest, TimerThatADriverLeavesBehindFiresInTime) {
  const Nanos begin = clock_.Now();
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
  }
  EXPECT_LT(clock_.Now() - begin, kRoundsMax) << "the keeper was not told";
}

TEST_P(SharedLoopTest, TimerOfAnotherWakesASleepingDriver) {
  Waiter driver;
  driver.Start(*loop_, In(kLong));
  WaitUntilRunBy(driver.id);
  const Nanos begin = clock_.Now();
  for (int round = 0; round < kRounds; ++round) {
    LetSleep();
    Signal fired;
    OnLoop([this, &fired] {
      reactor_->scheduler().AddTimer(In(kMillisecond), [&fired] { fired.Set(); });
    });
    ASSERT_TRUE(fired.WaitUntil(In(kLong)));
  }
  EXPECT_LT(clock_.Now() - begin, kRoundsMax) << "the driver slept past timers of others";
  SetOnLoop(driver.signal);
  driver.thread.join();
  EXPECT_TRUE(driver.set);
}

TEST_P(SharedLoopTest, DriverWhoseSignalIsSetInAnothersTurnIsWoken) {
  const Nanos begin = clock_.Now();
  for (int round = 0; round < kRounds; ++round) {
    Waiter driver;
    driver.Start(*loop_, In(kLong));
    WaitUntilRunBy(driver.id);
    SetOnLoop(driver.signal);
    driver.thread.join();
    ASSERT_TRUE(driver.set);
  }
  EXPECT_LT(clock_.Now() - begin, kRoundsMax) << "the driver slept on";
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

long SwitchesOf(int thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/status");
  const std::string wanted = "voluntary_ctxt_switches:";
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(wanted)) return std::stol(line.substr(wanted.size()));
  }
  return -1;
}

TEST_P(SharedLoopTest, KeeperIsNotWokenForWhatADriverServes) {
  constexpr int kEvents = 500;
  std::atomic<int> served = 0;
  Signal watched;
  OnLoop([&] {
    reactor_->Watch(pipe_[0], [&] {
      char byte = 0;
      while (read(pipe_[0], &byte, 1) == 1) ++served;
    });
    watched.Set();
  });
  ASSERT_TRUE(loop_->DriveUntil(watched, In(kLong)));
  Waiter driver;
  driver.Start(*loop_, In(kLong));
  WaitUntilRunBy(driver.id);
  const Nanos begin = clock_.Now();
  const long before = SwitchesOf(keeper_id_);
  ASSERT_GE(before, 0);
  for (int event = 0; event < kEvents; ++event) {
    WritePipe();
    while (served <= event && clock_.Now() < begin + kLong) std::this_thread::yield();
    ASSERT_GT(served, event);
  }
  const long stirred = SwitchesOf(keeper_id_) - before;
  // By itself it looks four times a second.
  EXPECT_LT(stirred, kEvents / 10 + 10 * (clock_.Now() - begin) / kSecond);
  SetOnLoop(driver.signal);
  driver.thread.join();
}

TEST_P(SharedLoopTest, KeeperIsNotWokenForTheAnswerOfEachCall) {
  constexpr int kCalls = 300;
  std::shared_ptr<Signal> answered;  // the loop's
  Signal watched;
  OnLoop([&] {
    reactor_->Watch(pipe_[0], [&] {
      char byte = 0;
      while (read(pipe_[0], &byte, 1) == 1) answered->Set();
    });
    watched.Set();
  });
  ASSERT_TRUE(loop_->DriveUntil(watched, In(kLong)));
  std::atomic<int> asked{0};
  std::thread peer([&] {  // answers when the caller sleeps
    for (int call = 0; call < kCalls; ++call) {
      while (asked <= call) std::this_thread::yield();
      LetSleep();
      WritePipe();
    }
  });
  LetSleep();
  const Nanos begin = clock_.Now();
  const long before = SwitchesOf(keeper_id_);
  ASSERT_GE(before, 0);
  for (int call = 0; call < kCalls; ++call) {
    const auto signal = std::make_shared<Signal>();
    OnLoop([&, signal] {
      answered = signal;
      ++asked;
    });
    EXPECT_TRUE(loop_->DriveUntil(*signal, In(kLong)));
  }
  const long stirred = SwitchesOf(keeper_id_) - before;
  peer.join();
  EXPECT_LT(stirred, kCalls / 3 + 10 * (clock_.Now() - begin) / kSecond);
}

TEST_P(SharedLoopTest, KeeperThatSleepsForATimerIsNotWokenByEachCall) {
  constexpr int kCalls = 50;  // while the timer lasts
  OnLoop([&] { reactor_->scheduler().AddTimer(In(200 * kMillisecond), [] {}); });
  LetSleep();
  const long before = SwitchesOf(keeper_id_);
  for (int call = 0; call < kCalls; ++call) {
    Signal signal;
    SetOnLoop(signal);
    EXPECT_TRUE(loop_->DriveUntil(signal, In(kLong)));
    LetSleep();
  }
  EXPECT_LT(SwitchesOf(keeper_id_) - before, kCalls / 5);
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
                         testing::Values(Nanos{0}, 300 * kMicrosecond));

}  // namespace
}  // namespace terrace
