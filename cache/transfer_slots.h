// TransferSlots: bounds the pushes and pulls of a reactor, and how many of them one client has.
//
// Model. Waiters queue per link, first come, first served; links take turns. A link may hold a
// share of the slots only, so that a client that stalls (its transfers keep their slots until their
// deadlines) leaves the rest to everyone else.
// Thread: the owning reactor's, inside its scheduler. Nothing may wait any more when it is
// destroyed.
#pragma once

#include <cstddef>
#include <list>
#include <map>

#include "base/clock.h"
#include "base/status.h"
#include "base/task.h"
#include "base/wait.h"

namespace terrace {

class Link;

class TransferSlots {
 public:
  /// Waiters beyond this many are refused: far above what the clients' own limits allow, so that
  /// a queue that only grows is found.
  static constexpr std::size_t kWaitersMax = 65'536;
  /// One link holds at most one slot in so many (and at least one).
  static constexpr std::size_t kLinkShare = 4;

  explicit TransferSlots(std::size_t slots);
  ~TransferSlots();
  TransferSlots(const TransferSlots&) = delete;
  TransferSlots& operator=(const TransferSlots&) = delete;

  /// kOk: the caller holds a slot until Release. kTimeout at the deadline, kRetry when too many
  /// wait. `link` is not touched, it only names the client; it outlives the slot.
  Task<Status> Acquire(const Link* link, Nanos deadline);
  /// The slot goes to the next link's longest waiter, if any. REQUIRES: a slot acquired by `link`.
  void Release(const Link* link);
  [[nodiscard]] std::size_t free() const noexcept { return free_; }
  [[nodiscard]] std::size_t waiting() const noexcept { return waiting_; }
  /// Somebody holds a slot, or waits for one.
  [[nodiscard]] bool busy() const noexcept { return !shares_.empty(); }

 private:
  /// What one link has and wants. Exists while it has or wants something.
  struct Share {
    std::size_t held = 0;
    std::list<Event*> waiters;  // longest waiting first
    bool has_turn = false;      // stands in turns_
  };
  using Shares = std::map<const Link*, Share>;

  /// Puts a link in the row when it waits for something that it may have.
  void Queue(const Link* link, Share& share);
  void GrantFree();
  void Tidy(Shares::iterator share);

  std::size_t free_;
  const std::size_t held_per_link_max_;
  std::size_t waiting_ = 0;
  Shares shares_;
  // Links that wait and are below their share, next turn first. Empty while a slot is free.
  std::list<const Link*> turns_;
};

}  // namespace terrace
