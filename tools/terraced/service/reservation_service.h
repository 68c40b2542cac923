// ReservationService: the requests of blocks from several writers, one service per reactor.
//
// Decodes Reserve, WriteFragments, CommitReservation and AbortReservation, runs the cache's flow,
// sends the reply. RequestService checks the tenant of a Reserve; a token's tenant is the cache's
// to check. Cancelled, or its client gone: a write is given the deadline "now", as any transfer; a
// commit goes on, it moves nothing of the client's.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/task.h"
#include "cache/cache.h"
#include "tools/terraced/service/request_decoder.h"
#include "transport/server.h"

namespace terrace {

class ReservationService {
 public:
  /// `cache` outlives the service.
  ReservationService(Cache& cache, ShardPlace place) : cache_(cache), place_(place) {}

  /// REQUIRES of all: a message of that body.
  void Reserve(const PeerRef& peer, const wire::Message& message, const RequestFacts& facts);
  void Write(const PeerRef& peer, const wire::Message& message, Nanos deadline);
  void Commit(const PeerRef& peer, const wire::Message& message, Nanos deadline);
  void Abort(const PeerRef& peer, const wire::Message& message, Nanos deadline);

  void OnCancel(const PeerRef& peer, std::uint64_t request_id);
  void OnDisconnect(const PeerRef& peer);
  /// Waits until no flow runs any more.
  Task<void> Drain() { co_await flows_.Join(); }

 private:
  using Writes = std::unordered_map<std::uint64_t, WriteRequest*>;  // by request id

  Task<void> RunWrite(PeerRef peer, std::unique_ptr<WriteRequest> request);
  Task<void> RunCommit(PeerRef peer, std::uint64_t request_id, CommitRequest request);
  Task<void> RunAbort(PeerRef peer, std::uint64_t request_id, PutTokenParts token, Nanos deadline);

  Cache& cache_;
  const ShardPlace place_;
  std::unordered_map<std::uint64_t, Writes> writes_;  // in progress, by Peer::id()
  TaskScope flows_;
};

}  // namespace terrace
