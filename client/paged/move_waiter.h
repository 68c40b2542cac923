// MoveWaiter: starts moves of a PageMover and waits for their ends, from several threads: one of
// them listens to the mover's descriptor for all. Thread: any.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "client/paged/mover.h"
#include "client/types.hpp"

namespace terrace::paged {

class MoveWaiter {
 public:
  /// The mover outlives it.
  explicit MoveWaiter(PageMover& mover) : mover_(mover) {}

  /// As PageMover::Start, again while it answers kRetry. kTimeout at the deadline.
  Result<MoveId> Start(const MoveRequest& request, Deadline deadline);
  /// As PageMover::Done, until it is done. kRetry at the deadline: it goes on.
  Status Wait(MoveId move, Deadline deadline);
  PageMover& mover() noexcept { return mover_; }

 private:
  std::uint64_t Ends();
  /// Until a move may have ended since `seen`, at most until the deadline.
  void AwaitEnd(std::uint64_t seen, Deadline deadline);

  PageMover& mover_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t ends_ = 0;  // guarded by mutex_: times that the descriptor was read
  bool listening_ = false;  // guarded by mutex_: a thread is
};

}  // namespace terrace::paged
