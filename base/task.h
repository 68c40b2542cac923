// Task<T>: a lazy coroutine, started when it is awaited or spawned.
//
// A finished task does not jump into its waiter; it pushes the waiter on the scheduler's ready
// queue (a trampoline). The stack stays flat in every build, sanitizers included, and no code of a
// waiter ever runs inside a completion callback. Cost: about 16 ns an await.
//
// Rules (docs/coroutines.md has the traps):
//   1. A task belongs to one scheduler and is awaited at most once.
//   2. Parameters are values, or references to what outlives the task. A lambda coroutine
//      captures nothing: its captures live in the lambda, not in the frame.
//   3. No exception leaves a task; an unhandled one aborts.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/scheduler.h"

namespace terrace {

template <typename T>
class Task;

namespace task_internal {

struct FinalAwaiter {
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> finished) const noexcept {
    const std::coroutine_handle<> waiter = finished.promise().waiter;
    if (waiter) Scheduler::Current().Ready(waiter);
  }
  void await_resume() const noexcept {}
};

struct PromiseBase {
  std::coroutine_handle<> waiter;
  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] FinalAwaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <typename T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T Take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void Take() const noexcept {}
};

}  // namespace task_internal

template <typename T>
class [[nodiscard]] Task {
 public:
  using promise_type = task_internal::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) noexcept : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  /// The child starts on the ready queue's next turn, its waiter resumes after it ended.
  auto operator co_await() && noexcept {
    struct Awaiter {
      Handle child;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> waiter) const noexcept {
        child.promise().waiter = waiter;
        Scheduler::Current().Ready(child);
      }
      T await_resume() const { return child.promise().Take(); }
    };
    TERRACE_CHECK(handle_);
    return Awaiter{handle_};
  }

 private:
  Handle handle_;
};

namespace task_internal {

template <typename T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(Task<T>::Handle::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>(Task<void>::Handle::from_promise(*this));
}

/// The root of a spawned task: starts at once, frees itself, tells its scope when it ended.
struct Root {
  struct promise_type {
    [[nodiscard]] Root get_return_object() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never initial_suspend() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};

}  // namespace task_internal

/// Owns spawned tasks: nothing they use may be destroyed before Join() returned.
/// Belongs to one scheduler's thread.
class TaskScope {
 public:
  TaskScope() = default;
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;
  ~TaskScope() { TERRACE_CHECK(live_ == 0); }

  /// Starts the task on the ready queue's next turn. The scope frees it when it ends.
  void Spawn(Task<void> task) {
    ++live_;
    Drive(this, std::move(task));
  }
  [[nodiscard]] std::size_t live() const noexcept { return live_; }

  /// Waits until every task spawned so far, and by them, has ended. One joiner at a time.
  auto Join() noexcept {
    struct Awaiter {
      TaskScope* scope;
      [[nodiscard]] bool await_ready() const noexcept { return scope->live_ == 0; }
      void await_suspend(std::coroutine_handle<> waiter) const noexcept {
        TERRACE_CHECK(!scope->joiner_);
        scope->joiner_ = waiter;
      }
      void await_resume() const noexcept {}
    };
    return Awaiter{this};
  }

 private:
  static task_internal::Root Drive(TaskScope* scope, Task<void> task) {
    co_await std::move(task);
    if (--scope->live_ == 0 && scope->joiner_) {
      Scheduler::Current().Ready(std::exchange(scope->joiner_, {}));
    }
  }
  std::size_t live_ = 0;
  std::coroutine_handle<> joiner_;
};

}  // namespace terrace
