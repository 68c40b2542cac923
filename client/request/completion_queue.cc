#include "client/request/completion_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
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
  std::list<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    if (!spare_.empty()) entry.splice(entry.end(), spare_, spare_.begin());
  }
  if (entry.empty()) entry.emplace_back();
  entry.front() = {std::move(completion), std::move(slot)};
  const std::lock_guard lock(mutex_);
  queue_.splice(queue_.end(), entry);
  // Only the first one writes, and Take reads when it took the last: that is Q1.
  if (queue_.size() > 1) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof one);
  for (Signal* filled : awaiting_) filled->Set();
}

std::vector<Completion> CompletionQueue::Take(std::size_t most) {
  std::list<Entry> entries;
  {
    const std::lock_guard lock(mutex_);
    if (queue_.empty() || most == 0) return {};
    if (most >= queue_.size()) {
      entries.swap(queue_);
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t read = ::read(fd_, &count, sizeof count);
    } else {
      entries.splice(entries.end(), queue_, queue_.begin(),
                     std::next(queue_.begin(), static_cast<std::ptrdiff_t>(most)));
    }
  }
  std::vector<Completion> taken;
  taken.reserve(entries.size());
  for (Entry& entry : entries) {
    taken.push_back(std::move(entry.completion));
    entry.slot.Release();
  }
  const std::lock_guard lock(mutex_);
  if (spare_.size() + entries.size() <= kSpareMax) spare_.splice(spare_.end(), entries);
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
