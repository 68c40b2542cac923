// RequestService: where transport and cache meet, one per reactor.
//
// Decodes a request, runs the cache's flow, sends the reply. A flow owns its request's bytes, so
// the views of keys stay valid until the reply has left.
//
//   - A namespace id is honoured only for its own tenant: ids of other tenants are as unknown as
//     ids that do not exist.
//   - At most kRequestsPerPeerMax requests of one peer are in progress; more are told kRetry.
//   - A cancelled request, or one whose peer went, is given the deadline "now": the flow ends at
//     its next step, the transfers in progress follow Link's L2.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/link.h"
#include "base/task.h"
#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "tools/terraced/service/event_service.h"
#include "tools/terraced/service/handoff_service.h"
#include "tools/terraced/service/hint_service.h"
#include "tools/terraced/service/lease_service.h"
#include "tools/terraced/service/request_decoder.h"
#include "tools/terraced/service/reservation_service.h"
#include "transport/server.h"

namespace terrace {

inline constexpr std::size_t kRequestsPerPeerMax = 4096;

/// One number for `terracectl stat`; names as in docs/operations.md.
struct StatEntry {
  std::string name;
  std::string labels;
  double value = 0;
};

/// Connections of a tenant's clients of one name to this reactor, over one link.
struct ClientsSeen {
  std::string name;
  LinkKind link = LinkKind::kNone;
  std::uint64_t connections = 0;
};
/// Most of them that are told at a time; `terrace_client_connections_by_link` counts the others.
inline constexpr std::size_t kClientsToldMax = 1024;

class RequestService final : public RequestHandler {
 public:
  /// This reactor's numbers, to a tenant whose clients are these.
  using StatOf = std::function<std::vector<StatEntry>(const std::vector<ClientsSeen>&)>;

  /// `cache` and `registry` outlive the service.
  RequestService(Cache& cache, NamespaceRegistry& registry, ShardPlace place, StatOf stat);

  void OnConnect(const PeerRef& peer) override;
  void OnRequest(const PeerRef& peer, std::vector<std::byte> bytes, const wire::Message& message,
                 Nanos deadline) override;
  void OnCancel(const PeerRef& peer, std::uint64_t request_id) override;
  void OnDisconnect(const PeerRef& peer, const Status& reason) override;

  /// Of which run of the daemon events are; before the first request.
  void NameEvents(std::uint64_t incarnation) noexcept { events_.Name(incarnation); }

  /// Of the hints that requests brought.
  [[nodiscard]] const HintCounters& Hints() const noexcept { return hint_counters_; }

  /// Waits until no flow runs any more; to be awaited after the server has closed its links.
  Task<void> Drain();

 private:
  /// A get, put or send in progress; owned by its coroutine.
  struct Flow {
    std::vector<std::byte> bytes;  // the message that the request's views point into
    GetRequest request;
    bool is_put = false;
  };
  struct PeerState {
    PeerRef peer;
    std::unordered_set<std::uint32_t> own;                 // namespace ids that were checked
    std::unordered_map<std::uint64_t, Flow*> in_progress;  // by request id
  };

  void OpenNamespace(PeerState& state, const wire::Message& message);
  void Match(PeerState& state, const wire::Message& message);
  void StartRemove(PeerState& state, std::vector<std::byte> bytes, const wire::Message& message);
  Task<void> Remove(PeerRef peer, std::unique_ptr<Flow> flow);
  void StartTransfer(PeerState& state, std::vector<std::byte> bytes, const wire::Message& message,
                     const RequestFacts& facts, Nanos deadline);
  Status DecodeTransfer(PeerState& state, const wire::Message& message, Flow& flow) const;
  Task<void> Transfer(PeerRef peer, std::unique_ptr<Flow> flow);
  void MatchGroups(PeerState& state, std::vector<std::byte> bytes, const wire::Message& message);
  void Reserve(PeerState& state, const wire::Message& message, const RequestFacts& facts);
  void OpenHandoff(PeerState& state, std::vector<std::byte> bytes, const wire::Message& message,
                   const RequestFacts& facts);
  void Stat(PeerState& state, const wire::Message& message);
  [[nodiscard]] std::vector<ClientsSeen> ClientsOf(const std::string& tenant) const;
  void Explain(PeerState& state, const wire::Message& message);
  void ListNamespaces(PeerState& state, const wire::Message& message);
  void ClearNamespace(PeerState& state, const wire::Message& message);
  Task<void> Clear(PeerRef peer, std::uint64_t request_id, std::uint32_t namespace_id);

  /// kInvalid when the namespace is not one of the peer's tenant.
  Status CheckTenant(PeerState& state, std::uint32_t namespace_id) const;

  Cache& cache_;
  NamespaceRegistry& registry_;
  const ShardPlace place_;
  const StatOf stat_;
  HintCounters hint_counters_;
  ReservationService reservations_;
  HandoffService handoffs_;
  std::unordered_map<std::uint64_t, PeerState> peers_;  // by Peer::id()
  HintService hints_;
  EventService events_;
  TaskScope flows_;
  LeaseService leases_;
};

}  // namespace terrace
