// Drives a Scheduler by a ManualClock until nothing is left to do, as a simulation does.
#pragma once

#include <utility>

#include "base/clock.h"
#include "base/scheduler.h"
#include "base/task.h"

namespace terrace {

/// A scheduler that is Current() while the loop lives, and time that jumps to the next timer.
class SchedulerLoop {
 public:
  SchedulerLoop() : scheduler_(clock_), current_(scheduler_) {}

  [[nodiscard]] Scheduler& scheduler() noexcept { return scheduler_; }
  [[nodiscard]] ManualClock& clock() noexcept { return clock_; }

  /// Runs what is ready, without moving time.
  void RunReady() {
    while (scheduler_.RunReady(1000) > 0 || scheduler_.RunTimers(clock_.Now()) > 0) {
    }
  }
  /// Runs everything, timers too. Ends when nothing is ready and no timer is left.
  void RunAll() {
    for (RunReady(); scheduler_.NextTimer() != kForever; RunReady()) {
      clock_.AdvanceTo(scheduler_.NextTimer());
    }
  }
  /// Runs everything that is due until `time`, and leaves the clock there.
  void RunUntil(Nanos time) {
    for (RunReady(); scheduler_.NextTimer() <= time; RunReady()) {
      clock_.AdvanceTo(scheduler_.NextTimer());
    }
    clock_.AdvanceTo(time);
  }

 private:
  ManualClock clock_;
  Scheduler scheduler_;
  Scheduler::CurrentScope current_;
};

}  // namespace terrace
