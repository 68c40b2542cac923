// Bell: wakes the other side of a ring, and is woken by it.
//
// Each direction is an eventfd, which its listener does not read: it sleeps on an epoll set that
// holds the eventfd edge-triggered. The reasons:
//
//   - An eventfd that both sides hold is one open file: whoever takes O_NONBLOCK from it, or fills
//     its counter, stops the other in a read or a write. The daemon writes to one that no client
//     holds (the client has the epoll set of it), and reads none.
//   - A socket or a pipe would do as well, but their writers tell the scheduler that they are about
//     to sleep, which puts the woken thread on the writer's own processor, behind the block that
//     the writer goes on to hash.
//
// Thread: one at a time.
#pragma once

#include <array>
#include <utility>

#include "base/result.h"
#include "transport/socket.h"

namespace terrace {

class Bell {
 public:
  /// The two ends: what one rings the other hears. kRetry when there are no descriptors left.
  static Result<std::array<Bell, 2>> MakePair();
  /// What the other process has sent: an eventfd to ring, and what to listen on.
  Bell(UniqueFd rung, UniqueFd heard) noexcept : rung_(std::move(rung)), heard_(std::move(heard)) {}

  /// Wakes the other side. Never waits.
  void Ring() const;
  /// Forgets that it was rung. Never waits.
  void Hear() const;
  /// Readable from when it was rung until Hear.
  [[nodiscard]] int Fd() const noexcept { return heard_.get(); }
  /// Gives both descriptors away, in the order of the constructor; the bell is mute and deaf then.
  [[nodiscard]] std::array<UniqueFd, 2> Take() && noexcept {
    return {std::move(rung_), std::move(heard_)};
  }

 private:
  UniqueFd rung_;
  UniqueFd heard_;
};

}  // namespace terrace
