// LeaseService: matches over groups and shards, and the leases on what they find; one per reactor.
//
// RequestService hands over what is of the peer's own tenant. A lease belongs to the connection it
// was given to: another's is refused, and it ends with the connection.
//
//   - At most kMatchesPerPeerMax matches of one peer are in progress; more are told kRetry.
//   - A peer that goes while its match runs leaves no lease behind.
//
// Thread: the reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/task.h"
#include "cache/cache.h"
#include "tools/terraced/service/request_decoder.h"
#include "transport/server.h"

namespace terrace {

/// Matches over groups that one client may have in progress: 2 MiB of answer each at most.
inline constexpr std::size_t kMatchesPerPeerMax = 64;

class LeaseService {
 public:
  /// `cache` and `registry` outlive the service; so does `flows`, which its tasks are spawned in.
  LeaseService(Cache& cache, const NamespaceRegistry& registry, ShardPlace place, TaskScope& flows)
      : cache_(cache), registry_(registry), place_(place), flows_(flows) {}

  void OnConnect(const PeerRef& peer) { in_progress_[peer->id()] = 0; }
  void OnDisconnect(const PeerRef& peer);

  /// REQUIRES: a MatchGroups whose namespace is of the peer's tenant.
  void Match(const PeerRef& peer, std::vector<std::byte> bytes, const wire::Message& message);
  /// REQUIRES: a TrimLease, RenewLease or ReleaseLease.
  void Change(const PeerRef& peer, const wire::Message& message);

 private:
  struct Flow {
    std::vector<std::byte> bytes;  // the message that the query's views point into
    std::uint64_t request_id = 0;
    GroupsQuery query;
  };
  Task<void> Run(PeerRef peer, std::unique_ptr<Flow> flow);
  Status Apply(const PeerRef& peer, const wire::Message& message);

  Cache& cache_;
  const NamespaceRegistry& registry_;
  const ShardPlace place_;
  TaskScope& flows_;
  std::unordered_map<std::uint64_t, std::size_t> in_progress_;  // matches by Peer::id()
};

}  // namespace terrace
