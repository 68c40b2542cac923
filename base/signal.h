// Signal: one thread waits until another has finished something.
//
// Set once, never reset. Any thread may set or wait; the object outlives both.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/clock.h"

namespace terrace {

/// A time of SteadyClock as a time of the standard library: both are CLOCK_MONOTONIC.
[[nodiscard]] inline std::chrono::steady_clock::time_point TimePoint(Nanos time) noexcept {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(time));
}

/// As condition_variable::wait_until, but a deadline that has passed (on SteadyClock) is not waited
/// for: even that lets go of the lock, sets a timer in the kernel, and may sleep.
template <typename Predicate>
[[nodiscard]] bool WaitUntilReached(std::condition_variable& changed,
                                    std::unique_lock<std::mutex>& lock, Nanos deadline,
                                    Predicate reached) {
  if (reached()) return true;
  if (SteadyClock().Now() >= deadline) return false;
  return changed.wait_until(lock, TimePoint(deadline), std::move(reached));
}

class Signal {
 public:
  void Set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    // Under the lock: the waiter may drop the last reference as soon as it sees `set_`.
    changed_.notify_all();
  }
  [[nodiscard]] bool IsSet() const {
    const std::lock_guard lock(mutex_);
    return set_;
  }
  /// Ends WaitUntilCalled without setting anything.
  void Call() {
    const std::lock_guard lock(mutex_);
    called_ = true;
    changed_.notify_all();
  }

  /// True when set, false when `deadline` (on SteadyClock) came first.
  [[nodiscard]] bool WaitUntil(Nanos deadline) {
    std::unique_lock lock(mutex_);
    return WaitUntilReached(changed_, lock, deadline, [this] { return set_; });
  }
  /// Returns when it is set, when it was called, or at `deadline`.
  void WaitUntilCalled(Nanos deadline) {
    std::unique_lock lock(mutex_);
    [[maybe_unused]] const bool ended =
        WaitUntilReached(changed_, lock, deadline, [this] { return set_ || called_; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;     // guarded by mutex_
  bool called_ = false;  // guarded by mutex_
};

}  // namespace terrace
