#include "base/scheduler.h"

#include <utility>

#include "base/check.h"

namespace terrace {

namespace {
thread_local Scheduler* current_scheduler = nullptr;
}  // namespace

Scheduler& Scheduler::Current() noexcept {
  TERRACE_CHECK(current_scheduler != nullptr);
  return *current_scheduler;
}

bool Scheduler::HasCurrent() noexcept { return current_scheduler != nullptr; }

Scheduler::CurrentScope::CurrentScope(Scheduler& scheduler) noexcept
    : previous_(std::exchange(current_scheduler, &scheduler)) {}

Scheduler::CurrentScope::~CurrentScope() { current_scheduler = previous_; }

void Scheduler::RunLong() {
  const bool ends =
      !ready_ends_.empty() && (ready_long_.empty() || ++long_passed_over_ <= kPassedOverMax);
  if (!ends) long_passed_over_ = 0;
  auto& queue = ends ? ready_ends_ : ready_long_;
  const std::coroutine_handle<> handle = queue.front();
  queue.pop_front();
  long_taken_ = true;
  handle.resume();
}

std::size_t Scheduler::RunReady(std::size_t most) {
  std::size_t resumed = 0;
  long_taken_ = false;
  short_bytes_ = 0;
  if (most > 0 && HasLong() && (ready_.empty() || ++passed_over_ > kPassedOverMax)) {
    passed_over_ = 0;
    RunLong();
    ++resumed;
  }
  while (resumed < most && !ready_.empty()) {
    const std::coroutine_handle<> handle = ready_.front();
    ready_.pop_front();
    handle.resume();
    ++resumed;
  }
  return resumed;
}

Scheduler::TimerId Scheduler::AddTimer(Nanos time, std::function<void()> fire) {
  return timers_.emplace(time, std::move(fire));
}

void Scheduler::CancelTimer(TimerId timer) { timers_.erase(timer); }

Nanos Scheduler::NextTimer() const noexcept {
  return timers_.empty() ? kForever : timers_.begin()->first;
}

std::size_t Scheduler::RunTimers(Nanos now) {
  std::size_t fired = 0;
  while (!timers_.empty() && timers_.begin()->first <= now) {
    // Taken out before it runs, so that a callback may add and cancel timers freely.
    const std::function<void()> fire = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    fire();
    ++fired;
  }
  return fired;
}

}  // namespace terrace
