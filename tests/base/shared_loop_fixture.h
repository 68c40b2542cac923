// SharedLoopTest: a loop with its keeper, a pipe that it watches, and threads that wait.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/reactor.h"
#include "base/shared_loop.h"

namespace terrace::testing {

inline constexpr Nanos kLong = 30 * kSecond;  // longer than anything here takes, on any machine
// A lost wake-up costs up to 250 ms (Reactor::kSleepMax), a round without one a few milliseconds.
inline constexpr int kRounds = 60;
inline constexpr Nanos kSlowRound = 150 * kMillisecond;

/// Slow rounds, of which a busy machine may have some; with one wake-up in four lost they are more.
class Rounds {
 public:
  explicit Rounds(const Clock& clock) : clock_(clock), begin_(clock.Now()) {}
  void End() {
    const Nanos now = clock_.Now();
    if (now - std::exchange(begin_, now) > kSlowRound) ++slow_;
  }
  [[nodiscard]] bool WereFast() const { return slow_ < kRounds / 6; }

 private:
  const Clock& clock_;
  Nanos begin_;
  int slow_ = 0;
};

/// The parameter: how long a driver polls before it sleeps.
class SharedLoopTest : public ::testing::TestWithParam<Nanos> {
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

}  // namespace terrace::testing
