// What a coroutine can wait for besides another task: time, an event, a free slot.
// All of it belongs to one scheduler's thread.
#pragma once

#include <coroutine>
#include <cstddef>
#include <deque>
#include <optional>

#include "base/clock.h"
#include "base/scheduler.h"
#include "base/task.h"

namespace terrace {

/// `co_await Yield();` lets everything else that is ready run first.
struct Yield {
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) const { Scheduler::Current().Ready(waiter); }
  void await_resume() const noexcept {}
};

/// `co_await LongWork{bytes};` before hashing or copying so many bytes in one go. Of many that come
/// from a device together, each goes to its reader before the next is hashed; nothing waits when it
/// is alone, or when the work is short. Of work on and on the loop gets a turn in between.
struct LongWork {
  std::size_t bytes;
  bool ends_request = false;                            ///< goes before other long work
  static constexpr std::size_t kShortBytes = 64 << 10;  // about 5 us
  [[nodiscard]] bool IsShort() const noexcept { return bytes < kShortBytes; }
  [[nodiscard]] bool await_ready() const noexcept {
    Scheduler& scheduler = Scheduler::Current();
    return IsShort() ? scheduler.TakeShort(bytes) : scheduler.TakeLong();
  }
  void await_suspend(std::coroutine_handle<> waiter) const {
    Scheduler& scheduler = Scheduler::Current();
    if (IsShort()) {
      scheduler.Ready(waiter);
    } else {
      scheduler.ReadyLong(waiter, ends_request);
    }
  }
  void await_resume() const noexcept {}
};

/// `co_await SleepUntil{time};`
struct SleepUntil {
  Nanos time;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) const {
    Scheduler& scheduler = Scheduler::Current();
    scheduler.AddTimer(time, [&scheduler, waiter] { scheduler.Ready(waiter); });
  }
  void await_resume() const noexcept {}
};

/// A flag that one coroutine waits for. Set() may come before the wait.
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { TERRACE_CHECK(!waiter_); }

  void Set();
  void Reset() noexcept { set_ = false; }
  [[nodiscard]] bool IsSet() const noexcept { return set_; }

  /// True when set, false when `deadline` came first. One waiter at a time.
  auto WaitUntil(Nanos deadline) noexcept {
    struct Awaiter {
      Event* event;
      Nanos deadline;
      [[nodiscard]] bool await_ready() const noexcept { return event->set_; }
      void await_suspend(std::coroutine_handle<> waiter) const { event->Suspend(waiter, deadline); }
      [[nodiscard]] bool await_resume() const noexcept { return event->set_; }
    };
    return Awaiter{this, deadline};
  }
  auto Wait() noexcept { return WaitUntil(kForever); }

 private:
  void Suspend(std::coroutine_handle<> waiter, Nanos deadline);

  bool set_ = false;
  std::coroutine_handle<> waiter_;
  std::optional<Scheduler::TimerId> timer_;
};

/// Bounds how many coroutines are past Acquire at once; first come, first served.
class Semaphore {
 public:
  explicit Semaphore(std::size_t slots) : free_(slots) {}
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;
  ~Semaphore() { TERRACE_CHECK(waiting_.empty()); }

  auto Acquire() noexcept {
    struct Awaiter {
      Semaphore* semaphore;
      [[nodiscard]] bool await_ready() const noexcept {
        if (semaphore->free_ == 0) return false;
        --semaphore->free_;
        return true;
      }
      void await_suspend(std::coroutine_handle<> waiter) const {
        semaphore->waiting_.push_back(waiter);
      }
      void await_resume() const noexcept {}
    };
    return Awaiter{this};
  }
  /// Hands the slot to the longest waiter, if any.
  void Release();
  [[nodiscard]] std::size_t free() const noexcept { return free_; }

 private:
  std::size_t free_;
  std::deque<std::coroutine_handle<>> waiting_;
};

}  // namespace terrace
