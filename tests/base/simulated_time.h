// A scheduler on a ManualClock, for the tests of flows: time moves only when nothing is ready.
//
// Thread: the test's. The scheduler is Current() while the object lives.
#pragma once

#include <optional>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/scheduler.h"
#include "base/task.h"

namespace terrace::testing {

class SimulatedTime {
 public:
  SimulatedTime() : scheduler_(clock_), scope_(scheduler_) {}

  [[nodiscard]] ManualClock& clock() noexcept { return clock_; }
  [[nodiscard]] Scheduler& scheduler() noexcept { return scheduler_; }
  [[nodiscard]] Nanos Now() const { return clock_.Now(); }

  /// Runs what is ready, without moving time.
  void RunReady() {
    while (scheduler_.HasReady()) scheduler_.RunReady(1);
  }
  /// Runs what is ready, then moves time to the next timer. False: nothing is left to do.
  bool Step() {
    if (scheduler_.HasReady()) {
      RunReady();
      return true;
    }
    const Nanos next = scheduler_.NextTimer();
    if (next == kForever) return false;
    clock_.AdvanceTo(next);
    scheduler_.RunTimers(clock_.Now());
    return true;
  }
  /// Steps until `time` or until nothing is left; then it is at least `time`.
  void RunUntil(Nanos time) {
    while (scheduler_.HasReady() || scheduler_.NextTimer() <= time) Step();
    clock_.AdvanceTo(time);
  }
  /// Runs a task to its end. Aborts when it can never end, or takes a day.
  template <typename T>
  T Run(Task<T> task) {
    std::optional<T> result;
    TaskScope scope;
    scope.Spawn(Store(std::move(task), &result));
    while (!result) TERRACE_CHECK(Step() && Now() < kLongest);
    RunReady();
    return std::move(*result);
  }
  void Run(Task<void> task) {
    TaskScope scope;
    scope.Spawn(std::move(task));
    while (scope.live() > 0) TERRACE_CHECK(Step() && Now() < kLongest);
    RunReady();
  }
  /// Starts a task; its result is in `result` when it has ended.
  template <typename T>
  static Task<void> Store(Task<T> task, std::optional<T>* result) {
    result->emplace(co_await std::move(task));
  }

 private:
  /// Of a test: what background work keeps alive for longer is a hang.
  static constexpr Nanos kLongest = 24 * 3600 * kSecond;

  ManualClock clock_;
  Scheduler scheduler_;
  Scheduler::CurrentScope scope_;
};

}  // namespace terrace::testing
