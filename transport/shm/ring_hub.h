// RingHub: shows a reactor the rings of all its peers on this host.
//
// Model. A ring that was just used is *warm*: looked at on every turn, so that the other side need
// not ring. Before the reactor sleeps the warm rings fall asleep: their writers are asked to ring
// their bell, which the reactor watches, and the first ring makes them warm again.
//
// Thread: the reactor's, or before it runs.
#pragma once

#include <memory>
#include <vector>

#include "base/reactor.h"
#include "base/result.h"
#include "transport/socket.h"

namespace terrace {

class RingStream;

class RingHub final : private Poller {
 public:
  /// kIo when no eventfd can be had. `reactor` outlives it.
  static Result<std::unique_ptr<RingHub>> Create(Reactor& reactor);
  /// REQUIRES: every stream was removed.
  ~RingHub();
  RingHub(const RingHub&) = delete;
  RingHub& operator=(const RingHub&) = delete;

  /// The stream is warm. `bell` becomes readable when the other side rings; both stay until Remove.
  void Add(RingStream& stream, int bell);
  void Remove(RingStream& stream, int bell);
  /// REQUIRES: it fell asleep since it was added or warmed.
  void Warm(RingStream& stream);

 private:
  RingHub(Reactor& reactor, UniqueFd never) : reactor_(reactor), never_(std::move(never)) {}
  unsigned Poll() override;
  [[nodiscard]] int Fd() const noexcept override { return never_.get(); }
  bool Arm() override;
  void Disarm() override;

  Reactor& reactor_;
  UniqueFd never_;  // a Poller must have a descriptor; the bells are watched one by one
  std::vector<RingStream*> warm_;  // null: removed while they were being looked at
  std::vector<RingStream*> streams_;
};

}  // namespace terrace
