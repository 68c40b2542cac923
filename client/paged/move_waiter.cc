#include "client/paged/move_waiter.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace terrace::paged {
namespace {

bool Passed(Deadline deadline) { return In({}) >= deadline; }

// A mover whose descriptor says nothing is asked so often all the same.
constexpr std::chrono::milliseconds kAskAgain{10};

}  // namespace

Result<MoveId> MoveWaiter::Start(const MoveRequest& request, Deadline deadline) {
  while (true) {
    const std::uint64_t seen = Ends();
    Result<MoveId> move = mover_.Start(request);
    if (move.code() != StatusCode::kRetry) return move;
    if (Passed(deadline)) return Status(StatusCode::kTimeout, move.status().message());
    AwaitEnd(seen, deadline);
  }
}

Status MoveWaiter::Wait(MoveId move, Deadline deadline) {
  while (true) {
    const std::uint64_t seen = Ends();
    Status status = mover_.Done(move);
    if (status.code() != StatusCode::kRetry || Passed(deadline)) return status;
    AwaitEnd(seen, deadline);
  }
}

std::uint64_t MoveWaiter::Ends() {
  const std::lock_guard lock(mutex_);
  return ends_;
}

void MoveWaiter::AwaitEnd(std::uint64_t seen, Deadline deadline) {
  const Deadline until = std::min(deadline, In(kAskAgain));
  std::unique_lock lock(mutex_);
  if (ends_ != seen) return;
  if (listening_ || mover_.EventFd() < 0) {
    changed_.wait_until(lock, until, [&] { return ends_ != seen; });
    return;
  }
  listening_ = true;
  lock.unlock();
  pollfd fd{.fd = mover_.EventFd(), .events = POLLIN, .revents = 0};
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - In({}));
  const int ready = ::poll(&fd, 1, static_cast<int>(std::max<std::int64_t>(left.count() + 1, 0)));
  std::uint64_t count = 0;
  if (ready > 0) {
    [[maybe_unused]] const ssize_t read = ::read(fd.fd, &count, sizeof count);
  }
  lock.lock();
  listening_ = false;
  ++ends_;
  changed_.notify_all();
}

}  // namespace terrace::paged
