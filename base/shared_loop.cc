#include "base/shared_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"

namespace terrace {

Result<std::unique_ptr<SharedLoop>> SharedLoop::Create(Reactor& reactor, Nanos driver_spin) {
  TERRACE_CHECK(reactor.shared());
  const int gate_fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (gate_fd < 0) {
    return Status(StatusCode::kIo, std::string("epoll_create1: ") + std::strerror(errno));
  }
  epoll_event event{};
  event.events = EPOLLIN;
  TERRACE_CHECK(::epoll_ctl(gate_fd, EPOLL_CTL_ADD, reactor.epoll_fd(), &event) == 0);
  return std::unique_ptr<SharedLoop>(new SharedLoop(reactor, driver_spin, gate_fd));
}

SharedLoop::SharedLoop(Reactor& reactor, Nanos driver_spin, int gate_fd)
    : reactor_(reactor), driver_spin_(driver_spin), gate_fd_(gate_fd) {}

SharedLoop::~SharedLoop() {
  TERRACE_CHECK(driver_ == nullptr && followers_.empty() && !at_gate_);
  ::close(gate_fd_);
}

bool SharedLoop::Stopped() const noexcept { return reactor_.stop_.load(std::memory_order_seq_cst); }

void SharedLoop::SetGate(bool open) {
  if (std::exchange(gate_open_, open) == open) return;
  epoll_event event{};
  event.events = open ? EPOLLIN : 0;
  TERRACE_CHECK(::epoll_ctl(gate_fd_, EPOLL_CTL_MOD, reactor_.epoll_fd(), &event) == 0);
}

// ---- the keeper ----

void SharedLoop::Run() {
  reactor_.NameThread();
  const Scheduler::CurrentScope current(reactor_.scheduler());
  std::unique_lock turn(turn_mutex_);
  Nanos idle_since = 0;
  while (!Stopped()) {
    if (driven_.load(std::memory_order_relaxed) || !reactor_.KeepTurning(idle_since)) {
      SleepAtGate(turn);
    }
  }
}

void SharedLoop::SleepAtGate(std::unique_lock<std::mutex>& turn) {
  // Before the time to sleep is looked up: a moment later, and the timer that the keeper sleeps for
  // would be one that it does not know of (L3), and every call would end with a wake-up.
  const Nanos now = reactor_.scheduler_.Now();
  Nanos wait = Reactor::kSleepMax;
  if (driven_.load(std::memory_order_relaxed)) {
    SetGate(false);  // also when the driver has not come so far yet: it runs a turn when it does
  } else {
    const bool idle = reactor_.BeginSleep();
    if (!idle) return reactor_.EndSleep();
    SetGate(true);
    wait = reactor_.SleepTime();
    reactor_.counters_.sleeps.fetch_add(1, std::memory_order_relaxed);
  }
  keeper_wakes_ = now + wait;
  at_gate_ = true;
  turn.unlock();
  std::array<epoll_event, 1> events;
  const bool came = !Reactor::WaitEpoll(gate_fd_, events, wait).empty();
  turn.lock();
  at_gate_ = false;
  if (driver_ != nullptr) return;  // it answers for the loop
  reactor_.EndSleep();
  if (came && !Stopped()) reactor_.PeekEpollNow();  // the gate says only that there is something
}

// ---- whoever waits ----

bool SharedLoop::DriveUntil(Signal& until, Nanos deadline) {
  TERRACE_CHECK(!Scheduler::HasCurrent() || &Scheduler::Current() != &reactor_.scheduler());
  if (!Stopped()) {
    bool drives = BeginDrivingOrFollow(until);
    if (!drives) {
      RunPosted();  // what this thread has posted
      until.WaitUntilCalled(deadline);
      drives = !StopFollowing(until);
    }
    if (drives) Drive(until, deadline);
  }
  return until.WaitUntil(deadline);  // waits only after Stop (L5)
}

bool SharedLoop::BeginDrivingOrFollow(Signal& until) {
  const std::lock_guard lock(roles_mutex_);
  if (!driven_.exchange(true, std::memory_order_relaxed)) return true;
  followers_.push_back(&until);
  return false;
}

bool SharedLoop::StopFollowing(Signal& until) {
  const std::lock_guard lock(roles_mutex_);
  // Set, called and late may all be true at once: the list tells who was called.
  return std::erase(followers_, &until) > 0;
}

void SharedLoop::Drive(Signal& until, Nanos deadline) {
  std::unique_lock turn(turn_mutex_);
  const Scheduler::CurrentScope current(reactor_.scheduler());
  driver_ = &until;
  reactor_.EndSleep();  // the keeper's: this thread answers for the loop now
  if (driver_spin_ > 0) reactor_.DisarmPollers();
  Nanos idle_since = 0;
  while (!Stopped() && !until.IsSet()) {
    // Before the turn: what came in time is seen before the deadline is.
    const bool late = reactor_.scheduler().Now() >= deadline;
    const bool busy = reactor_.KeepTurning(idle_since, driver_spin_);
    if (late || until.IsSet()) break;
    if (!busy) SleepInside(turn, deadline);
  }
  Leave();
}

void SharedLoop::SleepInside(std::unique_lock<std::mutex>& turn, Nanos deadline) {
  if (reactor_.BeginSleep()) {
    SetGate(false);
    const Nanos now = reactor_.scheduler().Now();
    const Nanos wait = std::clamp<Nanos>(deadline - now, 0, reactor_.SleepTime());
    driver_wakes_ = now + wait;
    reactor_.counters_.sleeps.fetch_add(1, std::memory_order_relaxed);
    std::array<epoll_event, Reactor::kEpollEvents> events;
    turn.unlock();
    const auto came = Reactor::WaitEpoll(reactor_.epoll_fd(), events, wait);
    turn.lock();
    if (!Stopped()) reactor_.MarkFired(came);
  }
  reactor_.EndSleep();
}

void SharedLoop::Leave() {
  driver_ = nullptr;
  if (CallFollower() || !at_gate_) return;
  SetGate(true);
  // On behalf of the keeper, which is asleep (L2).
  if (!reactor_.BeginSleep() || MoreToDoThanKnown(keeper_wakes_)) reactor_.Wake();
}

bool SharedLoop::CallFollower() {
  const std::lock_guard lock(roles_mutex_);
  const auto next = std::find_if(followers_.begin(), followers_.end(),
                                 [](const Signal* signal) { return !signal->IsSet(); });
  if (Stopped() || next == followers_.end()) {
    driven_.store(false, std::memory_order_relaxed);
    return false;
  }
  Signal* const called = *next;
  followers_.erase(next);
  called->Call();  // under the lock, without which it does not go away
  return true;
}

void SharedLoop::RunPosted() {
  const std::unique_lock turn(turn_mutex_, std::try_to_lock);
  // Whoever is in a turn sees what is posted before it sleeps, or is seen to sleep here.
  if (!turn.owns_lock()) return reactor_.WakeIfSleeping();
  if (Stopped()) return;
  const Scheduler::CurrentScope current(reactor_.scheduler());
  reactor_.DrainInbox();
  if (!reactor_.sleeping_.load(std::memory_order_seq_cst)) return;  // it will run a turn (L2)
  const bool driver_served = driver_ != nullptr && driver_->IsSet();
  if (driver_served || MoreToDoThanKnown(driver_ != nullptr ? driver_wakes_ : keeper_wakes_) ||
      !reactor_.BeginSleep()) {
    reactor_.Wake();
  }
}

bool SharedLoop::MoreToDoThanKnown(Nanos wakes) const {
  return reactor_.scheduler_.HasReady() || reactor_.scheduler_.NextTimer() < wakes;
}

}  // namespace terrace
