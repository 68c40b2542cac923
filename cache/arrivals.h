// Arrivals: flows that wait until something about a block changes: bytes of it come, it is stored,
// or whoever brought it gives up.
//
// Model. A waiter names what it waits for, and for whom: every Tell of that name, and every Wake of
// that request, sets its event. What has changed is the waiter's to look up; it may be nothing. It
// looks after it was made, so nothing is missed: between the look and the wait nobody else runs.
//
// Thread: the owning reactor's. Memory: two tree nodes a waiter.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>

#include "base/handoff_token.h"
#include "base/wait.h"
#include "cache/locator.h"

namespace terrace {

class Arrivals {
 public:
  /// What is waited for.
  struct Name {
    std::uint32_t namespace_id = 0;  ///< 0: a hand-off
    Hash128 hash;
    friend bool operator<(const Name& left, const Name& right) noexcept {
      return std::tie(left.hash.low, left.hash.high, left.namespace_id) <
             std::tie(right.hash.low, right.hash.high, right.namespace_id);
    }
  };
  static Name Of(const Locator& block) noexcept { return {block.namespace_id, block.hash}; }
  static Name Of(const HandoffNumber& handoff) noexcept {
    return {0, {.low = handoff.low, .high = handoff.high}};
  }

  /// `arrivals` outlives it. `request`: whose wait it is.
  class Waiter {
   public:
    Waiter(Arrivals& arrivals, const Name& name, const void* request)
        : arrivals_(arrivals),
          by_name_(arrivals.by_name_.emplace(name, &event_)),
          by_request_(arrivals.by_request_.emplace(request, &event_)) {}
    ~Waiter() {
      arrivals_.by_name_.erase(by_name_);
      arrivals_.by_request_.erase(by_request_);
    }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

    /// False: `deadline` came first.
    auto WaitUntil(Nanos deadline) noexcept {
      event_.Reset();
      return event_.WaitUntil(deadline);
    }

   private:
    Arrivals& arrivals_;
    Event event_;
    std::multimap<Name, Event*>::iterator by_name_;
    std::multimap<const void*, Event*>::iterator by_request_;
  };

  /// It has changed: who waits for it looks again.
  void Tell(const Name& name) {
    const auto [begin, end] = by_name_.equal_range(name);
    for (auto waiter = begin; waiter != end; ++waiter) waiter->second->Set();
  }
  /// The request's deadline has been moved: likewise.
  void Wake(const void* request) {
    const auto [begin, end] = by_request_.equal_range(request);
    for (auto waiter = begin; waiter != end; ++waiter) waiter->second->Set();
  }
  /// Waiters now.
  [[nodiscard]] std::size_t size() const noexcept { return by_name_.size(); }

 private:
  std::multimap<Name, Event*> by_name_;
  std::multimap<const void*, Event*> by_request_;
};

}  // namespace terrace
