// PrefetchQueue: how many loads of prefetches run at once on a reactor, and which is next.
//
// Model. A prefetch waits for its turn: higher priority first, within one the one that came first.
// kAtOnce loads run at once while no get waits for NVMe, and one while some do: gets, which never
// wait here, go before, and prefetches still end.
// Thread: the owning reactor's, inside its scheduler. Nothing may wait any more when it is
// destroyed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "base/clock.h"
#include "base/task.h"
#include "base/wait.h"

namespace terrace {

class PrefetchQueue {
 public:
  /// Enough to keep a device busy; blocks of 4 MiB are 32 MiB under way.
  static constexpr std::size_t kAtOnce = 8;

  /// `gets_wait`: some get waits for NVMe now.
  explicit PrefetchQueue(std::function<bool()> gets_wait) : gets_wait_(std::move(gets_wait)) {}
  ~PrefetchQueue();
  PrefetchQueue(const PrefetchQueue&) = delete;
  PrefetchQueue& operator=(const PrefetchQueue&) = delete;

  /// True: the caller's turn, until Release. False at the deadline.
  Task<bool> Acquire(std::uint32_t priority, Nanos deadline);
  void Release();
  /// Gives out what is free; after a load of anybody's has ended.
  void Grant();
  [[nodiscard]] std::size_t active() const noexcept { return active_; }
  [[nodiscard]] std::size_t waiting() const noexcept { return waiters_.size(); }

 private:
  using Place = std::pair<std::uint32_t, std::uint64_t>;  // ~priority, number: first is next

  const std::function<bool()> gets_wait_;
  std::map<Place, Event*> waiters_;
  std::uint64_t next_number_ = 0;
  std::size_t active_ = 0;
};

}  // namespace terrace
