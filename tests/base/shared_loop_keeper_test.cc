// The keeper of a loop sleeps while others drive it.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "base/shared_loop.h"
#include "base/wait.h"
#include "tests/base/shared_loop_fixture.h"

namespace terrace {
namespace {

using testing::kLong;
using testing::Waiter;
using SharedLoopKeeperTest = testing::SharedLoopTest;

long SwitchesOf(int thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/status");
  const std::string wanted = "voluntary_ctxt_switches:";
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(wanted)) return std::stol(line.substr(wanted.size()));
  }
  return -1;
}

TEST_P(SharedLoopKeeperTest, KeeperIsNotWokenForWhatADriverServes) {
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

TEST_P(SharedLoopKeeperTest, KeeperIsNotWokenForTheAnswerOfEachCall) {
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

TEST_P(SharedLoopKeeperTest, KeeperThatSleepsForATimerIsNotWokenByEachCall) {
  constexpr int kCalls = 50;  // while the timer lasts
  OnLoop([&] { reactor_->scheduler().AddTimer(In(200 * kMillisecond), [] {}); });
  LetSleep();
  const long before = SwitchesOf(keeper_id_);
  const Nanos begin = clock_.Now();
  for (int call = 0; call < kCalls; ++call) {
    Signal signal;
    SetOnLoop(signal);
    EXPECT_TRUE(loop_->DriveUntil(signal, In(kLong)));
    LetSleep();
  }
  // By itself it wakes four times a second.
  const long woken = SwitchesOf(keeper_id_) - before;
  EXPECT_LT(woken, kCalls / 5 + 10 * (clock_.Now() - begin) / kSecond);
}

INSTANTIATE_TEST_SUITE_P(DriverSleepsAtOnceOrPollsFirst, SharedLoopKeeperTest,
                         ::testing::Values(Nanos{0}, 300 * kMicrosecond));

}  // namespace
}  // namespace terrace
