// Scheduler: the ready queue and the timers of one thread.
//
// The reactor drives one with real time; a simulation drives one with a ManualClock. Everything
// here runs on the owner's thread; only Reactor::Post crosses threads.
#pragma once

#include <coroutine>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "base/clock.h"

namespace terrace {

class Scheduler {
 public:
  using TimerMap = std::multimap<Nanos, std::function<void()>>;
  using TimerId = TimerMap::iterator;

  /// `clock` outlives the scheduler.
  explicit Scheduler(Clock& clock) : clock_(clock) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// The scheduler this thread is running now. REQUIRES: inside a CurrentScope.
  static Scheduler& Current() noexcept;
  [[nodiscard]] static bool HasCurrent() noexcept;

  /// Makes a scheduler Current() for this thread until the scope ends; scopes nest.
  class CurrentScope {
   public:
    explicit CurrentScope(Scheduler& scheduler) noexcept;
    ~CurrentScope();
    CurrentScope(const CurrentScope&) = delete;
    CurrentScope& operator=(const CurrentScope&) = delete;

   private:
    Scheduler* previous_;
  };

  [[nodiscard]] Clock& clock() const noexcept { return clock_; }
  [[nodiscard]] Nanos Now() const { return clock_.Now(); }

  /// Resumes `handle` on a later turn of the loop, after what is ready already.
  void Ready(std::coroutine_handle<> handle) { ready_.push_back(handle); }
  /// The same for one that will keep the thread for tens of microseconds: RunReady begins with one
  /// of these when nothing else is ready, or when others went first `kPassedOverMax` times. So what
  /// is queued for a device or a peer goes out before the next of them begins.
  /// `ends_request`: goes before the others of its kind, `kPassedOverMax` times.
  void ReadyLong(std::coroutine_handle<> handle, bool ends_request) {
    (ends_request ? ready_ends_ : ready_long_).push_back(handle);
  }
  [[nodiscard]] bool HasReady() const noexcept { return !ready_.empty() || HasLong(); }
  /// Long work may begin here and now: nothing else is ready, nor was any begun since RunReady was
  /// called. What has arrived meanwhile is not ready before the loop has looked.
  [[nodiscard]] bool TakeLong() noexcept {
    return !HasReady() && !std::exchange(long_taken_, true);
  }
  /// Short work on so many bytes may be done here and now; so much of it since RunReady was called.
  [[nodiscard]] bool TakeShort(std::size_t bytes) noexcept {
    if (short_bytes_ >= kShortBytesPerTurn) return false;
    short_bytes_ += bytes;
    return true;
  }
  /// Resumes at most `most` handles, at most one long one among them; returns how many.
  std::size_t RunReady(std::size_t most);

  /// Calls `fire` once at `time` or soon after, from the loop. The callback must not block.
  TimerId AddTimer(Nanos time, std::function<void()> fire);
  /// REQUIRES: the timer has not fired and was not cancelled.
  void CancelTimer(TimerId timer);
  /// Time of the earliest timer; kForever when there is none.
  [[nodiscard]] Nanos NextTimer() const noexcept;
  /// Fires the timers that are due at `now`, earliest first; returns how many.
  std::size_t RunTimers(Nanos now);

 private:
  [[nodiscard]] bool HasLong() const noexcept {
    return !ready_long_.empty() || !ready_ends_.empty();
  }
  void RunLong();

  Clock& clock_;
  static constexpr int kPassedOverMax = 4;
  static constexpr std::size_t kShortBytesPerTurn = 1 << 20;  // about 100 us
  std::deque<std::coroutine_handle<>> ready_;
  std::deque<std::coroutine_handle<>> ready_long_;
  std::deque<std::coroutine_handle<>> ready_ends_;  // long ones that end a request
  bool long_taken_ = false;                         // since the last RunReady
  std::size_t short_bytes_ = 0;                     // likewise
  int passed_over_ = 0;                             // times that others went before long ones
  int long_passed_over_ = 0;  // times that ready_ends_ went before ready_long_
  TimerMap timers_;
};

}  // namespace terrace
