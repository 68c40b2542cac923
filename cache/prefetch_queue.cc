#include "cache/prefetch_queue.h"

#include "base/check.h"

namespace terrace {

PrefetchQueue::~PrefetchQueue() { TERRACE_CHECK(waiters_.empty() && active_ == 0); }

Task<bool> PrefetchQueue::Acquire(std::uint32_t priority, Nanos deadline) {
  Event granted;
  const Place place{~priority, next_number_++};
  waiters_[place] = &granted;
  Grant();
  // As in TransferSlots: a grant that comes between the timer and this turn is taken.
  if (co_await granted.WaitUntil(deadline)) co_return true;
  waiters_.erase(place);
  co_return false;
}

void PrefetchQueue::Release() {
  TERRACE_CHECK(active_ > 0);
  --active_;
  Grant();
}

void PrefetchQueue::Grant() {
  while (!waiters_.empty() && active_ < (gets_wait_() ? 1 : kAtOnce)) {
    Event* const granted = waiters_.begin()->second;
    waiters_.erase(waiters_.begin());
    ++active_;
    granted->Set();
  }
}

}  // namespace terrace
