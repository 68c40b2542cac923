#include "client/completion_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

namespace terrace {

Result<std::unique_ptr<CompletionQueue>> CompletionQueue::Create() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return Status(StatusCode::kIo, std::string("eventfd: ") + std::strerror(errno));
  return std::unique_ptr<CompletionQueue>(new CompletionQueue(fd));
}

CompletionQueue::~CompletionQueue() { ::close(fd_); }

void CompletionQueue::Push(Completion completion, CallSlot slot) {
  const std::lock_guard lock(mutex_);
  queue_.push_back({std::move(completion), std::move(slot)});
  // Only the first one writes, and Take reads when it took the last: that is Q1.
  if (queue_.size() > 1) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof one);
  for (Signal* filled : awaiting_) filled->Set();
}

std::vector<Completion> CompletionQueue::Take(std::size_t most) {
  std::vector<Completion> taken;
  const std::lock_guard lock(mutex_);
  if (queue_.empty() || most == 0) return taken;
  taken.reserve(std::min(most, queue_.size()));
  while (!queue_.empty() && taken.size() < most) {
    taken.push_back(std::move(queue_.front().completion));
    queue_.pop_front();
  }
  if (queue_.empty()) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(fd_, &count, sizeof count);
  }
  return taken;
}

bool CompletionQueue::Await(Signal& filled) {
  const std::lock_guard lock(mutex_);
  if (!queue_.empty()) return false;
  awaiting_.push_back(&filled);
  return true;
}

void CompletionQueue::StopAwaiting(Signal& filled) {
  const std::lock_guard lock(mutex_);
  std::erase(awaiting_, &filled);
}

}  // namespace terrace
