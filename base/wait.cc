#include "base/wait.h"

#include <utility>

namespace terrace {

void Event::Set() {
  set_ = true;
  if (!waiter_) return;
  Scheduler& scheduler = Scheduler::Current();
  if (timer_) {
    scheduler.CancelTimer(*timer_);
    timer_.reset();
  }
  scheduler.Ready(std::exchange(waiter_, {}));
}

void Event::Suspend(std::coroutine_handle<> waiter, Nanos deadline) {
  TERRACE_CHECK(!waiter_);
  waiter_ = waiter;
  if (deadline == kForever) return;
  Scheduler& scheduler = Scheduler::Current();
  timer_ = scheduler.AddTimer(deadline, [this, &scheduler] {
    timer_.reset();
    scheduler.Ready(std::exchange(waiter_, {}));
  });
}

void Semaphore::Release() {
  if (waiting_.empty()) {
    ++free_;
    return;
  }
  Scheduler::Current().Ready(waiting_.front());
  waiting_.pop_front();
}

}  // namespace terrace
