// CompletionQueue: finished calls on their way from the loop to the caller.
//
//   Q1. The descriptor is readable exactly while the queue holds something.
//   Q2. Completions come out in the order in which they were pushed.
//
// Bounded by the limit on calls in flight (CallLimit): a completion keeps its slot until it was
// taken.
// Thread: any.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "base/signal.h"
#include "client/request/call_limit.h"
#include "client/terrace.hpp"

namespace terrace {

class CompletionQueue {
 public:
  /// kIo when no eventfd can be had.
  static Result<std::unique_ptr<CompletionQueue>> Create();
  ~CompletionQueue();
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  void Push(Completion completion, CallSlot slot);
  /// At most `most`, oldest first; empty when there is none.
  std::vector<Completion> Take(std::size_t most);
  /// Sets `filled` as soon as there is something to take. False, and does nothing, when there is
  /// already. `filled` stays until StopAwaiting.
  [[nodiscard]] bool Await(Signal& filled);
  void StopAwaiting(Signal& filled);
  [[nodiscard]] int Fd() const noexcept { return fd_; }

 private:
  explicit CompletionQueue(int fd) : fd_(fd) {}

  static constexpr std::size_t kSpareMax = 256;  // some 80 KiB

  const int fd_;
  std::mutex mutex_;
  struct Entry {
    Completion completion;
    CallSlot slot;
  };
  // Lists, so that nothing is allocated or freed under the mutex (as ClientCore's inbox), and their
  // places are used again: memory that one thread allocates and another frees is the heap's lock,
  // which the one may hold without a processor while the other waits.
  std::list<Entry> queue_;         // guarded by mutex_
  std::list<Entry> spare_;         // guarded by mutex_; empty ones, at most kSpareMax
  std::vector<Signal*> awaiting_;  // guarded by mutex_
};

}  // namespace terrace
