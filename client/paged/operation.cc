#include "client/paged/operation.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace terrace::paged {

Result<std::unique_ptr<OperationBook>> OperationBook::Create() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return Status(StatusCode::kIo, std::string("eventfd: ") + std::strerror(errno));
  return std::unique_ptr<OperationBook>(new OperationBook(fd));
}

OperationBook::~OperationBook() { ::close(fd_); }

Status OperationBook::Add(const std::shared_ptr<Operation>& operation) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return Status(StatusCode::kCancelled, "the PagedCache is being destroyed");
  if (under_way_.size() + completions_.size() >= kOperationsMax) {
    return Status(StatusCode::kRetry, "4096 calls are under way or were not polled");
  }
  operation->ticket = ++last_;
  under_way_.push_back(operation);
  operation->begun = operation->waited;
  if (operation->waited) return {};
  (operation->kind == OperationKind::kGet ? gets_ : others_).push_back(operation);
  changed_.notify_all();
  return {};
}

std::shared_ptr<Operation> OperationBook::Next(bool gets) {
  std::unique_lock lock(mutex_);
  std::deque<std::shared_ptr<Operation>>& queue = gets ? gets_ : others_;
  changed_.wait(lock, [&] { return stopped_ || !queue.empty(); });
  if (queue.empty()) return nullptr;
  std::shared_ptr<Operation> next = std::move(queue.front());
  queue.pop_front();
  next->begun = true;
  return next;
}

void OperationBook::End(const std::shared_ptr<Operation>& operation) {
  const std::lock_guard lock(mutex_);
  EndLocked(operation);
}

void OperationBook::EndLocked(const std::shared_ptr<Operation>& operation) {
  operation->ended = true;
  std::erase(under_way_, operation);
  if (!operation->waited) {
    completions_.push_back({.ticket = operation->ticket,
                            .status = std::move(operation->status),
                            .blocks = std::move(operation->results)});
    const std::uint64_t one = 1;
    if (completions_.size() == 1) {
      [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof one);
    }
  }
  changed_.notify_all();
}

bool OperationBook::Cancelled(const Operation& operation) {
  const std::lock_guard lock(mutex_);
  return operation.cancelled;
}

bool OperationBook::BeginTouch(Operation& operation) {
  const std::lock_guard lock(mutex_);
  if (operation.cancelled) return false;
  operation.touching = true;
  return true;
}

void OperationBook::EndTouch(Operation& operation) {
  const std::lock_guard lock(mutex_);
  operation.touching = false;
  if (operation.cancelled) changed_.notify_all();
}

bool OperationBook::BeginCall(Operation& operation, std::vector<MemoryPiece> memory) {
  const std::lock_guard lock(mutex_);
  if (operation.cancelled) return false;
  operation.memory = std::move(memory);
  return true;
}

void OperationBook::EndCall(Operation& operation) {
  const std::lock_guard lock(mutex_);
  operation.memory.clear();
}

void OperationBook::AddDoubt(Doubt doubt) {
  const std::lock_guard lock(mutex_);
  doubts_.push_back(std::move(doubt));
}

std::vector<Doubt> OperationBook::TakeDoubts() {
  const std::lock_guard lock(mutex_);
  return std::exchange(doubts_, {});
}

bool OperationBook::NoDoubts() {
  const std::lock_guard lock(mutex_);
  return doubts_.empty();
}

std::vector<PagedCompletion> OperationBook::Take(std::size_t most) {
  const std::lock_guard lock(mutex_);
  std::vector<PagedCompletion> taken;
  if (completions_.empty()) return taken;
  while (taken.size() < most && !completions_.empty()) {
    taken.push_back(std::move(completions_.front()));
    completions_.pop_front();
  }
  if (completions_.empty()) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(fd_, &count, sizeof count);
  }
  return taken;
}

Status OperationBook::WaitForCompletion(Deadline deadline) {
  std::unique_lock lock(mutex_);
  if (changed_.wait_until(lock, deadline, [&] { return !completions_.empty(); })) return {};
  return Status(StatusCode::kTimeout, "no call has ended");
}

OperationBook::Operations OperationBook::UnderWay() {
  const std::lock_guard lock(mutex_);
  return under_way_;
}

OperationBook::Operations OperationBook::Naming(std::span<const std::uint32_t> pages) {
  const std::lock_guard lock(mutex_);
  Operations found;
  for (const auto& operation : under_way_) {
    const auto named = [&](std::uint32_t page) {
      return std::binary_search(pages.begin(), pages.end(), page);
    };
    if (std::any_of(operation->pages.begin(), operation->pages.end(), named)) {
      found.push_back(operation);
    }
  }
  return found;
}

Result<std::shared_ptr<Operation>> OperationBook::Named(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  if (ticket == 0 || ticket > last_) {
    return Status::Invalid("ticket is " + std::to_string(ticket) + ", which was never given out");
  }
  for (const auto& operation : under_way_) {
    if (operation->ticket == ticket) return operation;
  }
  return std::shared_ptr<Operation>();
}

std::vector<StreamPoint> OperationBook::Cancel(const Operations& operations) {
  const std::lock_guard lock(mutex_);
  std::vector<StreamPoint> points;
  for (const auto& operation : operations) {
    operation->cancelled = true;
    if (operation->begun || operation->ended) continue;
    std::erase(gets_, operation);
    std::erase(others_, operation);
    operation->status = Status(StatusCode::kCancelled, "cancelled before it began");
    if (operation->after.value != 0) points.push_back(operation->after);
    EndLocked(operation);
  }
  return points;
}

bool OperationBook::AwaitEnd(const Operations& operations, Deadline deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] {
    return std::all_of(operations.begin(), operations.end(),
                       [](const auto& operation) { return operation->ended; });
  });
}

std::vector<MemoryPiece> OperationBook::MemoryOf(const Operations& operations) {
  const std::lock_guard lock(mutex_);
  std::vector<MemoryPiece> memory;
  for (const auto& operation : operations) {
    memory.insert(memory.end(), operation->memory.begin(), operation->memory.end());
  }
  return memory;
}

bool OperationBook::AnyTouching(const Operations& operations) {
  const std::lock_guard lock(mutex_);
  return std::any_of(operations.begin(), operations.end(),
                     [](const auto& operation) { return operation->touching; });
}

void OperationBook::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

}  // namespace terrace::paged
