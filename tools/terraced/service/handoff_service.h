// HandoffService: opens, acknowledges and aborts hand-offs; beside RequestService, which checks the
// tenant of what is opened and runs the gets and puts that receive and send. One per reactor.
//
// Opened, and its client gone meanwhile: the cache ends it (Cache::OnClientGone). An open that is
// cancelled goes on: it moves nothing of the client's.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/task.h"
#include "cache/cache.h"
#include "tools/terraced/service/request_decoder.h"
#include "transport/server.h"

namespace terrace {

class HandoffService {
 public:
  /// `cache` outlives the service.
  HandoffService(Cache& cache, ShardPlace place) : cache_(cache), place_(place) {}

  /// REQUIRES of all: a message of that body.
  void Open(const PeerRef& peer, std::vector<std::byte> bytes, const wire::Message& message,
            const RequestFacts& facts);
  void Acknowledge(const PeerRef& peer, const wire::Message& message);
  void Abort(const PeerRef& peer, const wire::Message& message);

  /// The number in a token of this daemon. kInvalid for another length or version, kExpired for a
  /// token of another daemon, or of an earlier run.
  [[nodiscard]] Result<HandoffNumber> NumberOf(
      const flatbuffers::Vector<std::uint8_t>* token) const;

  /// Waits until no flow runs any more.
  Task<void> Drain() { co_await flows_.Join(); }

 private:
  struct Flow {
    std::vector<std::byte> bytes;  // the message that the request's views point into
    std::uint64_t request_id = 0;
    HandoffRequest request;
  };
  Task<void> RunOpen(PeerRef peer, std::unique_ptr<Flow> flow);

  Cache& cache_;
  const ShardPlace place_;
  TaskScope flows_;
};

}  // namespace terrace
